"""How people and programs come in: keypairs, logins, identity providers, what was tried and what was used up."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.tables.base import Base, index_nulls_first, now


class Keypair(Base):
    """What a request is signed with. The secret is kept encrypted: signatures are checked with it."""

    __tablename__ = "keypairs"
    __table_args__ = (
        # An order of the list of all, as that by last use below; both are written a batch at a time.
        Index(None, "query_count", "id"),
    )

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


index_nulls_first(Keypair.last_used_at, Keypair.id)


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
    __table_args__ = (Index(None, "issuer", "subject", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
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
