"""Sessions as they change: what a list on a screen needs in order never to be reloaded.

Each notice carries the session as it is now and a cursor. A watcher that comes back with its last cursor is told what it
missed; when that is too much, or it was too slow, it is told to read afresh (`RESYNC`).
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import func, select

from services import permissions
from services.bus import Lagged, PullAdvanced, Queue, SessionChanged
from services.core import Core
from services.db.tables import Session, SessionEvent
from services.permissions import Actor
from services.sessions.read import SessionFilter, conditions
from services.timelines import Timeline, position

_timeline = Timeline(SessionEvent, SessionEvent.session_id)

Kind = Literal["CHANGED", "LEFT", "RESYNC"]


@dataclass(frozen=True)
class SessionNotice:
    """CHANGED: `session` is new or has changed. LEFT: it no longer matches the filter. RESYNC: read afresh."""

    kind: Kind
    cursor: str
    session: Session | None = None
    #: The timeline's row that it is about, None for a change that is not on the timeline.
    event: SessionEvent | None = None


async def watch(
    core: Core, actor: Actor, where: SessionFilter, after: str | None = None
) -> AsyncGenerator[SessionNotice]:
    """Notices of the sessions that the actor sees and that match, for ever.

    Raises:
        BadInput: `after` is not a cursor of this stream.
    """
    # Whether a session is in or out of a filter by status is what the watcher wants to be told about.
    scope = replace(where, status_in=None, category=None)
    async with core.bus.subscribe(SessionChanged, PullAdvanced) as hints:
        cursor = await _timeline.newest(core) if after is None else position(after)
        if after is not None:
            missed = await _timeline.missed(core, cursor)
            if missed is None:
                cursor = await _timeline.newest(core)
                yield SessionNotice("RESYNC", str(cursor))
            else:
                for notice in await _notices(core, actor, where, scope, missed, cursor):
                    cursor = int(notice.cursor)
                    yield notice
        while True:
            try:
                batch = await _batch(hints)
            except Lagged:
                cursor = await _timeline.newest(core)
                yield SessionNotice("RESYNC", str(cursor))
                continue
            for notice in await _notices(core, actor, where, scope, batch, cursor):
                cursor = int(notice.cursor)
                yield notice


async def _batch(hints: Queue[SessionChanged | PullAdvanced]) -> dict[str, int]:
    """Session → number of its newest event, of all hints that are there: one read for a burst."""
    batch: dict[str, int] = {}
    for hint in [await anext(hints), *hints.drain()]:
        number = hint.event_id if isinstance(hint, SessionChanged) else 0
        batch[hint.session_id] = max(number, batch.get(hint.session_id, 0))
    return batch


async def _notices(
    core: Core, actor: Actor, where: SessionFilter, scope: SessionFilter, changed: dict[str, int], cursor: int
) -> Sequence[SessionNotice]:
    if not changed:
        return []
    matches = conditions(where)
    async with core.db.read() as db:
        rows = await db.execute(
            select(Session, *[func.coalesce(condition, False) for condition in matches]).where(
                Session.id.in_(changed), permissions.visible(actor, Session), *conditions(scope)
            )
        )
        found = {row[0].id: (row[0], all(row[1:])) for row in rows}
    events = await _timeline.events(core, [changed[session_id] for session_id in found])
    notices: list[SessionNotice] = []
    for session_id, number in sorted(_known(changed, found), key=lambda item: item[1]):
        session, inside = found[session_id]
        cursor = max(cursor, number)
        notices.append(
            SessionNotice("CHANGED" if inside else "LEFT", str(cursor), session, events.get(number))
        )
    return notices


def _known(changed: dict[str, int], found: dict[str, tuple[Session, bool]]) -> Iterable[tuple[str, int]]:
    return ((session_id, number) for session_id, number in changed.items() if session_id in found)
