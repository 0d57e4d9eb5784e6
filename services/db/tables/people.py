"""Domains, groups, users and what binds them; invitations, consents and mails."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.tables.base import Base, Slots, now
from services.db.types import Document, Serial


def _ending(table: str) -> Index:
    name = f"ix_{table}_sessions_ending"
    return Index(name, "sessions_ending_since", sqlite_where=_ENDING, postgresql_where=_ENDING)


#: What was deactivated, and whose sessions are being ended because of it.
_ENDING = text("sessions_ending_since is not null")


class Domain(Base):
    """A tenant: users, groups and what they may use together."""

    __tablename__ = "domains"
    __table_args__ = (_ending("domains"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    active: Mapped[bool] = mapped_column(default=True)
    total_slots: Mapped[Slots] = mapped_column(default=dict)
    #: None: unlimited.
    max_concurrent_sessions: Mapped[int | None]
    #: Storage hosts that its members may use beside those of their policies.
    allowed_storage_hosts: Mapped[list[str]] = mapped_column(default=list)
    #: It was deactivated then, and its sessions are to end; None: they stay, or have ended.
    sessions_ending_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Group(Base):
    """A project of one domain. Sessions belong to exactly one."""

    __tablename__ = "groups"
    __table_args__ = (Index(None, "domain_id", "name", unique=True), _ending("groups"))

    id: Mapped[str] = mapped_column(primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(Text, default="")
    active: Mapped[bool] = mapped_column(default=True)
    total_slots: Mapped[Slots] = mapped_column(default=dict)
    #: None: unlimited.
    max_concurrent_sessions: Mapped[int | None]
    #: Storage hosts that its members may use beside those of their policies.
    allowed_storage_hosts: Mapped[list[str]] = mapped_column(default=list)
    #: It was deactivated then, and its sessions are to end; None: they stay, or have ended.
    sessions_ending_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class GroupMember(Base):
    __tablename__ = "group_members"

    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)


class User(Base):
    """A person. Never deleted, only deactivated, so that history keeps its owner."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role in ('SUPERADMIN', 'DOMAIN_ADMIN', 'USER')", name="role"),
        Index(None, "domain_id", "id"),
        # Orders of the list of all.
        Index(None, "name", "id"),
        Index(None, "role", "id"),
        _ending("users"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    #: Lower case; unique over all domains.
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    full_name: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(Text, default="")
    role: Mapped[str] = mapped_column(String(16), default="USER")
    active: Mapped[bool] = mapped_column(default=True)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    #: Argon2id in PHC form; None: no password chosen yet, so no login by password.
    password_hash: Mapped[str | None]
    main_keypair_id: Mapped[str | None] = mapped_column(String(30))
    #: Most that all live sessions of the user may occupy together, with whichever keypair.
    total_slots: Mapped[Slots] = mapped_column(default=dict)
    #: None: unlimited.
    max_concurrent_sessions: Mapped[int | None]
    #: Lines of an authorized_keys file: who has one of these keys is let into the user's sessions.
    ssh_public_keys: Mapped[list[str]] = mapped_column(default=list)
    #: Of the authenticator app, sealed; None: none was started.
    totp_secret: Mapped[bytes | None]
    #: None: it does not count yet.
    totp_confirmed_at: Mapped[datetime | None]
    #: The step of the code that was used last: none up to it is taken again.
    totp_last_step: Mapped[int] = mapped_column(default=0)
    #: Somebody has read a mail to the address, or an administrator vouches for it.
    email_verified: Mapped[bool] = mapped_column(default=True)
    #: Of mails to the user: `en` or `ko`.
    language: Mapped[str] = mapped_column(String(8), default="en")
    #: Rises when password, role or status change: tokens of an older epoch are void.
    epoch: Mapped[int] = mapped_column(default=0)
    #: The user was deactivated then, and the user's sessions are to end; None: they stay, or have ended.
    sessions_ending_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class ResourcePolicy(Base):
    """Limits of the keypairs that refer to it."""

    __tablename__ = "resource_policies"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    #: Most that all live sessions of one keypair may occupy together.
    total_slots: Mapped[Slots] = mapped_column(default=dict)
    #: None: unlimited.
    max_concurrent_sessions: Mapped[int | None]
    max_kernels_per_session: Mapped[int] = mapped_column(default=1)
    #: 0: never.
    idle_timeout_seconds: Mapped[int] = mapped_column(default=0)
    #: Load above it is use, in percent of what a kernel was given; 100: such load is no use.
    idle_cpu_percent: Mapped[int] = mapped_column(default=5)
    idle_accelerator_percent: Mapped[int] = mapped_column(default=5)
    #: From its start a session may run for so long; 0: for ever.
    max_lifetime_seconds: Mapped[int] = mapped_column(default=0)
    #: Storage hosts that folders may be on; None: all.
    allowed_storage_hosts: Mapped[list[str] | None] = mapped_column(Document)
    #: Of one folder, in bytes; None: unlimited.
    max_folder_bytes: Mapped[int | None]
    #: Folders of one user; None: unlimited.
    max_folders: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Invitation(Base):
    """A token with which so many people sign up."""

    __tablename__ = "invitations"
    __table_args__ = (CheckConstraint("uses <= uses_allowed", name="uses"), Index(None, "domain_id", "id"))

    id: Mapped[str] = mapped_column(primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"))
    policy_id: Mapped[str | None] = mapped_column(ForeignKey("resource_policies.id"))
    description: Mapped[str] = mapped_column(Text, default="")
    uses_allowed: Mapped[int] = mapped_column(default=1)
    uses: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    created_by_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Consent(Base):
    """A user has agreed to a version of a text."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    document: Mapped[str] = mapped_column(String(32))
    version: Mapped[str]
    #: From where.
    address: Mapped[str] = mapped_column(default="")
    accepted_at: Mapped[datetime] = mapped_column(default=now)


class Mail(Base):
    """A mail to be sent, written in the transaction of what it tells; `services/mails` sends it."""

    __tablename__ = "mails"
    __table_args__ = (
        CheckConstraint("status in ('QUEUED', 'SENT', 'FAILED')", name="status"),
        Index(
            "ix_mails_due",
            "next_at",
            sqlite_where=text("status = 'QUEUED'"),
            postgresql_where=text("status = 'QUEUED'"),
        ),
        Index(None, "next_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    #: What it tells: a name of `services.mails.templates.KINDS`.
    kind: Mapped[str] = mapped_column(String(32))
    recipient: Mapped[str]
    #: Subject and texts, sealed, for there are links in them that let somebody in; None once nobody needs them.
    content: Mapped[bytes | None]
    status: Mapped[str] = mapped_column(String(8), default="QUEUED")
    attempts: Mapped[int] = mapped_column(default=0)
    #: Why the last attempt failed.
    last_error: Mapped[str] = mapped_column(Text, default="")
    next_at: Mapped[datetime] = mapped_column(default=now)
    #: After it nobody wants it any more: the link in it is void.
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    sent_at: Mapped[datetime | None]
