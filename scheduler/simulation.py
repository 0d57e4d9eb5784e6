"""A trace replayed against a described cluster by the code that schedules for real: discrete events, no clock.

At each second in which something happens: what ends gives its room back, what arrives is enqueued, and the index decides
once. So waiting times are those of a scheduler that takes no time itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from statistics import fmean

import msgspec

from scheduler.indexes import Index
from scheduler.queues import Request
from scheduler.snapshot import AgentView


class Arrival(msgspec.Struct, frozen=True):
    """A session of a trace. It runs for `runs` seconds, whatever `request.max_duration` promised."""

    at: int
    runs: int
    request: Request


class Moment(msgspec.Struct, frozen=True):
    """What stood when all of a second had been decided."""

    second: int
    #: A slot each, in the order of the snapshot.
    used: tuple[int, ...]
    waiting: int


class Replay(msgspec.Struct, frozen=True):
    """What became of a trace."""

    #: Session → second at which it got its agents. Who never got any is not in it.
    starts: dict[str, int]
    #: Session → its agents, one a kernel.
    agents: dict[str, tuple[str, ...]]
    moments: list[Moment]

    def waits(self, arrivals: Iterable[Arrival]) -> list[int]:
        """Seconds, of those that started."""
        starts = self.starts
        return [
            starts[one.request.session_id] - one.at for one in arrivals if one.request.session_id in starts
        ]

    def utilisation(self, capacity: Sequence[int], until: int) -> list[float]:
        """The part of each slot in use on average from the first moment until a second; 0 where there is none."""
        areas = [0] * len(capacity)
        moments = [one for one in self.moments if one.second < until]
        ends = [*[one.second for one in moments[1:]], until]
        for moment, end in zip(moments, ends, strict=True):
            for column, used in enumerate(moment.used):
                areas[column] += used * (end - moment.second)
        span = until - moments[0].second if moments else 0
        return [
            area / (total * span) if total and span else 0.0
            for area, total in zip(areas, capacity, strict=True)
        ]


def simulate(index: Index, arrivals: Sequence[Arrival]) -> Replay:
    """Replay a trace.

    Args:
        index: of the cluster, with nothing waiting.
        arrivals: in any order; their session ids differ.
    """
    coming = sorted(
        arrivals, key=lambda one: (one.at, one.request.queued, one.request.session_id), reverse=True
    )
    known = {one.request.session_id: one for one in arrivals}
    ends: list[tuple[int, str]] = []
    replay = Replay({}, {}, [])
    used = [0] * (len(arrivals[0].request.shape.needs) if arrivals else 0)
    waiting = 0
    while coming or ends:
        second = min([one.at for one in coming[-1:]] + [end for end, _ in ends[:1]])
        while ends and ends[0][0] == second:
            session_id = heappop(ends)[1]
            index.release(session_id)
            _count(used, known[session_id].request, -1)
        while coming and coming[-1].at == second:
            index.enqueue(coming.pop().request)
            waiting += 1
        for session_id, agents in index.decide(second):
            replay.starts[session_id] = second
            replay.agents[session_id] = agents
            heappush(ends, (second + known[session_id].runs, session_id))
            _count(used, known[session_id].request, 1)
            waiting -= 1
        replay.moments.append(Moment(second, tuple(used), waiting))
    return replay


def _count(used: list[int], request: Request, sign: int) -> None:
    for column, amount in enumerate(request.shape.needs):
        used[column] += sign * amount * request.kernels


def fairness(values: Iterable[float]) -> float:
    """Jain's index (1984) of what parties got: 1 where all have the same, 1/n where one has all."""
    got = list(values)
    squares = sum(value * value for value in got)
    return sum(got) ** 2 / (len(got) * squares) if squares else 1.0


def mean_wait_of(arrivals: Iterable[Arrival], replay: Replay) -> Mapping[str, float]:
    """User → mean seconds that their sessions waited, of those that started."""
    waits: dict[str, list[int]] = {}
    for one in arrivals:
        start = replay.starts.get(one.request.session_id)
        if start is not None:
            waits.setdefault(one.request.user, []).append(start - one.at)
    return {user: fmean(those) for user, those in waits.items()}


def fragmentation(
    agents: Iterable[AgentView],
    free: Mapping[str, Sequence[int]],
    mix: Mapping[tuple[int, ...], int],
    column: int,
) -> float:
    """The part of a slot's free amount that a session of the mix is expected not to be able to use.

    As in FGD (Weng et al., ATC 2023): on an agent, what is free counts as lost for each kind of request that does not
    fit there, weighted by how often the mix has it. Devices are not told apart: an agent's amount counts as one.

    Args:
        free: agent → what it has free.
        mix: needs → how many requests have them.
        column: of the slot.
    """
    total = lost = 0
    requests = sum(mix.values())
    for agent in agents:
        row = free[agent.id]
        total += row[column] * requests
        for needs, count in mix.items():
            if any(amount > have for amount, have in zip(needs, row, strict=True)):
                lost += row[column] * count
    return lost / total if total else 0.0
