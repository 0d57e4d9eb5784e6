"""Environments: what one chooses from when one starts something, images put together by language and version."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select

from services import allowances, permissions
from services.core import Core
from services.db.tables import Image
from services.permissions import Actor

#: More than this are not chosen from by anybody.
_MOST: Final = 2000
_NUMBERS: Final = re.compile(r"(\d+)")


@dataclass
class Version:
    """Of one version of a language: its images, one for each architecture, base and place that they come from."""

    name: str
    images: list[Image] = field(default_factory=list[Image])


@dataclass
class Environment:
    """A language or framework; its versions, the newest first."""

    name: str
    versions: list[Version] = field(default_factory=list[Version])


async def environments(core: Core, actor: Actor, group_id: str | None = None) -> Sequence[Environment]:
    """What the actor may start sessions from, by name.

    Args:
        group_id: only what sessions of this group may use.
    """
    query = select(Image).where(Image.active, permissions.visible(actor, Image))
    if group_id is not None:
        query = query.where(allowances.usable_in(group_id))
    async with core.db.read() as db:
        rows = (await db.scalars(query.order_by(Image.language, Image.reference).limit(_MOST))).all()
    found: dict[str, dict[str, Version]] = {}
    for row in rows:
        versions = found.setdefault(row.language or row.name, {})
        versions.setdefault(row.version, Version(row.version)).images.append(row)
    return [
        Environment(name, sorted(versions.values(), key=lambda one: _newness(one.name), reverse=True))
        for name, versions in sorted(found.items(), key=lambda item: item[0].casefold())
    ]


def _newness(version: str) -> list[tuple[int, int, str]]:
    """Numbers in a version count as numbers: 3.9 is older than 3.11."""
    return [
        (1, int(part), "") if part.isascii() and part.isdigit() and len(part) < 20 else (0, 0, part)
        for part in _NUMBERS.split(version)
        if part
    ]
