"""What holds a session back before the scheduler looks at it.

    starts_at     a moment that has not come
    retry_at      the same, after a start that failed
    depends_on    sessions that have not succeeded: a batch session succeeds when its command ends by itself with exit
                  code 0; one that ends in any other way never will, and who depends on it is cancelled

Dependencies exist before the session that depends on them, so they make no cycles, and rows that are locked one after
the other along them are locked in the order of their ids.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, false, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services import permissions
from services.core import Core
from services.db.tables import FINAL, Session, SessionDependency
from services.errors import NotFound, Problems
from services.permissions import Actor
from services.sessions import reasons

MOST_DEPENDENCIES: Final = 100
#: Ends by itself, and the code with which an agent tells so.
_BY_ITSELF: Final = "EXITED"

_needed = aliased(Session, name="needed")
_UNMET: Final = or_(
    _needed.status != "TERMINATED", _needed.reason_code != _BY_ITSELF, _needed.exit_code.is_distinct_from(0)
)


def succeeded(session: Session) -> bool:
    """Has it ended as it should?"""
    return session.status == "TERMINATED" and session.reason_code == _BY_ITSELF and session.exit_code == 0


def waits() -> ColumnElement[bool]:
    """Sessions that depend on one that has not succeeded."""
    return _depends_where(_UNMET)


def hopeless() -> ColumnElement[bool]:
    """Sessions that depend on one that will never succeed."""
    return _depends_where(and_(_needed.status.in_(FINAL), _UNMET))


def _depends_where(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    found = (
        select(SessionDependency.session_id)
        .join(_needed, _needed.id == SessionDependency.depends_on_id)
        .where(SessionDependency.session_id == Session.id, condition)
    )
    return found.correlate(Session).exists()


async def find(
    db: AsyncSession, actor: Actor, wanted: Iterable[str], problems: Problems
) -> Sequence[Session]:
    """The sessions that a new one of the actor's shall depend on, held as they are until the transaction ends.

    Raises:
        NotFound: one of them does not exist or is not the actor's own.
    """
    ids = list(dict.fromkeys(wanted))
    if not ids:
        return []
    if len(ids) > MOST_DEPENDENCIES:
        problems.add("input.dependsOn", f"At most {MOST_DEPENDENCIES} sessions.")
        return []
    rows = await db.scalars(
        select(Session)
        .where(Session.id.in_(ids), Session.user_id == actor.user_id)
        .order_by(Session.id)
        .with_for_update(read=True)
    )
    found = {row.id: row for row in rows}
    if len(found) < len(ids):
        raise NotFound("One of the sessions does not exist, or is not your own.", path="input.dependsOn")
    for position, session_id in enumerate(ids):
        session = found[session_id]
        if session.type != "BATCH":
            problems.add(
                f"input.dependsOn.{position}",
                f"{session.name!r} is interactive; only a batch session succeeds.",
            )
        elif session.status in FINAL and not succeeded(session):
            problems.add(
                f"input.dependsOn.{position}",
                f"{session.name!r} has ended without success, so this session would never start.",
            )
    return [found[session_id] for session_id in ids]


def reason(now: datetime, starts_at: datetime | None, *, waits: bool) -> dict[str, Any] | None:
    """Why a session is held back, as it is stored; None: it is not.

    Args:
        waits: it depends on a session that has not succeeded yet.
    """
    if waits:
        return reasons.held_back(reasons.WAITS_FOR_SESSIONS)
    if starts_at is not None and starts_at > now:
        return reasons.held_back(reasons.STARTS_LATER)
    return None


async def ended(db: AsyncSession, session_id: str, now: datetime) -> Sequence[str]:
    """After a session has ended: bring the reasons of those up to date that wait for it. Returns their ids."""
    others = (
        select(func.count())
        .select_from(SessionDependency)
        .join(_needed, _needed.id == SessionDependency.depends_on_id)
        .where(SessionDependency.session_id == Session.id, _UNMET)
        .correlate(Session)
        .scalar_subquery()
    )
    waiting = (
        await db.execute(
            select(Session.id, Session.starts_at, others)
            .join(SessionDependency, SessionDependency.session_id == Session.id)
            .where(SessionDependency.depends_on_id == session_id, Session.status == "PENDING")
            .order_by(Session.id)
        )
    ).all()
    for waiting_id, starts_at, unmet in waiting:
        if not unmet:
            await db.execute(
                update(Session)
                .where(Session.id == waiting_id, Session.status == "PENDING")
                .values(pending_reason=reason(now, starts_at, waits=False))
                .execution_options(synchronize_session=False)
            )
    return [waiting_id for waiting_id, _, _ in waiting]


async def dependencies(core: Core, actor: Actor, session_ids: Sequence[str]) -> dict[str, list[Session]]:
    """What several sessions depend on, oldest first."""
    return await _needed_by(core, actor, session_ids, ~false())


async def unmet(core: Core, actor: Actor, session_ids: Sequence[str]) -> dict[str, list[Session]]:
    """What several sessions depend on and has not succeeded, oldest first."""
    return await _needed_by(core, actor, session_ids, _UNMET)


async def _needed_by(
    core: Core, actor: Actor, session_ids: Sequence[str], condition: ColumnElement[bool]
) -> dict[str, list[Session]]:
    result: dict[str, list[Session]] = {session_id: [] for session_id in session_ids}
    # Of these sessions alone: SQLite would make a list of all that may be seen.
    visible = select(Session.id).where(permissions.visible(actor, Session))
    asked = select(SessionDependency.depends_on_id).where(SessionDependency.session_id.in_(session_ids))
    async with core.db.read() as db:
        rows = await db.execute(
            select(SessionDependency.session_id, _needed)
            .join(_needed, _needed.id == SessionDependency.depends_on_id)
            .where(
                SessionDependency.session_id.in_(session_ids),
                SessionDependency.session_id.in_(visible.where(Session.id.in_(session_ids))),
                _needed.id.in_(visible.where(Session.id.in_(asked))),
                condition,
            )
            .order_by(SessionDependency.depends_on_id)
        )
        for session_id, row in rows:
            result[session_id].append(row)
    return result
