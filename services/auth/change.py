"""New passwords: by the old one, by a one-time link, by an administrator. Each ends what the old one opened."""

import secrets
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import mails, passwords, permissions, tokens
from services.auth import logins, standing
from services.auth.factors import SecondFactor
from services.auth.logins import LoginResult
from services.bus import AnyHint
from services.core import Core
from services.db.tables import Domain, Login, Ticket, User
from services.errors import BadInput, NotFound, Problems, RateLimited, Unauthenticated
from services.keys import digest
from services.permissions import Actor
from services.tokens import AccessClaims

PURPOSE: Final = "password"
_ATTEMPTS: Final = 5
_MINUTE: Final = 60.0


async def create_password_ticket(core: Core, user_id: str) -> str:
    """A ticket with which a user chooses a password, once; those before it are void.

    No permission is checked here: callers are the first start, and mutations that have checked it.

    Raises:
        NotFound: there is no such active user.
    """
    async with core.db.write() as db:
        user = await db.get(User, user_id)
        if user is None or not user.active:
            raise NotFound("There is no such active user.")
        await drop_password_tickets(db, user_id)
        return add_password_ticket(core, db, user_id)


def add_password_ticket(core: Core, db: AsyncSession, user_id: str) -> str:
    """One more ticket, within a transaction; those before it stay good until a password is chosen."""
    ticket = secrets.token_urlsafe(32)
    db.add(
        Ticket(
            token_hash=digest(ticket),
            purpose=PURPOSE,
            user_id=user_id,
            data={},
            expires_at=core.now() + core.settings.password_ticket_life,
        )
    )
    return ticket


async def drop_password_tickets(db: AsyncSession, user_id: str) -> None:
    await db.execute(
        delete(Ticket).where(Ticket.user_id == user_id, Ticket.purpose == PURPOSE, Ticket.used_at.is_(None))
    )


async def redeem_ticket(
    core: Core, ticket: str, new_password: str, *, address: str, user_agent: str = ""
) -> LoginResult | SecondFactor:
    """Choose a password by a one-time link, and be logged in with it. All earlier logins end.

    Returns:
        The login; of a user who has a second factor, what `confirm_login` needs beside the code.

    Raises:
        BadInput: the password breaks rules; the ticket stays good.
        Unauthenticated: the ticket is unknown, used or expired, or its user is not active.
    """
    wanted = _hash_of(ticket)
    hashed = await _prepare(core, wanted, new_password)
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        user = await _use(core, db, wanted, hashed, hints)
        result = await logins.enter(core, db, user, address=address, user_agent=user_agent)
    await standing.tell(core, hints)
    return result


async def reset_password(core: Core, ticket: str, new_password: str) -> User:
    """Choose a password by a one-time link, without being logged in. All logins end.

    Raises:
        BadInput, Unauthenticated: as `redeem_ticket`.
    """
    wanted = _hash_of(ticket)
    hashed = await _prepare(core, wanted, new_password)
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        user = await _use(core, db, wanted, hashed, hints)
    await standing.tell(core, hints)
    return user


async def change_password(core: Core, actor: Actor, current: str, new: str) -> tuple[str, datetime] | None:
    """Change the actor's own password. All other logins end; this one goes on.

    Returns:
        A new access token of this login and its end, for the old one is void; None for a signed request.

    Raises:
        Forbidden: a second factor comes first.
        BadInput: the current password is not right, or the new one breaks rules or is the same.
        RateLimited: too many wrong current passwords.
    """
    permissions.require_second_factor(actor)
    problems = Problems()
    passwords.check(new, problems, "input.newPassword")
    problems.check()
    attempt = f"change:{actor.user_id}"
    wait = await core.rates.take(attempt, _ATTEMPTS, _MINUTE)
    if wait is not None:
        raise RateLimited("Too many wrong passwords. Wait, then try again.", retry_after=wait)
    async with core.db.read() as db:
        user = await db.get(User, actor.user_id)
    kept = user.password_hash if user else None
    if not await passwords.verify(current, kept):
        raise BadInput("This is not your current password.", path="input.currentPassword")
    await core.rates.give_back(attempt, _MINUTE)
    if current == new:
        raise BadInput("The new password is the current one; choose another.", path="input.newPassword")
    hashed = await passwords.hash_password(new)
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        user = await _locked(db, actor.user_id)
        if user is None:
            raise Unauthenticated("Your account is not active any more.")
        if user.password_hash != kept:
            raise BadInput("This is not your current password.", path="input.currentPassword")
        await set_password(core, db, user, hashed, hints, keep=actor.login_id)
        epoch = user.epoch
        until = await db.scalar(
            select(Login.expires_at).where(Login.id == actor.login_id, Login.revoked_at.is_(None))
        )
    await standing.tell(core, hints)
    core.standings.forget(actor.user_id)
    if until is None:
        return None
    claims = AccessClaims(actor.user_id, actor.login_id, epoch)
    return tokens.issue_access(core.keys, claims, core.now(), core.settings.access_token_life, until=until)


async def set_password(
    core: Core,
    db: AsyncSession,
    user: User,
    hashed: str,
    hints: list[AnyHint],
    *,
    must_change: bool = False,
    keep: str = "",
) -> None:
    """Give a locked user a password; its logins but `keep` end, links to choose one are void."""
    user.password_hash = hashed
    user.must_change_password = must_change
    await drop_password_tickets(db, user.id)
    await standing.revoke_logins(core, db, user, hints, keep=keep)


async def _prepare(core: Core, wanted: bytes, new_password: str) -> str:
    """The new password's hash, for a ticket that is good: 40 ms of hashing are not spent on whoever asks."""
    _check(new_password)
    async with core.db.read() as db:
        known = await db.scalar(select(Ticket.user_id).where(*_usable(core, wanted)))
    if known is None:
        raise _void()
    return await passwords.hash_password(new_password)


async def _use(core: Core, db: AsyncSession, wanted: bytes, hashed: str, hints: list[AnyHint]) -> User:
    """Use a ticket up, and give its user the password; who has the mailbox is told of it."""
    ticket = await db.scalar(
        update(Ticket).where(*_usable(core, wanted)).values(used_at=core.now()).returning(Ticket)
    )
    user = None if ticket is None else await _locked(db, ticket.user_id)
    if ticket is None or user is None:
        raise _void()
    await set_password(core, db, user, hashed, hints)
    if ticket.data.get("mailed"):
        user.email_verified = True
        await mails.write(core, db, "PASSWORD_CHANGED", user.email, user.language)
    return user


def _hash_of(ticket: str) -> bytes:
    return digest(ticket[:512].encode(errors="replace").decode())


def _usable(core: Core, token_hash: bytes) -> list[ColumnElement[bool]]:
    return [
        Ticket.token_hash == token_hash,
        Ticket.purpose == PURPOSE,
        Ticket.used_at.is_(None),
        Ticket.expires_at > core.now(),
    ]


async def _locked(db: AsyncSession, user_id: str) -> User | None:
    """The user, locked, if it may come in."""
    return await db.scalar(
        select(User)
        .join(Domain, Domain.id == User.domain_id)
        .where(User.id == user_id, User.active, Domain.active)
        .with_for_update(of=User)
    )


def _check(password: str) -> None:
    problems = Problems()
    passwords.check(password, problems, "input.newPassword")
    problems.check()


def _void() -> Unauthenticated:
    return Unauthenticated(
        "This link is unknown, used or expired. Ask for a new one.",
        help="Ask for a new link by `requestPasswordReset`, or from an administrator.",
    )
