"""The cycle of one resource group, compiled; it decides as `scheduler.cycles` does."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from scheduler import explanations
from scheduler.compiled.boards import with_devices
from scheduler.compiled.jit import Ints
from scheduler.compiled.loops import Asks, Parties
from scheduler.compiled.runs import Ends, Ground
from scheduler.compiled.tables import (
    LARGEST,
    Classes,
    capacity_of,
    cells_of,
    field_of,
    image_words,
    ragged,
    turns,
    view,
)
from scheduler.compiled.trees import build
from scheduler.cycles import Members
from scheduler.devices import COLUMNS, WHOLE
from scheduler.fragmentation import Fragmentation, Kind, mix_of
from scheduler.limits import Ledger
from scheduler.placers import Pack, Spread
from scheduler.plan import Reason, Waiting
from scheduler.protocols import Placer, Sequencer
from scheduler.queues import Request
from scheduler.reservations import Reservation
from scheduler.sequencers import Drf, Fifo, Lifo, inverse_capacity
from scheduler.snapshot import Snapshot

#: Exactly these: one derived from them may do anything.
_SEQUENCERS: Final[frozenset[type]] = frozenset((Fifo, Lifo, Drf))
_PLACERS: Final[frozenset[type]] = frozenset((Pack, Spread, Fragmentation))


#: For so many values it is faster to compare with each than to sort.
_FEW: Final = 16
Bools = npt.NDArray[np.bool_]


def built_in(sequencer: Sequencer, placer: Placer) -> bool:
    """Are there loops for them?"""
    return type(sequencer) in _SEQUENCERS and type(placer) in _PLACERS


def tells_of_devices(snapshot: Snapshot, members: Members) -> bool:
    """Does what single devices have free matter?"""
    return snapshot.device_slot in snapshot.slots and any(agent.devices for agent in members.at_work)


class Groups:
    """The resource groups of one snapshot."""

    def __init__(self, snapshot: Snapshot, ledger: Ledger) -> None:
        self.snapshot = snapshot
        self.ledger = ledger
        queue = snapshot.queue
        self.used, self.caps = view(ledger.used), view(ledger.caps)
        self.cells = cells_of(queue.scopes.values, ledger.cells)
        self.kernels = view(queue.kernels)
        asked = max((max(shape.needs, default=0) for shape in queue.shapes), default=0)
        self.manageable = asked * max(queue.kernels, default=1) < LARGEST

    def decide(
        self, resource_group: str, members: Members, sequencer: Sequencer, placer: Placer, *, backfill: bool
    ) -> "CompiledCycle | None":
        """Go through a cycle; None where it cannot with these plug-ins or amounts, and has done nothing."""
        if not (self.manageable and built_in(sequencer, placer) and self._follows(members, placer)):
            return None
        try:
            cycle = CompiledCycle(
                self, resource_group, members, cast("Pack | Spread | Fragmentation", placer)
            )
        except OverflowError:
            return None
        cycle.run(sequencer, backfill=backfill)
        return cycle

    def _follows(self, members: Members, placer: Placer) -> bool:
        """The gradient wants to know the devices of every agent that has any, or that there are none."""
        slots, slot = self.snapshot.slots, self.snapshot.device_slot
        if not isinstance(placer, Fragmentation) or slot not in slots:
            return True
        column = slots.index(slot)
        return all(agent.devices or not agent.capacity[column] for agent in members.at_work)


def _either(column: Ints, values: Sequence[int]) -> Bools:
    """Where one of the values is."""
    if len(values) > _FEW:
        return np.isin(column, np.array(values, np.int64))
    found = np.zeros(column.size, np.bool_)
    for value in values:
        found |= column == value
    return found


class CompiledCycle:
    """One resource group in one cycle.

    Raises:
        OverflowError: amounts of agents are too large for 64 bits.
    """

    def __init__(
        self, groups: Groups, resource_group: str, members: Members, placer: Pack | Spread | Fragmentation
    ) -> None:
        snapshot, queue = groups.snapshot, groups.snapshot.queue
        self._groups = groups
        self._resource_group = resource_group
        self._members = members
        self._reasons: dict[tuple[int, int, int], Reason] = {}
        self._places: dict[tuple[int, int], Reason] = {}
        self._sessions = np.flatnonzero(
            view(queue.resource_groups.codes) == queue.resource_groups.values[resource_group]
        )
        agents = members.at_work
        slots = snapshot.slots
        column = slots.index(snapshot.device_slot) if tells_of_devices(snapshot, members) else -1
        classes = Classes(queue.shapes, agents, len(slots), column)
        capacity = capacity_of(agents, len(slots))
        images, bits = image_words(agents, queue.images.values)
        self._inverse = inverse_capacity(capacity.sum(axis=0).tolist())
        field = field_of(
            agents,
            classes,
            slots,
            capacity,
            images,
            placer,
            device_column=column,
            kernels=int(groups.kernels[self._sessions].max(initial=1)),
            mix=self._mix() if isinstance(placer, Fragmentation) and column >= 0 else (),
        )
        if not placer.options.prefer_cached_images:
            bits = [-1] * len(bits)
        whole = with_devices(capacity, column, ([WHOLE] * len(agent.devices or ()) for agent in agents))
        self._ground = Ground(field, self._asks(classes, bits), classes, whole, len(slots))

    def run(self, sequencer: Sequencer, *, backfill: bool) -> None:
        queue = self._groups.snapshot.queue
        build(self._ground.field)
        order = turns(
            view(queue.priority),
            view(queue.queued),
            queue.session_ids,
            self._sessions,
            newest_first=isinstance(sequencer, Lifo),
        )
        parties = self._parties(sequencer) if isinstance(sequencer, Drf) else None
        self._outcome = self._ground.run(order, parties, self._ends, backfill=backfill)

    def _mix(self) -> list[Kind]:
        queue = self._groups.snapshot.queue
        counts = np.bincount(
            view(queue.shape)[self._sessions], self._groups.kernels[self._sessions], len(queue.shapes)
        )
        waiting = [(shape, int(count)) for shape, count in zip(queue.shapes, counts, strict=True) if count]
        return mix_of(waiting, self._members.running)

    def _ends(self) -> Ends:
        position = {agent.id: place for place, agent in enumerate(self._members.at_work)}
        known = [
            (kernel.remaining, position[kernel.agent], kernel.held)
            for kernel in self._members.running
            if kernel.remaining is not None
        ]
        return Ends.of(known, len(self._groups.snapshot.slots))

    def placements(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        session_ids = self._groups.snapshot.queue.session_ids
        for session, agents in self._placed():
            yield session_ids[session], agents

    def placed_requests(self) -> Iterator[tuple[Request, tuple[str, ...]]]:
        queue = self._groups.snapshot.queue
        for session, agents in self._placed():
            yield queue.request(session), agents

    def _placed(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        kernels, outcome = self._groups.snapshot.queue.kernels, self._outcome
        agents = self._members.at_work
        which = np.flatnonzero(outcome.begin >= 0)
        chosen = outcome.agents.tolist() if which.size else []
        for session, begin in zip(outcome.tried[which].tolist(), outcome.begin[which].tolist(), strict=True):
            places = chosen[begin : begin + kernels[session]]
            yield session, tuple([agents[place].id for place in places])

    @property
    def left(self) -> int:
        return self._left.size

    @cached_property
    def _left(self) -> Ints:
        """Those that were not placed, in their order."""
        return self._outcome.tried[self._outcome.begin < 0]

    def waiting(self, first: int = 0, last: int | None = None) -> Iterator[tuple[str, Waiting]]:
        session_ids = self._groups.snapshot.queue.session_ids
        for position, session in enumerate(self._left[first:last].tolist(), first + 1):
            yield session_ids[session], self._waiting(position, session)

    def among(self, session_ids: Collection[str]) -> Iterator[tuple[str, Waiting]]:
        known = self._groups.snapshot.queue.session_ids
        asked: list[int] = []
        for session in range(len(known) - 1, -1, -1):
            # Those that are asked for have mostly come last.
            if len(asked) == len(session_ids):
                break
            if known[session] in session_ids:
                asked.append(session)
        for place in np.flatnonzero(_either(self._left, asked)).tolist():
            session = int(self._left[place])
            yield known[session], self._waiting(place + 1, session)

    def heads(self, count: int) -> Iterator[tuple[Request, Waiting]]:
        queue = self._groups.snapshot.queue
        for position, session in enumerate(self._left[:count].tolist(), 1):
            yield queue.request(session), self._waiting(position, session)

    def _waiting(self, position: int, session: int) -> Waiting:
        queue, reservation = self._groups.snapshot.queue, self._reservation
        key = (queue.shape[session], queue.kernels[session], queue.scopes.codes[session])
        reason = self._reasons.get(key)
        if reason is None:
            reason = self._reasons[key] = self._reason(session)
        if reservation and queue.session_ids[session] == reservation.session_id:
            return Waiting(position, reason, reservation.starts_in)
        return Waiting(position, reason)

    @cached_property
    def _reservation(self) -> Reservation | None:
        head = self._ground.head
        if head is None:
            return None
        return Reservation(self._groups.snapshot.queue.session_ids[head.session], head.starts_at, {})

    def _reason(self, session: int) -> Reason:
        queue, ledger = self._groups.snapshot.queue, self._groups.ledger
        shape, kernels = queue.shape[session], queue.kernels[session]
        scopes = queue.scopes.value(session)
        limit = ledger.shortage(ledger.charges(scopes, queue.shapes[shape].needs, kernels))
        if limit is not None:
            return ledger.reason(limit)
        place = self._places.get((shape, kernels))
        if place is None:
            place = self._places[shape, kernels] = self._no_place(shape, kernels)
        return place

    def _no_place(self, shape: int, kernels: int) -> Reason:
        snapshot, classes = self._groups.snapshot, self._ground.classes
        return explanations.why_no_place(
            self._members.at_work,
            classes.eligible(shape).tolist(),
            self._members.members,
            (*snapshot.slots, *[snapshot.device_slot] * COLUMNS),
            self._resource_group,
            snapshot.queue.shapes[shape],
            tuple(classes.wants[classes.column[shape]].tolist()),
            kernels,
            self._reservation,
            lambda: self._ground.survey(shape, kernels),
        )

    def _asks(self, classes: Classes, bits: list[int]) -> Asks:
        queue, groups = self._groups.snapshot.queue, self._groups
        segments_at, segments = ragged(classes.segments)
        designated_at, designated = ragged(classes.designated)
        cells_at, cell_slot, cell = groups.cells
        return Asks(
            shape=view(queue.shape),
            kernels=groups.kernels,
            image=view(queue.images.codes),
            scopes=view(queue.scopes.codes),
            column=classes.column,
            segments_at=segments_at,
            segments=segments,
            designated_at=designated_at,
            designated=designated,
            named=classes.named,
            duration=view(queue.max_duration),
            hopeless=np.full((2, len(queue.shapes)), np.iinfo(np.int64).max),
            horizon=np.full(1, -1, np.int64),
            bit=np.array(bits, np.int64),
            cells_at=cells_at,
            cell_slot=cell_slot,
            cell=cell,
            used=groups.used,
            caps=groups.caps,
        )

    def _parties(self, drf: Drf) -> Parties:
        queue, by_user = self._groups.snapshot.queue, drf.options.by == "user"
        column = queue.users if by_user else queue.groups
        count = len(column.values)
        slots, running = self._ground.slots, self._members.running
        held = np.zeros((count, slots), np.int64)
        number = column.values.get
        whose = np.array([number(k.user if by_user else k.group, -1) for k in running], np.int64)
        rows = np.array([kernel.held for kernel in running], np.int64).reshape(len(running), slots)
        np.add.at(held, whose[whose >= 0], rows[whose >= 0])
        return Parties(
            party=view(column.codes),
            held=held,
            inverse=np.array(self._inverse, np.float64),
            weights=np.array([drf.options.weights.get(one, 1) for one in column.values], np.float64),
            size=np.zeros(1, np.int64),
            share=np.empty(count, np.float64),
            head=np.empty(count, np.int64),
            after=np.empty(len(self._sessions), np.int64),
            heap=np.empty(count, np.int64),
        )
