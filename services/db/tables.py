"""The typed tables. What is true is here; everything else (bus, agents' reports, caches) is a hint.

Slots are integers: milli-units for what is counted (cpu 1500 = 1.5 cores), bytes for `mem`. A missing name in a map of
limits means "unlimited", in a map of amounts "none".
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.db.types import Document, Serial, UtcDateTime

Slots = dict[str, int]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own form of declaration
        str: String(255),
        int: BigInteger,
        datetime: UtcDateTime,
        bytes: LargeBinary,
        Slots: Document,
        dict[str, str]: Document,
        dict[str, Any]: Document,
        list[str]: Document,
        list[Any]: Document,
    }


#: What was deactivated, and whose sessions are being ended because of it.
_ENDING = text("sessions_ending_since is not null")


def _ending(table: str) -> Index:
    name = f"ix_{table}_sessions_ending"
    return Index(name, "sessions_ending_since", sqlite_where=_ENDING, postgresql_where=_ENDING)


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


class Keypair(Base):
    """What a request is signed with. The secret is kept encrypted: signatures are checked with it."""

    __tablename__ = "keypairs"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    policy_id: Mapped[str] = mapped_column(ForeignKey("resource_policies.id"), index=True)
    access_key: Mapped[str] = mapped_column(String(64), unique=True)
    secret_encrypted: Mapped[bytes]
    active: Mapped[bool] = mapped_column(default=True)
    #: Requests per 15 minutes.
    rate_limit: Mapped[int] = mapped_column(default=1000)
    query_count: Mapped[int] = mapped_column(default=0)
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Login(Base):
    """A login and with it a family of refresh tokens, of which only the newest counts."""

    __tablename__ = "logins"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    #: The keypair that it was made with, whose limits count; None: by password, and the user's main keypair counts.
    keypair_id: Mapped[str | None] = mapped_column(String(30))
    #: User's epoch at login.
    epoch: Mapped[int]
    #: SHA-256 of the current refresh token, and of the one before it (honoured for a short grace: a lost reply).
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    previous_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32), index=True)
    rotated_at: Mapped[datetime] = mapped_column(default=now)
    address: Mapped[str] = mapped_column(default="")
    user_agent: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class RetiredRefreshToken(Base):
    """A refresh token that has been replaced: seeing it again means that somebody stole it."""

    __tablename__ = "retired_refresh_tokens"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    login_id: Mapped[str] = mapped_column(ForeignKey("logins.id"), index=True)
    retired_at: Mapped[datetime] = mapped_column(default=now)


class Ticket(Base):
    """A secret that works once and not for long: a first-password link, a terminal to attach to."""

    __tablename__ = "tickets"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    #: `password`, `verify`, `second-factor` or `terminal`.
    purpose: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


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


class IdentityProvider(Base):
    """Who else may say who somebody is, by OpenID Connect."""

    __tablename__ = "identity_providers"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: Part of the addresses of its logins.
    name: Mapped[str] = mapped_column(unique=True)
    #: On its button.
    title: Mapped[str]
    description: Mapped[str] = mapped_column(Text, default="")
    issuer: Mapped[str]
    client_id: Mapped[str]
    #: None: a public client, which proves itself by PKCE alone.
    client_secret_sealed: Mapped[bytes | None]
    #: Of e-mail addresses, in lower case; empty: all.
    allowed_email_domains: Mapped[list[str]] = mapped_column(default=list)
    create_users: Mapped[bool] = mapped_column(default=False)
    #: Where users belong that are created.
    domain_id: Mapped[str | None] = mapped_column(ForeignKey("domains.id"))
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Identity(Base):
    """Whom an issuer calls by this subject; the pair never means somebody else (OpenID Connect Core §2)."""

    __tablename__ = "identities"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    #: As the issuer said when they were linked.
    email: Mapped[str]
    linked_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime] = mapped_column(default=now)


class RecoveryCode(Base):
    """What opens a login once when the authenticator app is lost: a keyed hash."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    used_at: Mapped[datetime | None]


class FailedAttempt(Base):
    """Attempts to get in that failed, of an account, an address or both; see `services/auth/attempts.py`."""

    __tablename__ = "failed_attempts"

    key: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)
    #: Milliseconds since 1970: the next attempt is not judged before.
    allowed_ms: Mapped[int] = mapped_column(default=0)
    last_ms: Mapped[int] = mapped_column(default=0, index=True)


class Nonce(Base):
    """Ids of signed requests already seen, until they would have expired anyway."""

    __tablename__ = "nonces"

    keypair_id: Mapped[str] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class IdempotencyKey(Base):
    """What a creating mutation made, stored in its transaction: the same key gives the same object again."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    mutation: Mapped[str] = mapped_column(String(64))
    #: SHA-256 of the arguments: the same key with others is an error.
    arguments_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    object_id: Mapped[str] = mapped_column(String(30))
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)


class ResourceGroup(Base):
    """Agents that are scheduled together, and how."""

    __tablename__ = "resource_groups"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    active: Mapped[bool] = mapped_column(default=True)
    #: Most that all live sessions in it may occupy together, whatever its agents have.
    total_slots: Mapped[Slots] = mapped_column(default=dict)
    #: None: unlimited.
    max_concurrent_sessions: Mapped[int | None]
    #: None: as many as the keypair's policy allows.
    max_kernels_per_session: Mapped[int | None]
    sequencer: Mapped[str] = mapped_column(default="fifo")
    sequencer_options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    placer: Mapped[str] = mapped_column(default="pack")
    placer_options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: After so long without its node a session is given up; None: it waits until somebody decides.
    lost_session_grace_seconds: Mapped[int | None]
    #: 0: never.
    idle_timeout_seconds: Mapped[int] = mapped_column(default=0)
    #: Load above it is use, in percent of what a kernel was given; 100: such load is no use.
    idle_cpu_percent: Mapped[int] = mapped_column(default=5)
    idle_accelerator_percent: Mapped[int] = mapped_column(default=5)
    #: From its start a session may run for so long; 0: for ever.
    max_lifetime_seconds: Mapped[int] = mapped_column(default=0)
    #: A start that fails for a reason of its node is tried again at most so often.
    start_retries: Mapped[int] = mapped_column(default=2)
    #: The head of the queue gets a reservation, and others may pass it that do not delay it.
    backfill: Mapped[bool] = mapped_column(default=True)
    backfill_options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: What the dispatcher last found wrong with a plug-in: {plugin, message, since}; None: nothing.
    scheduler_fault: Mapped[dict[str, Any] | None] = mapped_column(Document)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ResourceGroupGrant(Base):
    """A domain, group or user (by its id, which says what it is) that may use a resource group."""

    __tablename__ = "resource_group_grants"

    resource_group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"), primary_key=True)
    grantee_id: Mapped[str] = mapped_column(String(30), primary_key=True, index=True)


class ResourcePreset(Base):
    """Amounts that sessions often ask for, under a name."""

    __tablename__ = "resource_presets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    slots: Mapped[Slots] = mapped_column(default=dict)
    #: Bytes, a part of its memory; None: what sessions have that say nothing.
    shared_memory: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class JoinToken(Base):
    """Lets one new agent in, once."""

    __tablename__ = "join_tokens"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    resource_group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"))
    created_by: Mapped[str | None] = mapped_column(String(30))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    agent_id: Mapped[str | None] = mapped_column(String(30))


class Agent(Base):
    """A worker node."""

    __tablename__ = "agents"
    __table_args__ = (CheckConstraint("status in ('ALIVE', 'LOST', 'TERMINATED')", name="status"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    resource_group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"), index=True)
    status: Mapped[str] = mapped_column(String(16), default="LOST")
    schedulable: Mapped[bool] = mapped_column(default=True)
    credential_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    #: Rises with each connection; commands and leases of an older connection are void.
    epoch: Mapped[int] = mapped_column(default=0)
    #: The manager process that holds its connection.
    manager: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    region: Mapped[str] = mapped_column(default="")
    runtime: Mapped[str] = mapped_column(default="")
    isolated: Mapped[bool] = mapped_column(default=True)
    architecture: Mapped[str] = mapped_column(default="")
    version: Mapped[str] = mapped_column(default="")
    hardware: Mapped[dict[str, Any]] = mapped_column(default=dict)
    slots: Mapped[Slots] = mapped_column(default=dict)
    #: Event journal of the agent and the newest number committed here.
    journal: Mapped[str] = mapped_column(default="")
    acknowledged: Mapped[int] = mapped_column(default=0)
    first_contact_at: Mapped[datetime | None]
    last_contact_at: Mapped[datetime | None]
    lease_expires_at: Mapped[datetime | None]
    lost_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Image(Base):
    """An environment that sessions start from, of one architecture."""

    __tablename__ = "images"
    __table_args__ = (Index(None, "reference", "architecture", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    #: As an engine understands it.
    reference: Mapped[str] = mapped_column(String(512))
    architecture: Mapped[str]
    registry_host: Mapped[str] = mapped_column("registry", default="")
    namespace: Mapped[str] = mapped_column(default="")
    name: Mapped[str]
    tag: Mapped[str] = mapped_column(default="")
    digest: Mapped[str] = mapped_column(default="")
    size: Mapped[int] = mapped_column(default=0)
    language: Mapped[str] = mapped_column(default="")
    version: Mapped[str] = mapped_column(default="")
    base: Mapped[str] = mapped_column(default="")
    labels: Mapped[dict[str, str]] = mapped_column(default=dict)
    minimum_slots: Mapped[Slots] = mapped_column(default=dict)
    #: True once an admin has changed the minimums: labels no longer overwrite them.
    minimum_edited: Mapped[bool] = mapped_column(default=False)
    #: [{name, protocol, port}]
    service_ports: Mapped[list[Any]] = mapped_column(default=list)
    environment_names: Mapped[list[str]] = mapped_column(default=list)
    active: Mapped[bool] = mapped_column(default=True)
    #: What its registry had when it was last looked through: then the registry says what the image is, and not a node,
    #: which may have an older one. None: only nodes have it.
    scanned_digest: Mapped[str | None]
    #: It is hidden because its registry has it no more.
    vanished: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ImageAlias(Base):
    """A short name for an image."""

    __tablename__ = "image_aliases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Registry(Base):
    """Where images come from. It governs every image whose reference begins with its host name."""

    __tablename__ = "registries"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: As references have it: with the port, where there is one.
    hostname: Mapped[str] = mapped_column(unique=True)
    #: With the scheme; its host is the host name (Docker Hub's is another).
    url: Mapped[str] = mapped_column(String(512))
    #: DOCKER, DOCKER_HUB or HARBOR.
    kind: Mapped[str] = mapped_column(String(16), default="DOCKER")
    username: Mapped[str] = mapped_column(default="")
    #: Sealed; None: it is asked without one.
    password_encrypted: Mapped[bytes | None]
    #: Projects or namespaces that are looked through; none: all that the registry lists.
    projects: Mapped[list[str]] = mapped_column(default=list)
    #: Other hosts that it may send us and its password to: where its tokens are given out.
    trusted_hosts: Mapped[list[str]] = mapped_column(default=list)
    verify_tls: Mapped[bool] = mapped_column(default=True)
    active: Mapped[bool] = mapped_column(default=True)
    #: When it was last looked through to its end.
    scanned_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class RegistryGrant(Base):
    """A domain or group (by its id, which says what it is) that may use a registry's images."""

    __tablename__ = "registry_grants"

    registry_id: Mapped[str] = mapped_column(ForeignKey("registries.id"), primary_key=True)
    grantee_id: Mapped[str] = mapped_column(String(30), primary_key=True, index=True)


class AgentImage(Base):
    """An image that a node has on its disk."""

    __tablename__ = "agent_images"

    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True, index=True)
    digest: Mapped[str] = mapped_column(default="")
    #: Since when, as far as that was watched.
    since: Mapped[datetime] = mapped_column(default=now)


FINAL = ("TERMINATED", "CANCELLED", "ERROR")
_HAS_NETWORK = text("network != ''")
_LIVE = text("status not in ('TERMINATED', 'CANCELLED', 'ERROR')")
_ENDS = text("ends_at is not null and status not in ('TERMINATED', 'CANCELLED', 'ERROR')")


class Session(Base):
    """An environment in which a user's code runs: one or more kernels.

    Every change of its status writes to each of its indexes anew, so there are few: what is asked seldom (by keypair,
    image or deadline) is found without one of its own.
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
        Index(None, "status", "id"),
        Index(None, "user_id", "id"),
        Index(None, "group_id", "id"),
        Index(None, "domain_id", "id"),
        Index("ix_sessions_end", "ends_at", sqlite_where=_ENDS, postgresql_where=_ENDS),
        Index("ix_sessions_network", "network", sqlite_where=_HAS_NETWORK, postgresql_where=_HAS_NETWORK),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(16), default="INTERACTIVE")
    status: Mapped[str] = mapped_column(String(16), default="PENDING")
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
    agent_id: Mapped[str | None] = mapped_column(ForeignKey("agents.id"))
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


_OF_USERS = text("user_id != ''")


class UsageTotal(Base):
    """What was used in one hour, day or month (UTC), by whom and where.

    Each amount is there twice: under its user, and with an empty one for all users together. It is `high * 2**32 + low`:
    bytes times microseconds are more than 64 bits can add up. `services/statistics.py` says what the measures are.
    """

    __tablename__ = "usage_totals"
    __table_args__ = (
        Index(
            "ix_usage_totals_period",
            "period",
            "domain_id",
            sqlite_where=_OF_USERS,
            postgresql_where=_OF_USERS,
        ),
        Index(
            "ix_usage_totals_group", "group_id", "period", sqlite_where=_OF_USERS, postgresql_where=_OF_USERS
        ),
    )

    user_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    #: `2026-11-24T08`, `2026-11-24` or `2026-11`.
    period: Mapped[str] = mapped_column(String(13), primary_key=True)
    domain_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    group_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    resource_group_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    measure: Mapped[str] = mapped_column(String(64), primary_key=True)
    high: Mapped[int]
    low: Mapped[int]
    #: The largest single value, for measures that have one.
    peak: Mapped[int]


class KernelMeter(Base):
    """How far a live kernel's own counters are in the usage totals."""

    __tablename__ = "kernel_meters"

    kernel_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    cpu_milliseconds: Mapped[int] = mapped_column(default=0)
    block_read_bytes: Mapped[int] = mapped_column(default=0)
    block_write_bytes: Mapped[int] = mapped_column(default=0)
    network_received_bytes: Mapped[int] = mapped_column(default=0)
    network_sent_bytes: Mapped[int] = mapped_column(default=0)


class Occupancy(Base):
    """What is taken of a scope (an agent, keypair, user, group, resource group or domain, by its id), a slot a row.

    Changed only in the transaction that changes a kernel's status, by `UPDATE … WHERE used + n <= limit`, so that no
    committed state exceeds a limit, whatever runs concurrently. The pseudo-slot `sessions` counts sessions.
    """

    __tablename__ = "occupancies"
    __table_args__ = (CheckConstraint("used >= 0", name="used"),)

    scope_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    slot: Mapped[str] = mapped_column(String(64), primary_key=True)
    used: Mapped[int] = mapped_column(default=0)


class SessionEvent(Base):
    """The timeline of a session; its number is the cursor of `sessionEvents`."""

    __tablename__ = "session_events"
    __table_args__ = (Index(None, "session_id", "id"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    at: Mapped[datetime] = mapped_column(default=now)
    #: Status after the event.
    status: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(64), default="")
    message: Mapped[str] = mapped_column(Text, default="")


class AgentEvent(Base):
    """What happened to an agent; its number is the cursor of `agentEvents`."""

    __tablename__ = "agent_events"
    __table_args__ = (Index(None, "agent_id", "id"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"))
    at: Mapped[datetime] = mapped_column(default=now)
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
