"""EASY backfill (Lifka, JSSPP 1995): the first session for which there is no room gets a reservation; others may pass it
only where they do not delay it.

The head of the queue is the first session that was refused for want of room and would fit if its resource group were
empty. Kernels whose ends are known are let go one after the other until it fits: that is when it starts at the latest,
and where. From then on in this cycle, on the agents that are reserved for it,

- a session that ends before that moment (by its maximum duration) may use what is free now,
- any other session may use only what the head leaves over then.

Elsewhere nothing changes. Who ends before is placed there only where nothing else fits. Where too few ends are known
there is no reservation, and whoever fits passes.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from scheduler.protocols import PluginOptions
from scheduler.queues import Request, Row

#: What these options belong to, as clients call it.
EASY: Final = "easy"
_LONGEST: Final = 366 * 24 * 3600


class BackfillOptions(PluginOptions, frozen=True, kw_only=True):
    """How backfill goes in a resource group."""

    assumed_duration_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=_LONGEST,
            description="What has no known end is taken to run for so many seconds from each moment on, so that a "
            "reservation can be made where too few ends are known; 0: nothing is taken for granted.",
        ),
    ] = 0


class Ends(NamedTuple):
    """Kernels that will end, soonest first; a column each."""

    remaining: Sequence[int]
    agents: Sequence[int]
    held: Sequence[Row]

    @classmethod
    def of(cls, ends: Iterable[tuple[int, int, Row]]) -> "Ends":
        """From (seconds, agent, what it holds)."""
        rows = sorted(ends, key=lambda end: end[0])
        return cls([end[0] for end in rows], [end[1] for end in rows], [end[2] for end in rows])


class Reservation(NamedTuple):
    session_id: str
    #: Seconds from now.
    starts_in: int
    #: Agent → what is free then, less what is reserved.
    later: dict[int, list[int]]

    def outlives(self, request: Request) -> bool:
        """Has the request ended when the reserved session starts?"""
        return request.max_duration is not None and request.max_duration <= self.starts_in


def reserve(
    request: Request, rows: Iterable[Sequence[int]], eligible: Iterable[int], ends: Ends
) -> Reservation | None:
    """The soonest start of a session for which there is no room now; None if that cannot be known.

    Args:
        rows: what each agent has free now.
        eligible: the agents on which it may run.
    """
    later = [list(row) for row in rows]
    suits, counts = [0] * len(later), [0] * len(later)
    for agent in eligible:
        suits[agent] = 1
    needs = request.shape.needs
    end = earliest(later, needs, request.kernels, suits, *ends, counts)
    if end < 0:
        return None
    reserved = {
        agent: [free - count * amount for free, amount in zip(later[agent], needs, strict=True)]
        for agent, count in enumerate(counts)
        if count
    }
    return Reservation(request.session_id, ends.remaining[end], reserved)


def earliest(
    rows: list[list[int]],
    needs: Sequence[int],
    kernels: int,
    suits: Sequence[int],
    remaining: Sequence[int],
    agents: Sequence[int],
    held: Sequence[Sequence[int]],
    counts: list[int],
) -> int:
    """Let kernels end, soonest first, until `kernels` more fit; both engines run this function, on lists or matrices.

    Args:
        rows: what each agent has free; it is brought to the moment that is found.
        suits: 1 for the agents on which they may run.
        counts: filled with how many of them each agent then takes, the first agents as many as they can.

    Returns:
        The number of the end after which they fit, the last one of its moment; -1 if they never do.
    """

    def room(agent: int) -> int:
        fitting = kernels * suits[agent]
        for slot in range(len(needs)):
            if needs[slot] > 0:
                fitting = min(fitting, max(rows[agent][slot], 0) // needs[slot])
        return fitting

    total = 0
    for agent in range(len(rows)):
        total += room(agent)
    for end in range(len(agents)):
        agent = agents[end]
        total -= room(agent)
        for slot in range(len(needs)):
            rows[agent][slot] += held[end][slot]
        total += room(agent)
        if total >= kernels and (end + 1 == len(agents) or remaining[end + 1] > remaining[end]):
            left = kernels
            for taker in range(len(rows)):
                counts[taker] = min(room(taker), left)
                left -= counts[taker]
            return end
    return -1


def fits_when_empty(needs: Row, kernels: int, capacities: Iterable[Row]) -> bool:
    """Would the session fit on agents that run nothing?"""
    left = kernels
    for capacity in capacities:
        left -= min(
            (have // amount for have, amount in zip(capacity, needs, strict=True) if amount), default=left
        )
        if left <= 0:
            return True
    return False
