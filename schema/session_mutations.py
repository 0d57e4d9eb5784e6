"""What is asked of sessions, and what comes back."""

from datetime import datetime
from enum import Enum

import strawberry

from schema.errors import Problem
from schema.fields import said
from schema.paging import Direction
from schema.scalars import ByteSize
from schema.sessions import ClusterMode, Session, SessionCategory, SessionStatus, SessionType
from schema.slots import Slot, SlotInput


@strawberry.input(description="Which sessions; all given conditions hold together.")
class SessionFilter:
    status_in: list[SessionStatus] | None = said("Only those in one of these statuses.", default=None)
    category: SessionCategory | None = said("Only those of this list.", default=None)
    search: str | None = said("Part of the name, or the beginning of the id.", default=None)
    user_id: strawberry.ID | None = said("Only those of this user.", default=None)
    group_id: strawberry.ID | None = said("Only those of this group.", default=None)
    domain_id: strawberry.ID | None = said("Only those of this domain.", default=None)
    resource_group_id: strawberry.ID | None = said("Only those of this resource group.", default=None)
    agent_id: strawberry.ID | None = said("Only those with a container on this agent.", default=None)
    type: SessionType | None = said("Only those of this type.", default=None)
    created_after: datetime | None = said("Only those asked for at or after this moment.", default=None)
    created_before: datetime | None = said("Only those asked for before this moment.", default=None)


@strawberry.enum(description="What lists of sessions are ordered by.")
class SessionOrderField(Enum):
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By when they were asked for.")
    NAME = strawberry.enum_value("NAME", description="By name.")
    STATUS = strawberry.enum_value(
        "STATUS", description="By status, in which everything before RUNNING is one."
    )
    STARTED_AT = strawberry.enum_value("STARTED_AT", description="By when they began to run.")
    TERMINATED_AT = strawberry.enum_value("TERMINATED_AT", description="By when they ended.")


@strawberry.input(description="An order of sessions.")
class SessionOrder:
    field: SessionOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.DESC)


@strawberry.input(description="An environment variable.")
class EnvironmentVariableInput:
    name: str = said("Letters, digits and underscores, not beginning with a digit.")
    value: str = said("Its value.")


@strawberry.input(description="A session to be made.")
class CreateSessionInput:
    group_id: strawberry.ID = said("One of your groups.")
    resource_group_id: strawberry.ID = said("A resource group that was granted to you.")
    slots: list[SlotInput] = said(
        "What each of its containers needs; less than the image's minimum is raised to it."
    )
    image_id: strawberry.ID | None = said("What it starts from; or else `imageAlias`.", default=None)
    image_alias: str | None = said("A short name of what it starts from.", default=None)
    name: str | None = said("Unique among your live sessions; made up when absent.", default=None)
    type: SessionType = said("What it is for.", default=SessionType.INTERACTIVE)
    environ: list[EnvironmentVariableInput] = said("Environment variables.", default_factory=list)
    startup_command: str | None = said(
        "Batch: the command that it runs to its end; else run once after the start. In main1 alone.",
        default=None,
    )
    bootstrap_script: str | None = said(
        "A shell script that runs once after the start, in each container.", default=None
    )
    cluster_size: int = said(
        "Containers, main1, sub1, sub2 …, which are placed all or none and end together; at most 60, and no more than "
        "your resource policy allows.",
        default=1,
    )
    cluster_mode: ClusterMode = said("Where they are placed.", default=ClusterMode.SINGLE_NODE)
    priority: int = said("-100 to 100; higher goes first.", default=0)
    shared_memory: ByteSize | None = said("Part of each container's memory; by default 64 MiB.", default=None)
    agent_id: strawberry.ID | None = said("Only on this node; for administrators.", default=None)
    starts_at: datetime | None = said("Not before; at most 366 days from now.", default=None)
    max_duration_seconds: int | None = said(
        "It is ended when it has run for so long; by default it may go on.", default=None
    )
    depends_on: list[strawberry.ID] = said(
        "Batch sessions of your own that have to succeed first, at most 100; when one does not, this one is cancelled.",
        default_factory=list,
    )
    idempotency_key: str | None = said(
        "The same key gives the same session again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a session.")
class UpdateSessionInput:
    id: strawberry.ID = said("The session.")
    name: str = said("A new name.")


@strawberry.input(description="Sessions to end.")
class TerminateSessionsInput:
    ids: list[strawberry.ID] = said("At most 100.")
    force: bool = said(
        "Do not wait for the node: what it still has is removed as soon as it can be reached.", default=False
    )


@strawberry.input(description="A session that is to be left alone however long it is unused, or no longer.")
class ExemptSessionInput:
    id: strawberry.ID = said("The session.")
    exempt: bool = said("False: it ends again when it is unused for too long.", default=True)


@strawberry.input(description="A terminal to open.")
class OpenTerminalInput:
    session_id: strawberry.ID = said("A running session.")
    kernel_id: strawberry.ID | None = said("Which of its containers; by default main1.", default=None)
    terminal_id: str | None = said(
        "One that was opened before: the same shell with its scrollback.", default=None
    )
    columns: int = said("Width in characters.", default=80)
    rows: int = said("Height in characters.", default=24)


@strawberry.input(description="A terminal to close.")
class CloseTerminalInput:
    session_id: strawberry.ID = said("The session.")
    kernel_id: strawberry.ID | None = said("Which of its containers; by default main1.", default=None)
    terminal_id: str = said("The terminal.")


@strawberry.type(description="A session was put into the queue.")
class CreateSessionPayload:
    session: Session = said("The new session.")
    raised: list[Slot] = said("Amounts that the image's minimum raised, as they are now.")


@strawberry.type(description="A session was changed.")
class UpdateSessionPayload:
    session: Session = said("The session as it is now.")


@strawberry.type(description="A session may go on unused, or no longer.")
class ExemptSessionPayload:
    session: Session = said("The session as it is now.")


@strawberry.type(description="What became of one of several sessions.")
class SessionResult:
    id: strawberry.ID = said("The session's id as it was given.")
    session: Session | None = said("The session as it is now; null when it was not done.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="Sessions are being ended, each for itself.")
class TerminateSessionsPayload:
    results: list[SessionResult] = said("One for each id.")


@strawberry.type(description="A terminal can be attached to.")
class OpenTerminalPayload:
    terminal_id: str = said("Opens the same shell again.")
    url: str = said(
        'A websocket, for one connection: binary frames are bytes, the text frame {"resize":[columns,rows]} resizes, '
        '{"exit":code} is the shell\'s end.'
    )
    expires_at: datetime = said("Until when the address can be used.")


@strawberry.type(description="A terminal was closed.")
class CloseTerminalPayload:
    terminal_id: str = said("The terminal that is gone.")
