"""Resource groups: agents that are scheduled together, and how."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry.scalars import JSON

from schema.context import Context, Info, Need
from schema.fields import ACTIONS, USED, answered, asked, each, permitted_actions, said
from schema.nodes import Node
from schema.paging import After, Before, Connection, Direction, First, Last, page_args
from schema.slots import SlotInput, SlotLimit, SlotType, SlotUsage
from services.db import tables
from services.scheduling.availability import Capacity

if TYPE_CHECKING:
    from schema.agents import Agent
    from schema.domains import Domain
    from schema.groups import Group
    from schema.users import User

Agents = Connection[Annotated["Agent", strawberry.lazy("schema.agents")]]
Grantee = Annotated[
    Annotated["Domain", strawberry.lazy("schema.domains")]
    | Annotated["Group", strawberry.lazy("schema.groups")]
    | Annotated["User", strawberry.lazy("schema.users")],
    strawberry.union("Grantee", description="Who may use a resource group."),
]


@strawberry.enum(description="What a scheduler plug-in does.")
class SchedulerKind(Enum):
    SEQUENCER = strawberry.enum_value("SEQUENCER", description="Says whose turn it is.")
    PLACER = strawberry.enum_value("PLACER", description="Says which of the agents that fit is best.")
    BACKFILL = strawberry.enum_value(
        "BACKFILL", description="Says who may pass a session that waits for room."
    )


@strawberry.type(description="An installed scheduler plug-in.")
class Scheduler:
    name: str = said("The name that a resource group refers to.")
    kind: SchedulerKind = said("What it does.")
    options_schema: JSON | None = said("JSON Schema of its options; null when it cannot be loaded.")
    problem: str | None = said("Why it cannot be used; null: it can.")


@strawberry.type(
    description="A plug-in of a resource group's scheduler is at fault: nothing in the group can be placed."
)
class SchedulerFault:
    plugin: str = said("Which: its kind and its name or class.")
    message: str = said("What it did.")
    since: datetime = said("Since when it does so.")

    @classmethod
    def of(cls, stored: dict[str, str]) -> "SchedulerFault":
        return cls(
            plugin=stored["plugin"],
            message=stored["message"],
            since=datetime.fromisoformat(stored["since"]),
        )


@strawberry.type(description="Somebody may use a resource group.")
class ResourceGroupGrant:
    grantee_id: strawberry.Private[str]
    grantee: Grantee | None = asked(
        Need("id", lambda grant: grant.grantee_id), "Who; null when you may not see them."
    )


@strawberry.type(description="Agents that are scheduled together, and how.")
class ResourceGroup(Node):
    row: strawberry.Private[tables.ResourceGroup]
    name: str = said("Unique.")
    description: str = said("For people.")
    active: bool = said("False: nothing new can be launched in it.")
    max_concurrent_sessions: int | None = said("Sessions in it at once; null: unlimited.")
    max_kernels_per_session: int | None = said(
        "Containers of one session in it; null: as many as the keypair's policy allows."
    )
    created_at: datetime = said("When it was made.")
    sequencer: str = said("The plug-in that says whose turn it is.")
    sequencer_options: JSON = said("Its options; `schedulers` has their schema.")
    placer: str = said("The plug-in that chooses among agents that fit.")
    placer_options: JSON = said("Its options; `schedulers` has their schema.")
    lost_session_grace_seconds: int | None = said(
        "A session whose node is lost is given up after so long; null: it waits until somebody decides."
    )
    idle_timeout_seconds: int = said(
        "An unused session ends after so long, or after the time of its keypair's policy if that is shorter; 0: never."
    )
    idle_cpu_percent: int = said(
        "CPU load above it counts as use, in percent of what a session was given; 100: none does."
    )
    idle_accelerator_percent: int = said(
        "Accelerator load above it counts as use, in percent of what a session was given; 100: none does."
    )
    max_lifetime_seconds: int = said(
        "A session is ended when it has run for so long, used or not, or for the time of its keypair's policy if that is shorter; 0: never."
    )
    start_retries: int = said(
        "A start that fails for a reason of its node is tried again at most so often, elsewhere if another node fits."
    )
    backfill: bool = said(
        "The head of the queue gets a reservation where the ends of what runs are known; only those pass it that do not "
        "delay it. False: whoever fits passes."
    )
    backfill_options: JSON = said("Options of the backfill; `schedulers` has their schema.")

    @classmethod
    def of(cls, row: tables.ResourceGroup) -> "ResourceGroup":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            description=row.description,
            active=row.active,
            max_concurrent_sessions=row.max_concurrent_sessions,
            max_kernels_per_session=row.max_kernels_per_session,
            created_at=row.created_at,
            sequencer=row.sequencer,
            sequencer_options=JSON(row.sequencer_options),
            placer=row.placer,
            placer_options=JSON(row.placer_options),
            lost_session_grace_seconds=row.lost_session_grace_seconds,
            idle_timeout_seconds=row.idle_timeout_seconds,
            idle_cpu_percent=row.idle_cpu_percent,
            idle_accelerator_percent=row.idle_accelerator_percent,
            max_lifetime_seconds=row.max_lifetime_seconds,
            start_retries=row.start_retries,
            backfill=row.backfill,
            backfill_options=JSON(row.backfill_options),
        )

    @strawberry.field(description="Its agents, as far as you see them.")
    def agents(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Agents:
        return info.context.page(
            "agents", page_args(first, after, last, before), resource_group_id=self.row.id
        )

    @answered(each("capacity"), "What its connected, schedulable agents have together, and what is occupied.")
    def capacity(self, found: list[Capacity], _context: Context) -> list[SlotUsage]:
        return SlotUsage.all(found[0].capacity, found[0].used)

    @answered(USED, "What all sessions in it together may occupy, whatever its agents have, and do.")
    def total_slots(self, used: dict[str, int], _context: Context) -> list[SlotLimit]:
        return SlotLimit.all(self.row.total_slots, used)

    @answered(USED, "Sessions in it that occupy a node now.")
    def concurrent_sessions(self, used: dict[str, int], _context: Context) -> int:
        return used.get("sessions", 0)

    @answered(
        ACTIONS,
        "What is wrong with a plug-in of its scheduler, as it was found when a session last waited; null when nothing is, "
        "or when you may not know.",
    )
    def scheduler_fault(self, actions: list[str], _context: Context) -> SchedulerFault | None:
        stored = self.row.scheduler_fault
        return SchedulerFault.of(stored) if stored and "updateResourceGroup" in actions else None

    @strawberry.field(description="Who may use it; null when you may not know.")
    async def grants(self, info: Info) -> list[ResourceGroupGrant] | None:
        if "updateResourceGroup" not in await info.context.actions(self.row):
            return None
        grantees = await info.context.each("grants", self.row.id)
        return [ResourceGroupGrant(grantee_id=grantee) for grantee in grantees]

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.type(description="Sessions at once: how many there may be, and are.")
class SessionAllowance:
    limit: int | None = said(
        "The tightest of your policy's, your own, the group's, the domain's and the resource group's limits; null: unlimited."
    )
    used: int = said("Sessions that count for that limit and occupy a node now; without one, your keypair's.")


@strawberry.type(description="What you can get of a slot in a group and a resource group.")
class SlotAvailability:
    name: str = said("The slot's name.")
    type: SlotType = said("What kind of resource it is.")
    limit: str | None = said(
        "The tightest of your policy's, your own, the group's, the domain's and the resource group's limits; null: unlimited."
    )
    used: str = said("What is used of that limit; without one, what your sessions use.")
    capacity: str = said("What the resource group's connected agents have together.")
    free: str = said("What could be started now, limits and agents together.")
    largest_free: str = said(
        "The most that one agent has free: a session of one container cannot have more now."
    )
    largest_capacity: str = said("The most that one agent has, even empty: a container can never have more.")


@strawberry.type(description="What you can get in a group and a resource group.")
class Availability:
    slots: list[SlotAvailability] = said("One for each slot.")
    sessions: SessionAllowance = said("Your sessions.")


@strawberry.input(description="Which resource groups; all given conditions hold together.")
class ResourceGroupFilter:
    search: str | None = said("Part of the name or description, or the beginning of the id.", default=None)
    active: bool | None = said("Only active (true) or inactive (false) ones.", default=None)


@strawberry.enum(description="What lists of resource groups are ordered by.")
class ResourceGroupOrderField(Enum):
    NAME = strawberry.enum_value("NAME", description="By name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of resource groups.")
class ResourceGroupOrder:
    field: ResourceGroupOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new resource group.")
class CreateResourceGroupInput:
    name: str = said("Unique.")
    description: str = said("For people.", default="")
    total_slots: list[SlotInput] = said(
        "Limits of all sessions in it together; unlimited where not given.", default_factory=list
    )
    max_concurrent_sessions: int | None = said("Sessions in it at once; null: unlimited.", default=None)
    max_kernels_per_session: int | None = said(
        "Containers of one session; null: as many as the keypair's policy allows.", default=None
    )
    sequencer: str = said("The plug-in that says whose turn it is.", default="fifo")
    sequencer_options: JSON | None = said("Its options.", default=None)
    placer: str = said("The plug-in that chooses among agents that fit.", default="pack")
    placer_options: JSON | None = said("Its options.", default=None)
    lost_session_grace_seconds: int | None = said(
        "Give sessions of a lost node up after so long; null: never.", default=None
    )
    idle_timeout_seconds: int | None = said(
        "An unused session ends after so long, at least 60; 0: never; null: as the settings say.",
        default=None,
    )
    idle_cpu_percent: int = said(
        "CPU load above it counts as use, in percent of what a session was given; 100: none does.", default=5
    )
    idle_accelerator_percent: int = said(
        "Accelerator load above it counts as use, in percent of what a session was given; 100: none does.",
        default=5,
    )
    max_lifetime_seconds: int = said(
        "A session is ended when it has run for so long, at least 60; 0: never.", default=0
    )
    start_retries: int | None = said(
        "A start that fails for a reason of its node is tried again at most so often, elsewhere if another node fits; "
        "null: as the settings say.",
        default=None,
    )
    backfill: bool | None = said(
        "The head of the queue gets a reservation; only those pass it that do not delay it; null: as the settings say.",
        default=None,
    )
    backfill_options: JSON | None = said("Options of the backfill.", default=None)
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a resource group; what is absent stays as it is.")
class UpdateResourceGroupInput:
    id: strawberry.ID = said("The resource group.")
    name: str | None = said("A new name.", default=None)
    description: str | None = said("A new description.", default=None)
    active: bool | None = said("False: nothing new can be launched in it.", default=None)
    total_slots: list[SlotInput] | None = said("All limits anew; unlimited where not given.", default=None)
    max_concurrent_sessions: strawberry.Maybe[int | None] = said(
        "Sessions in it at once; null: unlimited.", default=None
    )
    max_kernels_per_session: strawberry.Maybe[int | None] = said(
        "Containers of one session; null: as many as the keypair's policy allows.", default=None
    )
    sequencer: str | None = said("Another plug-in.", default=None)
    sequencer_options: JSON | None = said("Its options anew.", default=None)
    placer: str | None = said("Another plug-in.", default=None)
    placer_options: JSON | None = said("Its options anew.", default=None)
    lost_session_grace_seconds: strawberry.Maybe[int | None] = said(
        "Give sessions of a lost node up after so long; null: never.", default=None
    )
    idle_timeout_seconds: int | None = said(
        "An unused session ends after so long, at least 60; 0: never.", default=None
    )
    idle_cpu_percent: int | None = said(
        "CPU load above it counts as use, in percent of what a session was given; 100: none does.",
        default=None,
    )
    idle_accelerator_percent: int | None = said(
        "Accelerator load above it counts as use, in percent of what a session was given; 100: none does.",
        default=None,
    )
    max_lifetime_seconds: int | None = said(
        "A session is ended when it has run for so long, at least 60; 0: never.", default=None
    )
    start_retries: int | None = said(
        "A start that fails for a reason of its node is tried again at most so often, elsewhere if another node fits.",
        default=None,
    )
    backfill: bool | None = said(
        "The head of the queue gets a reservation; only those pass it that do not delay it.", default=None
    )
    backfill_options: JSON | None = said("Options of the backfill anew.", default=None)


@strawberry.input(description="A resource group to delete.")
class DeleteResourceGroupInput:
    id: strawberry.ID = said("A resource group without agents and without sessions.")


@strawberry.input(description="Who may (or may no longer) use a resource group.")
class ResourceGroupGrantInput:
    id: strawberry.ID = said("The resource group.")
    grantee_id: strawberry.ID = said("A domain, group or user.")


@strawberry.type(description="A resource group was made.")
class CreateResourceGroupPayload:
    resource_group: ResourceGroup = said("The new resource group.")


@strawberry.type(description="A resource group was changed.")
class UpdateResourceGroupPayload:
    resource_group: ResourceGroup = said("The resource group as it is now.")


@strawberry.type(description="A resource group was deleted.")
class DeleteResourceGroupPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")


@strawberry.type(description="A resource group was granted.")
class GrantResourceGroupPayload:
    resource_group: ResourceGroup = said("The resource group as it is now.")


@strawberry.type(description="A grant was taken back.")
class RevokeResourceGroupPayload:
    resource_group: ResourceGroup = said("The resource group as it is now.")
