"""Keypairs: what requests are signed with, and what limits hang on. A secret key is shown once, when it is made."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import auth, idempotency, ids, inputs, permissions, subjects
from services.bus import Revoked, Wake
from services.core import Core
from services.db.tables import Keypair, Nonce, ResourcePolicy, Session, User
from services.errors import Conflict, Forbidden, NotFound, Problems
from services.filters import Conditions, equal
from services.nouns import Noun
from services.outcomes import Outcome, each
from services.permissions import Actor, Reach
from services.policies import DEFAULT
from services.searches import Search

ACCESS_KEY: Final = re.compile(r"[A-Z0-9]{16,64}")
#: HMAC-SHA256 wants at least 32 bytes (RFC 7518 §3.2).
SECRET_KEY: Final = re.compile(r"[\x21-\x7e]{32,128}")
DEFAULT_RATE: Final = 1000
_HIGHEST_RATE: Final = 1_000_000_000
#: Keypairs that a user may make without an administrator: each has limits of its own.
OWN_KEYPAIRS: Final = 5
#: Sessions of one keypair that are counted.
COUNTED: Final = 10_000
_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True)
class KeypairFilter:
    user_id: str | None = None
    policy_id: str | None = None
    active: bool | None = None
    #: Part of the access key, or of the user's e-mail address or names, or the beginning of an id of either.
    search: str | None = None


@dataclass(frozen=True)
class KeypairSpec:
    """`policy_id` and `rate_limit` are for those who may `updateKeypair`; others get those of the user's main one."""

    user_id: str
    policy_id: str | None = None
    rate_limit: int | None = None
    #: 16 to 64 capital letters and digits; None: made at random.
    access_key: str | None = None
    #: 32 to 128 printable ASCII characters; None: made at random.
    secret_key: str | None = field(default=None, repr=False)
    idempotency_key: str | None = None


@dataclass(frozen=True)
class KeypairChanges:
    """None: as it is."""

    policy_id: str | None = None
    rate_limit: int | None = None


@dataclass(frozen=True)
class NewKeypair:
    keypair: Keypair
    #: For this once; a repeated request with the same idempotency key gets it again, for its reply may have been lost.
    secret_key: str = field(repr=False)


ORDERS: Final = {
    "CREATED_AT": Keypair.id,
    "ACCESS_KEY": Keypair.access_key,
    "LAST_USED_AT": Keypair.last_used_at,
    "QUERY_COUNT": Keypair.query_count,
}


def _conditions(where: KeypairFilter) -> Conditions:
    return [
        *equal(Keypair.user_id, where.user_id),
        *equal(Keypair.policy_id, where.policy_id),
        *equal(Keypair.active, where.active),
    ]


_search = Search(Keypair, "key", owner=(Keypair.user_id, Search(User, "usr")))
_noun = Noun(Keypair, "key", _conditions, search=_search)
find, page, total, many, get = _noun.find, _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: KeypairSpec) -> NewKeypair:
    """Make a keypair for a user, the first of whom becomes the main one.

    Raises:
        BadInput, NotFound, Forbidden: a policy or rate was asked for that only an administrator gives, or the user has
            as many as one may make without one.
        Conflict: the access key is taken.
    """
    permissions.require_role(actor, "createKeypair")
    problems = Problems()
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    if spec.access_key is not None and not ACCESS_KEY.fullmatch(spec.access_key):
        problems.add("input.accessKey", "An access key has 16 to 64 capital letters and digits.")
    if spec.secret_key is not None and not SECRET_KEY.fullmatch(spec.secret_key):
        problems.add(
            "input.secretKey", "A secret key has 32 to 128 printable ASCII characters, without spaces."
        )
    inputs.check_number(spec.rate_limit, problems, "input.rateLimit", least=1, most=_HIGHEST_RATE)
    problems.check()

    async def add(db: AsyncSession) -> Keypair:
        user = await _owner(db, actor, spec.user_id)
        policy_id, rate_limit = await _terms(db, actor, user, spec)
        if spec.access_key is not None:
            await _check_free(db, spec.access_key)
        keypair = make(
            core,
            user.id,
            policy_id,
            rate_limit=rate_limit,
            access_key=spec.access_key,
            secret_key=spec.secret_key,
        )
        db.add(keypair)
        user.main_keypair_id = user.main_keypair_id or keypair.id
        return keypair

    keypair, _ = await idempotency.once(core, actor, "createKeypair", spec, Keypair, add, taken=_taken())
    core.standings.forget(keypair.user_id)
    return NewKeypair(keypair, secret_of(core, keypair))


async def edit(core: Core, actor: Actor, keypair_id: str, changes: KeypairChanges) -> Keypair:
    """Give a keypair another policy or rate limit. They hold for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden; Conflict: the policy was deleted just now.
    """
    problems = Problems()
    inputs.check_number(changes.rate_limit, problems, "input.rateLimit", least=1, most=_HIGHEST_RATE)
    problems.check()
    try:
        async with core.db.write() as db:
            keypair = await _noun.take(db, actor, keypair_id, "updateKeypair")
            if changes.policy_id is not None:
                keypair.policy_id = await find_policy(db, changes.policy_id)
            if changes.rate_limit is not None:
                keypair.rate_limit = changes.rate_limit
    except IntegrityError as error:
        raise Conflict("The resource policy was deleted just now. Choose another one.") from error
    core.standings.forget(keypair.user_id)
    # What waits may fit now.
    await core.bus.publish(Wake(anew=True))
    return keypair


async def set_main(core: Core, actor: Actor, keypair_id: str) -> Keypair:
    """Make a keypair its user's main one: the one whose limits and policy count for logins by password.

    Raises:
        NotFound, Forbidden, Conflict: it is not active.
    """
    async with core.db.write() as db:
        keypair = await _noun.take(db, actor, keypair_id, "setMainKeypair")
        if not keypair.active:
            raise Conflict("This keypair is not active. Activate it first.")
        user = await db.get_one(User, keypair.user_id)
        user.main_keypair_id = keypair.id
    core.standings.forget(keypair.user_id)
    # Whoever remembers what the user's logins are worth looks anew; none of them ends.
    await core.bus.publish(Revoked(user_id=keypair.user_id))
    return keypair


async def session_counts(core: Core, keypair_ids: Sequence[str]) -> dict[str, int]:
    """Keypair → how many sessions were ever made with it; no more than `COUNTED` are counted."""
    made = (
        select(Session.id)
        # By the index of a user's sessions.
        .where(Session.user_id == Keypair.user_id, Session.keypair_id == Keypair.id)
        .limit(COUNTED)
        .correlate(Keypair)
        .subquery()
    )
    count = select(func.count()).select_from(made).correlate(Keypair).scalar_subquery()
    async with core.db.read() as db:
        rows = await db.execute(select(Keypair.id, count).where(Keypair.id.in_(keypair_ids)))
        return dict(rows.all())


async def request_counts(core: Core, keypair_ids: Sequence[str]) -> dict[str, int]:
    """Keypair → its requests in the last 15 minutes, that count against its rate limit."""
    counts = await core.rates.counts([auth.counter(one) for one in keypair_ids], auth.WINDOW)
    return dict(zip(keypair_ids, counts, strict=True))


async def activate(core: Core, actor: Actor, keypair_ids: Sequence[str]) -> list[Outcome[Keypair]]:
    """Let keypairs be used again, each for itself."""
    return await each(keypair_ids, lambda one: _set_active(core, actor, one, active=True))


async def deactivate(core: Core, actor: Actor, keypair_ids: Sequence[str]) -> list[Outcome[Keypair]]:
    """Let keypairs sign nothing and start nothing any more, each for itself. Logins made with them end."""
    return await each(keypair_ids, lambda one: _set_active(core, actor, one, active=False))


async def delete(core: Core, actor: Actor, keypair_id: str) -> str:
    """Delete a keypair that never made a session. Returns its id.

    Raises:
        NotFound, Forbidden, Conflict: a session was made with it, or it is its user's main one.
    """

    async def clear(db: AsyncSession, keypair: Keypair) -> None:
        user = await db.get(User, keypair.user_id)
        if user is not None and user.main_keypair_id == keypair.id:
            raise Conflict(
                "This is the user's main keypair, which counts at the console. Make another one the main one first."
            )
        used = select(Session.id).where(Session.user_id == keypair.user_id, Session.keypair_id == keypair.id)
        if await db.scalar(used.limit(1)) is not None:
            raise Conflict("Sessions were made with this keypair; history keeps it. Deactivate it instead.")
        await db.execute(delete_from(Nonce).where(Nonce.keypair_id == keypair.id))

    keypair = await _noun.delete(core, actor, keypair_id, "deleteKeypair", first=clear)
    core.standings.forget(keypair.user_id)
    return keypair_id


def make(
    core: Core,
    user_id: str,
    policy_id: str,
    *,
    rate_limit: int = DEFAULT_RATE,
    access_key: str | None = None,
    secret_key: str | None = None,
) -> Keypair:
    """A new row; the caller adds it."""
    keypair_id = ids.new("key")
    return Keypair(
        id=keypair_id,
        user_id=user_id,
        policy_id=policy_id,
        access_key=access_key or "BK" + "".join(secrets.choice(_ALPHABET) for _ in range(18)),
        secret_encrypted=core.keys.seal(secret_key or secrets.token_urlsafe(30), keypair_id),
        active=True,
        rate_limit=rate_limit,
        query_count=0,
        created_at=core.now(),
    )


def secret_of(core: Core, keypair: Keypair) -> str:
    return core.keys.unseal(keypair.secret_encrypted, keypair.id)


async def find_policy(db: AsyncSession, policy_id: str | None, path: str = "input.policyId") -> str:
    """A policy's id; without one asked for that of the default policy, or of the oldest.

    Raises:
        NotFound: there is no such policy.
        Conflict: there is no policy at all.
    """
    if policy_id is None:
        default = select(ResourcePolicy.id).order_by(ResourcePolicy.name != DEFAULT, ResourcePolicy.id)
        found = await db.scalar(default.limit(1))
        if found is None:
            raise Conflict("There is no resource policy yet. Make one first.")
        return found
    found = None
    if ids.kind(policy_id) == "pol":
        found = await db.scalar(select(ResourcePolicy.id).where(ResourcePolicy.id == policy_id))
    if found is None:
        raise NotFound("There is no such resource policy.", path=path)
    return found


async def _owner(db: AsyncSession, actor: Actor, user_id: str) -> User:
    """The user, locked, who is to have another keypair."""
    user = None
    if ids.kind(user_id) == "usr":
        user = await db.scalar(
            select(User).where(User.id == user_id, permissions.visible(actor, User)).with_for_update()
        )
    if user is None:
        raise NotFound("There is no such user, or it is not yours to see.", path="input.userId")
    permissions.require(actor, "createKeypair", await subjects.one(db, actor, user))
    return user


async def _terms(db: AsyncSession, actor: Actor, user: User, spec: KeypairSpec) -> tuple[str, int]:
    """Policy and rate limit of a new keypair: a user cannot outgrow limits by making a keypair."""
    if permissions.reach(actor, "updateKeypair") is Reach.EVERYTHING:
        return await find_policy(db, spec.policy_id), spec.rate_limit or DEFAULT_RATE
    if spec.policy_id is not None or spec.rate_limit is not None:
        raise Forbidden("Only a superadmin chooses a keypair's policy and rate limit. Leave them out.")
    count = await db.scalar(select(func.count()).select_from(Keypair).where(Keypair.user_id == user.id))
    if (count or 0) >= OWN_KEYPAIRS:
        raise Forbidden(f"A user has at most {OWN_KEYPAIRS} keypairs; only a superadmin makes more.")
    main = await db.get(Keypair, user.main_keypair_id) if user.main_keypair_id else None
    if main is None:
        return await find_policy(db, None), DEFAULT_RATE
    return main.policy_id, main.rate_limit


async def _set_active(core: Core, actor: Actor, keypair_id: str, *, active: bool) -> Keypair:
    action = "activateKeypairs" if active else "deactivateKeypairs"
    async with core.db.write() as db:
        keypair = await _noun.take(db, actor, keypair_id, action, path="input.ids")
        keypair.active = active
    core.standings.forget(keypair.user_id)
    if not active:
        # Logins made with it, and streams of signed requests, are checked anew everywhere.
        await core.bus.publish(Revoked(user_id=keypair.user_id))
    return keypair


async def _check_free(db: AsyncSession, access_key: str) -> None:
    if await db.scalar(select(Keypair.id).where(Keypair.access_key == access_key)) is not None:
        raise _taken()


def _taken() -> Conflict:
    return Conflict("This access key is taken. Choose another, or leave it out.", path="input.accessKey")
