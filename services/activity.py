"""When sessions were last used through this manager, in memory; `services.sessions.idle` writes it down.

A byte of a terminal must not wait for the database. What a crash loses is a few seconds, and a manager that begins to
watch takes nothing for unused that it has not watched itself.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

#: Who has not looked for so long was not there: stopped, or asleep with its machine.
_GAP: Final = timedelta(seconds=60)


class ActivityBook:
    def __init__(self) -> None:
        self._used: dict[str, datetime] = {}
        self._looked_at: datetime | None = None
        #: Since when this manager has watched without a gap.
        self.since: datetime | None = None

    def note(self, session_id: str, at: datetime) -> None:
        """Bytes have gone through to or from it."""
        self._used[session_id] = at

    def of(self, session_id: str) -> datetime | None:
        return self._used.get(session_id)

    def look(self, now: datetime, sessions: Iterable[str]) -> None:
        """These are all that matter, and they are looked at now."""
        if self._looked_at is None or now - self._looked_at > _GAP:
            self.since = now
        self._looked_at = now
        kept = set(sessions)
        self._used = {session_id: at for session_id, at in self._used.items() if session_id in kept}
