"""Logins: a person at a console. Each is a family of refresh tokens of which only the newest counts (RFC 9700 §4.14).

    login ──► access token (10 min) + refresh token R0
              R0 ──► R1 ──► R2 …       each used once; a used one that comes back ends the login

A reply can be lost, and two tabs can refresh in the same moment: for a short grace the token before the newest is
answered with the newest again. That one is derived from it and a key of the manager's, so all get the same, and the
database keeps but hashes.
"""

import base64
import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids, paging, passwords, permissions, tokens, trail
from services.auth import attempts, factors, standing
from services.auth.factors import SecondFactor
from services.bus import AnyHint, Revoked
from services.core import Core
from services.db.tables import Domain, Keypair, Login, RetiredRefreshToken, User
from services.errors import BadInput, Forbidden, NotFound, Unauthenticated
from services.inputs import normal_email
from services.keys import Keys, digest
from services.options import EMAIL_VERIFICATION
from services.paging import Order, Page, PageArgs, Total
from services.permissions import Actor
from services.tokens import AccessClaims

_LONGEST_REFRESH: Final = 128

ORDERS: Final = {"CREATED_AT": Login.id, "LAST_USED_AT": Login.last_used_at}


@dataclass(frozen=True)
class LoginResult:
    access_token: str = field(repr=False)
    #: When the access token ends.
    expires_at: datetime
    #: To be kept where no script of the page can read it; works once.
    refresh_token: str = field(repr=False)
    #: When the login ends, however often it is refreshed: the cookie's life.
    refresh_expires_at: datetime
    actor: Actor


async def login(
    core: Core, email: str, password: str, *, address: str, user_agent: str = ""
) -> LoginResult | SecondFactor:
    """Log in by e-mail and password. The answer and its time tell nobody whether the address is known.

    Returns:
        The login; of a user who has a second factor, what `confirm_login` needs beside the code.

    Raises:
        Unauthenticated: they do not match, or the user or its domain is not active.
        RateLimited: too many attempts failed, on this account or from this address; wait.
    """
    email = normal_email(email)
    attempt = await attempts.at_login(core, email, network_of(address))
    # One statement and one hash, whether the address is known or not.
    searched = email if email.isascii() and email.isprintable() else ""
    async with core.db.read() as db:
        found = (
            await db.execute(
                select(User, Domain.active)
                .join(Domain, Domain.id == User.domain_id)
                .where(User.email == searched)
            )
        ).first()
    matches = await passwords.verify(password, found[0].password_hash if found else None)
    if found is None or not (matches and found[0].active and found[1]):
        raise Unauthenticated(
            "E-mail address and password do not match. Check both, or ask an administrator."
        )
    user, kept = found[0], found[0].password_hash or ""
    if core.options.value(EMAIL_VERIFICATION) and not user.email_verified:
        raise Unauthenticated(
            "Your e-mail address is not verified yet. Follow the link that was mailed to you, then log in.",
            help="`resendVerification` mails another link.",
            reason="EMAIL_NOT_VERIFIED",
        )
    renewed = await passwords.hash_password(password) if passwords.outdated(kept) else None
    async with core.db.write() as db:
        if renewed is not None:
            await db.execute(
                update(User)
                .where(User.id == user.id, User.password_hash == kept)
                .values(password_hash=renewed)
            )
        await attempt.succeeded(db)
        return await enter(core, db, user, address=address, user_agent=user_agent)


async def confirm_login(
    core: Core, ticket: str, code: str, *, address: str, user_agent: str = ""
) -> LoginResult:
    """Open a login that waits for its second factor, by the app's code or a recovery code.

    Raises:
        Unauthenticated: the code is not right or was used, or the first half was too long ago.
        RateLimited: too many codes were tried.
    """
    attempt = await attempts.at_code(core, await factors.owner(core, ticket))
    async with core.db.write() as db:
        user, keypair_id = await factors.prove(core, db, ticket, code)
        await attempt.succeeded(db)
        return await open_login(core, db, user, address=address, user_agent=user_agent, keypair_id=keypair_id)


async def enter(
    core: Core, db: AsyncSession, user: User, *, address: str, user_agent: str
) -> LoginResult | SecondFactor:
    """Let in who has proved to be a user, or ask for the second factor first."""
    if user.totp_confirmed_at is not None:
        return factors.ask(core, db, user)
    return await open_login(core, db, user, address=address, user_agent=user_agent)


async def login_with_keypair(
    core: Core, access_key: str, secret_key: str, *, address: str, user_agent: str = ""
) -> LoginResult | SecondFactor:
    """Log in with a keypair; its limits count for this login, and the login ends with it.

    A login is a person's, however it begins, so it takes the second factor too; a program signs its requests.

    Raises:
        Unauthenticated, RateLimited: as `login`.
        Forbidden: the user needs a second factor and has none, which a keypair does not set up.
    """
    attempt = await attempts.at_login(core, access_key, network_of(address))
    searched = access_key if access_key.isascii() and access_key.isprintable() else ""
    async with core.db.read() as db:
        found = (
            await db.execute(
                select(Keypair, User, Domain.active)
                .join(User, User.id == Keypair.user_id)
                .join(Domain, Domain.id == User.domain_id)
                .where(Keypair.access_key == searched)
            )
        ).first()
    # Where there is no keypair, something is opened all the same.
    kept = core.keys.unseal(found[0].secret_encrypted, found[0].id) if found else _dummy_secret(core.keys)
    matches = hmac.compare_digest(kept.encode(), secret_key.encode(errors="replace"))
    if found is None or not (matches and found[0].active and found[1].active and found[2]):
        raise Unauthenticated("Access key and secret key do not match. Check both, or ask an administrator.")
    keypair, user, _ = found
    if standing.must_set_up_totp(core, user):
        raise Forbidden(
            "Administrators need a second factor here, and you have none yet. Log in by password and set one up.",
            help="Call `login`, `startTotp`, then `confirmTotp`; or sign requests with the keypair.",
        )
    async with core.db.write() as db:
        await attempt.succeeded(db)
        if user.totp_confirmed_at is not None:
            return factors.ask(core, db, user, keypair.id)
        return await open_login(core, db, user, address=address, user_agent=user_agent, keypair_id=keypair.id)


async def refresh(core: Core, refresh_token: str, *, address: str = "", user_agent: str = "") -> LoginResult:
    """Exchange a refresh token for an access token and the next refresh token.

    Raises:
        Unauthenticated: it is unknown or expired, its login has ended, or it was used before: then the login ends,
            for one of two who have it is a thief.
    """
    if len(refresh_token) > _LONGEST_REFRESH or not refresh_token.isascii():
        raise _ended()
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        result = await _refresh(core, db, refresh_token, address, user_agent, hints)
    await standing.tell(core, hints)
    if result is None:
        raise _ended()
    return result


async def logout(core: Core, actor: Actor) -> str:
    """End the actor's own login. Returns its id.

    Raises:
        BadInput: the request was signed with a keypair, so there is no login.
    """
    if not actor.login_id:
        raise BadInput("A signed request has no login that could end.")
    async with core.db.write() as db:
        await db.execute(
            update(Login)
            .where(Login.id == actor.login_id, Login.user_id == actor.user_id, Login.revoked_at.is_(None))
            .values(revoked_at=core.now())
        )
    await standing.tell(core, [Revoked(user_id=actor.user_id, login_id=actor.login_id)])
    return actor.login_id


async def end_login(core: Core, actor: Actor, login_id: str) -> str:
    """End one of the actor's own logins. Returns its id.

    Raises:
        NotFound: it is somebody else's, has ended or never was.
    """
    await get_login(core, actor, login_id, path="input.id")
    async with core.db.write() as db:
        await db.execute(
            update(Login)
            .where(Login.id == login_id, Login.user_id == actor.user_id, Login.revoked_at.is_(None))
            .values(revoked_at=core.now())
        )
    await standing.tell(core, [Revoked(user_id=actor.user_id, login_id=login_id)])
    return login_id


async def logout_everywhere(core: Core, actor: Actor) -> list[str]:
    """End all logins of the actor, this one too. Returns their ids."""
    async with core.db.write() as db:
        ended = await db.scalars(
            update(Login)
            .where(Login.user_id == actor.user_id, Login.revoked_at.is_(None))
            .values(revoked_at=core.now())
            .returning(Login.id)
        )
        login_ids = sorted(ended)
    await standing.tell(core, [Revoked(user_id=actor.user_id, login_id=one) for one in login_ids])
    return login_ids


async def page_logins(core: Core, actor: Actor, order: list[Order], args: PageArgs) -> Page[Login]:
    """The actor's own logins that have not ended."""
    async with core.db.read() as db:
        return await paging.fetch(
            db, select(Login).where(*_live(core, actor)), Login, order or [Order(Login.id, True)], args
        )


async def total_logins(core: Core, actor: Actor) -> Total:
    async with core.db.read() as db:
        return await paging.count(db, select(Login).where(*_live(core, actor)))


async def many_logins(core: Core, actor: Actor, login_ids: list[str]) -> dict[str, Login]:
    known = [login_id for login_id in login_ids if ids.kind(login_id) == "lgn"]
    async with core.db.read() as db:
        rows = await db.scalars(select(Login).where(Login.id.in_(known), *_live(core, actor)))
        return {row.id: row for row in rows}


async def get_login(core: Core, actor: Actor, login_id: str, *, path: str | None = None) -> Login:
    """One of the actor's own logins.

    Raises:
        NotFound: it is somebody else's, has ended or never was.
    """
    found = await many_logins(core, actor, [login_id])
    if login_id not in found:
        raise NotFound("There is no such login, or it has ended.", path=path)
    return found[login_id]


async def open_login(
    core: Core,
    db: AsyncSession,
    user: User,
    *,
    address: str,
    user_agent: str,
    keypair_id: str | None = None,
) -> LoginResult:
    """Begin a login of a user who has proved to be one."""
    now, refresh_token = core.now(), secrets.token_urlsafe(32)
    login = Login(
        id=ids.new("lgn"),
        user_id=user.id,
        keypair_id=keypair_id,
        epoch=user.epoch,
        token_hash=digest(refresh_token),
        rotated_at=now,
        address=_storable(address)[:255],
        user_agent=_storable(user_agent)[:512],
        created_at=now,
        last_used_at=now,
        expires_at=now + core.settings.login_life,
    )
    db.add(login)
    trail.identify(user.id, user.domain_id)
    actor = await standing.actor_of(
        core, db, user, keypair_id=keypair_id or user.main_keypair_id or "", login_id=login.id
    )
    return _result(core, login, actor, refresh_token)


async def _refresh(
    core: Core,
    db: AsyncSession,
    refresh_token: str,
    address: str,
    user_agent: str,
    hints: list[AnyHint],
) -> LoginResult | None:
    presented = digest(refresh_token)
    login = await _find(db, presented)
    if login is None or login.revoked_at is not None:
        return None
    now = core.now()
    successor: str | None
    if login.token_hash == presented:
        successor = _successor(core.keys.signing[core.keys.current_signing], refresh_token)
        login.previous_hash, login.token_hash, login.rotated_at = presented, digest(successor), now
        db.add(RetiredRefreshToken(token_hash=presented, login_id=login.id, retired_at=now))
    else:
        in_grace = login.previous_hash == presented and now < login.rotated_at + core.settings.refresh_grace
        successor = _derived(core.keys, refresh_token, login) if in_grace else None
    if successor is None:
        login.revoked_at = now
        hints.append(Revoked(user_id=login.user_id, login_id=login.id))
        return None
    await db.flush()
    found = await standing.read_login(core, db, login.id)
    if found is None:
        return None
    trail.identify(found.actor.user_id, found.actor.domain_id)
    login.last_used_at = now
    login.address = _storable(address)[:255] or login.address
    login.user_agent = _storable(user_agent)[:512] or login.user_agent
    return _result(core, login, found.actor, successor)


async def _find(db: AsyncSession, presented: bytes) -> Login | None:
    """The login that a refresh token, the newest or an older one, is of; locked."""
    login_id = await db.scalar(
        select(Login.id).where(or_(Login.token_hash == presented, Login.previous_hash == presented))
    )
    if login_id is None:
        login_id = await db.scalar(
            select(RetiredRefreshToken.login_id).where(RetiredRefreshToken.token_hash == presented)
        )
    if login_id is None:
        return None
    return await db.scalar(select(Login).where(Login.id == login_id).with_for_update())


def _successor(key: bytes, refresh_token: str) -> str:
    derived = hmac.digest(key, b"refresh:" + refresh_token.encode(), "sha256")
    return base64.urlsafe_b64encode(derived).rstrip(b"=").decode()


def _derived(keys: Keys, refresh_token: str, login: Login) -> str | None:
    """What this token was exchanged for; the key may have been changed since."""
    candidates = (_successor(key, refresh_token) for key in keys.signing.values())
    return next((one for one in candidates if digest(one) == login.token_hash), None)


def _result(core: Core, login: Login, actor: Actor, refresh_token: str) -> LoginResult:
    claims = AccessClaims(login.user_id, login.id, login.epoch)
    access_token, expires_at = tokens.issue_access(
        core.keys, claims, core.now(), core.settings.access_token_life, until=login.expires_at
    )
    return LoginResult(access_token, expires_at, refresh_token, login.expires_at, actor)


def _live(core: Core, actor: Actor) -> list[ColumnElement[bool]]:
    return [
        permissions.visible(actor, Login),
        Login.revoked_at.is_(None),
        Login.expires_at > core.now(),
        Login.epoch == select(User.epoch).where(User.id == Login.user_id).scalar_subquery(),
    ]


def network_of(address: str) -> str:
    """An IPv6 host has a whole /64 to attempt from; it counts as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _storable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _dummy_secret(keys: Keys) -> str:
    return keys.unseal(keys.seal(secrets.token_urlsafe(32), "-"), "-")


def _ended() -> Unauthenticated:
    return Unauthenticated("The login has ended. Log in again.")
