"""Groups: the projects of a domain. Sessions belong to exactly one, users to any number of their domain's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import idempotency, ids, inputs, permissions, slots
from services.bus import Wake
from services.core import Core
from services.db.tables import Domain, Group, GroupMember, User
from services.errors import BadInput, Conflict, Forbidden, NotFound, Problems
from services.nouns import Noun
from services.permissions import RANK, Actor, Subject


@dataclass(frozen=True)
class GroupFilter:
    domain_id: str | None = None
    active: bool | None = None
    #: Only those that this user is a member of.
    member_id: str | None = None
    #: Part of the name or description, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class GroupSpec:
    domain_id: str
    name: str
    description: str = ""
    #: Limits by slot, amounts as the client wrote them; a slot that is not named is unlimited.
    total_slots: Sequence[tuple[str, str]] = ()
    idempotency_key: str | None = None


@dataclass(frozen=True)
class GroupChanges:
    """None: as it is."""

    name: str | None = None
    description: str | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    active: bool | None = None


ORDERS: Final = {"NAME": Group.name, "CREATED_AT": Group.id}
#: Members added or removed by one request.
_MOST_AT_ONCE: Final = 500


def _conditions(where: GroupFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if where.domain_id is not None:
        found.append(Group.domain_id == inputs.searchable(where.domain_id))
    if where.active is not None:
        found.append(Group.active == where.active)
    if where.member_id is not None:
        member = GroupMember.user_id == inputs.searchable(where.member_id)
        found.append(Group.id.in_(select(GroupMember.group_id).where(member)))
    if where.search:
        text = inputs.searchable(where.search)
        found.append(
            or_(
                Group.name.icontains(text, autoescape=True),
                Group.description.icontains(text, autoescape=True),
                Group.id.startswith(text.lower(), autoescape=True),
            )
        )
    return found


_noun = Noun(Group, "grp", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def of_users(core: Core, actor: Actor, user_ids: Sequence[str]) -> dict[str, list[Group]]:
    """User → those of the user's groups that the actor may see, by name."""
    result: dict[str, list[Group]] = {user_id: [] for user_id in user_ids}
    async with core.db.read() as db:
        rows = await db.execute(
            select(GroupMember.user_id, Group)
            .join(Group, Group.id == GroupMember.group_id)
            .where(GroupMember.user_id.in_(list(result)), permissions.visible(actor, Group))
            .order_by(Group.name, Group.id)
        )
        for user_id, group in rows:
            result[user_id].append(group)
    return result


async def create(core: Core, actor: Actor, spec: GroupSpec) -> Group:
    """Make a group of a domain.

    Raises:
        BadInput, NotFound: the domain is not the actor's to see; Forbidden, Conflict.
    """
    permissions.require_role(actor, "createGroup")
    problems = Problems()
    inputs.check_name(spec.name, problems)
    inputs.check_description(spec.description, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    limits = slots.parse(spec.total_slots, problems, "input.totalSlots")
    problems.check()

    async def make(db: AsyncSession) -> Group:
        await _check_domain(db, actor, spec.domain_id)
        await _check_free(db, spec.domain_id, spec.name)
        group = Group(
            id=ids.new("grp"),
            domain_id=spec.domain_id,
            name=spec.name,
            description=spec.description,
            active=True,
            total_slots=limits,
            created_at=core.now(),
        )
        db.add(group)
        return group

    group, _ = await idempotency.once(core, actor, "createGroup", spec, Group, make, taken=_taken(spec.name))
    return group


async def edit(core: Core, actor: Actor, group_id: str, changes: GroupChanges) -> Group:
    """Change a group. Lower limits end nothing that runs; they hold for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    if changes.name is not None:
        inputs.check_name(changes.name, problems)
    if changes.description is not None:
        inputs.check_description(changes.description, problems)
    limits = slots.parse(changes.total_slots or (), problems, "input.totalSlots")
    problems.check()
    try:
        async with core.db.write() as db:
            group = await _noun.take(db, actor, group_id, "updateGroup")
            if changes.name is not None and changes.name != group.name:
                await _check_free(db, group.domain_id, changes.name)
                group.name = changes.name
            if changes.description is not None:
                group.description = changes.description
            if changes.total_slots is not None:
                group.total_slots = limits
            if changes.active is not None:
                group.active = changes.active
    except IntegrityError as error:
        raise idempotency.clash(error, _taken(changes.name or "")) from error
    # What waits may fit now.
    await core.bus.publish(Wake())
    return group


async def deactivate(core: Core, actor: Actor, group_id: str) -> Group:
    """Close a group: no session starts in it any more. What runs goes on until it ends.

    Raises:
        NotFound, Forbidden.
    """
    async with core.db.write() as db:
        group = await _noun.take(db, actor, group_id, "deactivateGroup")
        group.active = False
    return group


async def add_members(core: Core, actor: Actor, group_id: str, user_ids: Sequence[str]) -> Group:
    """Make users of the group's domain members; those who are already stay so.

    Raises:
        BadInput: a user is of another domain.
        NotFound, Forbidden: a user is of a higher rank than the actor.
    """
    async with core.db.write() as db:
        group = await _noun.take(db, actor, group_id, "addGroupMembers")
        users = await _users(db, actor, user_ids)
        strangers = [user.email for user in users if user.domain_id != group.domain_id]
        if strangers:
            raise BadInput(
                f"{strangers[0]} is of another domain than the group {group.name!r}.", path="input.userIds"
            )
        await join(db, [(group.id, user.id) for user in users])
    _forget(core, user_ids)
    return group


async def remove_members(core: Core, actor: Actor, group_id: str, user_ids: Sequence[str]) -> Group:
    """End memberships. Sessions that run in the group go on; those who left cannot start others there.

    Raises:
        NotFound, Forbidden: a user is of a higher rank than the actor.
    """
    async with core.db.write() as db:
        group = await _noun.take(db, actor, group_id, "removeGroupMembers")
        users = await _users(db, actor, user_ids)
        await db.execute(
            delete(GroupMember).where(
                GroupMember.group_id == group.id, GroupMember.user_id.in_([user.id for user in users])
            )
        )
    _forget(core, user_ids)
    return group


async def join(db: AsyncSession, members: Sequence[tuple[str, str]]) -> None:
    """Write down (group, user) pairs, in one order for all, so that two requests cannot wait for each other."""
    if not members:
        return
    dialect = postgresql if db.get_bind().dialect.name == "postgresql" else sqlite
    rows: list[dict[str, Any]] = [{"group_id": group, "user_id": user} for group, user in sorted(members)]
    await db.execute(dialect.insert(GroupMember).on_conflict_do_nothing(), rows)


async def find_all(
    db: AsyncSession, domain_id: str, group_ids: Sequence[str], path: str = "input.groupIds"
) -> list[Group]:
    """Groups of one domain by id.

    Raises:
        NotFound: one of them is not of this domain, or not at all.
    """
    wanted = [group_id for group_id in dict.fromkeys(group_ids) if ids.kind(group_id) == "grp"]
    rows = (await db.scalars(select(Group).where(Group.id.in_(wanted), Group.domain_id == domain_id))).all()
    if len(rows) != len(set(group_ids)):
        raise NotFound("One of the groups does not exist in the user's domain.", path=path)
    return list(rows)


async def _users(db: AsyncSession, actor: Actor, user_ids: Sequence[str]) -> list[User]:
    if not 1 <= len(user_ids) <= _MOST_AT_ONCE:
        raise BadInput(f"Between 1 and {_MOST_AT_ONCE} users at once.", path="input.userIds")
    wanted = [user_id for user_id in dict.fromkeys(user_ids) if ids.kind(user_id) == "usr"]
    rows = (await db.scalars(select(User).where(User.id.in_(wanted), permissions.visible(actor, User)))).all()
    if len(rows) != len(set(user_ids)):
        raise NotFound("One of the users does not exist, or is not yours to see.", path="input.userIds")
    if any(RANK[user.role] > RANK[actor.role] for user in rows):
        raise Forbidden("One of the users is of a higher rank than you are.", path="input.userIds")
    return list(rows)


async def _check_domain(db: AsyncSession, actor: Actor, domain_id: str) -> None:
    known = None
    if ids.kind(domain_id) == "dom":
        known = await db.scalar(
            select(Domain).where(Domain.id == domain_id, permissions.visible(actor, Domain))
        )
    if known is None:
        raise NotFound("There is no such domain, or it is not yours to see.", path="input.domainId")
    permissions.require(actor, "createGroup", Subject(domain_id=domain_id))


def _forget(core: Core, user_ids: Sequence[str]) -> None:
    for user_id in user_ids:
        core.standings.forget(user_id)


async def _check_free(db: AsyncSession, domain_id: str, name: str) -> None:
    if (
        await db.scalar(select(Group.id).where(Group.domain_id == domain_id, Group.name == name))
    ) is not None:
        raise _taken(name)


def _taken(name: str) -> Conflict:
    return Conflict(f"The domain has a group named {name!r} already. Choose another name.", path="input.name")
