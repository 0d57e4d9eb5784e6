"""Sessions and their kernels."""

from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from schema.agents import EventKind
from schema.context import Context, Info
from schema.devices import DeviceUse
from schema.ends import SessionEnd, SessionIdle, SessionLifetime
from schema.fields import ACTIONS, answered, belongs, each, one, refers, said
from schema.images import ServicePort
from schema.nodes import Node
from schema.scalars import ByteSize
from schema.slots import Slot
from schema.waiting import PendingReason, pending_reason
from services import sessions
from services.db import tables
from services.stats import KernelSample

if TYPE_CHECKING:
    from schema.agents import Agent
    from schema.domains import Domain
    from schema.groups import Group
    from schema.images import Image
    from schema.keypairs import Keypair
    from schema.resource_groups import ResourceGroup
    from schema.users import User


@strawberry.enum(description="Where a session (or one of its containers) stands in its life.")
class SessionStatus(Enum):
    PENDING = strawberry.enum_value("PENDING", description="Waits for a node; `pendingReason` says why.")
    SCHEDULED = strawberry.enum_value("SCHEDULED", description="Has a node; the node is being told.")
    PREPARING = strawberry.enum_value("PREPARING", description="The node has taken it.")
    PULLING = strawberry.enum_value("PULLING", description="The node makes sure that it has the image.")
    PREPARED = strawberry.enum_value("PREPARED", description="The image is there.")
    CREATING = strawberry.enum_value("CREATING", description="The container is being made and started.")
    RUNNING = strawberry.enum_value("RUNNING", description="It runs.")
    TERMINATING = strawberry.enum_value("TERMINATING", description="It is being stopped.")
    TERMINATED = strawberry.enum_value("TERMINATED", description="It has run and ended.")
    CANCELLED = strawberry.enum_value("CANCELLED", description="It was ended before it ran.")
    ERROR = strawberry.enum_value("ERROR", description="It failed; `statusReason` says why.")


@strawberry.enum(description="The three lists of the console.")
class SessionCategory(Enum):
    RUNNING = strawberry.enum_value("RUNNING", description="Running ones.")
    FINISHED = strawberry.enum_value("FINISHED", description="Terminated and cancelled ones.")
    OTHER = strawberry.enum_value("OTHER", description="Waiting, starting, ending and failed ones.")


@strawberry.enum(description="What a session is for.")
class SessionType(Enum):
    INTERACTIVE = strawberry.enum_value("INTERACTIVE", description="Runs until it is terminated.")
    BATCH = strawberry.enum_value("BATCH", description="Runs a command to its end.")


@strawberry.enum(description="Where the containers of one session are placed; always all of them or none.")
class ClusterMode(Enum):
    SINGLE_NODE = strawberry.enum_value("SINGLE_NODE", description="All on one node.")
    MULTI_NODE = strawberry.enum_value(
        "MULTI_NODE", description="On one node, or on several that have a network between them."
    )


@strawberry.enum(description="What a container is in its session.")
class KernelRole(Enum):
    MAIN = strawberry.enum_value(
        "MAIN", description="The first one: it runs the startup command, and its result is the session's."
    )
    SUB = strawberry.enum_value("SUB", description="One of the others.")


@strawberry.enum(description="How the command of a batch session went.")
class BatchResult(Enum):
    SUCCESS = strawberry.enum_value("SUCCESS", description="It ended by itself with exit code 0.")
    FAILURE = strawberry.enum_value("FAILURE", description="It did not start, or ended in any other way.")


@strawberry.type(description="Why a status is what it is.")
class StatusReason:
    code: str = said("Stable, for programs: REQUESTED, EXITED, OOM_KILLED, PULL_FAILED …")
    message: str = said("A sentence for people.")


@strawberry.type(description="How far the download of an image is.")
class PullProgress:
    current: ByteSize = said("What has arrived.")
    total: ByteSize | None = said("What will have arrived; null while unknown.")
    percent: float | None = said("0 to 100; null while the total is unknown.")


@strawberry.type(description="An environment variable.")
class EnvironmentVariable:
    name: str = said("Its name.")
    value: str = said("Its value.")


@strawberry.type(description="Something that happened to a session.")
class SessionEventEntry:
    id: strawberry.ID = said("Unique among the entries of all sessions; later ones are larger.")
    at: datetime = said("When.")
    status: SessionStatus = said("The status after it.")
    code: str | None = said("What happened, for programs; null for a plain change of status.")
    message: str | None = said("What happened, in a sentence; null for a plain change of status.")

    @classmethod
    def of(cls, row: tables.SessionEvent) -> "SessionEventEntry":
        return cls(
            id=strawberry.ID(str(row.id)),
            at=row.at,
            status=SessionStatus(row.status),
            code=row.code or None,
            message=row.message or None,
        )


@strawberry.type(description="Load of a session's container at one moment. Counters grow while it lives.")
class KernelStats:
    at: datetime = said("When it was measured, by the node's clock.")
    cpu_percent: float = said("Of one core: 200 is two cores busy.")
    memory_bytes: ByteSize = said("Memory in use, without what is only cached.")
    memory_limit_bytes: ByteSize = said("The most memory that it may use.")
    block_read_bytes: ByteSize = said("Read from disks so far.")
    block_write_bytes: ByteSize = said("Written to disks so far.")
    network_received_bytes: ByteSize = said("Received so far.")
    network_sent_bytes: ByteSize = said("Sent so far.")
    home_bytes: ByteSize = said("Size of its home directory, measured now and then.")
    processes: int = said("Processes in it.")
    devices: list[DeviceUse] = said("Its part in the load of the accelerators that it was given.")

    @classmethod
    def of(cls, sample: KernelSample) -> "KernelStats":
        stats = sample.stats
        return cls(
            at=datetime.fromtimestamp(sample.at, UTC),
            cpu_percent=stats.cpu_percent,
            memory_bytes=ByteSize(stats.memory_bytes),
            memory_limit_bytes=ByteSize(stats.memory_limit_bytes),
            block_read_bytes=ByteSize(stats.block_read_bytes),
            block_write_bytes=ByteSize(stats.block_write_bytes),
            network_received_bytes=ByteSize(stats.network_received_bytes),
            network_sent_bytes=ByteSize(stats.network_sent_bytes),
            home_bytes=ByteSize(stats.home_bytes),
            processes=stats.processes,
            devices=[DeviceUse.of(use) for use in stats.devices],
        )


@strawberry.type(description="The end of a session's log.")
class Log:
    text: str = said("The newest part of what its main process wrote.")
    size: ByteSize = said("Size of the whole.")
    truncated: bool = said("True when `text` is not the whole.")


LogTail = Annotated[
    ByteSize | None,
    strawberry.argument(description="Only the last so many bytes; at most and by default 1 MiB."),
]


@strawberry.type(description="One container of a session.")
class Kernel(Node):
    row: strawberry.Private[tables.Kernel]
    role: KernelRole = said("The main one, or one of the others.")
    hostname: str = said("main1, sub1, sub2 …: by this name the others of its session reach it.")
    rank: int = said("Its place in the session; main1 has 0.")
    status: SessionStatus = said("Where it stands.")
    exit_code: int | None = said("Of its main process; null while it lives or when unknown.")
    started_at: datetime | None = said("Since when it runs; null: it did not yet.")
    terminated_at: datetime | None = said("When it ended; null: it has not.")

    @classmethod
    def of(cls, row: tables.Kernel) -> "Kernel":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            role=KernelRole.SUB if row.rank else KernelRole.MAIN,
            hostname=row.hostname,
            rank=row.rank,
            status=SessionStatus(row.status),
            exit_code=row.exit_code,
            started_at=row.started_at,
            terminated_at=row.terminated_at,
        )

    @strawberry.field(description="What it occupies.")
    def slots(self) -> list[Slot]:
        return Slot.all(self.row.slots)

    @strawberry.field(description="Why the status is what it is; null when there is nothing to say.")
    def status_reason(self) -> StatusReason | None:
        return (
            StatusReason(code=self.row.reason_code, message=self.row.reason_message)
            if self.row.reason_code
            else None
        )

    session: Annotated["Session", strawberry.lazy("schema.sessions")] = refers(
        "session_id", "The session that it belongs to.", always=True
    )

    agent: Annotated["Agent", strawberry.lazy("schema.agents")] | None = refers(
        "agent_id", "Its node; null until it has one, or when you may not see it."
    )

    @strawberry.field(description="Its load, the newest sample; null when there is no recent one.")
    def stats(self, info: Info) -> KernelStats | None:
        sample = info.context.core.stats.kernel(self.row.id)
        return KernelStats.of(sample) if sample else None

    @strawberry.field(
        description="What its main process wrote; kept after its end. Null with an error while its node does not answer."
    )
    async def logs(self, info: Info, tail: LogTail = None) -> Log | None:
        core, viewer, row = info.context.core, info.context.viewer, self.row
        log = await sessions.log(core, viewer, row.session_id, tail, row.id)
        return Log(text=log.text, size=ByteSize(log.size), truncated=log.truncated)


@strawberry.type(description="An isolated environment in which a user's code runs.")
class Session(Node):
    row: strawberry.Private[tables.Session]
    name: str = said("Unique among the live sessions of its user.")
    type: SessionType = said("What it is for.")
    status: SessionStatus = said("Where it stands in its life.")
    priority: int = said("Higher goes first in the queue.")
    cluster_size: int = said("Its containers, all alike: they start and end together.")
    cluster_mode: ClusterMode = said("Where its containers are placed.")
    startup_command: str | None = said(
        "Batch: the command that it runs; else what is run once after its start."
    )
    bootstrap_script: str | None = said("A shell script that runs once after its start.")
    exit_code: int | None = said("Of its main process, once it has ended; null when unknown.")
    starts_at: datetime | None = said("It is not to start before; null: as soon as there is room.")
    max_duration_seconds: int | None = said("It is ended when it has run for so long; null: it may go on.")
    ends_at: datetime | None = said(
        "When it will have run for its maximum duration; null before it runs, and when it has none."
    )
    created_at: datetime = said("When it was asked for.")
    scheduled_at: datetime | None = said("When it got its node; null: not yet.")
    started_at: datetime | None = said("Since when it runs; null: not yet.")
    terminated_at: datetime | None = said("When it ended; null: it has not.")
    phase_deadline: datetime | None = said("When its present phase has failed; null: it may last.")
    unreachable_since: datetime | None = said("Since when its node is not connected; null: it is.")
    pending_reason: PendingReason | None = said(
        "Why it waits; null when it does not, or when it was not looked at yet."
    )

    @classmethod
    def of(cls, row: tables.Session) -> "Session":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            type=SessionType(row.type),
            status=SessionStatus(row.status),
            priority=row.priority,
            cluster_size=row.cluster_size,
            cluster_mode=ClusterMode(row.cluster_mode),
            startup_command=row.startup_command,
            bootstrap_script=row.bootstrap_script,
            exit_code=row.exit_code,
            starts_at=row.starts_at,
            max_duration_seconds=row.max_duration_seconds,
            ends_at=row.ends_at,
            created_at=row.created_at,
            scheduled_at=row.scheduled_at,
            started_at=row.started_at,
            terminated_at=row.terminated_at,
            phase_deadline=row.phase_deadline,
            unreachable_since=row.unreachable_since,
            pending_reason=pending_reason(row),
        )

    @strawberry.field(description="Why the status is what it is; null when there is nothing to say.")
    def status_reason(self) -> StatusReason | None:
        return (
            StatusReason(code=self.row.reason_code, message=self.row.reason_message)
            if self.row.reason_code
            else None
        )

    @strawberry.field(
        description="Batch: how its command went; null before its end, when it was cancelled before it ran, and for "
        "interactive sessions."
    )
    def result(self) -> BatchResult | None:
        if self.row.type != "BATCH" or self.row.status not in ("TERMINATED", "ERROR"):
            return None
        return BatchResult.SUCCESS if sessions.succeeded(self.row) else BatchResult.FAILURE

    @strawberry.field(description="Starts of it that failed for a reason of their node and were tried again.")
    def start_retries(self) -> int:
        return len(self.row.failed_agent_ids)

    @strawberry.field(description="What it occupies, or will: all its containers together.")
    def slots(self) -> list[Slot]:
        return Slot.all(self.row.slots)

    @strawberry.field(
        description="Amounts that the image's minimum raised, as they are now: of all containers together."
    )
    def raised(self) -> list[Slot]:
        return Slot.all(self.row.raised)

    @strawberry.field(description="Environment variables that were asked for.")
    def environ(self) -> list[EnvironmentVariable]:
        return [EnvironmentVariable(name=name, value=value) for name, value in self.row.environ.items()]

    @strawberry.field(description="Seconds that it has run; 0 before.")
    def elapsed_seconds(self, info: Info) -> int:
        if self.row.started_at is None:
            return 0
        return max(
            0,
            int(((self.row.terminated_at or info.context.core.now()) - self.row.started_at).total_seconds()),
        )

    @strawberry.field(
        description="Seconds until it is ended for its maximum duration; null when it does not run, or has none."
    )
    def remaining_seconds(self, info: Info) -> int | None:
        if self.row.status != "RUNNING" or self.row.ends_at is None:
            return None
        return max(0, int((self.row.ends_at - info.context.core.now()).total_seconds()))

    @answered(each("terms"), "For how long it may be unused; null when it does not run.")
    def idle(self, terms: list[sessions.Terms], context: Context) -> SessionIdle | None:
        running = self.row.status == "RUNNING"
        return SessionIdle.of(context.core, self.row, next(iter(terms), None)) if running else None

    @answered(each("terms"), "How old it may get; null when it does not run.")
    def lifetime(self, terms: list[sessions.Terms], context: Context) -> SessionLifetime | None:
        running = self.row.status == "RUNNING"
        return SessionLifetime.of(context.core, self.row, next(iter(terms), None)) if running else None

    @answered(
        each("terms"),
        "What ends it and when, if nobody does anything from now on; null when it does not run, or nothing would.",
    )
    def expected_end(self, terms: list[sessions.Terms], context: Context) -> SessionEnd | None:
        return SessionEnd.of(context.core, self.row, next(iter(terms), None))

    @strawberry.field(description="How far the download of its image is; null when none is under way.")
    def pull(self, info: Info) -> PullProgress | None:
        progress = info.context.core.progress.of(self.row.id)
        if progress is None or self.row.status != "PULLING":
            return None
        percent = min(100.0, 100.0 * progress.current / progress.total) if progress.total else None
        total = ByteSize(progress.total) if progress.total else None
        return PullProgress(current=ByteSize(progress.current), total=total, percent=percent)

    user: Annotated["User", strawberry.lazy("schema.users")] | None = refers(
        "user_id", "Whose it is; null when you may not see them."
    )

    group: Annotated["Group", strawberry.lazy("schema.groups")] | None = refers(
        "group_id", "The group that it belongs to; null when you may not see it any more."
    )

    domain: Annotated["Domain", strawberry.lazy("schema.domains")] | None = refers(
        "domain_id", "The domain that it belongs to; null when you may not see it."
    )

    resource_group: Annotated["ResourceGroup", strawberry.lazy("schema.resource_groups")] | None = refers(
        "resource_group_id", "Where it is scheduled; null when you may not see it any more."
    )

    image: Annotated["Image", strawberry.lazy("schema.images")] | None = refers(
        "image_id", "What it was started from; null when you may not see it any more."
    )

    keypair: Annotated["Keypair", strawberry.lazy("schema.keypairs")] | None = refers(
        "keypair_id", "The keypair whose policy limits it; null when you may not see it."
    )

    kernels: list[Kernel] = belongs("kernels", "Its containers, main1 first.")

    depends_on: list[Annotated["Session", strawberry.lazy("schema.sessions")]] = belongs(
        "dependencies", "Batch sessions that had to succeed before it could start, oldest first."
    )

    events: list[SessionEventEntry] = belongs("timelines", "What happened to it, oldest first.")

    @answered(one("image_id"), "Apps that its image declares.")
    def service_ports(self, image: Any, _context: Context) -> list[ServicePort]:
        return ServicePort.all(image.row) if image is not None else []

    @answered(each("kernels"), "The load of main1, the newest sample; null when there is no recent one.")
    def stats(self, kernels: list[Kernel], context: Context) -> KernelStats | None:
        sample = context.core.stats.kernel(str(kernels[0].id)) if kernels else None
        return KernelStats.of(sample) if sample else None

    @answered(each("kernels"), "The load of main1 in the last ten minutes, oldest first.")
    def stats_history(self, kernels: list[Kernel], context: Context) -> list[KernelStats]:
        history = context.core.stats.kernel_history(str(kernels[0].id)) if kernels else []
        return [KernelStats.of(sample) for sample in history]

    @strawberry.field(
        description="What main1 wrote; kept after its end. Null with an error while its node does not answer."
    )
    async def logs(self, info: Info, tail: LogTail = None) -> Log | None:
        log = await sessions.log(info.context.core, info.context.viewer, self.row.id, tail)
        return Log(text=log.text, size=ByteSize(log.size), truncated=log.truncated)

    @answered(ACTIONS, "Mutations that you may perform on it and that its status allows.")
    def allowed_actions(self, actions: list[str], _context: Context) -> list[str]:
        row = self.row
        possible = {
            "updateSession": row.status not in tables.FINAL,
            "terminateSessions": row.status not in tables.FINAL,
            "exemptSession": row.status not in tables.FINAL,
            "openTerminal": row.status == "RUNNING",
            "closeTerminal": row.status == "RUNNING",
        }
        return [action for action in actions if possible[action]]


@strawberry.type(description="A session has changed.")
class SessionEvent:
    kind: EventKind = said("What it means.")
    cursor: str = said("Where the stream stands; `after` resumes here.")
    session: Session | None = said("The session as it is now; null for RESYNC.")
    entry: SessionEventEntry | None = said(
        "The timeline's new entry; null for a change that is not on the timeline."
    )

    @classmethod
    def of(cls, notice: sessions.SessionNotice) -> "SessionEvent":
        return cls(
            kind=EventKind(notice.kind),
            cursor=notice.cursor,
            session=Session.of(notice.session) if notice.session else None,
            entry=SessionEventEntry.of(notice.event) if notice.event else None,
        )


@strawberry.type(description="More of a session's log.")
class LogChunk:
    text: str = said("What was written.")
    end: bool = said("True: the log is complete, nothing follows.")
