"""Identities: by whom else a user is known. `services/oidc` links them; here they are shown and taken apart.

A link is made again when the provider vouches for the same address again: who is not to come in that way any more has another
address here or there, or the provider is switched off.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import mails
from services.auth import factors, standing
from services.bus import AnyHint, Revoked
from services.core import Core
from services.db.tables import Identity, IdentityProvider, Login, Ticket, User
from services.errors import Conflict
from services.filters import Conditions
from services.nouns import Noun
from services.permissions import Actor

_SHOWN: Final = 4


def _conditions(_where: None) -> Conditions:
    return []


_noun = Noun(Identity, "idn", _conditions)
many, get = _noun.many, _noun.get


async def of_users(core: Core, _actor: Actor, user_ids: Sequence[str]) -> dict[str, list[Identity]]:
    """What users are known by, oldest first; the caller sees the users."""
    found: dict[str, list[Identity]] = {}
    async with core.db.read() as db:
        rows = await db.scalars(
            select(Identity).where(Identity.user_id.in_(user_ids)).order_by(Identity.id).limit(1000)
        )
        for row in rows:
            found.setdefault(row.user_id, []).append(row)
    return found


async def titles(core: Core, _actor: Actor, issuers: Sequence[str]) -> dict[str, list[str]]:
    """What buttons of issuers say, those that are switched on first."""
    found: dict[str, list[str]] = {}
    async with core.db.read() as db:
        rows = await db.execute(
            select(IdentityProvider.issuer, IdentityProvider.title)
            .where(IdentityProvider.issuer.in_(issuers))
            .order_by(IdentityProvider.active.desc(), IdentityProvider.name)
        )
        for issuer, title in rows:
            found.setdefault(issuer, []).append(title)
    return found


def hint(subject: str) -> str:
    """Enough of a subject to tell two apart; it may be an address or a number of a register."""
    return subject if len(subject) <= _SHOWN else f"{subject[:_SHOWN]}…"


async def unlink(core: Core, actor: Actor, identity_id: str) -> User:
    """Forget by whom a user is known: that opens no login any more, and what it may have opened ends.

    The actor's own login goes on; mail tells the user.

    Raises:
        NotFound, Forbidden.
        Conflict: it is the actor's own, and the only way to log in. An administrator may take that too, and give a link
            to choose a password.
    """
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        identity = await _noun.take(db, actor, identity_id, "unlinkIdentity")
        # After the identity, as a login by it locks them; two who each take one of the last two wait here.
        user = (await db.scalars(select(User).where(User.id == identity.user_id).with_for_update())).one()
        if user.id == actor.user_id and user.password_hash is None and not await _others(db, identity):
            raise Conflict(
                "This is your only way to log in. Choose a password first: have a link mailed (requestPasswordReset).",
                path="input.id",
            )
        await db.delete(identity)
        await mails.write(core, db, "IDENTITY_UNLINKED", user.email, user.language)
        await _end_logins(core, db, user, hints, but=actor.login_id)
    await standing.tell(core, hints)
    return user


async def _others(db: AsyncSession, identity: Identity) -> bool:
    """Is there another identity that opens a login?"""
    active = select(IdentityProvider.issuer).where(IdentityProvider.active)
    other = select(Identity.id).where(
        Identity.user_id == identity.user_id, Identity.id != identity.id, Identity.issuer.in_(active)
    )
    return await db.scalar(other.limit(1)) is not None


async def _end_logins(core: Core, db: AsyncSession, user: User, hints: list[AnyHint], *, but: str) -> None:
    """End logins, and those of which one half is done: nothing says by what they were opened."""
    ended = await db.scalars(
        update(Login)
        .where(Login.user_id == user.id, Login.revoked_at.is_(None), Login.id != but)
        .values(revoked_at=core.now())
        .returning(Login.id)
    )
    hints += [Revoked(user_id=user.id, login_id=login_id) for login_id in ended]
    await db.execute(
        delete(Ticket).where(
            Ticket.user_id == user.id, Ticket.purpose == factors.PURPOSE, Ticket.used_at.is_(None)
        )
    )
