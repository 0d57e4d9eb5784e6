"""What has changed that a plan depends on? Asked of the database in one statement, however many sessions wait.

Sessions and agents leave a row in their timelines with every change, whose numbers rise. On PostgreSQL a number is given
out before its row can be seen, so a higher one may be seen first; therefore numbers that were left out are asked for
again, for a while. What leaves no row (limits, what devices have free) is told by a hint.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import literal, select, union_all

from services.core import Core
from services.db import bulk
from services.db.tables import FINAL, AgentEvent, SessionEvent

#: A number whose row has not been seen after so long is taken to have none: what wrote it was undone.
_PATIENCE: Final = timedelta(minutes=2)
#: Of the newest numbers so many are looked at for ones that were left out: more than are ever being written at one time.
_NEWEST: Final = 5000
#: With more changes than these it is cheaper to read everything.
_MOST: Final = 5000
#: Steps of a start: who takes them holds what it has held since it was placed.
_STEPS: Final = ("PREPARING", "PULLING", "PREPARED", "CREATING")


class Changed(NamedTuple):
    sessions: set[str]
    agents: set[str]
    #: Of the sessions, those that have ended.
    ended: set[str]


@dataclass
class _Log:
    """How far one timeline has been read."""

    highest: int = 0
    #: Numbers below it whose rows were not seen, and since when they have been looked for.
    missing: dict[int, datetime] = field(default_factory=dict[int, datetime])

    def begin(self, newest: Collection[int], now: datetime) -> None:
        """With the newest numbers, as many as are looked at."""
        self.highest = max(newest, default=0)
        first = max(self.highest - _NEWEST, 0) + 1
        self.missing |= {number: now for number in range(first, self.highest) if number not in self.missing}
        for number in newest:
            self.missing.pop(number, None)

    def take(self, numbers: Sequence[int], now: datetime) -> None:
        """Of rows that have been seen since."""
        highest = max(numbers, default=0)
        if highest > self.highest:
            self.missing |= dict.fromkeys(range(max(self.highest, highest - _NEWEST) + 1, highest), now)
            self.highest = highest
        for number in numbers:
            self.missing.pop(number, None)

    def forget(self, now: datetime) -> None:
        self.missing = {number: since for number, since in self.missing.items() if now - since < _PATIENCE}


class Marks:
    """How far the timelines have been read."""

    def __init__(self) -> None:
        self._sessions, self._agents = _Log(), _Log()

    async def begin(self, core: Core) -> None:
        """All that can be seen now counts as read. To be asked before what a plan is made of is read."""
        async with core.db.read() as db:
            for table, log in ((SessionEvent, self._sessions), (AgentEvent, self._agents)):
                newest = await db.scalars(select(table.id).order_by(table.id.desc()).limit(_NEWEST))
                log.begin(set(newest.all()), core.now())

    async def read(self, core: Core) -> Changed | None:
        """What has changed since it was asked last; None: too much to tell one by one."""
        now = core.now()
        parts: list[Any] = []
        async with core.db.read() as db:
            for kind, table, subject, log in (
                ("session", SessionEvent, SessionEvent.session_id, self._sessions),
                ("agent", AgentEvent, AgentEvent.agent_id, self._agents),
            ):
                log.forget(now)
                rows = select(literal(kind), table.id, subject, table.status, table.code)
                parts.append(rows.where(table.id > log.highest))
                if log.missing:
                    late = bulk.table(db, f"late_{kind}", {"id": (bulk.NUMBER, list(log.missing))})
                    parts.append(rows.join(late, late.c.id == table.id))
            found: Sequence[Any] = (await db.execute(union_all(*parts).limit(_MOST + 1))).all()
        if len(found) > _MOST:
            return None
        changed = Changed(set(), set(), set())
        for kind, _, subject, status, code in found:
            if kind == "agent":
                changed.agents.add(subject)
            elif status not in _STEPS or code:
                changed.sessions.add(subject)
                if status in FINAL:
                    changed.ended.add(subject)
        self._sessions.take([row[1] for row in found if row[0] == "session"], now)
        self._agents.take([row[1] for row in found if row[0] == "agent"], now)
        return changed
