"""What has to be known of people and places before a session is put into the queue, read for several at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services import allowances, permissions
from services.db.tables import (
    IS_LIVE,
    Domain,
    Group,
    GroupMember,
    IdempotencyKey,
    Image,
    ImageAlias,
    Keypair,
    ResourceGroup,
    ResourceGroupGrant,
    ResourcePolicy,
    Session,
    User,
)
from services.errors import NotFound
from services.inputs import searchable
from services.permissions import READ, Actor, Subject
from services.scheduling import limits
from services.scheduling.limits import Limit


class Asks(Protocol):
    """What of a session's specification says where it belongs."""

    @property
    def group_id(self) -> str: ...
    @property
    def resource_group_id(self) -> str: ...
    @property
    def image_id(self) -> str: ...
    @property
    def image_alias(self) -> str | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def idempotency_key(self) -> str | None: ...


@dataclass
class Admission:
    """As the transaction sees it."""

    groups: Mapping[str, tuple[Group, Domain]]
    resource_groups: Mapping[str, ResourceGroup]
    images: Mapping[str, Image]
    #: Short name → image.
    aliases: Mapping[str, str]
    #: Keypair → its policy and user, of those that are active.
    people: Mapping[str, tuple[ResourcePolicy, User]]
    #: User → the groups that it is a member of.
    memberships: Mapping[str, frozenset[str]]
    #: Resource group → whom it was granted to.
    grants: Mapping[str, frozenset[str]]
    #: Host name → whom its registry is allowed for (`services.allowances`).
    hosts: dict[str, frozenset[str]]
    #: (user, name) of live sessions.
    names: frozenset[tuple[str, str]]
    #: (user, idempotency key) → what it stands for.
    keys: Mapping[tuple[str, str], IdempotencyKey]

    def places(self, actor: Actor, asks: Asks) -> tuple[Group, ResourceGroup, Image]:
        """
        Raises:
            NotFound: one of them does not exist for the actor, or takes no sessions.
        """
        actor = replace(actor, group_ids=self.memberships.get(actor.user_id, frozenset()))
        group, domain = self.groups.get(asks.group_id, (None, None))
        whose = Subject(domain_id=group.domain_id, group_id=group.id) if group else Subject()
        open_ = group is not None and group.active and domain is not None and domain.active
        if group is None or not open_ or not permissions.allows(actor, "createSession", whose):
            raise NotFound("There is no such group, or you are not a member of it.", path="input.groupId")
        resource_group = self.resource_groups.get(asks.resource_group_id)
        granted = not self.grants.get(asks.resource_group_id, frozenset()).isdisjoint(actor.grantee_ids)
        reads = permissions.allows(actor, READ[ResourceGroup], Subject(granted=granted))
        if resource_group is None or not resource_group.active or not reads:
            raise NotFound(
                "There is no such resource group, or it was not granted to you.",
                path="input.resourceGroupId",
            )
        image = self.images.get(asks.image_id or self.aliases.get(asks.image_alias or "", ""))
        if (
            image is None
            or not permissions.allows(actor, READ[Image], Subject(granted=True))
            or not allowances.allowed(self.hosts, image.registry_host, (group.domain_id, group.id))
        ):
            raise NotFound(
                "There is no such image, or it may not be used in this group: its registry has to be allowed for the "
                "group or its domain.",
                path="input.imageId" if asks.image_id else "input.imageAlias",
            )
        return group, resource_group, image

    def limits(self, actor: Actor, group: Group, resource_group: ResourceGroup) -> Iterable[Limit]:
        """All that a session of the actor's counts for.

        Raises:
            NotFound: the actor's keypair is not active.
        """
        if actor.keypair_id not in self.people:
            raise NotFound("Your keypair is not active. Ask an administrator, or use another one.")
        policy, user = self.people[actor.keypair_id]
        return (
            limits.of_policy(actor.keypair_id, policy),
            limits.of_user(user),
            limits.of_group(group),
            limits.of_domain(self.groups[group.id][1]),
            limits.of_resource_group(resource_group),
        )


async def read(db: AsyncSession, asked: Sequence[tuple[Actor, Asks]]) -> Admission:
    """All that these need, in a constant number of statements."""
    group_ids = {one.group_id for _, one in asked}
    place_ids = {one.resource_group_id for _, one in asked}
    keypair_ids = {actor.keypair_id for actor, _ in asked}
    groups = await db.execute(
        select(Group, Domain).join(Domain, Domain.id == Group.domain_id).where(Group.id.in_(group_ids))
    )
    places = await db.scalars(select(ResourceGroup).where(ResourceGroup.id.in_(place_ids)))
    aliases = await _aliases(db, {one.image_alias for _, one in asked if one.image_alias})
    images = list(
        await db.scalars(
            select(Image).where(
                Image.id.in_({one.image_id for _, one in asked if one.image_id} | {*aliases.values()}),
                Image.active,
            )
        )
    )
    people = await db.execute(
        select(Keypair.id, ResourcePolicy, User)
        .join(ResourcePolicy, ResourcePolicy.id == Keypair.policy_id)
        .join(User, User.id == Keypair.user_id)
        .where(Keypair.id.in_(keypair_ids), Keypair.active, User.active)
    )
    names = [(actor.user_id, one.name) for actor, one in asked if one.name]
    keys = [(actor.user_id, one.idempotency_key) for actor, one in asked if one.idempotency_key]
    return Admission(
        groups={group.id: (group, domain) for group, domain in groups},
        resource_groups={one.id: one for one in places},
        images={one.id: one for one in images},
        aliases=aliases,
        people={keypair: (policy, user) for keypair, policy, user in people},
        memberships=await _sets(
            db,
            GroupMember.user_id,
            GroupMember.group_id,
            GroupMember.user_id.in_({a.user_id for a, _ in asked}),
        ),
        grants=await _sets(
            db,
            ResourceGroupGrant.resource_group_id,
            ResourceGroupGrant.grantee_id,
            ResourceGroupGrant.resource_group_id.in_(place_ids),
        ),
        hosts=await allowances.of_hosts(db, {one.registry_host for one in images}),
        names=await _names(db, names),
        keys=await _keys(db, keys),
    )


async def _sets(
    db: AsyncSession,
    left: InstrumentedAttribute[str],
    right: InstrumentedAttribute[str],
    which: ColumnElement[bool],
) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for key, value in await db.execute(select(left, right).where(which)):
        found.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in found.items()}


async def _aliases(db: AsyncSession, wanted: set[str]) -> dict[str, str]:
    if not wanted:
        return {}
    rows = await db.execute(
        select(ImageAlias.name, ImageAlias.image_id).where(
            ImageAlias.name.in_([searchable(one) for one in wanted])
        )
    )
    return dict(rows.all())


async def _names(db: AsyncSession, wanted: list[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    if not wanted:
        return frozenset()
    rows = await db.execute(
        select(Session.user_id, Session.name).where(
            tuple_(Session.user_id, Session.name).in_(wanted), IS_LIVE
        )
    )
    return frozenset((user, name) for user, name in rows)


async def _keys(db: AsyncSession, wanted: list[tuple[str, str]]) -> dict[tuple[str, str], IdempotencyKey]:
    if not wanted:
        return {}
    rows = await db.scalars(
        select(IdempotencyKey).where(tuple_(IdempotencyKey.user_id, IdempotencyKey.key).in_(wanted))
    )
    return {(row.user_id, row.key): row for row in rows}
