"""When those start that wait behind one another: conservative backfilling (Mu'alem and Feitelson, IEEE TPDS 2001) of what
is known.

What is free of each agent is a line of steps: up where a kernel ends whose end is known, down where a session that waits
longer is taken to start. The sessions of a queue are entered one after the other, each at the first moment from which on
enough is free for ever. So nobody's estimate depends on who comes behind, and the head's is that of its reservation
(`scheduler.reservations`).

Estimates bind nobody: the next cycle decides by what is true then. What waits for something else than room (a limit, an
agent of its architecture) has none.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple

import msgspec

from scheduler.limits import Ledger
from scheduler.plan import GangDoesNotFit, NoAgentFits, Plan, Reserved, Waiting
from scheduler.snapshot import Request, Row, Shape, Snapshot

#: Agents looked at for the estimates of one cycle, each time that they have changed: what bounds its cost, to some 50
#: milliseconds. Where a queue has more agents, only its head has an estimate, that of its reservation.
LOOKS: Final = 2_000
#: Sessions of each queue that get one.
MOST: Final = 100

#: More kernels than any session has.
_MANY: Final = 2**63


#: Moment from which on so many kernels fit, at each moment at which more do.
_Room = list[tuple[int, int]]


class _Step(NamedTuple):
    """From so many seconds from now on, at least `free` is there for ever."""

    at: int
    free: list[int]


class _Line:
    """What one agent has free from now on."""

    def __init__(self, free: Sequence[int]) -> None:
        self._free = list(free)
        #: (seconds from now, what becomes free; less where something starts).
        self._changes: list[tuple[int, Row]] = []
        self._steps: list[_Step] | None = None

    def change(self, at: int, amounts: Iterable[int]) -> None:
        self._changes.append((at, tuple(amounts)))
        self._steps = None

    def steps(self) -> list[_Step]:
        """The least that is free from each moment on: it only rises."""
        if self._steps is None:
            self._changes.sort(key=itemgetter(0))
            levels = [_Step(0, self._free)]
            for at, amounts in self._changes:
                after = [have + more for have, more in zip(levels[-1].free, amounts, strict=True)]
                if levels[-1].at == at:
                    levels[-1] = _Step(at, after)
                else:
                    levels.append(_Step(at, after))
            least = levels[-1].free
            for number in range(len(levels) - 1, -1, -1):
                least = list(map(min, least, levels[number].free))
                levels[number] = _Step(levels[number].at, least)
            self._steps = levels
        return self._steps

    def room(self, needs: Row, kernels: int) -> _Room:
        """Up to `kernels`."""
        steps = self.steps()
        found: _Room = []
        fitting = 0
        while fitting < kernels:
            more = fitting + 1
            place = bisect_left(steps, 1, key=lambda step: int(_fit(step.free, needs) >= more))
            if place == len(steps):
                break
            fitting = min(_fit(steps[place].free, needs), kernels)
            found.append((steps[place].at, fitting))
        return found


def estimated(snapshot: Snapshot, made: Plan, groups: Collection[str]) -> dict[str, Waiting]:
    """Those that wait for room and of which something is known, with when they start.

    Args:
        made: the plan of the snapshot.
        groups: resource groups whose heads get reservations.
    """
    if all(kernel.remaining is None for kernel in snapshot.running) and all(
        request.max_duration is None for request, _ in made.placed_requests()
    ):
        return {}
    members = Counter([agent.resource_group for agent in snapshot.agents if agent.schedulable])
    queue = _waiting(made, {group for group in groups if members[group] <= LOOKS})
    lines = _Lines(snapshot, made, {request.resource_group for request, _ in queue})
    ledger = _ledger(snapshot, made)
    found = dict[str, Waiting]()
    for request, waiting in queue:
        charges = ledger.charges(request.scopes, request.shape.needs, request.kernels)
        if ledger.shortage(charges):
            continue  # those before it will have brought it to a limit
        start = lines.enter(request)
        if lines.looks > LOOKS:
            break
        if start:  # 0: what it waits for is not in the rows, such as room in one piece
            ledger.add(charges)
            found[request.session_id] = msgspec.structs.replace(waiting, starts_in=start)
    return found


class _Kind:
    """Sessions with the same needs: where they may run, and the room on each of these agents."""

    def __init__(self, agents: Iterable[str]) -> None:
        self.rooms: dict[str, _Room] = {agent: [] for agent in agents}
        #: Agents that have changed since.
        self.stale = set(self.rooms)

    def start(self, kernels: int) -> int | None:
        """The first moment at which there is room for so many."""
        if kernels == 1:
            return min([room[0][0] for room in self.rooms.values() if room], default=None)
        moments = sorted({at for room in self.rooms.values() for at, _ in room})
        return next(
            (at for at in moments if sum([_by(room, at) for room in self.rooms.values()]) >= kernels), None
        )


class _Lines:
    """Those of all agents that take work in some resource groups."""

    def __init__(self, snapshot: Snapshot, made: Plan, groups: Collection[str]) -> None:
        #: Agents looked at.
        self.looks = 0
        self._agents = [one for one in snapshot.agents if one.schedulable and one.resource_group in groups]
        self._agents.sort(key=attrgetter("resource_group", "architecture", "id"))
        self._lines = {agent.id: _Line(agent.free) for agent in self._agents}
        self._kinds: dict[tuple[str, Shape, int], _Kind] = {}
        for kernel in snapshot.running:
            if kernel.remaining is not None and kernel.agent in self._lines:
                self._lines[kernel.agent].change(kernel.remaining, kernel.held)
        for request, placed in made.placed_requests():
            for agent in placed:
                if agent in self._lines:
                    self._take(request, agent, 1, 0)

    def enter(self, request: Request) -> int | None:
        """Let it start as soon as it can; None if it never can by what is known, or it takes too long to find out."""
        kernels, needs = request.kernels, request.shape.needs
        kind = self._kind(request)
        self.looks += len(kind.stale)
        if self.looks > LOOKS:
            return None
        for agent in kind.stale:
            kind.rooms[agent] = self._lines[agent].room(needs, kernels)
        kind.stale.clear()
        start = kind.start(kernels)
        left = 0 if start is None else kernels
        for agent, room in kind.rooms.items():
            if left and (count := min(_by(room, start or 0), left)):
                self._take(request, agent, count, start or 0)
                left -= count
        return start

    def _kind(self, request: Request) -> _Kind:
        key = request.resource_group, request.shape, request.kernels
        if key not in self._kinds:
            shape = request.shape
            self._kinds[key] = _Kind(
                agent.id
                for agent in self._agents
                if agent.resource_group == request.resource_group
                and (not shape.architectures or agent.architecture in shape.architectures)
                and (shape.designated is None or agent.id in shape.designated)
            )
        return self._kinds[key]

    def _take(self, request: Request, agent: str, kernels: int, at: int) -> None:
        held = [kernels * amount for amount in request.shape.needs]
        self._lines[agent].change(at, [-amount for amount in held])
        if request.max_duration is not None:
            self._lines[agent].change(at + request.max_duration, held)
        for kind in self._kinds.values():
            if agent in kind.rooms:
                kind.stale.add(agent)


def _waiting(made: Plan, groups: Collection[str]) -> list[tuple[Request, Waiting]]:
    """Those of the groups that wait for room, the heads of all queues first, so that each has its share of the looks."""
    waiting = [
        (request, found)
        for request, found in made.heads(MOST)
        if request.resource_group in groups and _waits_for_room(found)
    ]
    waiting.sort(key=lambda one: (one[1].position, one[0].session_id))
    return waiting


def _waits_for_room(waiting: Waiting) -> bool:
    match waiting.reason:
        case NoAgentFits(never=never) | GangDoesNotFit(never=never):
            return not never
        case reason:
            return isinstance(reason, Reserved)


def _ledger(snapshot: Snapshot, made: Plan) -> Ledger:
    """What scopes have after the plan."""
    ledger = Ledger(snapshot.slots, snapshot.limits)
    for request, _ in made.placed_requests():
        ledger.add(ledger.charges(request.scopes, request.shape.needs, request.kernels))
    return ledger


def _fit(free: Sequence[int], needs: Row) -> int:
    """How many kernels."""
    return min(
        (max(have, 0) // amount for have, amount in zip(free, needs, strict=True) if amount), default=_MANY
    )


def _by(room: _Room, moment: int) -> int:
    return max((count for at, count in room if at <= moment), default=0)
