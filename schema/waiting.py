"""Why a session waits: one type for each reason, with its numbers."""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final

import strawberry

from scheduler import plan
from schema.context import Context, Info, Need
from schema.fields import answered, asked, said
from services import permissions, slots
from services.db import tables
from services.permissions import Reach
from services.scheduling import pieces
from services.sessions import reasons

if TYPE_CHECKING:
    from schema.agents import Agent
    from schema.domains import Domain
    from schema.groups import Group
    from schema.keypairs import Keypair
    from schema.resource_groups import ResourceGroup
    from schema.sessions import Session
    from schema.users import User

SessionType = Annotated["Session", strawberry.lazy("schema.sessions")]
ResourceGroupType = Annotated["ResourceGroup", strawberry.lazy("schema.resource_groups")]

LimitHolder = Annotated[
    Annotated["Domain", strawberry.lazy("schema.domains")]
    | Annotated["Group", strawberry.lazy("schema.groups")]
    | Annotated["Keypair", strawberry.lazy("schema.keypairs")]
    | Annotated["ResourceGroup", strawberry.lazy("schema.resource_groups")]
    | Annotated["User", strawberry.lazy("schema.users")],
    strawberry.union("LimitHolder", description="Whose limit it is."),
]


@strawberry.enum(description="What a limit is set on.")
class LimitScope(Enum):
    DOMAIN = strawberry.enum_value("DOMAIN", description="A domain: all its sessions together.")
    GROUP = strawberry.enum_value("GROUP", description="A group: all its sessions together.")
    KEYPAIR = strawberry.enum_value(
        "KEYPAIR", description="A keypair, by its resource policy: all sessions that it started."
    )
    RESOURCE_GROUP = strawberry.enum_value(
        "RESOURCE_GROUP", description="A resource group: all sessions in it together."
    )
    USER = strawberry.enum_value(
        "USER", description="A user: all their sessions, whichever keypair started them."
    )


_SCOPES: Final = {
    "dom": (LimitScope.DOMAIN, "the domain"),
    "grp": (LimitScope.GROUP, "the group"),
    "key": (LimitScope.KEYPAIR, "the resource policy of its keypair"),
    "rgp": (LimitScope.RESOURCE_GROUP, "the resource group"),
    "usr": (LimitScope.USER, "the user"),
}


@strawberry.interface(description="Why a session waits: what every reason has.")
class WaitingReason:
    row: strawberry.Private[tables.Session]
    code: str = said("The name of its type in capitals, stable: LIMIT_REACHED, NO_AGENT_FITS …")
    position: int = said(
        "Its place among those that wait in its resource group, from 1; 0 while it is held back from that queue. Exact for "
        "those in front and while the queue is at rest; behind a queue that moves it may be a twentieth off."
    )
    estimated_start_at: datetime | None = said(
        "When it starts at the latest, if nothing overstays its maximum duration; null when that is not known."
    )
    message: str = said("A sentence for people, with the numbers.")


def _message(row: tables.Session) -> str:
    moment = row.retry_at if _document(row)["code"] == reasons.RETRY_LATER else row.starts_at
    return reasons.explain(_document(row), moment=moment)


def _document(row: tables.Session) -> dict[str, Any]:
    return row.pending_reason or {}


@strawberry.type(description="With it, somebody would have more of something than they may.")
class LimitReached(WaitingReason):
    reason: strawberry.Private[plan.LimitReached]
    scope: LimitScope = said("What the limit is set on.")
    holder: LimitHolder | None = asked(
        Need("id", lambda one: one.reason.scope), "Whose limit it is; null when they are not yours to see."
    )
    slot: str = said("The slot that is short, or `sessions`: sessions at once.")
    asked: str = said("What the session asks for of it.")

    @answered(
        Need("id", lambda one: one.reason.scope),
        "What is used of the limit; null when it is not yours to see.",
    )
    def used(self, holder: Any, _context: Context) -> str | None:
        return None if holder is None else slots.render(self.slot, self.reason.used)

    @answered(
        Need("id", lambda one: one.reason.scope),
        "What is left of the limit; null when it is not yours to see.",
    )
    def free(self, holder: Any, _context: Context) -> str | None:
        left = max(self.reason.cap - self.reason.used, 0)
        return None if holder is None else slots.render(self.slot, left)

    @answered(Need("id", lambda one: one.reason.scope), "The limit; null when it is not yours to see.")
    def limit(self, holder: Any, _context: Context) -> str | None:
        return None if holder is None else slots.render(self.slot, self.reason.cap)

    @answered(
        Need("id", lambda one: one.reason.scope),
        "A sentence for people, with the numbers that are yours to see.",
    )
    def message(self, holder: Any, _context: Context) -> str:
        whose = None
        if holder is not None:
            whose = _SCOPES[self.reason.scope[:3]][1]
            whose = whose if self.scope is LimitScope.KEYPAIR else f"{whose} {holder.name!r}"
        return reasons.explain(_document(self.row), whose=whose)


@strawberry.type(description="No agent of its resource group takes new sessions.")
class NoAgents(WaitingReason):
    drained_agents: int = said("Agents of the resource group that are drained.")
    lost_agents: int = said("Agents of the resource group that are not connected.")
    resource_group: ResourceGroupType | None = asked(
        Need("id", lambda one: one.row.resource_group_id),
        "Where it waits; null when it is not yours to see any more.",
    )


@strawberry.type(description="None of the agents that it was bound to takes new sessions.")
class DesignatedAgentsUnavailable(WaitingReason):
    reason: strawberry.Private[plan.DesignatedAgentsUnavailable]
    drained_agents: int = said("Agents of the resource group that are drained.")
    lost_agents: int = said("Agents of the resource group that are not connected.")

    @strawberry.field(description="The agents that it is bound to, as far as you see them.")
    async def designated(self, info: Info) -> list[Annotated["Agent", strawberry.lazy("schema.agents")]]:
        found = [await info.context.find(agent_id) for agent_id in self.reason.agents]
        return [agent for agent in found if agent is not None]


@strawberry.type(description="The agents that take new sessions are of other architectures than its image.")
class WrongArchitecture(WaitingReason):
    accepted: list[str] = said("What its image runs on.")
    available: list[str] = said("What there is.")
    drained_agents: int = said("Agents of the resource group that are drained.")
    lost_agents: int = said("Agents of the resource group that are not connected.")


@strawberry.type(
    description="No agent has what one of its containers asks for, all slots together. The numbers are about the scarcest "
    "slot of the nearest agent."
)
class NoAgentFits(WaitingReason):
    slot: str = said("The slot that is short.")
    asked: str = said("What one container asks for of it.")
    nearest_free: str = said("What the agent has free of it that comes nearest to all that is asked for.")
    largest_free: str = said(
        "The most that any one agent has free. It may be enough where another slot is missing."
    )
    largest_capacity: str | None = said("The most that any one agent has; null for a fraction of a device.")
    on_one_device: bool = said(
        "The amount must be free on one device: what several have left does not add up."
    )
    never: bool = said("Even empty, no agent that takes new sessions now is large enough.")
    unconnected: bool = said(
        "All its containers must be on one node, since nodes have no network between them; the numbers are of all together."
    )
    drained_agents: int = said("Agents of the resource group that are drained.")
    lost_agents: int = said("Agents of the resource group that are not connected.")


@strawberry.type(description="All its containers must start together, and there are not places for all.")
class GangDoesNotFit(WaitingReason):
    kernels: int = said("Containers that must start together.")
    fitting: int = said("How many find a place now.")
    at_most: int = said("How many would on empty agents; no more than are asked for.")
    never: bool = said("Even on empty agents there would not be places for all.")
    unconnected: bool = said(
        "All its containers must be on one node, since nodes have no network between them."
    )
    drained_agents: int = said("Agents of the resource group that are drained.")
    lost_agents: int = said("Agents of the resource group that are not connected.")


@strawberry.type(description="There is room, but it is kept for the session at the head of the queue.")
class Reserved(WaitingReason):
    reason: strawberry.Private[plan.Reserved]
    until: datetime = said(
        "When the session at the head starts at the latest. One that ends before, by its maximum duration, may go first."
    )
    reserved_for: SessionType | None = asked(
        Need("id", lambda one: one.reason.session),
        "The session at the head; null when it is not yours to see.",
    )


@strawberry.type(description="Its resource group's scheduler is at fault: nothing in it can be placed.")
class SchedulerFailed(WaitingReason):
    reason: strawberry.Private[plan.SchedulerFailed]
    plugin: str = said("Which plug-in: its kind and its name or class.")

    @answered(
        Need("id", lambda _: None), "What it did; null for those who may not change the resource group."
    )
    def fault(self, _nothing: None, context: Context) -> str | None:
        may = permissions.reach(context.viewer, "updateResourceGroup") is Reach.EVERYTHING
        return self.reason.message if may else None


@strawberry.type(description="It is not to start before a moment that has not come.")
class StartsLater(WaitingReason):
    starts_at: datetime = said("The moment.")


@strawberry.type(description="A start of it has failed, and it is tried again after a while.")
class RetryLater(WaitingReason):
    retry_at: datetime = said("When it is tried again.")
    failed_starts: int = said("Starts that have failed so far.")


@strawberry.type(description="It depends on sessions that have not succeeded yet.")
class WaitsForSessions(WaitingReason):
    waits_for: list[SessionType] = asked(
        Need("each", lambda one: one.row.id, "unmet"), "Sessions that have to succeed first and have not yet."
    )


PendingReason = Annotated[
    LimitReached
    | NoAgents
    | DesignatedAgentsUnavailable
    | WrongArchitecture
    | NoAgentFits
    | GangDoesNotFit
    | Reserved
    | SchedulerFailed
    | StartsLater
    | RetryLater
    | WaitsForSessions,
    strawberry.union("PendingReason", description="Why a session waits; each is a `WaitingReason`."),
]


def pending_reason(row: tables.Session) -> Any:
    """The reason of a waiting session; None when it does not wait, or was not looked at yet."""
    document = reasons.readable(row.pending_reason)
    if document is None:
        return None
    common: dict[str, Any] = {
        "row": row,
        "code": document["code"],
        "position": document["position"],
        "estimated_start_at": reasons.moment_of(document, "starts_at"),
    }
    reason = reasons.reason_of(document)
    if reason is None:
        return _held_back(row, common)
    if not isinstance(reason, plan.LimitReached):
        common["message"] = _message(row)
    away: dict[str, Any] = {
        "drained_agents": document.get("drained", 0),
        "lost_agents": document.get("lost", 0),
    }
    if isinstance(reason, plan.NoAgentFits | plan.GangDoesNotFit):
        away["unconnected"] = document.get("unconnected", False)
    return _OF[type(reason)](reason, document, common, away)


def _held_back(row: tables.Session, common: dict[str, Any]) -> Any:
    common["message"] = _message(row)
    match common["code"]:
        case reasons.STARTS_LATER if row.starts_at:
            return StartsLater(**common, starts_at=row.starts_at)
        case reasons.RETRY_LATER if row.retry_at:
            return RetryLater(**common, retry_at=row.retry_at, failed_starts=len(row.failed_agent_ids))
        case reasons.WAITS_FOR_SESSIONS:
            return WaitsForSessions(**common)
        case _:
            return None


def _limit_reached(reason: plan.LimitReached, common: dict[str, Any]) -> LimitReached:
    return LimitReached(
        **common,
        reason=reason,
        scope=_SCOPES[reason.scope[:3]][0],
        slot=reason.slot,
        asked=slots.render(reason.slot, reason.asked),
    )


def _no_agent_fits(reason: plan.NoAgentFits, common: dict[str, Any], away: dict[str, Any]) -> NoAgentFits:
    slot, in_pieces = pieces.plain(reason.slot)
    return NoAgentFits(
        **common,
        **away,
        slot=slot,
        asked=slots.render(slot, reason.asked),
        nearest_free=slots.render(slot, max(reason.free, 0)),
        largest_free=slots.render(slot, max(reason.largest_free, 0)),
        largest_capacity=None if in_pieces else slots.render(slot, reason.largest_capacity),
        on_one_device=in_pieces,
        never=reason.never,
    )


_Make = Callable[[Any, dict[str, Any], dict[str, Any], dict[str, Any]], Any]

#: The scheduler's reason → (reason, document, what all have, agents that take no work) to what is shown.
_OF: Final[dict[type, _Make]] = {
    plan.LimitReached: lambda reason, _document, common, _away: _limit_reached(reason, common),
    plan.NoAgents: lambda _reason, _document, common, away: NoAgents(**common, **away),
    plan.DesignatedAgentsUnavailable: lambda reason, _document, common, away: DesignatedAgentsUnavailable(
        **common, **away, reason=reason
    ),
    plan.WrongArchitecture: lambda reason, _document, common, away: WrongArchitecture(
        **common, **away, accepted=list(reason.accepted), available=list(reason.available)
    ),
    plan.NoAgentFits: lambda reason, _document, common, away: _no_agent_fits(reason, common, away),
    plan.GangDoesNotFit: lambda reason, _document, common, away: GangDoesNotFit(
        **common,
        **away,
        kernels=reason.kernels,
        fitting=reason.fitting,
        at_most=reason.at_most,
        never=reason.never,
    ),
    plan.Reserved: lambda reason, document, common, _away: Reserved(
        **common, reason=reason, until=datetime.fromisoformat(document["until"])
    ),
    plan.SchedulerFailed: lambda reason, _document, common, _away: SchedulerFailed(
        **common, reason=reason, plugin=reason.plugin
    ),
}
