"""Saying that a session will be ended: once, in its timeline, to all who watch it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.orm import InstrumentedAttribute

from services.bus import SessionChanged
from services.core import Core
from services.db.tables import Session, SessionEvent


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
