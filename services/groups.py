"""Groups: the projects of a domain. Sessions belong to exactly one, users to any number of their domain's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import closing, domains, ids, inputs, permissions, slots, trail
from services.bus import Wake
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import Group, GroupMember, User
from services.errors import BadInput, Forbidden, NotFound, Problems
from services.filters import Conditions, equal, linked, searched
from services.nouns import Named, amend
from services.outcomes import Outcome, each
from services.permissions import RANK, Actor


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
    #: None: unlimited.
    max_concurrent_sessions: int | None = None
    #: Storage hosts that its members may use beside those of their policies.
    allowed_storage_hosts: Sequence[str] = ()


@dataclass(frozen=True)
class GroupChanges:
    """None (where None means something: UNSET): as it is."""

    name: str | None = None
    description: str | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    active: bool | None = None
    max_concurrent_sessions: int | UnsetType | None = UNSET
    allowed_storage_hosts: Sequence[str] | None = None
    #: With `active=False`: its sessions end, what waits too; else they go on.
    end_sessions: bool = False


ORDERS: Final = {"NAME": Group.name, "CREATED_AT": Group.id}
#: Members added or removed by one request.
_MOST_AT_ONCE: Final = 500


def _conditions(where: GroupFilter) -> Conditions:
    return [
        *equal(Group.domain_id, where.domain_id),
        *equal(Group.active, where.active),
        *linked(Group.id, GroupMember.group_id, GroupMember.user_id, where.member_id),
        *searched(where.search, Group.id, Group.name, Group.description),
    ]


_noun = Named(Group, "grp", _conditions, within=Group.domain_id)
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
    inputs.check_title(spec, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    limits = slots.parse(spec.total_slots, problems, "input.totalSlots")
    inputs.check_sessions(spec.max_concurrent_sessions, problems)
    inputs.check_storage_hosts(spec.allowed_storage_hosts, problems)
    problems.check()

    async def make(db: AsyncSession) -> Group:
        await domains.require(db, actor, spec.domain_id, "createGroup")
        return Group(
            id=ids.new("grp"),
            domain_id=spec.domain_id,
            name=spec.name,
            description=spec.description,
            active=True,
            total_slots=limits,
            max_concurrent_sessions=spec.max_concurrent_sessions,
            allowed_storage_hosts=list(spec.allowed_storage_hosts),
            created_at=core.now(),
        )

    return await _noun.create(core, actor, "createGroup", spec, make)


async def edit(core: Core, actor: Actor, group_id: str, changes: GroupChanges) -> Group:
    """Change a group. Lower limits end nothing that runs; they hold for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    inputs.check_title(changes, problems)
    limits = slots.parse(changes.total_slots or (), problems, "input.totalSlots")
    inputs.check_sessions(changes.max_concurrent_sessions, problems)
    inputs.check_storage_hosts(changes.allowed_storage_hosts, problems)
    problems.check()
    async with _noun.change(core, actor, group_id, "updateGroup", changes) as group:
        if changes.total_slots is not None:
            group.total_slots = limits
        if changes.allowed_storage_hosts is not None:
            group.allowed_storage_hosts = list(changes.allowed_storage_hosts)
        amend(group, changes, "max_concurrent_sessions")
        if changes.active is not None:
            _set_active(core, group, active=changes.active, end_sessions=changes.end_sessions)
    await closing.begin(core, group)
    # What waits may fit now.
    await core.bus.publish(Wake(anew=True))
    return group


async def edit_all(
    core: Core, actor: Actor, group_ids: Sequence[str], changes: GroupChanges
) -> list[Outcome[Group]]:
    """Change groups in the same way, each for itself."""
    permissions.require_role(actor, "updateGroups")
    return await each(group_ids, lambda group_id: edit(core, actor, group_id, changes))


async def deactivate(core: Core, actor: Actor, group_id: str, *, end_sessions: bool = False) -> Group:
    """Close a group: no session can be launched in it any more.

    Args:
        end_sessions: its sessions end as well, what waits too; else they go on.

    Raises:
        NotFound, Forbidden.
    """
    async with core.db.write() as db:
        group = await _noun.take(db, actor, group_id, "deactivateGroup")
        _set_active(core, group, active=False, end_sessions=end_sessions)
    await closing.begin(core, group)
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
        wanted = [user.id for user in users]
        there = GroupMember.group_id == group.id, GroupMember.user_id.in_(wanted)
        known = set(await db.scalars(select(GroupMember.user_id).where(*there)))
        await join(db, [(group.id, user_id) for user_id in wanted])
        if new := sorted(set(wanted) - known):
            trail.note(group.id, "members", None, new)
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
        gone = await db.scalars(
            delete(GroupMember)
            .where(GroupMember.group_id == group.id, GroupMember.user_id.in_([user.id for user in users]))
            .returning(GroupMember.user_id)
        )
        if left := sorted(gone):
            trail.note(group.id, "members", left, None)
    _forget(core, user_ids)
    return group


async def join(db: AsyncSession, members: Sequence[tuple[str, str]]) -> None:
    """Write down (group, user) pairs, in one order for all, so that two requests cannot wait for each other."""
    if not members:
        return
    rows = [{"group_id": group, "user_id": user} for group, user in sorted(members)]
    await db.execute(insert_into(db, GroupMember).on_conflict_do_nothing(), rows)


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


def _set_active(core: Core, group: Group, *, active: bool, end_sessions: bool) -> None:
    group.active = active
    group.sessions_ending_since = core.now() if end_sessions and not active else None


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


def _forget(core: Core, user_ids: Sequence[str]) -> None:
    for user_id in user_ids:
        core.standings.forget(user_id)
