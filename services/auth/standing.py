"""From a login, a user or a keypair to who asks: read in one or two statements, remembered for a moment."""

from typing import Any, Final

from sqlalchemy import Select, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services import ids
from services.bus import AnyHint, Lagged, Revoked
from services.core import Core
from services.db.tables import Domain, GroupMember, Keypair, Login, User
from services.options import ADMINS_NEED_TOTP
from services.permissions import Actor
from services.standings import Standing

#: The keypair that a request was signed with, beside the main one.
_Signer: Final = aliased(Keypair)
#: Of an actor without any keypair.
_DEFAULT_RATE: Final = 1000


async def of_login(core: Core, login_id: str, user_id: str) -> Standing | None:
    """What a login is worth, None when it has ended or its user may not come in."""

    async def read() -> Standing | None:
        async with core.db.read() as db:
            return await read_login(core, db, login_id)

    known, standing = core.standings.get(login_id)
    if not known:
        standing = await core.standings.read(login_id, user_id, read, _life(core))
    return standing if standing and standing.actor.user_id == user_id else None


async def of_user(core: Core, user_id: str) -> Standing | None:
    """What a user without a login (who signs requests) is worth, None when the user may not come in."""

    async def read() -> Standing | None:
        async with core.db.read() as db:
            found = (await db.execute(_users().where(User.id == user_id))).first()
            return None if found is None else await _standing(core, db, found, login_id="")

    known, standing = core.standings.get(user_id)
    return standing if known else await core.standings.read(user_id, user_id, read, _life(core))


async def of_keypair(core: Core, keypair_id: str, user_id: str) -> Standing | None:
    """What a keypair that signs requests is worth, None when it is switched off or its user may not come in."""

    async def read() -> Standing | None:
        async with core.db.read() as db:
            query = _users().with_only_columns(User).add_columns(_Signer)
            signs = query.join(_Signer, _Signer.user_id == User.id).where(
                _Signer.id == keypair_id, _Signer.active
            )
            found = (await db.execute(signs)).first()
            if found is None:
                return None
            user, keypair = found
            actor = await actor_of(core, db, user, keypair_id=keypair.id, login_id="")
            return Standing(actor, user.epoch, keypair.rate_limit)

    known, standing = core.standings.get(keypair_id)
    if not known:
        standing = await core.standings.read(keypair_id, user_id, read, _life(core))
    return standing if standing and standing.actor.user_id == user_id else None


async def read_login(core: Core, db: AsyncSession, login_id: str) -> Standing | None:
    """The same as `of_login`, as the transaction sees it."""
    query = (
        _users()
        .join(Login, Login.user_id == User.id)
        .where(
            Login.id == login_id,
            Login.revoked_at.is_(None),
            Login.expires_at > core.now(),
            Login.epoch == User.epoch,
        )
        .add_columns(Login.keypair_id)
    )
    found = (await db.execute(query)).first()
    if found is None:
        return None
    if found.keypair_id is None:
        return await _standing(core, db, found, login_id=login_id)
    keypair = await db.get(Keypair, found.keypair_id)
    if keypair is None or not keypair.active:
        return None
    return await _standing(core, db, found, login_id=login_id, keypair=keypair)


async def revoke_logins(
    core: Core, db: AsyncSession, user: User, hints: list[AnyHint], *, keep: str = ""
) -> None:
    """End all logins of a locked user but `keep`, which moves on to the new epoch. `hints` are to be told later."""
    user.epoch += 1
    await db.execute(update(Login).where(Login.id == keep, Login.user_id == user.id).values(epoch=user.epoch))
    ended = await db.scalars(
        update(Login)
        .where(Login.user_id == user.id, Login.revoked_at.is_(None), Login.id != keep)
        .values(revoked_at=core.now())
        .returning(Login.id)
    )
    if keep:
        hints += [Revoked(user_id=user.id, login_id=login_id) for login_id in ended]
    else:
        hints.append(Revoked(user_id=user.id))


async def tell(core: Core, hints: list[AnyHint]) -> None:
    """After the commit: nothing here believes the old state any more, and the others hear of it."""
    for hint in hints:
        if isinstance(hint, Revoked):
            core.standings.forget(hint.user_id)
        await core.bus.publish(hint)


async def follow_revocations(core: Core) -> None:
    """Drop cached checks when any manager revokes, for ever."""
    while True:
        async with core.bus.subscribe(Revoked) as hints:
            try:
                async for hint in hints:
                    if ids.kind(hint.user_id) == "dom":
                        core.standings.clear()
                    else:
                        core.standings.forget(hint.user_id)
            except Lagged:
                core.standings.clear()


def _users() -> Select[User, Keypair]:
    """Users who may come in, each with the main keypair, where there is one."""
    return (
        select(User, Keypair)
        .join(Domain, and_(Domain.id == User.domain_id, Domain.active))
        .join(Keypair, Keypair.id == User.main_keypair_id, isouter=True)
        .where(User.active)
    )


async def _standing(
    core: Core, db: AsyncSession, found: Any, *, login_id: str, keypair: Keypair | None = None
) -> Standing:
    user: User = found.User
    keypair = keypair or found.Keypair
    return Standing(
        actor=await actor_of(core, db, user, keypair_id=keypair.id if keypair else "", login_id=login_id),
        epoch=user.epoch,
        rate_limit=keypair.rate_limit if keypair else _DEFAULT_RATE,
    )


async def actor_of(core: Core, db: AsyncSession, user: User, *, keypair_id: str, login_id: str) -> Actor:
    groups = await db.scalars(select(GroupMember.group_id).where(GroupMember.user_id == user.id))
    return Actor(
        user_id=user.id,
        domain_id=user.domain_id,
        role=user.role,
        group_ids=frozenset(groups),
        keypair_id=keypair_id,
        login_id=login_id,
        must_change_password=user.must_change_password,
        must_set_up_totp=must_set_up_totp(core, user),
    )


def must_set_up_totp(core: Core, user: User) -> bool:
    """Is it somebody who needs a second factor, and has none?"""
    return user.role != "USER" and user.totp_confirmed_at is None and core.options.value(ADMINS_NEED_TOTP)


async def lock_superadmins(db: AsyncSession, *, but_user: str = "", but_domain: str = "") -> int:
    """Lock all active superadmins, and count those who may come in: nobody else takes one away meanwhile.

    To be the first lock of a transaction: two that held a superadmin each would wait for each other.

    Args:
        but_user, but_domain: are not counted: they are about to be shut out.
    """
    active = select(User.id).where(User.role == "SUPERADMIN", User.active)
    await db.execute(active.order_by(User.id).with_for_update())
    # A statement of its own: it sees what those who had the locks before have done to domains.
    count = (
        select(func.count())
        .select_from(User)
        .join(Domain, and_(Domain.id == User.domain_id, Domain.active))
        .where(User.role == "SUPERADMIN", User.active, User.id != but_user, User.domain_id != but_domain)
    )
    return await db.scalar(count) or 0


def _life(core: Core) -> float:
    return core.settings.standing_life.total_seconds()
