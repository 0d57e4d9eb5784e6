"""What the scheduler answers: where sessions go, and for each one that waits, why.

A reason is data: a `code` for machines and translations, numbers in the units of the snapshot, and `sentence` for
people. `msgspec.to_builtins(reason)` is a plain dictionary with its `code`; `msgspec.convert(document, Reason)` is
the way back.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Protocol

import msgspec

from scheduler.queues import Request


class _Reason(msgspec.Struct, frozen=True, kw_only=True, tag_field="code"):
    @property
    def code(self) -> str:
        """Stable, UPPER_SNAKE."""
        return str(self.__struct_config__.tag)


class LimitReached(_Reason, frozen=True, tag="LIMIT_REACHED"):
    """With it, `scope` would have more of `slot` than it may: `used` + `asked` > `cap`."""

    scope: str
    #: A slot's name or `sessions`.
    slot: str
    #: By the whole session, all its kernels together.
    asked: int
    used: int
    cap: int


class NoAgents(_Reason, frozen=True, tag="NO_AGENTS"):
    """The resource group has no agent that takes work; `agents` of them are there all the same."""

    resource_group: str
    agents: int


class DesignatedAgentsUnavailable(_Reason, frozen=True, tag="DESIGNATED_AGENTS_UNAVAILABLE"):
    """None of the agents that an admin chose for it takes work in this resource group."""

    resource_group: str
    agents: tuple[str, ...]


class WrongArchitecture(_Reason, frozen=True, tag="WRONG_ARCHITECTURE"):
    """The agents that take work are of other architectures than its image."""

    accepted: tuple[str, ...]
    available: tuple[str, ...]


class NoAgentFits(_Reason, frozen=True, tag="NO_AGENT_FITS"):
    """No agent has what one kernel asks for, all slots together.

    The numbers are about the scarcest slot of the nearest agent, the one whose worst lack is the smallest part of
    what is asked. `never`: even empty, no agent that takes work now is large enough; the nearest is then chosen by
    capacity.
    """

    slot: str
    #: By one kernel.
    asked: int
    #: On the nearest agent.
    free: int
    #: On any one suitable agent. It may cover what is asked where another slot is missing.
    largest_free: int
    largest_capacity: int
    never: bool


class GangDoesNotFit(_Reason, frozen=True, tag="GANG_DOES_NOT_FIT"):
    """All its kernels must start together: `fitting` find a place now, on empty agents `at_most` would."""

    kernels: int
    fitting: int
    at_most: int
    never: bool


class Reserved(_Reason, frozen=True, tag="RESERVED"):
    """There is room, but kept for the session at the head of the queue, which starts in `starts_in` seconds or sooner.

    One that is known to end before (by its maximum duration) may use it.
    """

    session: str
    starts_in: int


class SchedulerFailed(_Reason, frozen=True, tag="SCHEDULER_FAILED"):
    """The resource group's sequencer or placer is at fault: nothing of this group was placed."""

    #: Which, and its name or class: `placer Pack`.
    plugin: str
    #: What it did, for admins only: it may quote anything.
    message: str


Reason = (
    LimitReached
    | NoAgents
    | DesignatedAgentsUnavailable
    | WrongArchitecture
    | NoAgentFits
    | GangDoesNotFit
    | Reserved
    | SchedulerFailed
)


class Waiting(msgspec.Struct, frozen=True):
    """`position` counts from 1 in the order of the sequencer, over what still waits in the resource group."""

    position: int
    reason: Reason
    #: Seconds until it starts at the latest, if none that holds its room overstays; None: unknown.
    starts_in: int | None = None


class Decided(Protocol):
    """One resource group after its cycle. Why a session waits is found out when it is asked for."""

    def placements(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """(session, agents) in the order of decisions."""
        ...

    def placed_requests(self) -> Iterable[tuple[Request, tuple[str, ...]]]:
        """The same with the requests."""
        ...

    @property
    def left(self) -> int:
        """How many were not placed."""
        ...

    def waiting(self, first: int = 0, last: int | None = None) -> Iterable[tuple[str, Waiting]]:
        """(session, why it waits) of those that were not placed, in their order, from the first place to before the last."""
        ...

    def among(self, session_ids: Collection[str]) -> Iterable[tuple[str, Waiting]]:
        """The same for those of some sessions that were not placed."""
        ...

    def heads(self, count: int) -> Iterable[tuple[Request, Waiting]]:
        """The first that were not placed."""
        ...


class Plan:
    """Each waiting session of the snapshot is in exactly one of the two, which are made when they are first read.

    With very many that wait one asks only for some of them: to say why costs some microseconds for each.
    """

    def __init__(self, groups: Sequence[Decided]) -> None:
        self._groups = groups

    @property
    def left(self) -> int:
        """How many wait."""
        return sum([group.left for group in self._groups])

    def between(self, first: int, last: int) -> Iterator[tuple[str, Waiting]]:
        """Those that wait from the first place to before the last, one resource group behind the other."""
        for group in self._groups:
            yield from group.waiting(max(first, 0), max(last, 0))
            first, last = first - group.left, last - group.left

    def among(self, session_ids: Collection[str]) -> Iterator[tuple[str, Waiting]]:
        """Those of some sessions that wait."""
        return chain.from_iterable(group.among(session_ids) for group in self._groups)

    def heads(self, count: int) -> Iterator[tuple[Request, Waiting]]:
        """The first that wait in each resource group."""
        return chain.from_iterable(group.heads(count) for group in self._groups)

    def placed_requests(self) -> Iterator[tuple[Request, tuple[str, ...]]]:
        return chain.from_iterable(group.placed_requests() for group in self._groups)

    @cached_property
    def placements(self) -> dict[str, tuple[str, ...]]:
        """Session → agents, one a kernel, in the order of decisions: commit in this order and limits hold at each step."""
        return dict(chain.from_iterable(group.placements() for group in self._groups))

    @cached_property
    def waiting(self) -> dict[str, Waiting]:
        return dict(chain.from_iterable(group.waiting() for group in self._groups))


def plain_amount(slot: str, amount: int) -> str:
    """An amount in the units of the snapshot."""
    return f"{amount} {slot}"


def sentence(
    reason: Reason,
    *,
    amount: Callable[[str, int], str] = plain_amount,
    name: Callable[[str], str] = str,
) -> str:
    """Say it to the person whose session waits.

    Args:
        amount: (slot, amount) as people write them: `1.5 GiB of memory`.
        name: an id of a scope, resource group or agent as that person may see it: `the group "vision"`.
    """
    match reason:
        case LimitReached(slot="sessions"):
            return f"{_capital(name(reason.scope))} already has {reason.used} of the {reason.cap} sessions that it may have at once."
        case LimitReached():
            return (
                f"It asks for {amount(reason.slot, reason.asked)}, and {name(reason.scope)} already has "
                f"{amount(reason.slot, reason.used)} of the {amount(reason.slot, reason.cap)} that it may have."
            )
        case NoAgents(agents=0):
            return f"{name(reason.resource_group)} has no agents."
        case NoAgents():
            return f"{name(reason.resource_group)} has {_agents(reason.agents)}; none takes new sessions now."
        case DesignatedAgentsUnavailable():
            chosen = _list(map(name, reason.agents)) or "no agent"
            return f"It may only run on {chosen}; none of them takes new sessions in {name(reason.resource_group)} now."
        case WrongArchitecture():
            return f"It runs on {_list(reason.accepted)}; the agents that take new sessions are {_list(reason.available)}."
        case NoAgentFits():
            return _no_agent_fits(reason, amount)
        case GangDoesNotFit():
            if reason.never:
                return (
                    f"It needs places for {reason.kernels} kernels at once; even with all agents empty there would be "
                    f"{reason.at_most}."
                )
            return f"It needs places for {reason.kernels} kernels at once; there are {reason.fitting} now."
        case Reserved():
            return (
                "There is room, but a session that waits longer starts there in "
                f"{_duration(reason.starts_in)} or sooner. One that ends before could go first: give it a maximum duration."
            )
        case SchedulerFailed():
            return (
                f"Nothing can be placed in its resource group, because the {reason.plugin} failed. "
                "Administrators are shown what happened."
            )


def _no_agent_fits(reason: NoAgentFits, amount: Callable[[str, int], str]) -> str:
    """One fact: the first of these that is true."""
    asked = amount(reason.slot, reason.asked)
    if reason.never and reason.largest_capacity < reason.asked:
        return f"It asks for {asked}; the largest agent has {amount(reason.slot, reason.largest_capacity)} in all."
    if reason.never:
        return "It asks for more together than any one agent has, even empty."
    if reason.largest_free <= 0:
        return f"It asks for {asked}; no agent has any free."
    if reason.largest_free < reason.asked:
        return f"It asks for {asked}; no agent has more than {amount(reason.slot, reason.largest_free)} free."
    return (
        f"It asks for {asked}; the agent that comes nearest to all that it asks for has "
        f"{amount(reason.slot, reason.free) if reason.free > 0 else 'none'} free."
    )


def _duration(seconds: int) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{-(-seconds // size)} {unit}"
    return f"{seconds} s"


def _agents(count: int) -> str:
    return "1 agent" if count == 1 else f"{count} agents"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
