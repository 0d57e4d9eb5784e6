"""Ending the sessions of users, groups and domains that were deactivated, where that was asked for.

The wish is in the row of what was deactivated (`sessions_ending_since`), written in the transaction that deactivates it: a
mutation ends the first of the sessions itself, and a duty of every manager the rest, however many there are and whatever
crashes in between. It looks on for a while after the last one, for a session that was being made at that moment.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import InstrumentedAttribute

from services.core import Core
from services.db.tables import FINAL, Domain, Group, Session, User
from services.sessions import lifecycle
from services.sessions.lifecycle import Changes, Reason
from services.sessions.terminate import end, publish

#: Sessions ended by one mutation, and by one round of the duty.
AT_ONCE: Final = 100
#: Longer than any operation takes.
_WATCHED: Final = timedelta(minutes=2)

Closed = type[User] | type[Group] | type[Domain]
_KINDS: Final[dict[Closed, tuple[InstrumentedAttribute[str], Reason]]] = {
    User: (Session.user_id, Reason("USER_DEACTIVATED", "Ended because its user was deactivated.")),
    Group: (Session.group_id, Reason("GROUP_DEACTIVATED", "Ended because its group was deactivated.")),
    Domain: (Session.domain_id, Reason("DOMAIN_DEACTIVATED", "Ended because its domain was deactivated.")),
}
_GOING_ON: Final = Session.stage.not_in((*FINAL, "TERMINATING"))


async def end_of_closed(core: Core) -> int:
    """A duty of every few seconds: go on ending. Returns how many sessions it ended; without any wish it asks little."""
    ended = 0
    for kind in _KINDS:
        async with core.db.read() as db:
            wishes = select(kind.id).where(kind.sessions_ending_since.is_not(None)).limit(1000)
            ids = (await db.scalars(wishes)).all()
        if ids:
            ended += await _end_some(core, kind, ids)
            await _forget(core, kind)
    return ended


async def begin(core: Core, row: User | Group | Domain) -> int:
    """After a row with the wish was committed: end the first of its sessions now. Returns how many it ended."""
    return await _end_some(core, type(row), [row.id]) if row.sessions_ending_since is not None else 0


async def _end_some(core: Core, kind: Closed, ids: Any) -> int:
    of, reason = _KINDS[kind]
    async with core.db.read() as db:
        due = (await db.scalars(select(Session.id).where(of.in_(ids), _GOING_ON).limit(AT_ONCE))).all()
    return sum([await _end(core, kind, session_id, reason) for session_id in due])


async def _end(core: Core, kind: Closed, session_id: str, reason: Reason) -> bool:
    changes, (of, _) = Changes(), _KINDS[kind]
    async with core.db.write() as db:
        session = await lifecycle.lock(db, session_id)
        if session is None or session.status in (*FINAL, "TERMINATING"):
            return False
        closed = await db.scalar(
            select(kind.sessions_ending_since).where(kind.id == getattr(session, of.key))
        )
        if closed is None:
            return False  # it was activated again meanwhile
        await end(core, db, session, changes, reason=reason)
    await publish(core, changes)
    return True


async def _forget(core: Core, kind: Closed) -> None:
    """Wishes that have been fulfilled for a while."""
    of, _ = _KINDS[kind]
    left: ColumnElement[bool] = select(Session.id).where(of == kind.id, _GOING_ON).correlate(kind).exists()
    async with core.db.write() as db:
        await db.execute(
            update(kind)
            .where(kind.sessions_ending_since < core.now() - _WATCHED, ~left)
            .values(sessions_ending_since=None)
            .execution_options(synchronize_session=False)
        )
