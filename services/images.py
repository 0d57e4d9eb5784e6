"""Images: what nodes have, what sessions may start from, and what their labels say.

Two families of labels are understood: our own `berth.*`, and `ai.backend.*`, which existing images carry.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from agents.hub import AgentOffline, AgentRefused, CallTimedOut
from agents.protocol import ImageInfo, PullImage, RemoveImage
from services import allowances, ids, permissions, slots
from services.bus import AgentChanged
from services.core import Core
from services.db.tables import FINAL, Agent, AgentImage, Image, Session, Slots
from services.errors import BerthError, Conflict, NotFound, Problems, Unavailable
from services.filters import Conditions, equal, linked, searched
from services.nouns import Noun
from services.permissions import Actor, Subject

#: Seconds that a node has to bring an image.
_PULL_DEADLINE: Final = 3600.0
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_MULTIPLES: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class ImageFilter:
    search: str | None = None
    active: bool | None = None
    architecture: str | None = None
    language: str | None = None
    #: Only those that a node has (True) or none has (False).
    installed: bool | None = None
    agent_id: str | None = None
    #: Only those that sessions of this group may use.
    group_id: str | None = None


ORDERS: Final = {
    "REFERENCE": Image.reference,
    "LANGUAGE": Image.language,
    "CREATED_AT": Image.id,
    "SIZE": Image.size,
}


@dataclass(frozen=True)
class Described:
    """What an image's labels say."""

    language: str
    version: str
    base: str
    minimum_slots: Slots
    service_ports: list[dict[str, Any]]
    environment_names: list[str]


@dataclass(frozen=True)
class Reference:
    registry: str
    namespace: str
    name: str
    tag: str


@dataclass(frozen=True)
class Outcome:
    """What became of one image on one node."""

    image_id: str
    agent_id: str
    error: BerthError | None = None


def _conditions(where: ImageFilter) -> Conditions:
    return [
        *searched(where.search, Image.id, Image.reference, Image.language),
        *equal(Image.active, where.active),
        *equal(Image.architecture, where.architecture),
        *equal(Image.language, where.language),
        *_installed(where.installed),
        *linked(Image.id, AgentImage.image_id, AgentImage.agent_id, where.agent_id),
        *([] if where.group_id is None else [Image.active.is_(True), allowances.usable_in(where.group_id)]),
    ]


def _installed(somewhere: bool | None) -> Conditions:
    if somewhere is None:
        return []
    present = Image.id.in_(select(AgentImage.image_id))
    return [present if somewhere else ~present]


_noun = Noun(Image, "img", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def on_agents(core: Core, actor: Actor, agent_ids: Sequence[str]) -> dict[str, list[Image]]:
    """Agent → images that it has."""
    result: dict[str, list[Image]] = {agent_id: [] for agent_id in agent_ids}
    async with core.db.read() as db:
        rows = await db.execute(
            select(AgentImage.agent_id, Image)
            .join(Image, Image.id == AgentImage.image_id)
            .where(AgentImage.agent_id.in_(agent_ids), permissions.visible(actor, Image))
            .order_by(Image.reference)
        )
        for agent_id, image in rows:
            result[agent_id].append(image)
    return result


async def installed(core: Core, image_ids: Sequence[str]) -> set[str]:
    """Those of the images that at least one node has."""
    async with core.db.read() as db:
        rows = await db.scalars(
            select(AgentImage.image_id).where(AgentImage.image_id.in_(image_ids)).distinct()
        )
        return set(rows)


async def edit(
    core: Core,
    actor: Actor,
    image_id: str,
    *,
    minimum_slots: Sequence[tuple[str, str]] | None = None,
    active: bool | None = None,
) -> Image:
    """Change an image's minimums (from then on labels no longer do) or whether it may be used.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    problems = Problems()
    minimums = slots.parse(minimum_slots or (), problems, "input.minimumSlots")
    problems.check()
    async with core.db.write() as db:
        image = await _visible(db, actor, image_id, "input.id")
        permissions.require(actor, "updateImage", Subject())
        if minimum_slots is not None:
            image.minimum_slots, image.minimum_edited = minimums, True
        if active is not None:
            image.active = active
        return image


async def forget(core: Core, actor: Actor, image_ids: Sequence[str]) -> list[str]:
    """Take images off the list: those that sessions were made from are kept, but may no longer be used.

    Returns the ids that are gone or hidden. A node that still has a forgotten image lists it again when it connects.

    Raises:
        NotFound: one of them does not exist; then all stay.
        Forbidden.
    """
    permissions.require_role(actor, "forgetImages")
    gone = list(dict.fromkeys(image_ids))
    async with core.db.write() as db:
        for image in [await _visible(db, actor, image_id, "input.ids") for image_id in gone]:
            if await db.scalar(select(Session.id).where(Session.image_id == image.id).limit(1)) is not None:
                image.active = False
            else:
                await db.execute(delete(AgentImage).where(AgentImage.image_id == image.id))
                await db.delete(image)
    return gone


async def install(
    core: Core, actor: Actor, image_ids: Sequence[str], agent_ids: Sequence[str]
) -> list[Outcome]:
    """Bring images to nodes; returns when each has arrived or failed."""
    permissions.require_role(actor, "installImages")
    return await _on_each(core, actor, image_ids, agent_ids, remove=False)


async def remove(
    core: Core, actor: Actor, image_ids: Sequence[str], agent_ids: Sequence[str]
) -> list[Outcome]:
    """Remove images from nodes; one that a live session uses stays."""
    permissions.require_role(actor, "removeImages")
    return await _on_each(core, actor, image_ids, agent_ids, remove=True)


async def _on_each(
    core: Core, actor: Actor, image_ids: Sequence[str], agent_ids: Sequence[str], *, remove: bool
) -> list[Outcome]:
    async with core.db.read() as db:
        images = [
            await _visible(db, actor, image_id, "input.imageIds") for image_id in dict.fromkeys(image_ids)
        ]
        agents = (
            await db.scalars(select(Agent).where(Agent.id.in_(agent_ids), permissions.visible(actor, Agent)))
        ).all()
        busy = set(
            await db.scalars(
                select(Session.image_id).where(Session.image_id.in_(image_ids), Session.status.not_in(FINAL))
            )
        )
    missing = set(agent_ids) - {agent.id for agent in agents}
    if missing:
        raise NotFound(f"There is no agent {sorted(missing)[0]!r}.", path="input.agentIds")
    outcomes: list[Outcome] = []
    for agent in agents:
        for image in images:
            error = (
                Conflict(f"{image.reference} is used by a live session.")
                if remove and image.id in busy
                else await _call(core, agent, image, remove=remove)
            )
            if error is None:
                await _note(core, agent.id, image, present=not remove)
            outcomes.append(Outcome(image.id, agent.id, error))
    return outcomes


async def _note(core: Core, agent_id: str, image: Image, *, present: bool) -> None:
    """Write down at once what the node's own report, on its way, will say: who is told so reads so."""
    async with core.db.write() as db:
        # What a node reports is taken under this lock too.
        await db.execute(select(Agent.id).where(Agent.id == agent_id).with_for_update())
        row = await db.get(AgentImage, (agent_id, image.id))
        if present and row is None:
            db.add(AgentImage(agent_id=agent_id, image_id=image.id, digest=image.digest))
        elif row is not None and not present:
            await db.delete(row)
    await core.bus.publish(AgentChanged(agent_id=agent_id))


async def _call(core: Core, agent: Agent, image: Image, *, remove: bool) -> BerthError | None:
    command = RemoveImage if remove else PullImage
    try:
        await core.hub.call(
            agent.id, lambda request: command(request=request, image=image.reference), deadline=_PULL_DEADLINE
        )
    except AgentOffline:
        return Unavailable(f"The node {agent.name!r} is not connected. Try again when it is.", part=agent.id)
    except CallTimedOut:
        return Unavailable(f"The node {agent.name!r} did not finish in time.", part=agent.id)
    except AgentRefused as refused:
        return Unavailable(f"The node {agent.name!r}: {refused.message}", part=agent.id)
    return None


async def take(db: AsyncSession, agent_id: str, infos: Sequence[ImageInfo]) -> None:
    """Write down what a node has, and make known what was not known yet."""
    by_key = {(info.reference, info.architecture): info for info in infos}
    references = [reference for reference, _ in by_key]
    rows = (await db.scalars(select(Image).where(Image.reference.in_(references)))).all()
    known = {(row.reference, row.architecture): row for row in rows}
    for key, info in by_key.items():
        row = known.get(key)
        if row is None:
            row = known[key] = await _insert(db, info)
        _describe(row, info)
    await db.flush()
    have = set(await db.scalars(select(AgentImage.image_id).where(AgentImage.agent_id == agent_id)))
    now = {known[key].id: info.digest for key, info in by_key.items()}
    await db.execute(
        delete(AgentImage).where(AgentImage.agent_id == agent_id, AgentImage.image_id.in_(have - now.keys()))
    )
    for image_id, digest in now.items():
        if image_id in have:
            await db.execute(
                update(AgentImage)
                .where(AgentImage.agent_id == agent_id, AgentImage.image_id == image_id)
                .values(digest=digest)
            )
        else:
            db.add(AgentImage(agent_id=agent_id, image_id=image_id, digest=digest))
    await db.flush()


async def _insert(db: AsyncSession, info: ImageInfo) -> Image:
    """Add an image; another manager may add it at the same moment, then it is that one."""
    parts = split(info.reference)
    row = Image(
        id=ids.new("img"),
        reference=info.reference,
        architecture=info.architecture,
        registry_host=parts.registry,
        namespace=parts.namespace,
        name=parts.name,
        tag=parts.tag,
        minimum_edited=False,
        active=True,
    )
    try:
        async with db.begin_nested():
            db.add(row)
    except IntegrityError:
        return (
            await db.scalars(
                select(Image).where(
                    Image.reference == info.reference, Image.architecture == info.architecture
                )
            )
        ).one()
    return row


def _describe(row: Image, info: ImageInfo) -> None:
    described = describe(info.labels, row.name, row.tag)
    row.digest, row.size, row.labels = info.digest, info.size, dict(info.labels)
    row.language, row.version, row.base = described.language, described.version, described.base
    row.service_ports, row.environment_names = described.service_ports, described.environment_names
    if not row.minimum_edited:
        row.minimum_slots = described.minimum_slots


def split(reference: str) -> Reference:
    """Take a reference apart as Docker does: the first part is a registry if it looks like a host."""
    path, _, tag = reference.partition("@")[0].rpartition(":")
    if not path or "/" in tag:
        path, tag = reference.partition("@")[0], "latest"
    first, slash, rest = path.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, path = (first, rest) if is_host else ("docker.io", path)
    namespace, _, name = path.rpartition("/")
    return Reference(registry, namespace, name, tag)


def describe(labels: Mapping[str, str], name: str, tag: str) -> Described:
    """Read labels of either family; ours win. What is malformed counts as absent."""
    minimum: Slots = {}
    for family in ("ai.backend.resource.min.", "berth.min."):
        for label, text in labels.items():
            slot = label.removeprefix(family)
            if label.startswith(family) and slot in slots.SLOT_TYPES:
                amount = _amount(slot, text)
                if amount is not None:
                    minimum[slot] = amount
    ports = labels.get("berth.service-ports", labels.get("ai.backend.service-ports", ""))
    names = labels.get("berth.environ", labels.get("ai.backend.envs.corecount", ""))
    return Described(
        language=labels.get("berth.environment", labels.get("ai.backend.runtime-type", name)),
        version=labels.get("berth.environment.version", tag.partition("-")[0]),
        base=labels.get("berth.base", labels.get("ai.backend.base-distro", "")),
        minimum_slots=minimum,
        service_ports=_ports(ports),
        environment_names=[part.strip() for part in names.split(",") if part.strip()],
    )


def _amount(slot: str, text: str) -> int | None:
    if slots.SLOT_TYPES[slot].unit == "BYTES":
        match = _SIZE.fullmatch(text.strip())
        return int(float(match[1]) * _MULTIPLES[match[2].lower()]) if match else None
    problems = Problems()
    return slots.parse([(slot, text.strip())], problems, "label").get(slot)


def _ports(text: str) -> list[dict[str, Any]]:
    """`name:protocol:port`, several separated by commas; of several ports in brackets the first counts."""
    ports: list[dict[str, Any]] = []
    for match in re.finditer(r"([\w.-]+):([\w.-]+):\[?(\d+)(?:[\d,\s]*\])?", text):
        name, protocol, port = match[1], match[2], int(match[3])
        if 0 < port < 65536:
            ports.append({"name": name, "protocol": protocol, "port": port})
    return ports


async def _visible(db: AsyncSession, actor: Actor, image_id: str, path: str) -> Image:
    image = await db.scalar(select(Image).where(Image.id == image_id, permissions.visible(actor, Image)))
    if image is None:
        raise NotFound("There is no such image, or it is not yours to see.", path=path)
    return image
