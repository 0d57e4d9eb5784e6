"""Announcements: what administrators want everybody, or everybody of a domain, to read for a time."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import and_, func, not_, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from services import domains, idempotency, ids, inputs, permissions
from services.bus import AnnouncementsChanged, Lagged
from services.core import Core
from services.db.tables import Announcement, now
from services.errors import Conflict, Forbidden, Problems
from services.filters import Conditions, equal, searched
from services.nouns import Noun, amend
from services.paging import Order, PageArgs
from services.permissions import Actor, Reach

SEVERITIES: Final = ("INFO", "WARNING", "CRITICAL")
#: Seconds: looked at again when nothing was told, and after the moment at which something begins or ends.
_LOOK: Final = 600.0
_LATER: Final = 0.1
_LONGEST_TITLE: Final = 200
_LONGEST_TEXT: Final = 16 * 1024


@dataclass(frozen=True)
class AnnouncementFilter:
    #: On now (True), or not yet or not any more (False).
    active: bool | None = None
    severity: str | None = None
    domain_id: str | None = None
    #: Part of the title or text, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class AnnouncementSpec:
    title: str
    #: Markdown.
    text: str = ""
    severity: str = "INFO"
    #: None: for everybody.
    domain_id: str | None = None
    #: None: from now on.
    starts_at: datetime | None = None
    #: None: until it is changed or deleted.
    ends_at: datetime | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class AnnouncementChanges:
    """None (where None means something: UNSET): as it is."""

    title: str | None = None
    text: str | None = None
    severity: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | UnsetType | None = UNSET


ORDERS: Final = {
    "CREATED_AT": Announcement.id,
    "STARTS_AT": Announcement.starts_at,
    "SEVERITY": Announcement.severity,
}


def _conditions(where: AnnouncementFilter) -> Conditions:
    at = now()
    on = and_(Announcement.starts_at <= at, or_(Announcement.ends_at.is_(None), Announcement.ends_at > at))
    return [
        *([] if where.active is None else [on if where.active else not_(on)]),
        *equal(Announcement.severity, where.severity),
        *equal(Announcement.domain_id, where.domain_id),
        *searched(where.search, Announcement.id, Announcement.title, Announcement.text),
    ]


_noun = Noun(Announcement, "ann", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: AnnouncementSpec) -> Announcement:
    """Announce something to a domain, or (superadmins) to everybody.

    Raises:
        BadInput, NotFound: the domain is not the actor's to see; Forbidden, Conflict.
    """
    permissions.require_role(actor, "createAnnouncement")
    problems = Problems()
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    title = _check(spec, problems)
    at = core.now()
    _check_period(spec.starts_at or at, spec.ends_at, problems)
    problems.check()
    if spec.domain_id is None and permissions.reach(actor, "createAnnouncement") is not Reach.EVERYTHING:
        raise Forbidden("Only a superadmin announces to all domains. Name yours.", path="input.domainId")

    async def make(db: AsyncSession) -> Announcement:
        if spec.domain_id is not None:
            await domains.require(db, actor, spec.domain_id, "createAnnouncement")
        row = Announcement(
            id=ids.new("ann"),
            domain_id=spec.domain_id,
            severity=spec.severity,
            title=title,
            text=spec.text,
            starts_at=spec.starts_at or at,
            ends_at=spec.ends_at,
            author_id=actor.user_id,
            created_at=at,
            updated_at=at,
        )
        db.add(row)
        return row

    taken = Conflict("It was announced at the same moment. Read the announcements again.")
    row, _ = await idempotency.once(core, actor, "createAnnouncement", spec, Announcement, make, taken=taken)
    await core.bus.publish(AnnouncementsChanged())
    return row


async def edit(core: Core, actor: Actor, announcement_id: str, changes: AnnouncementChanges) -> Announcement:
    """Change an announcement.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    problems = Problems()
    title = _check(changes, problems)
    problems.check()
    async with core.db.write() as db:
        row = await _noun.take(db, actor, announcement_id, "updateAnnouncement")
        amend(row, changes, "text", "severity", "starts_at", "ends_at")
        row.title = row.title if changes.title is None else title
        _check_period(row.starts_at, row.ends_at, problems)
        problems.check()
        row.updated_at = core.now()
    await core.bus.publish(AnnouncementsChanged())
    return row


async def delete(core: Core, actor: Actor, announcement_id: str) -> str:
    """Delete an announcement. Returns its id.

    Raises:
        NotFound, Forbidden.
    """
    gone = await _noun.delete(core, actor, announcement_id, "deleteAnnouncement")
    await core.bus.publish(AnnouncementsChanged())
    return gone.id


async def watch(core: Core, actor: Actor) -> AsyncGenerator[Sequence[Announcement]]:
    """Those that are on for the actor, the newest first and at most a hundred, then all of them again whenever they are others:
    announced, changed, taken back, begun or ended."""
    told: list[tuple[str, datetime]] | None = None
    where, order = AnnouncementFilter(active=True), [Order(Announcement.id, descending=True)]
    async with core.bus.subscribe(AnnouncementsChanged) as hints:
        while True:
            found = (await page(core, actor, where, order, PageArgs(first=100))).rows
            state = [(row.id, row.updated_at) for row in found]
            if state != told:
                told = state
                yield found
            with contextlib.suppress(TimeoutError, Lagged):
                async with asyncio.timeout(await _until_others(core, actor)):
                    await anext(hints)
                    hints.drain()


async def _until_others(core: Core, actor: Actor) -> float:
    """Seconds until the next one begins or ends by itself; managers' clocks are a little apart, so a little later."""
    at = now()
    everybodys = or_(Announcement.domain_id.is_(None), Announcement.domain_id == actor.domain_id)
    where = true() if permissions.reach(actor, "read:announcement") is Reach.EVERYTHING else everybodys
    begins, ends = (
        select(func.min(moment)).where(where, moment > at).scalar_subquery()
        for moment in (Announcement.starts_at, Announcement.ends_at)
    )
    async with core.db.read() as db:
        found = (await db.execute(select(begins, ends))).one()
    waits = [(moment - at).total_seconds() for moment in found if moment is not None]
    return min([*waits, _LOOK]) + _LATER


def is_on(row: Announcement, at: datetime) -> bool:
    return row.starts_at <= at and (row.ends_at is None or row.ends_at > at)


def _check(given: AnnouncementSpec | AnnouncementChanges, problems: Problems) -> str:
    """Returns the title as it is kept."""
    title = (
        ""
        if given.title is None
        else inputs.check_line(given.title, problems, "input.title", least=1, most=_LONGEST_TITLE)
    )
    if given.text is not None:
        inputs.check_text(given.text, problems, "input.text", most=_LONGEST_TEXT)
    if given.severity is not None and given.severity not in SEVERITIES:
        problems.add("input.severity", f"One of {', '.join(SEVERITIES)}.")
    return title


def _check_period(begin: datetime, end: datetime | None, problems: Problems) -> None:
    if end is not None and end <= begin:
        problems.add("input.endsAt", "It must be after the beginning.")
