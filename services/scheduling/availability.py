"""What can be had: of a resource group's nodes, and within the limits that count for one user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services import permissions
from services.core import Core
from services.db.tables import Agent, Domain, Group, Keypair, ResourceGroup, ResourcePolicy, Slots, User
from services.errors import NotFound
from services.permissions import Actor
from services.scheduling import limits, occupancy
from services.scheduling.limits import Limit
from services.scheduling.occupancy import SESSIONS
from services.slots import SLOT_TYPES, total


@dataclass(frozen=True)
class Capacity:
    """Of the connected, schedulable agents of a resource group."""

    capacity: Slots = field(default_factory=Slots)
    used: Slots = field(default_factory=Slots)


@dataclass(frozen=True)
class SlotAvailability:
    """Internal units; `limit` None: unlimited."""

    name: str
    limit: int | None
    used: int
    capacity: int
    free: int
    largest_free: int
    largest_capacity: int


@dataclass(frozen=True)
class Availability:
    slots: Sequence[SlotAvailability]
    sessions_limit: int | None
    sessions_used: int


@dataclass(frozen=True)
class Room:
    """Everything that what an actor can get in a group and a resource group depends on."""

    resource_group: ResourceGroup
    #: Of the actor's own first.
    limits: Sequence[Limit]
    #: Scope (agents too) → slot → what is taken.
    used: Mapping[str, Slots]
    #: Of the resource group, save for those that are gone for good; not all of them take work.
    agents: Sequence[Agent]

    def taken(self, scope_id: str) -> Slots:
        return self.used.get(scope_id, {})


async def capacities(core: Core, resource_group_ids: Sequence[str]) -> dict[str, Capacity]:
    """Resource group → what its agents have together."""
    async with core.db.read() as db:
        agents = [agent for agent in await _agents(db, resource_group_ids) if takes_work(agent)]
        used = await occupancy.of(db, [agent.id for agent in agents])
    result: dict[str, Capacity] = {}
    for group_id in resource_group_ids:
        own = [agent for agent in agents if agent.resource_group_id == group_id]
        result[group_id] = Capacity(
            total(agent.slots for agent in own), total(used.get(agent.id, {}) for agent in own)
        )
    return result


async def find(core: Core, actor: Actor, group_id: str, resource_group_id: str) -> Availability:
    """What the actor can get in a group and a resource group.

    Raises:
        NotFound: one of the two is not the actor's to use.
    """
    async with core.db.read() as db:
        found = await room(db, actor, group_id, resource_group_id)
    nodes = [(agent.slots, found.taken(agent.id)) for agent in found.agents if takes_work(agent)]
    names = [name for name in SLOT_TYPES if any(capacity.get(name) for capacity, _ in nodes)]
    sessions, limit, used = _tightest(SESSIONS, found)
    return Availability(
        slots=[_slot(name, found, nodes) for name in names or ("cpu", "mem")],
        sessions_limit=None if sessions is None else limit,
        sessions_used=used,
    )


async def room(db: AsyncSession, actor: Actor, group_id: str, resource_group_id: str) -> Room:
    """Read it, in a constant number of statements.

    Raises:
        NotFound: one of the two is not the actor's to use.
    """
    group = await db.scalar(select(Group).where(Group.id == group_id, permissions.visible(actor, Group)))
    if group is None:
        raise NotFound("There is no such group, or it is not yours to see.", path="groupId")
    resource_group = await db.scalar(
        select(ResourceGroup).where(
            ResourceGroup.id == resource_group_id, permissions.visible(actor, ResourceGroup)
        )
    )
    if resource_group is None:
        raise NotFound(
            "There is no such resource group, or it was not granted to you.", path="resourceGroupId"
        )
    domain = await db.get_one(Domain, group.domain_id)
    found = [limits.of_group(group), limits.of_domain(domain), limits.of_resource_group(resource_group)]
    own = await db.execute(
        select(ResourcePolicy, User)
        .select_from(Keypair)
        .join(ResourcePolicy, ResourcePolicy.id == Keypair.policy_id)
        .join(User, User.id == Keypair.user_id)
        .where(Keypair.id == actor.keypair_id)
    )
    mine = [(limits.of_policy(actor.keypair_id, policy), limits.of_user(user)) for policy, user in own]
    found = [*(mine[0] if mine else [Limit(actor.keypair_id, "your keypair", {})]), *found]
    agents = await _agents(db, [resource_group_id])
    used = await occupancy.of(db, [limit.scope_id for limit in found] + [agent.id for agent in agents])
    return Room(resource_group, found, used, agents)


def takes_work(agent: Agent) -> bool:
    return agent.status == "ALIVE" and agent.schedulable


def _slot(name: str, found: Room, nodes: Sequence[tuple[Slots, Slots]]) -> SlotAvailability:
    left, limit, used = _tightest(name, found)
    free = [max(0, capacity.get(name, 0) - taken.get(name, 0)) for capacity, taken in nodes]
    allowed = sum(free) if left is None else max(0, left)
    return SlotAvailability(
        name=name,
        limit=limit,
        used=used,
        capacity=sum(capacity.get(name, 0) for capacity, _ in nodes),
        free=min(sum(free), allowed),
        largest_free=min(max(free, default=0), allowed),
        largest_capacity=max((capacity.get(name, 0) for capacity, _ in nodes), default=0),
    )


def _tightest(slot: str, found: Room) -> tuple[int | None, int | None, int]:
    """(what is left, limit, used) of the limit that leaves least; without any, what the actor's own has."""
    bounded = [
        (limit.slots[slot] - used, limit.slots[slot], used)
        for limit, used in ((one, found.taken(one.scope_id).get(slot, 0)) for one in found.limits)
        if slot in limit.slots
    ]
    return min(bounded, default=(None, None, found.taken(found.limits[0].scope_id).get(slot, 0)))


async def _agents(db: AsyncSession, resource_group_ids: Sequence[str]) -> Sequence[Agent]:
    rows = await db.scalars(
        select(Agent)
        .where(Agent.resource_group_id.in_(resource_group_ids), Agent.status != "TERMINATED")
        .order_by(Agent.id)
    )
    return rows.all()
