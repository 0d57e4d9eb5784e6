"""What nodes report that they have, written down."""

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from agents.protocol import ImageInfo
from services import ids
from services.db.tables import AgentImage, Image
from services.images.labels import describe, split


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
    if row.scanned_digest is not None:
        # Its registry knows better what the newest is; a node knows what it takes on a disk.
        if info.digest == row.digest:
            row.size = info.size
        return
    described = describe(info.labels, row.name, row.tag)
    row.digest, row.size, row.labels = info.digest, info.size, dict(info.labels)
    row.language, row.version, row.base = described.language, described.version, described.base
    row.service_ports, row.environment_names = described.service_ports, described.environment_names
    if not row.minimum_edited:
        row.minimum_slots = described.minimum_slots
