"""Has anything changed that a plan depends on? Asked of the database in one statement, however many sessions wait.

Sessions and agents leave a row in their timelines with every change, whose numbers rise. On PostgreSQL a number is given
out before its row can be seen, so a higher one may be seen first; therefore the newest rows are counted as well. What
leaves no row (limits, what devices have free) is told by a hint; a hint that is lost costs `_LIFE` at most.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import case, func, or_, select

from services.core import Core
from services.db.tables import AgentEvent, Session, SessionEvent, in_status

#: Looked at again after so long, whatever the marks say.
_LIFE: Final = timedelta(seconds=30)
#: Of the newest rows so many are counted: more than are ever being written at one time.
_COUNTED: Final = 5000


@dataclass(frozen=True)
class Marks:
    session_event: int
    agent_event: int
    #: Rows of sessions' timelines after the number `since`.
    newest: int
    since: int
    #: When to look again: a waiting session's moment comes, or the marks have become old.
    until: datetime

    def outdated(self, now: datetime) -> bool:
        return now >= self.until


NOTHING: Final = Marks(-1, -1, -1, -1, datetime.min.replace(tzinfo=UTC))


async def read(core: Core, before: Marks) -> Marks:
    """The marks as they are now; equal to those before where nothing has changed."""
    highest = select(func.coalesce(func.max(SessionEvent.id), 0)).scalar_subquery()
    agents = select(func.coalesce(func.max(AgentEvent.id), 0)).scalar_subquery()
    newest = select(func.count()).where(SessionEvent.id > max(before.since, 0)).scalar_subquery()
    async with core.db.read() as db:
        session_event, agent_event, count = (await db.execute(select(highest, agents, newest))).one()
    return Marks(session_event, agent_event, count, before.since, before.until)


async def keep(core: Core, now: Marks) -> Marks:
    """What to compare with later. To be asked before what the plan is made of is read."""
    moment, since = core.now(), max(now.session_event - _COUNTED, 0)
    coming = [
        func.min(case((column > moment, column))).label(name)
        for name, column in (("starts", Session.starts_at), ("retries", Session.retry_at))
    ]
    async with core.db.read() as db:
        count = select(func.count()).select_from(SessionEvent)
        newest = await db.scalar(count.where(SessionEvent.id > since, SessionEvent.id <= now.session_event))
        held = or_(Session.starts_at > moment, Session.retry_at > moment)
        row = (await db.execute(select(*coming).where(in_status(["PENDING"]), held))).one()
    until = min([moment + _LIFE, *(one for one in row if one is not None)])
    return replace(now, newest=newest or 0, since=since, until=until)
