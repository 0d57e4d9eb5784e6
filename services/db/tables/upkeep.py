"""What managers share: tasks, leases, settings, announcements and the trail of changes."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.tables.base import Base, now

_LIVE_TASK = text("status in ('PENDING', 'RUNNING')")


class Task(Base):
    """Work in the background. One manager at a time has it, for the time of a lease that it renews (`services.tasks`)."""

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint(
            "status in ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="status"
        ),
        # The same work is not done twice at once.
        Index(
            "uq_tasks_live_lock",
            "lock",
            unique=True,
            sqlite_where=_LIVE_TASK,
            postgresql_where=_LIVE_TASK,
        ),
        Index(None, "status", "id"),
        Index(None, "user_id", "id"),
        Index(None, "domain_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), default="PENDING")
    #: Whose request it does, and whose domain it was.
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    arguments: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: What it is about; None: any number of such tasks at once.
    lock: Mapped[str | None] = mapped_column(String(128))
    #: Steps done, of how many; None: not known yet.
    current: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    message: Mapped[str] = mapped_column(Text, default="")
    #: Name → number, in the order of their first mention.
    summary: Mapped[list[Any]] = mapped_column(default=list)
    #: (agent's id, image's id, reference, bytes that are there or None, bytes in all or None) of each image under way.
    pulls: Mapped[list[Any]] = mapped_column(default=list)
    error_code: Mapped[str] = mapped_column(String(64), default="")
    error_message: Mapped[str] = mapped_column(Text, default="")
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    #: Rises whenever a manager takes it: what an earlier holder writes is refused.
    attempt: Mapped[int] = mapped_column(default=0)
    manager: Mapped[str] = mapped_column(default="")
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class TaskLine(Base):
    """What became of one thing that a task is about."""

    __tablename__ = "task_lines"

    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    #: From 1 on.
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(512), default="")
    message: Mapped[str] = mapped_column(Text, default="")


class Announcement(Base):
    """What administrators want everybody to read, for a time."""

    __tablename__ = "announcements"
    __table_args__ = (CheckConstraint("severity in ('INFO', 'WARNING', 'CRITICAL')", name="severity"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    #: Whose users see it; None: everybody.
    domain_id: Mapped[str | None] = mapped_column(ForeignKey("domains.id"), index=True)
    severity: Mapped[str] = mapped_column(String(16), default="INFO")
    title: Mapped[str]
    #: Markdown.
    text: Mapped[str] = mapped_column(Text, default="")
    starts_at: Mapped[datetime] = mapped_column(default=now)
    #: None: until it is changed or deleted.
    ends_at: Mapped[datetime | None]
    #: Who wrote it.
    author_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class Lease(Base):
    """A duty that one manager at a time has. `fence` rises with each new holder; what an older one writes is refused."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(default="")
    fence: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]


class Setting(Base):
    """What an administrator has set; a setting without a row has its default (`services/options.py` has them all)."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: `{"value": …}`; empty for a secret.
    document: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: A secret, sealed for its key.
    sealed: Mapped[bytes | None]
    updated_at: Mapped[datetime] = mapped_column(default=now)
    updated_by_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))


class AuditEvent(Base):
    """One attempt to change something (`services/trail.py`). Written once, and how it ended; deleted when it is old."""

    __tablename__ = "audit_events"
    __table_args__ = (
        # In the order of time, since ids are.
        Index(None, "user_id", "id"),
        Index(None, "domain_id", "id"),
        Index(None, "target_id", "id"),
        Index(None, "action", "id"),
        Index(
            "ix_audit_events_not_done",
            "outcome",
            "id",
            sqlite_where=text("outcome <> 'DONE'"),
            postgresql_where=text("outcome <> 'DONE'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    #: Who; None: nobody was logged in. No foreign key: an event outlives what it names, and costs no look at it.
    user_id: Mapped[str | None] = mapped_column(String(30))
    #: Of who.
    domain_id: Mapped[str | None] = mapped_column(String(30))
    #: The mutation, or what else it was that is no mutation (`joinAgent`).
    action: Mapped[str] = mapped_column(String(64))
    #: The first of what it was about; the others are in `audit_targets`.
    target_id: Mapped[str | None] = mapped_column(String(30))
    address: Mapped[str] = mapped_column(String(64), default="")
    user_agent: Mapped[str] = mapped_column(default="")
    request_id: Mapped[str] = mapped_column(String(64), default="")
    #: DONE, PARTLY, REFUSED, FAILED.
    outcome: Mapped[str] = mapped_column(String(8), default="DONE")
    #: Of the error; empty: there was none.
    code: Mapped[str] = mapped_column(String(32), default="")
    #: `services.trail.Content` as JSON: read, not searched by parts.
    content: Mapped[str] = mapped_column(Text, default="{}")


class AuditTarget(Base):
    """What else an event was about, after the first."""

    __tablename__ = "audit_targets"

    target_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(30), primary_key=True, index=True)
