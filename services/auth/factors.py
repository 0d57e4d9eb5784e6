"""The second factor: codes of an authenticator app, and recovery codes for when the phone is lost.

    startTotp ──► a secret, which does not count yet ──► confirmTotp with its first code ──► ten recovery codes, once
    regenerateRecoveryCodes with a code of the app ──► ten others, and none of the old ones
    login ──► a ticket of five minutes ──► confirmLogin with a code ──► the login

A code counts once: the step that it is of must be later than the last one used, which is a compare-and-set; so are
recovery codes. Secrets are sealed, recovery codes kept as keyed hashes. Whatever weakens it is told by mail.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import mails, passwords, permissions, trail
from services.auth import attempts, standing, totp
from services.bus import Revoked
from services.core import Core
from services.db.tables import Domain, Keypair, Login, RecoveryCode, Ticket, User
from services.errors import BadInput, Conflict, Forbidden, RateLimited, Unauthenticated
from services.keys import digest
from services.permissions import Actor

PURPOSE: Final = "second-factor"
LIFE: Final = timedelta(minutes=5)
CODES: Final = 10
_CODE_BYTES: Final = 10
_ATTEMPTS: Final = 5
_MINUTE: Final = 60.0


@dataclass(frozen=True)
class SecondFactor:
    """A login of which one half is done: by a password, an identity provider, a link or a keypair."""

    ticket: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class Started:
    """For this once."""

    secret: str = field(repr=False)
    url: str = field(repr=False)
    #: The URL as a QR code, an SVG document.
    qr_code: str = field(repr=False)


async def start(core: Core, actor: Actor, password: str | None) -> Started:
    """A new secret for the actor's app. It does not count before `confirm`.

    Raises:
        Forbidden: a new password comes first.
        BadInput: the password is not right. RateLimited: too often.
        Conflict: there is a second factor already.
    """
    permissions.require_role(actor, "startTotp")
    await check_own_password(core, actor, password)
    secret = totp.new_secret()
    async with core.db.write() as db:
        user = await _locked(db, actor.user_id)
        if user.totp_confirmed_at is not None:
            raise Conflict("You have a second factor already. Switch it off first (disableTotp).")
        user.totp_secret = core.keys.seal(secret, _bound_to(user.id))
        user.totp_last_step = 0
    url = totp.url(secret, user.email, "Berth")
    return Started(secret, url, totp.qr_code(url))


async def confirm(core: Core, actor: Actor, code: str) -> list[str]:
    """Switch the second factor on by a first code of the app. Returns recovery codes, for this once.

    Raises:
        BadInput: the code is not right. Conflict: nothing was started, or it is on already. RateLimited.
    """
    permissions.require_role(actor, "confirmTotp")
    attempt = await attempts.at_code(core, actor.user_id)
    async with core.db.write() as db:
        user = await _locked(db, actor.user_id)
        if user.totp_secret is None or user.totp_confirmed_at is not None:
            raise Conflict("There is nothing to confirm. Start with startTotp.")
        if not await _take_step(core, db, user, code):
            raise BadInput("This is not the app's present code. Check the device's clock.", path="input.code")
        user.totp_confirmed_at = core.now()
        await attempt.succeeded(db)
        codes = await _replace_codes(core, db, user)
    await standing.tell(core, [Revoked(user_id=actor.user_id)])
    return codes


async def disable(core: Core, actor: Actor, password: str | None, code: str) -> None:
    """Switch the actor's second factor off.

    Raises:
        BadInput: password or code are not right. Conflict: there is none. RateLimited.
    """
    permissions.require_role(actor, "disableTotp")
    await check_own_password(core, actor, password)
    attempt = await attempts.at_code(core, actor.user_id)
    async with core.db.write() as db:
        user = await _locked(db, actor.user_id)
        if user.totp_confirmed_at is None:
            raise Conflict("You have no second factor.")
        if not await _accept(core, db, user, code):
            raise BadInput("This is not the app's present code, nor a recovery code.", path="input.code")
        await attempt.succeeded(db)
        await forget(db, user)
        await mails.write(core, db, "TOTP_DISABLED", user.email, user.language)
    await standing.tell(core, [Revoked(user_id=actor.user_id)])


async def regenerate(core: Core, actor: Actor, code: str) -> list[str]:
    """New recovery codes of the actor's for all old ones, by the app's present code. Returns them, for this once.

    Raises:
        BadInput: the code is not right; a recovery code is not taken. Conflict: there is no second factor. RateLimited.
    """
    permissions.require_role(actor, "regenerateRecoveryCodes")
    attempt = await attempts.at_code(core, actor.user_id)
    async with core.db.write() as db:
        user = await _locked(db, actor.user_id)
        if user.totp_confirmed_at is None:
            raise Conflict("You have no second factor. Start with startTotp.")
        if not await _take_step(core, db, user, code):
            raise BadInput(
                "This is not the app's present code, or it was used. Check the device's clock, or wait for the next one.",
                path="input.code",
            )
        await attempt.succeeded(db)
        codes = await _replace_codes(core, db, user)
        trail.note(user.id, "recovery_codes", "", "")
        await mails.write(core, db, "RECOVERY_CODES_REPLACED", user.email, user.language)
    return codes


async def forget(db: AsyncSession, user: User) -> None:
    """Take the second factor from a locked user."""
    user.totp_secret = user.totp_confirmed_at = None
    await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))


def ask(core: Core, db: AsyncSession, user: User, keypair_id: str | None = None) -> SecondFactor:
    """A user has proved the first factor; what comes back with a code opens the login, bound to a keypair where it was one."""
    ticket = secrets.token_urlsafe(32)
    expires_at = core.now() + LIFE
    db.add(
        Ticket(
            token_hash=digest(ticket),
            purpose=PURPOSE,
            user_id=user.id,
            # What ends logins ends this one too.
            data={"epoch": user.epoch, "keypair": keypair_id},
            expires_at=expires_at,
        )
    )
    return SecondFactor(ticket, expires_at)


async def owner(core: Core, ticket: str) -> str:
    """Whose half login it is.

    Raises:
        Unauthenticated: it is unknown, used or has taken too long.
    """
    async with core.db.read() as db:
        found = await db.scalar(select(Ticket.user_id).where(*_usable(core, ticket)))
    if found is None:
        raise _void()
    return found


async def prove(core: Core, db: AsyncSession, ticket: str, code: str) -> tuple[User, str | None]:
    """Use a half login up by a code. Returns its user, who may come in, and the keypair that was the first half.

    Raises:
        Unauthenticated: the code is not right, and the ticket stays good; or the ticket is not.
    """
    used = await db.scalar(
        update(Ticket).where(*_usable(core, ticket)).values(used_at=core.now()).returning(Ticket)
    )
    if used is None:
        raise _void()
    user = await db.scalar(
        select(User)
        .join(Domain, Domain.id == User.domain_id)
        .where(User.id == used.user_id, User.active, Domain.active)
        .with_for_update(of=User)
    )
    if user is None or user.epoch != used.data.get("epoch"):
        raise _void()
    keypair_id: str | None = used.data.get("keypair")
    if keypair_id is not None and not await db.scalar(select(Keypair.active).where(Keypair.id == keypair_id)):
        raise _void()
    if user.totp_confirmed_at is not None and not await _accept(core, db, user, code):
        raise Unauthenticated(
            "The code is not right, or was used before. Wait for the next one, then try again."
        )
    return user, keypair_id


async def codes_left(core: Core, actor: Actor, user_ids: Sequence[str]) -> dict[str, list[int]]:
    """How many recovery codes are left; each knows only of the own."""
    async with core.db.read() as db:
        rows = await db.scalars(
            select(RecoveryCode.code_hash).where(
                RecoveryCode.user_id == actor.user_id, RecoveryCode.used_at.is_(None)
            )
        )
        count = len(rows.all())
    return {user_id: [count] for user_id in user_ids if user_id == actor.user_id}


async def check_own_password(core: Core, actor: Actor, password: str | None) -> None:
    """Is it the actor's password? Who found a console open does not have it, and who found a keypair neither.

    Raises:
        BadInput: it is not. RateLimited: too many were tried.
        Forbidden: there is none, and it was a keypair that let the actor in: that is no person.
    """
    async with core.db.read() as db:
        kept = await db.scalar(select(User.password_hash).where(User.id == actor.user_id))
        if kept is None:
            # Who only comes by way of an identity provider has none.
            by_person = select(Login.id).where(Login.id == actor.login_id, Login.keypair_id.is_(None))
            if await db.scalar(by_person) is None:
                raise Forbidden("A keypair does not set up a second factor. Log in as a person.")
            return
    attempt = f"change:{actor.user_id}"
    wait = await core.rates.take(attempt, _ATTEMPTS, _MINUTE)
    if wait is not None:
        raise RateLimited("Too many wrong passwords. Wait, then try again.", retry_after=wait)
    if not await passwords.verify(password or "", kept):
        raise BadInput("This is not your password.", path="input.password")
    await core.rates.give_back(attempt, _MINUTE)


async def _accept(core: Core, db: AsyncSession, user: User, code: str) -> bool:
    """Use a code up: the app's, or a recovery code."""
    plain = "".join(code[:64].split()).replace("-", "")
    if len(plain) == totp.DIGITS and plain.isascii() and plain.isdigit():
        return await _take_step(core, db, user, plain)
    used = await db.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user.id,
            RecoveryCode.code_hash.in_(_hashes(core, user.id, plain)),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=core.now())
        .returning(RecoveryCode.user_id)
    )
    if used is None:
        return False
    await mails.write(core, db, "RECOVERY_CODE_USED", user.email, user.language)
    return True


async def _take_step(core: Core, db: AsyncSession, user: User, code: str) -> bool:
    if user.totp_secret is None:
        return False
    secret = core.keys.unseal(user.totp_secret, _bound_to(user.id))
    step = totp.find_step(secret, "".join(code[:64].split()), core.now(), after=user.totp_last_step)
    if step is None:
        return False
    taken = await db.scalar(
        update(User)
        .where(User.id == user.id, User.totp_last_step < step)
        .values(totp_last_step=step)
        .returning(User.id)
    )
    return taken is not None


async def _locked(db: AsyncSession, user_id: str) -> User:
    return (await db.scalars(select(User).where(User.id == user_id).with_for_update())).one()


def _usable(core: Core, ticket: str) -> list[ColumnElement[bool]]:
    return [
        Ticket.token_hash == digest(ticket[:512].encode(errors="replace").decode(errors="replace")),
        Ticket.purpose == PURPOSE,
        Ticket.used_at.is_(None),
        Ticket.expires_at > core.now(),
    ]


async def _replace_codes(core: Core, db: AsyncSession, user: User) -> list[str]:
    codes = [_new_code() for _ in range(CODES)]
    await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    db.add_all(RecoveryCode(user_id=user.id, code_hash=_hashes(core, user.id, one)[0]) for one in codes)
    return codes


def _new_code() -> str:
    plain = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower()
    return "-".join(plain[start : start + 4] for start in range(0, len(plain), 4))


def _hashes(core: Core, user_id: str, code: str) -> list[bytes]:
    """Keyed hashes of a recovery code, by the present key first."""
    said = f"recovery:{user_id}:{code.replace('-', '').lower()}".encode(errors="replace")
    present = core.keys.current_sealing
    keys = [core.keys.sealing[present], *(key for name, key in core.keys.sealing.items() if name != present)]
    return [hmac.digest(key, said, "sha256") for key in keys]


def _bound_to(user_id: str) -> str:
    return f"totp:{user_id}"


def _void() -> Unauthenticated:
    return Unauthenticated("This login has taken too long. Begin again with your password.")
