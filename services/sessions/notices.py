"""Ending a session that broke no rule of its own: said before, once, in its timeline, to all who watch it; then done."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.orm import InstrumentedAttribute

from services.bus import SessionChanged
from services.core import Core
from services.db.tables import Session, SessionEvent
from services.sessions import lifecycle
from services.sessions.lifecycle import Changes, Reason
from services.sessions.terminate import end, publish


async def warn(
    core: Core,
    column: InstrumentedAttribute[datetime | None],
    code: str,
    messages: Mapping[str, str],
    now: datetime,
) -> None:
    """Warn running sessions that were not warned yet; several managers may do so at once.

    Args:
        column: where it is written that they were.
        messages: session → what its timeline says.
    """
    if not messages:
        return
    async with core.db.write() as db:
        warned = await db.scalars(
            update(Session)
            .where(Session.id.in_(messages), Session.status == "RUNNING", column.is_(None))
            .values({column: now})
            .returning(Session.id)
            .execution_options(synchronize_session=False)
        )
        events: list[dict[str, Any]] = [
            {
                "session_id": session_id,
                "at": now,
                "status": "RUNNING",
                "code": code,
                "message": messages[session_id],
            }
            for session_id in sorted(warned)
        ]
        if not events:
            return
        # One statement on either database: as objects, SQLite would be told of each by itself.
        numbers = await db.execute(
            insert(SessionEvent).values(events).returning(SessionEvent.session_id, SessionEvent.id)
        )
        hints = [SessionChanged(session_id=session_id, event_id=number) for session_id, number in numbers]
    for hint in hints:
        await core.bus.publish(hint)


async def end_warned(core: Core, session_id: str, reason: Reason, still: Callable[[Session], bool]) -> bool:
    """End a session that was warned. False when it was ended or exempted in the meantime, or `still` says so of the
    locked row: then the next look decides.
    """
    changes = Changes()
    async with core.db.write() as db:
        session = await lifecycle.lock(db, session_id)
        if session is None or session.status != "RUNNING" or session.idle_exempt or not still(session):
            return False
        await end(core, db, session, changes, reason=reason)
    await publish(core, changes)
    return True
