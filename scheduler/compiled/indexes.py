"""A resource group kept between cycles as the compiled loops leave it. See `scheduler.indexes`."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from scheduler.compiled.jit import Ints
from scheduler.compiled.loops import Asks, Outcome, Parties, allowed, charge
from scheduler.compiled.runs import Ends, Ground
from scheduler.compiled.tables import (
    Classes,
    capacity_of,
    field_of,
    image_words,
    ragged,
    turns,
    view,
)
from scheduler.compiled.trees import build, take
from scheduler.cycles import Members
from scheduler.limits import Ledger
from scheduler.placers import Pack, Spread
from scheduler.queues import UNKNOWN, Request, Shape
from scheduler.sequencers import Drf, Fifo, Lifo, inverse_capacity
from scheduler.snapshot import Snapshot

_NEVER: Final = np.iinfo(np.int64).max
#: Entries that columns of parties and scopes have room for at first; they are doubled.
_ROOM: Final = 1024


class _Columns(NamedTuple):
    """One entry a session that waits or was placed; entries are used again."""

    shape: Ints
    kernels: Ints
    image: Ints
    scopes: Ints
    duration: Ints
    priority: Ints
    queued: Ints
    party: Ints
    #: 1 while it waits.
    waits: Ints

    @classmethod
    def empty(cls, size: int) -> "_Columns":
        return cls(*np.zeros((len(cls._fields), size), np.int64))


class _Stay(NamedTuple):
    """A session that was placed."""

    entry: int
    agents: list[int]
    #: The second at which it ends, `UNKNOWN` if nobody knows.
    end: int


class CompiledIndex:
    """It decides as `scheduler.indexes.PlainIndex` does.

    Raises:
        OverflowError: amounts of agents are too large for 64 bits.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        members: Members,
        requests: Sequence[Request],
        sequencer: Fifo | Lifo | Drf,
        placer: Pack | Spread,
        *,
        backfill: bool,
    ) -> None:
        agents, slots = members.at_work, len(snapshot.slots)
        self._names = [agent.id for agent in agents]
        self._sequencer = sequencer
        self._backfill = backfill
        self._columns = _Columns.empty(_ROOM)
        self._ids = [""] * _ROOM
        self._unused = list(range(_ROOM))
        self._waiting: dict[str, int] = {}
        self._stays: dict[str, _Stay] = {}
        #: Entries that wait and were tried, in turn; those that were tried since; and those that have not been.
        self._order = np.empty(0, np.int64)
        self._tried: list[int] = []
        self._fresh: list[int] = []
        #: Has room come since the last decisions?
        self._room_came = False
        #: Ends that were known before: second, agent, what it holds; and how many are known of what was placed.
        position = {agent: place for place, agent in enumerate(self._names)}
        self._ends = [
            (kernel.remaining, position[kernel.agent], kernel.held)
            for kernel in members.running
            if kernel.remaining is not None
        ]
        self._known = len(self._ends)
        self._shapes: dict[Shape, int] = {}
        self._scopes: dict[tuple[str, ...], int] = {}
        self._parties: dict[str, int] = {}
        self._ledger = Ledger(snapshot.slots, snapshot.limits)
        capacity = capacity_of(agents, slots)
        images = sorted({image for agent in agents for image in agent.images})
        words, bits = image_words(agents, images)
        self._images = {image: number for number, image in enumerate(images)}
        if not placer.options.prefer_cached_images:
            bits = [-1] * len(bits)
        classes = Classes([], agents, slots)
        field = field_of(agents, classes, snapshot.slots, capacity, words, placer)
        build(field)
        self._held = np.zeros((_ROOM, slots), np.int64)
        self._weights = np.ones(_ROOM, np.float64)
        self._known_parties = 0
        self._inverse = np.array(inverse_capacity(capacity.sum(axis=0).tolist()), np.float64)
        self._ground = Ground(field, self._asks(classes, bits), classes, capacity, slots)
        for kernel in members.running:
            party = self._party(kernel.user, kernel.group)
            self._held[party] += kernel.held
        for request in requests:
            self.enqueue(request)

    def enqueue(self, request: Request) -> None:
        if not self._unused:
            self._grow()
        entry = self._unused.pop()
        columns = self._columns
        columns.shape[entry] = self._shape(request.shape)
        columns.kernels[entry] = request.kernels
        columns.image[entry] = self._images.get(request.image_id, len(self._images))
        columns.scopes[entry] = self._scope(request.scopes)
        columns.duration[entry] = UNKNOWN if request.max_duration is None else request.max_duration
        columns.priority[entry] = request.priority
        columns.queued[entry] = request.queued
        columns.party[entry] = self._party(request.user, request.group)
        columns.waits[entry] = 1
        self._ids[entry] = request.session_id
        self._waiting[request.session_id] = entry
        self._fresh.append(entry)

    def withdraw(self, session_id: str) -> None:
        entry = self._waiting.pop(session_id)
        # The next one may get its reservation; where shares are made equal, another may be next.
        self._room_came |= entry == self._ground.judged or isinstance(self._sequencer, Drf)
        self._sort()
        self._order = self._order[self._order != entry]
        self._fresh = [one for one in self._fresh if one != entry]
        self._unused.append(entry)

    def release(self, session_id: str) -> None:
        entry, agents, end = self._stays.pop(session_id)
        ground = self._ground
        column = int(ground.asks.column[self._columns.shape[entry]])
        for agent in agents:
            # A reservation is made anew before anything else is placed, so only what is free now matters.
            take(ground.field, agent, column, -1, True)
        charge(ground.field, ground.asks, entry, -1)
        self._hold(entry, -1)
        self._known -= end != UNKNOWN
        self._unused.append(entry)
        self._room_came = True

    def decide(self, now: int) -> list[tuple[str, tuple[str, ...]]]:
        if not (self._fresh or self._room_came):
            return []
        ground = self._ground
        if self._room_came or self._may_change_the_head():
            ground.open()
            self._sort(self._fresh)
            order, fresh = self._order, list[int]()
        else:
            order, fresh = self._turns(np.array(self._fresh, np.int64)), self._fresh
        self._fresh = []
        self._room_came = False
        # For one session alone shares make no difference.
        parties = (
            self._parties_of(order.size) if isinstance(self._sequencer, Drf) and order.size > 1 else None
        )
        outcome = ground.run(order, parties, lambda: self._known_ends(now), now=now, backfill=self._backfill)
        placed = self._settle(outcome, now, held=parties is not None)
        waits = self._columns.waits
        if fresh:
            self._tried += [entry for entry in fresh if waits[entry]]
        elif placed:
            self._order = order[waits[order] > 0]
        return placed

    def _may_change_the_head(self) -> bool:
        """Might another than before get the reservation, or be denied it?

        One of the new sessions, that is tried sooner; or the next one, where a limit has come in the way.
        """
        judged = self._ground.judged
        if judged < 0 or not (self._known or (self._columns.duration[self._fresh] >= 0).any()):
            return False
        if isinstance(self._sequencer, Drf) or not allowed(self._ground.field, self._ground.asks, judged):
            return True
        return self._turns(np.array([*self._fresh, judged], np.int64))[0] != judged

    def _settle(self, outcome: Outcome, now: int, *, held: bool) -> list[tuple[str, tuple[str, ...]]]:
        columns, names = self._columns, self._names
        placed: list[tuple[str, tuple[str, ...]]] = []
        tried, begins = outcome.tried, outcome.begin
        if tried.size > 1:
            which = np.flatnonzero(begins >= 0)
            tried, begins = tried[which], begins[which]
        for entry, begin in zip(tried.tolist(), begins.tolist(), strict=True):
            if begin < 0:
                continue
            agents = outcome.agents[begin : begin + columns.kernels[entry]].tolist()
            duration = int(columns.duration[entry])
            end = UNKNOWN if duration == UNKNOWN else now + duration
            session_id = self._ids[entry]
            self._known += end != UNKNOWN
            self._stays[session_id] = _Stay(entry, agents, end)
            columns.waits[entry] = 0
            del self._waiting[session_id]
            if not held:
                self._hold(entry, 1)
            placed.append((session_id, tuple([names[agent] for agent in agents])))
        return placed

    def _hold(self, entry: int, sign: int) -> None:
        """Count it among what its party has, or no longer."""
        if not isinstance(self._sequencer, Drf):
            return
        columns, asks = self._columns, self._ground.asks
        takes = self._ground.field.takes[asks.column[columns.shape[entry]]]
        self._held[columns.party[entry]] += sign * columns.kernels[entry] * takes

    def _sort(self, fresh: Sequence[int] = ()) -> None:
        """Bring all that wait and were tried into turn, and those that are about to be."""
        late = [*self._tried, *fresh]
        if late:
            self._order = self._turns(np.concatenate((self._order, np.array(late, np.int64))))
            self._tried = []

    def _turns(self, entries: Ints) -> Ints:
        if entries.size < 2:
            return entries
        columns = self._columns
        newest_first = isinstance(self._sequencer, Lifo)
        return turns(columns.priority, columns.queued, self._ids, entries, newest_first=newest_first)

    def _known_ends(self, now: int) -> Ends:
        asks, takes = self._ground.asks, self._ground.field.takes
        ends = [(end - now, agent, held) for end, agent, held in self._ends]
        for stay in self._stays.values():
            if stay.end != UNKNOWN:
                held = tuple(takes[asks.column[self._columns.shape[stay.entry]]].tolist())
                ends += [(stay.end - now, agent, held) for agent in stay.agents]
        return Ends.of(ends, takes.shape[1])

    def _parties_of(self, waiting: int) -> Parties:
        count = len(self._parties)
        return Parties(
            party=self._columns.party,
            held=self._held[:count],
            inverse=self._inverse,
            weights=self._weights[:count],
            size=np.zeros(1, np.int64),
            share=np.empty(count, np.float64),
            head=np.empty(count, np.int64),
            after=np.empty(waiting, np.int64),
            heap=np.empty(count, np.int64),
        )

    def _party(self, user: str, group: str) -> int:
        """The number of a party; all are one where shares make no difference."""
        options = self._sequencer.options if isinstance(self._sequencer, Drf) else None
        name = "" if options is None else user if options.by == "user" else group
        number = self._parties.setdefault(name, len(self._parties))
        if len(self._parties) > self._known_parties:
            self._known_parties += 1
            if number == len(self._weights):
                self._held = np.vstack((self._held, np.zeros_like(self._held)))
                self._weights = np.concatenate((self._weights, np.ones_like(self._weights)))
            self._weights[number] = options.weights.get(name, 1) if options else 1
        return number

    def _scope(self, scopes: tuple[str, ...]) -> int:
        number = self._scopes.get(scopes)
        if number is None:
            number = self._scopes[scopes] = len(self._scopes)
            self._meet_scopes(number, scopes)
        return number

    def _meet_scopes(self, number: int, scopes: tuple[str, ...]) -> None:
        """Columns have room to spare, so that one more is seldom a copy of all."""
        pairs = [pair for scope in scopes for pair in self._ledger.cells.get(scope, ())]
        asks = self._ground.asks
        begin = int(asks.cells_at[number])
        end = begin + len(pairs) // 2
        if number + 2 > asks.cells_at.size or end > asks.cell.size:
            room = max(end - asks.cell.size, asks.cell.size)
            asks = self._ground.asks = asks._replace(
                cells_at=np.concatenate((asks.cells_at, np.zeros_like(asks.cells_at))),
                cell_slot=np.concatenate((asks.cell_slot, np.zeros(room, np.int64))),
                cell=np.concatenate((asks.cell, np.zeros(room, np.int64))),
            )
        asks.cells_at[number + 1] = end
        if pairs:
            asks.cell_slot[begin:end] = pairs[::2]
            asks.cell[begin:end] = pairs[1::2]

    def _shape(self, shape: Shape) -> int:
        number = self._shapes.setdefault(shape, len(self._shapes))
        if number == len(self._ground.asks.column):
            self._ground.meet(list(self._shapes))
        return number

    def _grow(self) -> None:
        old, size = self._columns, len(self._ids)
        self._columns = _Columns.empty(2 * size)
        for column, before in zip(self._columns, old, strict=True):
            column[:size] = before
        self._ids += [""] * size
        self._unused = list(range(size, 2 * size))
        columns = self._columns
        self._ground.asks = self._ground.asks._replace(
            shape=columns.shape,
            kernels=columns.kernels,
            image=columns.image,
            scopes=columns.scopes,
            duration=columns.duration,
        )

    def _asks(self, classes: Classes, bits: list[int]) -> Asks:
        columns = self._columns
        segments_at, segments = ragged(classes.segments)
        designated_at, designated = ragged(classes.designated)
        return Asks(
            shape=columns.shape,
            kernels=columns.kernels,
            image=columns.image,
            scopes=columns.scopes,
            duration=columns.duration,
            column=classes.column,
            segments_at=segments_at,
            segments=segments,
            designated_at=designated_at,
            designated=designated,
            named=classes.named,
            hopeless=np.full((2, 0), _NEVER),
            horizon=np.full(1, -1, np.int64),
            # The last is the number of images that no agent has.
            bit=np.array([*bits, -1], np.int64),
            cells_at=np.zeros(_ROOM, np.int64),
            cell_slot=np.zeros(_ROOM, np.int64),
            cell=np.zeros(_ROOM, np.int64),
            used=view(self._ledger.used),
            caps=view(self._ledger.caps),
        )
