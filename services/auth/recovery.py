"""Forgotten passwords: a one-time link by mail. Nobody learns whether an address is known, not by the time it takes either.

The link is a ticket like an administrator's (`services.auth.change`), so there is one way in which a password is chosen by
a link. It is written by an INSERT that takes its row from the user's, and so writes none where there is no such user:
the statements are the same.
"""

import secrets
from typing import Final

from sqlalchemy import LargeBinary, String, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import mails
from services.auth import change, logins
from services.core import Core
from services.db.tables import Domain, Ticket, User
from services.db.types import UtcDateTime
from services.errors import Forbidden, RateLimited
from services.inputs import normal_email
from services.keys import digest
from services.options import PASSWORD_RESET

#: Mails an hour: to one address, and asked for from one.
OF_RECIPIENT: Final = 5
OF_ADDRESS: Final = 30
_HOUR: Final = 3600.0


async def request_reset(core: Core, email: str, *, address: str) -> bool:
    """Mail a link to choose a password to whom has this address. Returns whether mails are delayed just now.

    Raises:
        Forbidden: it is switched off.
        RateLimited: too many were asked for, whether or not the address is known.
    """
    if not core.options.value(PASSWORD_RESET):
        raise Forbidden("Passwords are not reset by mail here. Ask an administrator for a link.")
    email = normal_email(email)
    await limit(core, "reset", email, address)
    user = await find(core, email)
    ticket, life = secrets.token_urlsafe(32), core.settings.reset_ticket_life
    async with core.db.write() as db:
        await add_ticket(core, db, change.PURPOSE, user.id, ticket)
        await mails.write(
            core,
            db,
            "PASSWORD_RESET",
            user.email,
            user.language,
            link=f"/welcome#{ticket}",
            life=life,
            if_user=user.id,
        )
    return await mails.are_delayed(core)


async def find(core: Core, email: str) -> User:
    """Who may come in and has this address; else somebody who is nobody, for whom the same can be done in vain."""
    searched = email if email.isascii() and email.isprintable() else ""
    async with core.db.read() as db:
        found = await db.scalar(
            select(User)
            .join(Domain, Domain.id == User.domain_id)
            .where(User.email == searched, User.active, Domain.active)
        )
    return found or User(id="", email=searched[:255], language="en")


async def add_ticket(core: Core, db: AsyncSession, purpose: str, user_id: str, ticket: str) -> None:
    """A ticket that is mailed to a user, or in vain to nobody."""
    values = {
        "token_hash": literal(digest(ticket), LargeBinary),
        "purpose": literal(purpose, String),
        "user_id": User.id,
        "data": literal({"mailed": True}, Ticket.data.type),
        "expires_at": literal(core.now() + core.settings.reset_ticket_life, UtcDateTime),
    }
    chosen = select(*values.values()).where(User.id == user_id)
    await db.execute(insert(Ticket).from_select(list(values), chosen, include_defaults=False))


async def limit(core: Core, what: str, email: str, address: str) -> None:
    """Count a mail that somebody without a login asks for.

    Raises:
        RateLimited
    """
    name = digest(email[:512].encode(errors="replace").decode(errors="replace")).hex()
    limits = ((f"{what}:{name}", OF_RECIPIENT), (f"{what}-from:{logins.network_of(address)}", OF_ADDRESS))
    for key, most in limits:
        wait = await core.rates.take(key, most, _HOUR)
        if wait is not None:
            raise RateLimited("Too many mails were asked for. Wait, then try again.", retry_after=wait)
