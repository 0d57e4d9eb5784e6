"""Ends that come of themselves: of a session that has run for as long as it may, and of one that waits in vain."""

from sqlalchemy import select

from services.core import Core
from services.db.tables import FINAL, Session, SessionDependency
from services.sessions import gates, lifecycle
from services.sessions.lifecycle import Changes, Reason
from services.sessions.terminate import end, publish

#: Sessions ended by one call: the next one is not far.
_MOST = 500


async def end_overlong(core: Core) -> int:
    """End what has run for its maximum duration. Returns how many sessions."""
    async with core.db.read() as db:
        due = (
            await db.scalars(
                select(Session.id)
                .where(Session.ends_at <= core.now(), Session.status == "RUNNING")
                .order_by(Session.ends_at)
                .limit(_MOST)
            )
        ).all()
    count = 0
    for session_id in due:
        changes = Changes()
        async with core.db.write() as db:
            session = await lifecycle.lock(db, session_id)
            if session is None or session.status != "RUNNING":
                continue
            why = f"It has run for its maximum duration of {session.max_duration_seconds} seconds."
            await end(core, db, session, changes, reason=Reason("MAX_DURATION", why))
            count += 1
        await publish(core, changes)
    return count


async def cancel_hopeless(core: Core) -> int:
    """Cancel what depends on a session that has ended without success. Returns how many sessions.

    Those that depend on them in turn are found by the next call.
    """
    async with core.db.read() as db:
        waiting = (
            await db.scalars(
                select(Session.id)
                .where(Session.status == "PENDING", gates.hopeless())
                .order_by(Session.id)
                .limit(_MOST)
            )
        ).all()
    count = 0
    for session_id in waiting:
        changes = Changes()
        async with core.db.write() as db:
            session = await lifecycle.lock(db, session_id)
            if session is None or session.status != "PENDING":
                continue
            needed = await db.scalars(
                select(Session)
                .join(SessionDependency, SessionDependency.depends_on_id == Session.id)
                .where(SessionDependency.session_id == session_id, Session.status.in_(FINAL))
                .order_by(Session.id)
            )
            failed = next((one for one in needed if not gates.succeeded(one)), None)
            if failed is None:
                continue
            why = f"It depends on {failed.name!r}, which has ended without success ({failed.reason_code})."
            await end(core, db, session, changes, reason=Reason("DEPENDENCY_FAILED", why))
            count += 1
        await publish(core, changes)
    return count
