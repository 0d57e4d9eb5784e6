"""Who sends a request: by the access token of a login, or by its signature with a keypair's secret key."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import idempotency, tokens
from services.auth import attempts, standing
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import (
    Domain,
    IdempotencyKey,
    Keypair,
    Login,
    Nonce,
    RetiredRefreshToken,
    Ticket,
    User,
)
from services.errors import RateLimited, Unauthenticated
from services.permissions import Actor
from services.ratelimits import Quota
from services.standings import Standing
from services.tokens import RequestClaims

#: Of the rate limit of a keypair (G10).
WINDOW: Final = 15 * 60.0
_PURGE_EVERY: Final = timedelta(minutes=10)
#: What has ended is kept for so long, to be recognised when it comes back.
_KEPT: Final = timedelta(days=1)
#: Is told where the counter of a keypair stands, also when the request is refused for it.
Told = Callable[[Quota], None]


def _untold(_quota: Quota) -> None:
    """Nobody wants to know."""


def counter(keypair_id: str) -> str:
    """The key under which a keypair's requests are counted."""
    return f"request:{keypair_id}"


def is_signed_request(core: Core, token: str) -> bool:
    """Is it signed with a keypair, rather than one of our own access tokens? Nothing is verified yet.

    Raises:
        Unauthenticated: it is neither.
    """
    return tokens.key_id(token) not in core.keys.signing


async def authenticate_bearer(core: Core, token: str, told: Told = _untold) -> Actor:
    """Who has this access token. Counts as one request of the actor's keypair.

    Raises:
        Unauthenticated: the token is not valid, its login has ended, or the user may not come in any more.
        RateLimited: the keypair has had its requests.
    """
    claims = tokens.read_access(core.keys, token, core.now())
    found = await standing.of_login(core, claims.login_id, claims.user_id)
    if found is None or found.epoch != claims.epoch:
        raise Unauthenticated("The login has ended. Log in again.")
    await _count(core, found, told)
    return found.actor


async def count_operation(core: Core, actor: Actor) -> None:
    """Count an operation on a connection that was authenticated before as one more request of the actor's keypair.

    Raises:
        Unauthenticated: the login has ended since.
        RateLimited: the keypair has had its requests.
    """
    found = await _standing_of(core, actor)
    if found is None:
        raise Unauthenticated("The login has ended. Log in again.")
    await _count(core, found, _untold)


async def authenticate_request(
    core: Core, token: str, *, method: str, path: str, body: bytes, told: Told = _untold
) -> Actor:
    """Who signed this request. Each token works once.

    Args:
        path: with its query string, where there is one, as it was sent.

    Raises:
        Unauthenticated: the signature does not fit, the token has expired or was used, or the keypair, its user or
            domain is not active.
        RateLimited: the keypair has had its requests.
    """
    access_key = tokens.key_id(token)
    async with core.db.read() as db:
        keypair, found = await _keypair(core, db, access_key)
    claims = tokens.read_request(
        token,
        core.keys.unseal(keypair.secret_encrypted, keypair.id),
        access_key=access_key,
        method=method,
        target=path,
        body=body,
        now=core.now(),
        skew=core.settings.clock_skew,
    )
    if not await _first_time(core, keypair, claims, told):
        raise Unauthenticated("This token was used before. Sign each request anew, with a `jti` of its own.")
    return found.actor


async def still_stands(core: Core, user_id: str, login_id: str) -> bool:
    """Is a login (of a signed request, without one: its user) still good? At most `standing_life` old."""
    if login_id:
        return await standing.of_login(core, login_id, user_id) is not None
    return await standing.of_user(core, user_id) is not None


async def still_is(core: Core, actor: Actor) -> bool:
    """Is who has a connection open still good for what it was opened as? At most `standing_life` old."""
    found = await _standing_of(core, actor)
    # Role and memberships end a login by its epoch; who has none is compared.
    return found is not None and (bool(actor.login_id) or found.actor == actor)


async def _standing_of(core: Core, actor: Actor) -> Standing | None:
    if actor.login_id:
        return await standing.of_login(core, actor.login_id, actor.user_id)
    if actor.keypair_id:
        return await standing.of_keypair(core, actor.keypair_id, actor.user_id)
    return await standing.of_user(core, actor.user_id)


async def keep_books(core: Core) -> None:
    """A duty of every few seconds: write down how often keypairs were used."""
    await core.uses.flush(core.db)


async def purge(core: Core) -> None:
    """A duty of every hour or so: forget what has expired, so that no table grows for ever."""
    now = core.now()
    await attempts.purge(core)
    async with core.db.write() as db:
        await db.execute(delete(Nonce).where(Nonce.expires_at < now))
        await db.execute(delete(Ticket).where(Ticket.expires_at < now - _KEPT))
        await db.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - idempotency.LIFE))
        ended = select(Login.id).where(or_(Login.expires_at < now - _KEPT, Login.revoked_at < now - _KEPT))
        await db.execute(delete(RetiredRefreshToken).where(RetiredRefreshToken.login_id.in_(ended)))
        await db.execute(
            delete(Login).where(or_(Login.expires_at < now - _KEPT, Login.revoked_at < now - _KEPT))
        )


async def _keypair(core: Core, db: AsyncSession, access_key: str) -> tuple[Keypair, Standing]:
    row = (
        await db.execute(
            select(Keypair, User)
            .join(User, User.id == Keypair.user_id)
            .join(Domain, Domain.id == User.domain_id)
            .where(Keypair.access_key == access_key, Keypair.active, User.active, Domain.active)
        )
    ).first()
    if row is None:
        raise Unauthenticated("The token is not valid. Log in again, or sign the request anew.")
    keypair, user = row
    actor = await standing.actor_of(core, db, user, keypair_id=keypair.id, login_id="")
    return keypair, Standing(actor, user.epoch, keypair.rate_limit)


async def _count(core: Core, found: Standing, told: Told) -> None:
    """Count a request, and note the use of its keypair."""
    await _spend(core, found.actor.keypair_id or found.actor.user_id, found.rate_limit, told)
    if found.actor.keypair_id:
        core.uses.note(found.actor.keypair_id, core.now())


async def _spend(core: Core, keypair_id: str, limit: int, told: Told) -> None:
    quota = await core.rates.spend(counter(keypair_id), limit, WINDOW)
    told(quota)
    if quota.wait is not None:
        raise RateLimited(
            f"This keypair may send {limit} requests in 15 minutes, and has. Wait, or ask an administrator for more.",
            retry_after=quota.wait,
        )


async def _first_time(core: Core, keypair: Keypair, claims: RequestClaims, told: Told) -> bool:
    """Count the request, and remember its token's id; False, and not counted, when it was remembered before.

    Counted first: who has had all requests does not get to write.
    """
    await _spend(core, keypair.id, keypair.rate_limit, told)
    async with core.db.write() as db:
        new = await db.scalar(
            insert_into(db, Nonce)
            .values(keypair_id=keypair.id, jti=claims.jti, expires_at=claims.void_at)
            .on_conflict_do_nothing()
            .returning(Nonce.jti)
        )
    if new is None:
        await core.rates.give_back(counter(keypair.id), WINDOW)
        return False
    core.uses.note(keypair.id, core.now())
    return True
