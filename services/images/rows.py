"""Images as they are listed, changed and forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import allowances, inputs, permissions, slots, trail
from services.core import Core
from services.db.tables import AgentImage, Image, ImageAlias, Session, Slots
from services.errors import Conflict, NotFound, Problems
from services.filters import Conditions, equal, linked, searched
from services.nouns import Noun
from services.permissions import Actor, Subject

_MOST_ALIASES: Final = 20


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
    #: Only the one that is called so.
    alias: str | None = None


ORDERS: Final = {
    "REFERENCE": Image.reference,
    "LANGUAGE": Image.language,
    "CREATED_AT": Image.id,
    "SIZE": Image.size,
}


def _conditions(where: ImageFilter) -> Conditions:
    return [
        *_searched(where.search),
        *linked(Image.id, ImageAlias.image_id, ImageAlias.name, where.alias),
        *equal(Image.active, where.active),
        *equal(Image.architecture, where.architecture),
        *equal(Image.language, where.language),
        *_installed(where.installed),
        *linked(Image.id, AgentImage.image_id, AgentImage.agent_id, where.agent_id),
        *([] if where.group_id is None else [Image.active.is_(True), allowances.usable_in(where.group_id)]),
    ]


def _searched(text: str | None) -> Conditions:
    """By what an image is called, its short names too."""
    named = searched(text, ImageAlias.image_id, ImageAlias.name)
    if not named:
        return []
    here = searched(text, Image.id, Image.reference, Image.language)
    return [or_(*here, Image.id.in_(select(ImageAlias.image_id).where(*named)))]


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


async def aliases(core: Core, _actor: Actor, image_ids: Sequence[str]) -> dict[str, list[str]]:
    """Image → its short names. The images are the actor's to see."""
    result: dict[str, list[str]] = {image_id: [] for image_id in image_ids}
    async with core.db.read() as db:
        rows = await db.execute(
            select(ImageAlias.image_id, ImageAlias.name)
            .where(ImageAlias.image_id.in_(image_ids))
            .order_by(ImageAlias.name)
        )
        for image_id, name in rows:
            result[image_id].append(name)
    return result


async def edit(
    core: Core,
    actor: Actor,
    image_id: str,
    *,
    minimum_slots: Sequence[tuple[str, str]] | None = None,
    active: bool | None = None,
    aliases: Sequence[str] | None = None,
) -> Image:
    """Change an image's minimums (from then on labels no longer do), whether it may be used, or its short names.

    Raises:
        BadInput, NotFound, Forbidden; Conflict: another image has one of these names.
    """
    problems = Problems()
    minimums = slots.parse(minimum_slots or (), problems, "input.minimumSlots")
    if len(aliases or ()) > _MOST_ALIASES:
        problems.add("input.aliases", f"At most {_MOST_ALIASES}.")
    for position, alias in enumerate(aliases or ()):
        inputs.check_name(alias, problems, f"input.aliases.{position}")
    problems.check()
    try:
        return await _edit(core, actor, image_id, minimum_slots, minimums, active, aliases)
    except IntegrityError as error:
        raise Conflict("Another image has one of these names.", path="input.aliases") from error


async def _edit(
    core: Core,
    actor: Actor,
    image_id: str,
    minimum_slots: Sequence[tuple[str, str]] | None,
    minimums: Slots,
    active: bool | None,
    aliases: Sequence[str] | None,
) -> Image:
    async with core.db.write() as db:
        image = await visible_image(db, actor, image_id, "input.id")
        permissions.require(actor, "updateImage", Subject())
        if minimum_slots is not None:
            image.minimum_slots, image.minimum_edited = minimums, True
        if active is not None:
            image.active, image.vanished = active, False
        if aliases is not None:
            gone = delete(ImageAlias).where(ImageAlias.image_id == image.id).returning(ImageAlias.name)
            before, now = sorted(await db.scalars(gone)), sorted(set(aliases))
            if before != now:
                trail.note(image.id, "aliases", before, now)
            db.add_all(
                ImageAlias(name=name, image_id=image.id, created_at=core.now())
                for name in dict.fromkeys(aliases)
            )
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
        for image in [await visible_image(db, actor, image_id, "input.ids") for image_id in gone]:
            if await db.scalar(select(Session.id).where(Session.image_id == image.id).limit(1)) is not None:
                image.active = False
            else:
                await db.execute(delete(ImageAlias).where(ImageAlias.image_id == image.id))
                await db.execute(delete(AgentImage).where(AgentImage.image_id == image.id))
                await db.delete(image)
    return gone


async def visible_image(db: AsyncSession, actor: Actor, image_id: str, path: str) -> Image:
    image = await db.scalar(select(Image).where(Image.id == image_id, permissions.visible(actor, Image)))
    if image is None:
        raise NotFound("There is no such image, or it is not yours to see.", path=path)
    return image
