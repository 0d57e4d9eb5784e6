"""Presets as one user would find them now: which can be had at once, which after some waiting, which never.

A preset is judged as a session of one container would be: first by every limit that would count for it, then node by
node. That others wait already, whose turn it may be, is not part of it.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select

from services import slots
from services.core import Core
from services.db.tables import Agent, ResourcePreset, Slots
from services.permissions import Actor
from services.scheduling import availability, pieces
from services.scheduling.availability import Room
from services.scheduling.limits import Limit
from services.scheduling.occupancy import SESSIONS
from services.scheduling.pieces import Pieces
from services.slots import MANDATORY, describe

#: Presets that are judged at once, by name.
MOST = 500

State = Literal["NOW", "LATER", "NEVER"]


@dataclass(frozen=True)
class Obstacle:
    """What stands in the way; amounts in internal units."""

    message: str
    #: As a sentence calls the limit's owner, or the nodes.
    whose: str
    #: None: it is no matter of amounts.
    slot: str | None = None
    asked: int | None = None
    #: Of the limit, or of the node that comes nearest.
    free: int | None = None
    #: The limit, or the most that one node has.
    limit: int | None = None


@dataclass(frozen=True)
class Offer:
    preset: ResourcePreset
    state: State
    #: None: nothing is in the way.
    obstacle: Obstacle | None = None


async def find(core: Core, actor: Actor, group_id: str, resource_group_id: str) -> list[Offer]:
    """All presets by name (the first `MOST`), each with whether the actor could have it in these groups.

    Raises:
        NotFound: one of the two is not the actor's to use.
    """
    async with core.db.read() as db:
        room = await availability.room(db, actor, group_id, resource_group_id)
        rows = await db.scalars(select(ResourcePreset).order_by(ResourcePreset.name).limit(MOST))
        presets = rows.all()
    views: dict[Hashable, _View] = {}
    offers: list[Offer] = []
    for preset in presets:
        devices = tuple(sorted(item for item in preset.slots.items() if item[0] not in MANDATORY))
        view = views.get(devices) or views.setdefault(devices, _View.of(preset.slots, room))
        offers.append(judge(preset, view, room))
    return offers


@dataclass(frozen=True)
class _Node:
    agent: Agent
    capacity: Slots
    used: Slots

    @property
    def free(self) -> Slots:
        return {slot: amount - self.used.get(slot, 0) for slot, amount in self.capacity.items()}


@dataclass(frozen=True)
class _View:
    """The nodes as one size of accelerators sees them: alone, so that it spoils no piece of another size."""

    sizes: Pieces
    nodes: Sequence[_Node]

    @classmethod
    def of(cls, amounts: Slots, room: Room) -> "_View":
        sizes = Pieces([amounts], room.agents)
        return cls(sizes, [_Node(agent, *sizes.of(agent, room.taken(agent.id))) for agent in room.agents])


def judge(preset: ResourcePreset, view: _View, room: Room) -> Offer:
    """What can never be is said before what cannot be now."""
    needs, nodes = view.sizes.needs(preset.slots), view.nodes
    if not room.resource_group.active:
        whose = f"the resource group {room.resource_group.name!r}"
        return Offer(preset, "NEVER", Obstacle(f"{_capital(whose)} takes no new sessions.", whose))
    amounts = {**preset.slots, SESSIONS: 1}
    for limit in room.limits:
        for slot, asked in amounts.items():
            if asked > limit.slots.get(slot, asked):
                return Offer(preset, "NEVER", _beyond(limit, slot, asked, room))
    never = _missing(needs, [node.capacity for node in nodes])
    if never is not None:
        return Offer(preset, "NEVER", _too_large(*never))
    for limit in room.limits:
        for slot, asked in amounts.items():
            if slot in limit.slots and room.taken(limit.scope_id).get(slot, 0) + asked > limit.slots[slot]:
                return Offer(preset, "LATER", _reached(limit, slot, asked, room))
    working = [node for node in nodes if availability.takes_work(node.agent)]
    if not working:
        return Offer(preset, "LATER", _nobody_works(room))
    now = _missing(needs, [node.free for node in working])
    return Offer(preset, "NOW") if now is None else Offer(preset, "LATER", _too_full(*now, working))


def _missing(needs: Slots, offered: Iterable[Mapping[str, int]]) -> tuple[str, int, int] | None:
    """(slot, asked, what the nearest has) when none offers all that is needed; the nearest lacks the smallest part.

    None when one does, or when there are none at all: what is not there yet may become large enough.
    """
    nearest: tuple[float, str, int, int] | None = None
    for one in offered:
        lacks = [
            (1 - max(one.get(slot, 0), 0) / asked, slot, asked, max(one.get(slot, 0), 0))
            for slot, asked in needs.items()
            if asked > one.get(slot, 0)
        ]
        if not lacks:
            return None
        nearest = min(max(lacks), nearest or max(lacks))
    return nearest[1:] if nearest else None


def _beyond(limit: Limit, slot: str, asked: int, room: Room) -> Obstacle:
    most = limit.slots[slot]
    allows = f"{most} sessions at once" if slot == SESSIONS else f"{describe(slot, most)} in all"
    asks = "" if slot == SESSIONS else f"It asks for {describe(slot, asked)}; "
    message = _capital(f"{asks}{limit.whose} allows {allows}.")
    return Obstacle(message, limit.whose, slot, asked, _left(limit, slot, room), most)


def _reached(limit: Limit, slot: str, asked: int, room: Room) -> Obstacle:
    most, used = limit.slots[slot], room.taken(limit.scope_id).get(slot, 0)
    if slot == SESSIONS:
        message = _capital(f"{limit.whose} allows {most} sessions at once, and {used} are there.")
    else:
        message = (
            f"It asks for {describe(slot, asked)}; {limit.whose} allows {describe(slot, most)} in all, and "
            f"{describe(slot, used)} are taken."
        )
    return Obstacle(message, limit.whose, slot, asked, _left(limit, slot, room), most)


def _left(limit: Limit, slot: str, room: Room) -> int:
    return max(limit.slots[slot] - room.taken(limit.scope_id).get(slot, 0), 0)


def _too_large(lacking: str, asked: int, most: int) -> Obstacle:
    slot, _ = pieces.plain(lacking)
    message = f"It asks for {describe(slot, asked)}; the node that comes nearest has {describe(slot, most)}, even empty."
    return Obstacle(message, "the nodes", slot, asked, None, most)


def _too_full(lacking: str, asked: int, free: int, nodes: Sequence[_Node]) -> Obstacle:
    slot, in_pieces = pieces.plain(lacking)
    largest = max(node.agent.slots.get(slot, 0) for node in nodes)
    whole = " in one piece" if in_pieces else ""
    message = f"It asks for {describe(slot, asked)}; the node that comes nearest has {describe(slot, free)} free{whole}."
    return Obstacle(message, "the nodes", slot, asked, free, largest)


def _nobody_works(room: Room) -> Obstacle:
    name = f"The resource group {room.resource_group.name!r}"
    if not room.agents:
        return Obstacle(f"{name} has no nodes yet.", "the nodes")
    return Obstacle(f"No node of {_small(name)} takes new sessions now.", "the nodes")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def shown(slot: str | None, amount: int | None) -> str | None:
    """An exact decimal string, None where there is no amount."""
    return None if slot is None or amount is None else slots.render(slot, amount)
