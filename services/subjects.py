"""Whose rows are: the `Subject` of each, and from it what the actor may do. In batches, never a query per row."""

from collections.abc import Mapping, Sequence

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import permissions
from services.core import Core
from services.db.tables import (
    Announcement,
    AuditEvent,
    Base,
    Domain,
    Group,
    Identity,
    Image,
    Invitation,
    Kernel,
    Keypair,
    Login,
    Registry,
    RegistryGrant,
    ResourceGroup,
    ResourceGroupGrant,
    ResourcePolicy,
    Session,
    Task,
    User,
    now,
)
from services.permissions import ACTIONS_ON, Actor, Subject


async def allowed_actions(core: Core, actor: Actor, rows: Sequence[Base]) -> dict[str, list[str]]:
    """Row's id → the actions that the actor may perform on it. All rows are of one table.

    An action is listed exactly when its mutation is not answered FORBIDDEN; that it may conflict with the object's
    present state is another matter.
    """
    async with core.db.read() as db:
        subjects = await of(db, actor, rows)
    return {
        row_id: [
            action for action in ACTIONS_ON[type(row)] if permissions.allows(actor, action, subjects[row_id])
        ]
        for row_id, row in ((_id(row), row) for row in rows)
    }


async def one(db: AsyncSession, actor: Actor, row: Base) -> Subject:
    return (await of(db, actor, [row]))[_id(row)]


async def of(db: AsyncSession, actor: Actor, rows: Sequence[Base]) -> dict[str, Subject]:
    """Row's id → whose it is, seen from the actor. All rows are of one table; at most one statement."""
    if not rows:
        return {}
    match rows[0]:
        case User():
            return {
                row.id: Subject(domain_id=row.domain_id, user_id=row.id, role=row.role)
                for row in rows
                if isinstance(row, User)
            }
        case Domain():
            return {_id(row): Subject(domain_id=_id(row)) for row in rows}
        case Group():
            return {
                row.id: Subject(domain_id=row.domain_id, group_id=row.id)
                for row in rows
                if isinstance(row, Group)
            }
        case Announcement():
            found = [row for row in rows if isinstance(row, Announcement)]
            return {row.id: _of_announcement(actor, row) for row in found}
        case Invitation():
            return {row.id: Subject(domain_id=row.domain_id) for row in rows if isinstance(row, Invitation)}
        case AuditEvent():
            events = [row for row in rows if isinstance(row, AuditEvent)]
            return {row.id: Subject(row.domain_id or "", user_id=row.user_id or "") for row in events}
        case Keypair() | Login() | Identity():
            return await _of_people(db, [row for row in rows if isinstance(row, Keypair | Login | Identity)])
        case Session():
            return await _of_sessions(db, [row for row in rows if isinstance(row, Session)])
        case Task():
            tasks = [row for row in rows if isinstance(row, Task)]
            roles = await _roles(db, {row.user_id for row in tasks})
            return {
                row.id: Subject(domain_id=row.domain_id, user_id=row.user_id, role=roles[row.user_id])
                for row in tasks
            }
        case Kernel():
            return await _of_kernels(db, [row for row in rows if isinstance(row, Kernel)])
        case ResourceGroup() | ResourcePolicy() | Image() | Registry():
            granted = await _granted(db, actor, rows)
            return {_id(row): Subject(granted=_id(row) in granted) for row in rows}
        case _:
            return {_id(row): Subject() for row in rows}


def _of_announcement(actor: Actor, row: Announcement) -> Subject:
    at, domain_id = now(), row.domain_id or ""
    on = row.starts_at <= at and (row.ends_at is None or row.ends_at > at)
    theirs = domain_id in ("", actor.domain_id)
    governed = actor.role == "DOMAIN_ADMIN" and domain_id == actor.domain_id
    return Subject(domain_id=domain_id, granted=(on and theirs) or governed)


async def _of_people(db: AsyncSession, rows: Sequence[Keypair | Login | Identity]) -> dict[str, Subject]:
    owners = {
        user_id: (domain_id, role)
        for user_id, domain_id, role in await db.execute(
            select(User.id, User.domain_id, User.role).where(User.id.in_({row.user_id for row in rows}))
        )
    }
    return {
        row.id: Subject(domain_id=owners[row.user_id][0], user_id=row.user_id, role=owners[row.user_id][1])
        for row in rows
    }


async def _of_sessions(db: AsyncSession, rows: Sequence[Session]) -> dict[str, Subject]:
    roles = await _roles(db, {row.user_id for row in rows})
    return {
        row.id: Subject(row.domain_id, row.group_id, row.user_id, role=roles[row.user_id]) for row in rows
    }


async def _of_kernels(db: AsyncSession, rows: Sequence[Kernel]) -> dict[str, Subject]:
    found = await db.execute(
        select(Session.id, Session.domain_id, Session.group_id, Session.user_id, User.role)
        .join(User, User.id == Session.user_id)
        .where(Session.id.in_({row.session_id for row in rows}))
    )
    sessions = {
        session_id: Subject(domain_id, group_id, user_id, role=role)
        for session_id, domain_id, group_id, user_id, role in found
    }
    return {row.id: sessions[row.session_id] for row in rows}


async def _roles(db: AsyncSession, user_ids: set[str]) -> Mapping[str, str]:
    rows = await db.execute(select(User.id, User.role).where(User.id.in_(user_ids)))
    return dict(rows.all())


async def _granted(db: AsyncSession, actor: Actor, rows: Sequence[Base]) -> set[str]:
    """Those that a grant, a keypair or being for everybody brings to the actor."""
    ids = {_id(row) for row in rows}
    match rows[0]:
        case ResourceGroup():
            query = select(ResourceGroupGrant.resource_group_id).where(
                ResourceGroupGrant.resource_group_id.in_(ids),
                ResourceGroupGrant.grantee_id.in_(actor.grantee_ids),
            )
        case Registry():
            query = select(RegistryGrant.registry_id).where(
                RegistryGrant.registry_id.in_(ids), RegistryGrant.grantee_id.in_(actor.grantee_ids)
            )
        case ResourcePolicy():
            query = select(Keypair.policy_id).where(
                Keypair.policy_id.in_(ids), Keypair.user_id == actor.user_id
            )
        case _:
            return await _usable_images(db, actor, [row for row in rows if isinstance(row, Image)])
    return set(await db.scalars(query))


async def _usable_images(db: AsyncSession, actor: Actor, images: Sequence[Image]) -> set[str]:
    granted = exists().where(
        RegistryGrant.registry_id == Registry.id, RegistryGrant.grantee_id.in_(actor.grantee_ids)
    )
    started = exists().where(Session.image_id == Image.id, Session.user_id == actor.user_id)
    found = await db.execute(
        select(Image.id, Image.active, Registry.id.is_not(None), Registry.active.is_(True), granted, started)
        .outerjoin(Registry, Registry.hostname == Image.registry_host)
        .where(Image.id.in_({image.id for image in images}))
    )
    return {
        image_id
        for image_id, active, governed, open_now, is_granted, own in found
        if own or (active and (not governed or (open_now and is_granted)))
    }


def _id(row: Base) -> str:
    return row.id  # pyright: ignore[reportAttributeAccessIssue]  # every table with a Subject has one
