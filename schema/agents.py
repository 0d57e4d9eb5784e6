"""Agents: worker nodes."""

from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from schema.context import Context, Info
from schema.devices import Device, DeviceStats, PluginFault
from schema.fields import ACTIONS, USED, answered, belongs, refers, said
from schema.nodes import Node
from schema.paging import After, Before, Connection, Direction, First, Last, page_args
from schema.scalars import ByteSize
from schema.slots import SlotUsage
from services.db import tables
from services.stats import NodeSample

if TYPE_CHECKING:
    from schema.images import Image
    from schema.resource_groups import ResourceGroup
    from schema.sessions import Kernel

Kernels = Connection[Annotated["Kernel", strawberry.lazy("schema.sessions")]]


@strawberry.enum(description="Whether an agent can be reached.")
class AgentStatus(Enum):
    ALIVE = strawberry.enum_value("ALIVE", description="Connected.")
    LOST = strawberry.enum_value(
        "LOST",
        description="Not heard of for the time of its lease, or not yet. Its sessions stay as they are.",
    )
    TERMINATED = strawberry.enum_value("TERMINATED", description="Removed by an administrator.")


@strawberry.type(description="A node's hardware, as its agent found it.")
class Hardware:
    hostname: str = said("Its own name.")
    os: str = said("Operating system.")
    kernel: str = said("Version of the operating system's kernel.")
    cpu_model: str = said("Processor.")
    cpu_count: int = said("Processor cores.")
    memory: ByteSize = said("Main memory.")
    disk: ByteSize = said("Size of the file system that sessions are on.")
    engine: str = said("Container engine and its version.")
    devices: list[Device] = said("Its accelerators, those that failed included.")
    plugin_faults: list[PluginFault] = said("Accelerator plug-ins that do not work.")

    @classmethod
    def of(cls, found: dict[str, Any]) -> "Hardware":
        return cls(
            hostname=found.get("hostname", ""),
            os=found.get("os", ""),
            kernel=found.get("kernel", ""),
            cpu_model=found.get("cpu_model", ""),
            cpu_count=found.get("cpu_count", 0),
            memory=ByteSize(found.get("memory", 0)),
            disk=ByteSize(found.get("disk", 0)),
            engine=found.get("engine", ""),
            devices=[Device.of(device) for device in found.get("devices", ())],
            plugin_faults=[
                PluginFault(plugin=plugin, message=message)
                for plugin, message in sorted(found.get("faults", {}).items())
            ],
        )


@strawberry.type(description="Load of a node at one moment.")
class AgentStats:
    at: datetime = said("When it was measured, by the node's clock.")
    cpu_percent: float = said("Of one core: 200 is two cores busy.")
    memory_used: ByteSize = said("Main memory in use.")
    memory_total: ByteSize = said("Main memory.")
    disk_used: ByteSize = said("In use on the file system that sessions are on.")
    disk_total: ByteSize = said("Size of that file system.")
    kernel_count: int = said("Containers of sessions that run.")
    devices: list[DeviceStats] = said("Load of its accelerators.")

    @classmethod
    def of(cls, sample: NodeSample) -> "AgentStats":
        stats = sample.stats
        return cls(
            at=datetime.fromtimestamp(sample.at, UTC),
            cpu_percent=stats.cpu_percent,
            memory_used=ByteSize(stats.memory_used),
            memory_total=ByteSize(stats.memory_total),
            disk_used=ByteSize(stats.disk_used),
            disk_total=ByteSize(stats.disk_total),
            kernel_count=sample.kernel_count,
            devices=[DeviceStats.of(device) for device in stats.devices],
        )


@strawberry.type(description="Load of one of several nodes.")
class AgentLoad:
    agent_id: strawberry.ID = said("Which node.")
    stats: AgentStats = said("Its newest sample.")


@strawberry.type(description="A worker node.")
class Agent(Node):
    row: strawberry.Private[tables.Agent]
    name: str = said("Unique.")
    status: AgentStatus = said("Whether it can be reached.")
    schedulable: bool = said("False while it is drained: nothing new is placed on it.")
    address: str = said("Its address, as it says.")
    region: str = said("Where it stands, as its administrator says.")
    runtime: str = said("What runs containers on it: docker or process.")
    isolated: bool = said("False where sessions are not safe from each other (process runtime).")
    architecture: str = said("Processor architecture.")
    version: str = said("Version of the agent.")
    first_contact_at: datetime | None = said("When it first connected; null: never.")
    last_contact_at: datetime | None = said("When it was last heard of; null: never.")
    lost_at: datetime | None = said("Since when it is lost; null: it is not.")

    @classmethod
    def of(cls, row: tables.Agent) -> "Agent":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            status=AgentStatus(row.status),
            schedulable=row.schedulable,
            address=row.address,
            region=row.region,
            runtime=row.runtime,
            isolated=row.isolated,
            architecture=row.architecture,
            version=row.version,
            first_contact_at=row.first_contact_at,
            last_contact_at=row.last_contact_at,
            lost_at=row.lost_at,
        )

    @strawberry.field(description="Its hardware.")
    def hardware(self) -> Hardware:
        return Hardware.of(self.row.hardware)

    resource_group: Annotated["ResourceGroup", strawberry.lazy("schema.resource_groups")] = refers(
        "resource_group_id", "The resource group that it works for.", always=True
    )

    @answered(USED, "What it has, and what sessions occupy.")
    def slots(self, used: dict[str, int], _context: Context) -> list[SlotUsage]:
        return SlotUsage.all(self.row.slots, used)

    @strawberry.field(description="Live containers of sessions on it.")
    def kernels(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Kernels:
        return info.context.page("kernels", page_args(first, after, last, before), agent_id=self.row.id)

    images: list[Annotated["Image", strawberry.lazy("schema.images")]] = belongs(
        "images", "Images on its disk."
    )

    @strawberry.field(description="Its load, the newest sample; null when there is no recent one.")
    def stats(self, info: Info) -> AgentStats | None:
        sample = info.context.core.stats.node(self.row.id)
        return AgentStats.of(sample) if sample else None

    @answered(ACTIONS, "Mutations that you may perform on it.")
    def allowed_actions(self, actions: list[str], _context: Context) -> list[str]:
        return [] if self.row.status == "TERMINATED" else actions


@strawberry.input(description="Which agents; all given conditions hold together.")
class AgentFilter:
    status_in: list[AgentStatus] | None = said("Only those in one of these statuses.", default=None)
    resource_group_id: strawberry.ID | None = said("Only those of this resource group.", default=None)
    schedulable: bool | None = said("Only schedulable (true) or drained (false) ones.", default=None)
    image_id: strawberry.ID | None = said("Only those that have this image.", default=None)
    search: str | None = said("Part of the name or address, or the beginning of the id.", default=None)


@strawberry.enum(description="What lists of agents are ordered by.")
class AgentOrderField(Enum):
    NAME = strawberry.enum_value("NAME", description="By name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")
    STATUS = strawberry.enum_value("STATUS", description="By status.")
    LAST_CONTACT_AT = strawberry.enum_value("LAST_CONTACT_AT", description="By when they were last heard of.")


@strawberry.input(description="An order of agents.")
class AgentOrder:
    field: AgentOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A token that lets one new agent in.")
class CreateJoinTokenInput:
    resource_group_id: strawberry.ID = said("The resource group that the agent joins.")
    expires_in_seconds: int | None = said("How long it can be used; by default an hour.", default=None)


@strawberry.input(description="Changes of an agent; what is absent stays as it is.")
class UpdateAgentInput:
    id: strawberry.ID = said("The agent.")
    name: str | None = said("A new name.", default=None)
    schedulable: bool | None = said("False drains it: nothing new is placed on it.", default=None)
    resource_group_id: strawberry.ID | None = said(
        "Another resource group; it must have no live sessions.", default=None
    )


@strawberry.input(description="An agent to remove.")
class RemoveAgentInput:
    id: strawberry.ID = said("The agent.")
    force: bool = said("Although it has live sessions: they end with an error.", default=False)


@strawberry.type(description="A join token was made.")
class CreateJoinTokenPayload:
    token: str = said("Lets one agent in. It is shown this once.")
    command: str = said("What to run on the new node.")
    expires_at: datetime = said("Until when it can be used.")


@strawberry.type(description="An agent was changed.")
class UpdateAgentPayload:
    agent: Agent = said("The agent as it is now.")


@strawberry.type(description="An agent was removed.")
class RemoveAgentPayload:
    agent: Agent = said("The agent as it is now.")


@strawberry.enum(description="What an event of a stream means.")
class EventKind(Enum):
    CHANGED = strawberry.enum_value("CHANGED", description="The object is new, or has changed.")
    LEFT = strawberry.enum_value("LEFT", description="The object no longer matches the filter.")
    RESYNC = strawberry.enum_value("RESYNC", description="Something was missed: read the list afresh.")


@strawberry.type(description="An agent has changed.")
class AgentEvent:
    kind: EventKind = said("What it means.")
    cursor: str = said("Where the stream stands; `after` resumes here.")
    agent: Agent | None = said("The agent as it is now; null for RESYNC.")
    code: str | None = said("What happened: CONNECTED, LEASE_EXPIRED …; null when nothing is written down.")
    message: str | None = said("What happened, in a sentence; null when nothing is written down.")
