"""Ends that come of themselves: of a session that has run for as long as it may, and of one that waits in vain."""

from collections.abc import Awaitable, Callable, Collection

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.core import Core
from services.db import bulk
from services.db.tables import FINAL, Session, SessionDependency, in_status
from services.sessions import gates, lifecycle
from services.sessions.lifecycle import Changes, Reason
from services.sessions.terminate import end, publish

#: Sessions ended by one call: the next one is not far.
_MOST = 500


async def end_overlong(core: Core) -> int:
    """End what has run for its maximum duration. Returns how many sessions."""

    async def reason(_: AsyncSession, session: Session) -> Reason:
        seconds = session.max_duration_seconds
        return Reason("MAX_DURATION", f"It has run for its maximum duration of {seconds} seconds.")

    due = select(Session.id).where(Session.ends_at <= core.now()).order_by(Session.ends_at)
    return await _end_each(core, "RUNNING", due, reason)


async def cancel_hopeless(core: Core, ids: Collection[str] | None = None) -> int:
    """Cancel what depends on a session that has ended without success. Returns how many sessions.

    Those that depend on them in turn are found by the next call.

    Args:
        ids: those that may; None: all are looked at.
    """

    async def reason(db: AsyncSession, session: Session) -> Reason | None:
        needed = await db.scalars(
            select(Session)
            .join(SessionDependency, SessionDependency.depends_on_id == Session.id)
            .where(SessionDependency.session_id == session.id, Session.status.in_(FINAL))
            .order_by(Session.id)
        )
        failed = next((one for one in needed if not gates.succeeded(one)), None)
        if failed is None:
            return None
        why = f"It depends on {failed.name!r}, which has ended without success ({failed.reason_code})."
        return Reason("DEPENDENCY_FAILED", why)

    due = select(Session.id).where(gates.hopeless()).order_by(Session.id)
    return await _end_each(core, "PENDING", due, reason, ids)


async def _end_each(
    core: Core,
    status: str,
    due: Select[str],
    reason: Callable[[AsyncSession, Session], Awaitable[Reason | None]],
    ids: Collection[str] | None = None,
) -> int:
    """End sessions of a status that are due, each in a transaction of its own. Returns how many.

    Args:
        reason: why a session ends, seen when it is locked; None: it is no longer due.
        ids: of these alone.
    """
    if ids is not None and not ids:
        return 0
    async with core.db.read() as db:
        if ids is not None:
            due = due.where(bulk.among(db, Session.id, list(ids)))
        found = (await db.scalars(due.where(in_status([status])).limit(_MOST))).all()
    count = 0
    for session_id in found:
        changes = Changes()
        async with core.db.write() as db:
            session = await lifecycle.lock(db, session_id)
            if session is None or session.status != status:
                continue
            why = await reason(db, session)
            if why is None:
                continue
            await end(core, db, session, changes, reason=why)
        await publish(core, changes)
        count += 1
    return count
