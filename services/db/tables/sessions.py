"""Sessions and their kernels."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, ForeignKey, Index, LargeBinary, String, Text, and_, literal, text
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column

from services.db.tables.base import Base, Slots, index_nulls_first, now
from services.db.types import Document, Serial

FINAL = ("TERMINATED", "CANCELLED", "ERROR")
_HAS_NETWORK = text("network != ''")
_LIVE = text("stage not in ('TERMINATED', 'CANCELLED', 'ERROR')")
_ENDS = text("ends_at is not null and stage not in ('TERMINATED', 'CANCELLED', 'ERROR')")
#: What a session goes through before it runs, or does not.
STARTING: Final = ("PENDING", "SCHEDULED", "PREPARING", "PULLING", "PREPARED", "CREATING")


def stage_of(status: str) -> str:
    return "STARTING" if status in STARTING else status


def _stage(context: DefaultExecutionContext) -> str:
    """Of a new row."""
    return stage_of(context.get_current_parameters()["status"])


class Session(Base):
    """An environment in which a user's code runs: one or more kernels.

    No index has a column that changes while it starts, least of all its status: PostgreSQL then writes the row beside its
    former self and leaves all indexes as they are (HOT), for which its pages are filled by half. What is asked of the
    status is asked of the stage as well (`in_status`). There are few indexes: what is asked seldom (by keypair, image or
    deadline) is found without one of its own.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        # A name is unique among the live sessions of a user.
        Index(
            "uq_sessions_live_name",
            "user_id",
            "name",
            unique=True,
            sqlite_where=_LIVE,
            postgresql_where=_LIVE,
        ),
        Index(None, "stage", "id"),
        Index(None, "user_id", "id"),
        Index(None, "group_id", "id"),
        Index(None, "domain_id", "id"),
        # An order of the list of all, as those below. What a session gets when it is placed is in none of them.
        Index(None, "name", "id"),
        Index("ix_sessions_end", "ends_at", sqlite_where=_ENDS, postgresql_where=_ENDS),
        Index("ix_sessions_network", "network", sqlite_where=_HAS_NETWORK, postgresql_where=_HAS_NETWORK),
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(16), default="INTERACTIVE")
    status: Mapped[str] = mapped_column(String(16), default="PENDING")
    #: Its status, where all statuses before RUNNING are one (`stage_of`).
    stage: Mapped[str] = mapped_column(String(16), default=_stage)
    #: Rises with every change; a compare-and-set guards on it where the status alone is not enough.
    version: Mapped[int] = mapped_column(default=0)
    reason_code: Mapped[str] = mapped_column(String(64), default="")
    reason_message: Mapped[str] = mapped_column(Text, default="")
    #: Why it waits: {code, position} and the numbers (`services.sessions.reasons`).
    pending_reason: Mapped[dict[str, Any] | None] = mapped_column(Document)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    keypair_id: Mapped[str] = mapped_column(ForeignKey("keypairs.id"))
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    resource_group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    #: Of the whole session.
    slots: Mapped[Slots] = mapped_column(default=dict)
    #: Amounts that the image's minimum raised, as they are now.
    raised: Mapped[Slots] = mapped_column(default=dict)
    #: Its kernels, all alike: placed, started and ended together.
    cluster_size: Mapped[int] = mapped_column(default=1)
    #: SINGLE_NODE: all on one agent; MULTI_NODE: on one or on several that have a network between them.
    cluster_mode: Mapped[str] = mapped_column(String(16), default="SINGLE_NODE")
    #: Of the network between agents that is to be removed after its end; empty: none.
    network: Mapped[str] = mapped_column(String(64), default="")
    #: The agent that has made it; None: not made yet.
    network_agent_id: Mapped[str | None] = mapped_column(String(30))
    #: The SSH key of its kernels, sealed, while it lives; None: it has one kernel.
    cluster_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Of each kernel.
    shared_memory: Mapped[int] = mapped_column(default=64 * 1024 * 1024)
    environ: Mapped[dict[str, str]] = mapped_column(default=dict)
    startup_command: Mapped[str | None] = mapped_column(Text)
    bootstrap_script: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(default=0)
    #: Set by an admin to force a node.
    designated_agent_id: Mapped[str | None] = mapped_column(String(30))
    #: It is not looked at by the scheduler before.
    starts_at: Mapped[datetime | None]
    #: From RUNNING on.
    max_duration_seconds: Mapped[int | None]
    #: Where its starts have failed, in their order, and when it may be tried again.
    failed_agent_ids: Mapped[list[str]] = mapped_column(default=list)
    retry_at: Mapped[datetime | None]
    #: When it was last seen in use; written now and then.
    last_used_at: Mapped[datetime | None]
    #: When it was said that it will be ended for being unused; None: not since it was used last.
    idle_warned_at: Mapped[datetime | None]
    #: When it was said that it will be ended for its age; None: not yet.
    lifetime_warned_at: Mapped[datetime | None]
    #: An admin lets it go on however long it is unused, and however old it gets.
    idle_exempt: Mapped[bool] = mapped_column(default=False)
    #: When it will have run for its maximum duration; None: not running yet, or without one.
    ends_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    scheduled_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    terminated_at: Mapped[datetime | None]
    #: When the present phase has failed; None: it may last.
    phase_deadline: Mapped[datetime | None]
    #: Set while its node is lost.
    unreachable_since: Mapped[datetime | None]


index_nulls_first(Session.started_at, Session.id)
index_nulls_first(Session.terminated_at, Session.id)


#: Those that have not ended.
IS_LIVE: Final = Session.stage.not_in([literal(one, literal_execute=True) for one in FINAL])


def in_status(statuses: Collection[str]) -> ColumnElement[bool]:
    """Sessions of these statuses, as the index finds them."""
    staged = Session.stage.in_(sorted({stage_of(one) for one in statuses}))
    whole = set(STARTING) <= set(statuses) or set(STARTING).isdisjoint(statuses)
    return staged if whole else and_(staged, Session.status.in_(statuses))


class SessionDependency(Base):
    """A session that is not to start before another one has succeeded."""

    __tablename__ = "session_dependencies"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    depends_on_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), primary_key=True, index=True)


_UNACCOUNTED = text("not accounted")


class Kernel(Base):
    """One container of a session."""

    __tablename__ = "kernels"
    __table_args__ = (
        Index(None, "session_id", "rank", unique=True),
        Index(None, "agent_id", "status"),
        Index("ix_kernels_unaccounted", "id", sqlite_where=_UNACCOUNTED, postgresql_where=_UNACCOUNTED),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    #: 0 is the main one.
    rank: Mapped[int] = mapped_column(default=0)
    #: main1, sub1, sub2 …
    hostname: Mapped[str] = mapped_column(String(32), default="main1")
    status: Mapped[str] = mapped_column(String(16), default="PENDING")
    #: Rises with each attempt to run it.
    generation: Mapped[int] = mapped_column(default=0)
    #: No foreign key: agents are never removed, and asking for each kernel takes as long as placing it.
    agent_id: Mapped[str | None]
    container: Mapped[str] = mapped_column(default="")
    #: Final here, while its node has not confirmed that nothing of it is left: it is told until it does.
    abandoned: Mapped[bool] = mapped_column(default=False)
    slots: Mapped[Slots] = mapped_column(default=dict)
    reason_code: Mapped[str] = mapped_column(String(64), default="")
    reason_message: Mapped[str] = mapped_column(Text, default="")
    exit_code: Mapped[int | None]
    started_at: Mapped[datetime | None]
    terminated_at: Mapped[datetime | None]
    #: Its time is in the usage totals up to here, microseconds since 1970; None: nothing of it.
    accounted_until: Mapped[int | None]
    #: All of its time is: it has ended.
    accounted: Mapped[bool] = mapped_column(default=False)


class SessionEvent(Base):
    """The timeline of a session; its number is the cursor of `sessionEvents`."""

    __tablename__ = "session_events"
    __table_args__ = (Index(None, "session_id", "id"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    #: No foreign key: an event is written with a change of its session, which is there.
    session_id: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)
    #: Status after the event.
    status: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(64), default="")
    message: Mapped[str] = mapped_column(Text, default="")


class KernelLog(Base):
    """The log of a kernel that has ended: zlib; the newest part when the whole was too long."""

    __tablename__ = "kernel_logs"

    kernel_id: Mapped[str] = mapped_column(ForeignKey("kernels.id"), primary_key=True)
    data: Mapped[bytes]
    #: Bytes of the whole.
    size: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
