"""Why a session waits, told by the state in which the cycle leaves agents and limits.

Limits and free rows only tighten while a cycle lasts, so whatever kept a session out is still in its way at the end;
asked in one fixed order, the answer is the same in every replay. Limits come first: they are the constraint about
which a user can do something.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from scheduler.candidates import Needs, fits
from scheduler.plan import (
    DesignatedAgentsUnavailable,
    GangDoesNotFit,
    NoAgentFits,
    NoAgents,
    Reason,
    Reserved,
    WrongArchitecture,
)
from scheduler.reservations import Reservation
from scheduler.snapshot import AgentView, Row, Shape


class Survey(NamedTuple):
    """What the suitable agents have for one kernel."""

    #: How many kernels fit on all of them together now, and would on empty ones; no more than are asked for.
    fitting: int
    at_most: int
    #: Of agents on which it does not fit, the one whose worst lack is the smallest part of what is asked, by what is
    #: free or, where it would not fit even when empty, by capacity; and the slot of that lack.
    column: int = 0
    free: int = 0
    largest_free: int = 0
    largest_capacity: int = 0


def why_no_place(
    agents: Sequence[AgentView],
    eligible: Sequence[int],
    members: int,
    slots: Sequence[str],
    resource_group: str,
    shape: Shape,
    needs: Row,
    kernels: int,
    reservation: Reservation | None,
    survey: Callable[[], Survey],
) -> Reason:
    """The reason of a session that is within all limits.

    Args:
        agents: those that take work.
        slots: the names of columns.
        needs: of the shape, in all columns.
        eligible: indexes of those on which it may run at all.
        members: how many agents the resource group has, those included that take none.
        reservation: for the head of the queue; with it, what the survey sees may be kept for another.
        survey: looks at all that are eligible; asked only where there are some.
    """
    if not agents:
        return NoAgents(resource_group=resource_group, agents=members)
    if not eligible:
        return _unsuitable(agents, resource_group, shape)
    found = survey()
    never = found.at_most < kernels
    if found.fitting >= kernels and reservation:
        return Reserved(session=reservation.session_id, starts_in=reservation.starts_in)
    if found.fitting:
        return GangDoesNotFit(kernels=kernels, fitting=found.fitting, at_most=found.at_most, never=never)
    return NoAgentFits(
        slot=slots[found.column],
        asked=needs[found.column],
        free=found.free,
        largest_free=found.largest_free,
        largest_capacity=found.largest_capacity,
        never=found.at_most == 0,
    )


def _unsuitable(agents: Sequence[AgentView], resource_group: str, shape: Shape) -> Reason:
    chosen = [agent for agent in agents if shape.designated is None or agent.id in shape.designated]
    if not chosen:
        return DesignatedAgentsUnavailable(
            resource_group=resource_group, agents=tuple(sorted(shape.designated or ()))
        )
    return WrongArchitecture(
        accepted=tuple(sorted(shape.architectures)),
        available=tuple(sorted({agent.architecture for agent in chosen})),
    )


def survey(needs: Needs, free: Sequence[Sequence[int]], capacity: Sequence[Row], kernels: int) -> Survey:
    """Look at the rows of all suitable agents."""
    fitting = _room(needs, free, kernels)
    at_most = _room(needs, capacity, kernels)
    if fitting:
        return Survey(fitting=fitting, at_most=at_most)
    nearest, column = _nearest(needs, free if at_most else capacity)
    return Survey(
        fitting=fitting,
        at_most=at_most,
        column=column,
        free=free[nearest][column],
        largest_free=max(row[column] for row in free),
        largest_capacity=max(row[column] for row in capacity),
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
            lack = (amount - row[column]) / amount
            if worst is None or lack > worst:
                worst, at = lack, column
        if worst is not None and (least is None or worst < least):
            nearest, scarcest, least = position, at, worst
    return nearest, scarcest
