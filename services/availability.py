"""What can be had: of a resource group's nodes, and within the limits that count for one user."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from services import occupancy, permissions
from services.core import Core
from services.db.tables import Agent, Domain, Group, Keypair, ResourceGroup, ResourcePolicy, Slots
from services.errors import NotFound
from services.occupancy import SESSIONS
from services.permissions import Actor
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


async def capacities(core: Core, resource_group_ids: Sequence[str]) -> dict[str, Capacity]:
    """Resource group → what its agents have together."""
    nodes = await _nodes(core, resource_group_ids)
    return {
        group_id: Capacity(
            total(capacity for capacity, _ in nodes.get(group_id, ())),
            total(used for _, used in nodes.get(group_id, ())),
        )
        for group_id in resource_group_ids
    }


async def find(core: Core, actor: Actor, group_id: str, resource_group_id: str) -> Availability:
    """What the actor can get in a group and a resource group.

    Raises:
        NotFound: one of the two is not the actor's to use.
    """
    async with core.db.read() as db:
        group = await db.scalar(select(Group).where(Group.id == group_id, permissions.visible(actor, Group)))
        if group is None:
            raise NotFound("There is no such group, or it is not yours to see.", path="groupId")
        known = await db.scalar(
            select(ResourceGroup.id).where(
                ResourceGroup.id == resource_group_id, permissions.visible(actor, ResourceGroup)
            )
        )
        if known is None:
            raise NotFound(
                "There is no such resource group, or it was not granted to you.", path="resourceGroupId"
            )
        domain = await db.get_one(Domain, group.domain_id)
        policy = await db.scalar(
            select(ResourcePolicy)
            .join(Keypair, Keypair.policy_id == ResourcePolicy.id)
            .where(Keypair.id == actor.keypair_id)
        )
        used = await occupancy.of(db, [actor.keypair_id, group.id, domain.id])
    limits = [
        (policy.total_slots if policy else {}, used.get(actor.keypair_id, {})),
        (group.total_slots, used.get(group.id, {})),
        (domain.total_slots, used.get(domain.id, {})),
    ]
    nodes = (await _nodes(core, [resource_group_id])).get(resource_group_id, [])
    names = [name for name in SLOT_TYPES if any(capacity.get(name) for capacity, _ in nodes)]
    return Availability(
        slots=[_slot(name, limits, nodes) for name in names or ("cpu", "mem")],
        sessions_limit=policy.max_concurrent_sessions if policy else None,
        sessions_used=used.get(actor.keypair_id, {}).get(SESSIONS, 0),
    )


def _slot(
    name: str, limits: Sequence[tuple[Slots, Slots]], nodes: Sequence[tuple[Slots, Slots]]
) -> SlotAvailability:
    bounded = [
        (limit[name] - used.get(name, 0), limit[name], used.get(name, 0))
        for limit, used in limits
        if name in limit
    ]
    left, limit, used = min(bounded, default=(None, None, limits[0][1].get(name, 0)))
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


async def _nodes(core: Core, resource_group_ids: Sequence[str]) -> dict[str, list[tuple[Slots, Slots]]]:
    """Resource group → (capacity, used) of each of its agents that take work."""
    async with core.db.read() as db:
        agents = (
            await db.scalars(
                select(Agent).where(
                    Agent.resource_group_id.in_(resource_group_ids),
                    Agent.status == "ALIVE",
                    Agent.schedulable,
                )
            )
        ).all()
        used = await occupancy.of(db, [agent.id for agent in agents])
    nodes: dict[str, list[tuple[Slots, Slots]]] = {}
    for agent in agents:
        nodes.setdefault(agent.resource_group_id, []).append((agent.slots, used.get(agent.id, {})))
    return nodes
