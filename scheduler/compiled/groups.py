"""The cycle of one resource group, compiled; it decides as `scheduler.cycles` does."""

from collections.abc import Iterator
from typing import Any, Final, cast

import numpy as np

from scheduler import explanations, reservations
from scheduler.compiled.jit import Ints, compiled
from scheduler.compiled.loops import Asks, Outcome, Parties, decide_by_shares, decide_in_order
from scheduler.compiled.tables import Classes, cells_of, field_of, image_words, in_turn, ragged, view
from scheduler.compiled.trees import build, keep
from scheduler.cycles import Members
from scheduler.explanations import Survey
from scheduler.limits import Ledger
from scheduler.placers import Pack, Scale, Spread
from scheduler.plan import Reason, Waiting
from scheduler.protocols import Placer, Sequencer
from scheduler.reservations import Reservation
from scheduler.sequencers import Drf, Fifo, Lifo, inverse_capacity
from scheduler.snapshot import Snapshot

#: Exactly these: one derived from them may do anything.
_SEQUENCERS: Final[frozenset[type]] = frozenset((Fifo, Lifo, Drf))
_PLACERS: Final[frozenset[type]] = frozenset((Pack, Spread))
#: The place in `Outcome.state` of: is a session that must wait for room to be told?
_WATCH: Final = 2
#: Sums and products of amounts stay below it, so that 64 bits are enough for all that is done with them.
_LARGEST: Final = 2**61


earliest: Any = compiled(reservations.earliest)


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
        self.manageable = asked * max(queue.kernels, default=1) < _LARGEST

    def decide(
        self, resource_group: str, members: Members, sequencer: Sequencer, placer: Placer, *, backfill: bool
    ) -> "CompiledCycle | None":
        """Go through a cycle; None where it cannot with these plug-ins or amounts, and has done nothing."""
        if not (self.manageable and type(sequencer) in _SEQUENCERS and type(placer) in _PLACERS):
            return None
        try:
            cycle = CompiledCycle(self, resource_group, members, cast("Pack | Spread", placer))
        except OverflowError:
            return None
        cycle.run(sequencer, backfill=backfill)
        return cycle


class CompiledCycle:
    """One resource group in one cycle.

    Raises:
        OverflowError: amounts of agents are too large for 64 bits.
    """

    def __init__(self, groups: Groups, resource_group: str, members: Members, placer: Pack | Spread) -> None:
        snapshot = groups.snapshot
        queue = snapshot.queue
        self._groups = groups
        self._resource_group = resource_group
        self._members = members
        agents, slots = members.at_work, len(snapshot.slots)
        self._capacity = np.array([agent.capacity for agent in agents], np.int64).reshape(len(agents), slots)
        self._sessions = np.flatnonzero(
            view(queue.resource_groups.codes) == queue.resource_groups.values[resource_group]
        )
        self._classes = Classes(queue.shapes, agents, slots)
        images, bits = image_words(agents, queue.images.values)
        if not placer.options.prefer_cached_images:
            bits = [-1] * len(bits)
        largest = self._capacity.max(axis=0, initial=0).tolist()
        self._field = field_of(
            agents,
            self._classes,
            Scale.of(snapshot.slots, largest, placer.options.weights),
            1 if isinstance(placer, Pack) else -1,
            images,
        )
        if (
            max(np.abs(self._capacity).max(initial=0), np.abs(self._field.free).max(initial=0)) * len(agents)
            >= _LARGEST
        ):
            raise OverflowError
        self._asks = self._asks_of(bits)
        #: The session with a reservation.
        self._reserved = -1
        kernels = int(self._asks.kernels[self._sessions].sum())
        self._outcome = Outcome(
            tried=np.empty(len(self._sessions), np.int64),
            begin=np.empty(len(self._sessions), np.int64),
            agents=np.empty(kernels, np.int64),
            state=np.zeros(3, np.int64),
        )

    def run(self, sequencer: Sequencer, *, backfill: bool) -> None:
        build(self._field)
        order = in_turn(self._groups.snapshot.queue, self._sessions, newest_first=isinstance(sequencer, Lifo))
        parties = self._parties(sequencer) if isinstance(sequencer, Drf) else None
        self._outcome.state[_WATCH] = backfill
        while True:
            if parties is None:
                session = decide_in_order(self._field, self._asks, order, self._outcome)
            else:
                session = decide_by_shares(self._field, self._asks, order, parties, self._outcome)
            if session < 0:
                return
            self._reserve(session)

    def _reserve(self, session: int) -> None:
        """Keep room for the first session that must wait for it, if it ever fits. See `scheduler.reservations`."""
        asks, field, classes = self._asks, self._field, self._classes
        shape, kernels = int(asks.shape[session]), int(asks.kernels[session])
        needs, eligible = classes.takes[classes.column[shape]], classes.eligible(shape)
        if _room(needs, self._capacity[eligible], kernels) < kernels:
            return
        self._outcome.state[_WATCH] = 0
        remaining, agents, held = self._ends()
        suits, counts = np.zeros((2, len(field.free)), np.int64)
        suits[eligible] = 1
        later = field.free.copy()
        end = earliest(later, needs, kernels, suits, remaining, agents, held, counts)
        if end < 0:
            return
        self._reserved = session
        asks.horizon[0] = remaining[end]
        field.later[:] = later - counts[:, None] * needs
        for agent in np.flatnonzero(counts).tolist():
            keep(field, agent)

    def _ends(self) -> tuple[Ints, Ints, Ints]:
        """What will end, of what runs and of what this cycle has placed, soonest first: seconds, agent, what it holds."""
        position = {agent.id: place for place, agent in enumerate(self._members.at_work)}
        asks, outcome = self._asks, self._outcome
        known = [kernel for kernel in self._members.running if kernel.remaining is not None]
        placed = outcome.tried[: outcome.state[0]][outcome.begin[: outcome.state[0]] >= 0]
        sessions = np.repeat(placed, asks.kernels[placed])
        lasting = asks.duration[sessions] >= 0
        sessions = sessions[lasting]
        remaining = np.array([kernel.remaining for kernel in known], np.int64)
        agents = np.array([position[kernel.agent] for kernel in known], np.int64)
        held = np.array([kernel.held for kernel in known], np.int64).reshape(
            len(known), -1 if known else self._field.free.shape[1]
        )
        remaining = np.concatenate((remaining, asks.duration[sessions]))
        agents = np.concatenate((agents, outcome.agents[: outcome.state[1]][lasting]))
        held = np.concatenate((held, self._field.takes[asks.column[asks.shape[sessions]]]))
        order = np.argsort(remaining, kind="stable")
        return remaining[order], agents[order], held[order]

    def placements(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        queue, outcome = self._groups.snapshot.queue, self._outcome
        names = [agent.id for agent in self._members.at_work]
        chosen = outcome.agents.tolist()
        for session, begin in zip(outcome.tried.tolist(), outcome.begin.tolist(), strict=True):
            if begin >= 0:
                places = chosen[begin : begin + queue.kernels[session]]
                yield queue.session_ids[session], tuple([names[place] for place in places])

    def waiting(self) -> Iterator[tuple[str, Waiting]]:
        queue, outcome = self._groups.snapshot.queue, self._outcome
        reasons: dict[tuple[int, int, int], Reason] = {}
        places: dict[tuple[int, int], Reason] = {}
        waiting = outcome.tried[outcome.begin < 0].tolist()
        reservation = self._reservation()
        for position, session in enumerate(waiting, 1):
            key = (queue.shape[session], queue.kernels[session], queue.scopes.codes[session])
            reason = reasons.get(key)
            if reason is None:
                reason = reasons[key] = self._reason(session, places)
            starts_in = reservation.starts_in if reservation and session == self._reserved else None
            yield queue.session_ids[session], Waiting(position, reason, starts_in)

    def _reservation(self) -> Reservation | None:
        if self._reserved < 0:
            return None
        session_id = self._groups.snapshot.queue.session_ids[self._reserved]
        return Reservation(session_id, int(self._asks.horizon[0]), {})

    def _reason(self, session: int, places: dict[tuple[int, int], Reason]) -> Reason:
        queue, ledger = self._groups.snapshot.queue, self._groups.ledger
        shape, kernels = queue.shape[session], queue.kernels[session]
        scopes = queue.scopes.value(session)
        limit = ledger.shortage(ledger.charges(scopes, queue.shapes[shape].needs, kernels))
        if limit is not None:
            return ledger.reason(limit)
        place = places.get((shape, kernels))
        if place is None:
            place = places[shape, kernels] = self._no_place(shape, kernels)
        return place

    def _no_place(self, shape: int, kernels: int) -> Reason:
        snapshot, classes = self._groups.snapshot, self._classes
        eligible = classes.eligible(shape)

        def survey() -> Survey:
            needs = classes.takes[classes.column[shape]]
            field = self._field
            free = np.where(field.shaded[:, None], field.now, field.free)
            return _survey(needs, free[eligible], self._capacity[eligible], kernels)

        return explanations.why_no_place(
            self._members.at_work,
            eligible.tolist(),
            self._members.members,
            snapshot.slots,
            self._resource_group,
            snapshot.queue.shapes[shape],
            kernels,
            self._reservation(),
            survey,
        )

    def _asks_of(self, bits: list[int]) -> Asks:
        queue, classes, groups = self._groups.snapshot.queue, self._classes, self._groups
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
        held = np.zeros((count, self._field.free.shape[1]), np.int64)
        for kernel in self._members.running:
            party = column.values.get(kernel.user if by_user else kernel.group)
            if party is not None:
                held[party] += kernel.held
        return Parties(
            party=view(column.codes),
            held=held,
            inverse=np.array(inverse_capacity(self._capacity.sum(axis=0).tolist()), np.float64),
            weights=np.array([drf.options.weights.get(one, 1) for one in column.values], np.float64),
            size=np.zeros(1, np.int64),
            share=np.empty(count, np.float64),
            head=np.empty(count, np.int64),
            after=np.empty(len(self._sessions), np.int64),
            heap=np.empty(count, np.int64),
        )


def _survey(needs: Ints, free: Ints, capacity: Ints, kernels: int) -> Survey:
    """As `explanations.survey`, on matrices."""
    fitting, at_most = _room(needs, free, kernels), _room(needs, capacity, kernels)
    if fitting:
        return Survey(fitting=fitting, at_most=at_most)
    used = needs > 0
    asked = needs[used]
    free, capacity = free[:, used], capacity[:, used]
    rows = free if at_most else capacity
    lacks = (asked - rows) / asked
    nearest = int(lacks.max(axis=1).argmin())
    column = int(lacks[nearest].argmax())
    return Survey(
        fitting=0,
        at_most=at_most,
        column=int(np.flatnonzero(used)[column]),
        free=int(free[nearest, column]),
        largest_free=int(free[:, column].max()),
        largest_capacity=int(capacity[:, column].max()),
    )


def _room(needs: Ints, rows: Ints, enough: int) -> int:
    """How many kernels fit on all rows together; `enough` is as good as more."""
    used = needs > 0
    return min(int((rows[:, used] // needs[used]).min(axis=1, initial=enough).clip(0).sum()), enough)
