"""Why a session waits, told by the state in which the cycle leaves agents and limits.

Limits and free rows only tighten while a cycle lasts, so whatever kept a session out is still in its way at the end;
asked in one fixed order, the answer is the same in every replay. Limits come first: they are the constraint about
which a user can do something.
"""

from collections.abc import Sequence
from typing import Final

from scheduler.candidates import Needs, Pool, fits, needs_of
from scheduler.plan import (
    DesignatedAgentsUnavailable,
    GangDoesNotFit,
    NoAgentFits,
    NoAgents,
    Reason,
    WrongArchitecture,
)
from scheduler.snapshot import Shape

#: Lacks are compared in millionths of what is asked.
_WHOLE: Final = 1_000_000


def why_no_place(
    pool: Pool, slots: Sequence[str], resource_group: str, agents: int, shape: Shape, kernels: int
) -> Reason:
    """The reason of a session that is within all limits.

    Args:
        pool: the agents that take work.
        agents: how many the resource group has, those included that take none.
    """
    if not pool.agents:
        return NoAgents(resource_group=resource_group, agents=agents)
    chosen = [a for a in pool.agents if shape.designated is None or a.id in shape.designated]
    if not chosen:
        return DesignatedAgentsUnavailable(
            resource_group=resource_group, agents=tuple(sorted(shape.designated or ()))
        )
    eligible = pool.eligible(shape)
    if not eligible:
        return WrongArchitecture(
            accepted=tuple(sorted(shape.architectures)),
            available=tuple(sorted({agent.architecture for agent in chosen})),
        )
    needs = needs_of(shape)
    free = [pool.rows[agent] for agent in eligible]
    capacity = [pool.agents[agent].capacity for agent in eligible]
    fitting = _room(needs, free, kernels)
    at_most = _room(needs, capacity, kernels)
    if fitting:
        return GangDoesNotFit(kernels=kernels, fitting=fitting, at_most=at_most, never=at_most < kernels)
    never = at_most == 0
    nearest, column = _nearest(needs, capacity if never else free)
    return NoAgentFits(
        slot=slots[column],
        asked=shape.needs[column],
        free=free[nearest][column],
        largest_free=max(row[column] for row in free),
        largest_capacity=max(row[column] for row in capacity),
        never=never,
    )


def _room(needs: Needs, rows: Sequence[Sequence[int]], enough: int) -> int:
    """How many kernels fit on all rows together; `enough` is as good as more."""
    room = 0
    for row in rows:
        if fits(needs, row):
            room += min((row[column] // amount for column, amount in needs), default=enough)
            if room >= enough:
                return enough
    return room


def _nearest(needs: Needs, rows: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Of rows on which it does not fit, the one whose worst lack is the smallest part of what is asked, and its column."""
    nearest, scarcest, least = 0, 0, None
    for position, row in enumerate(rows):
        worst, at = None, 0
        for column, amount in needs:
            lack = (amount - row[column]) * _WHOLE // amount
            if worst is None or lack > worst:
                worst, at = lack, column
        if worst is not None and (least is None or worst < least):
            nearest, scarcest, least = position, at, worst
    return nearest, scarcest
