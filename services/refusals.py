"""Refused attempts beyond those that are written down one by one: counted, a row a minute for each who makes them.

An attempt more is a number in memory; `services.audits.keep_books` writes rows every few seconds. Each manager has rows of its own.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.trail import Entry

#: The action of such a row.
ACTION: Final = "manyRefused"
_MINUTE: Final = timedelta(minutes=1)
_MOST: Final = 10_000
_MOST_NAMES: Final = 20


@dataclass
class _Row:
    entry: Entry
    attempts: int = 0
    actions: dict[str, int] = field(default_factory=dict[str, int])
    dirty: bool = True

    def is_over(self, now: datetime) -> bool:
        return now - self.entry.at >= _MINUTE

    def count(self, attempt: Entry) -> None:
        known = len(self.actions) < _MOST_NAMES or attempt.action in self.actions
        name = attempt.action if known else "others"
        self.actions[name] = self.actions.get(name, 0) + 1
        self.attempts += 1
        self.entry.code, self.dirty = attempt.code, True

    def told(self) -> Entry:
        counts = {"attempts": self.attempts, **{f"actions.{one}": n for one, n in self.actions.items()}}
        self.entry.arguments = [(name, str(count)) for name, count in counts.items()]
        self.dirty = False
        return self.entry


@dataclass
class RefusalBook:
    """What this manager has counted and not written yet, and the rows that still grow."""

    _rows: dict[str, _Row] = field(default_factory=dict[str, _Row])
    _over: list[_Row] = field(default_factory=list[_Row])

    def note(self, whose: str, attempt: Entry) -> None:
        """Count an attempt of a user, or of an address."""
        if whose not in self._rows and len(self._rows) >= _MOST:
            # From so many addresses at once it is one attack.
            whose = ""
        row = self._rows.get(whose)
        if row is None or row.is_over(attempt.at):
            if row is not None:
                self._over.append(row)
            row = self._rows[whose] = _begun(attempt if whose else Entry(at=attempt.at, action=ACTION))
        row.count(attempt)

    def take(self, now: datetime) -> list[Entry]:
        """Rows that have to be written, anew or again. None is added to once it is a minute old."""
        changed = [row.told() for row in (*self._over, *self._rows.values()) if row.dirty]
        self._over.clear()
        self._rows = {whose: row for whose, row in self._rows.items() if not row.is_over(now)}
        return changed


def _begun(first: Entry) -> _Row:
    return _Row(
        Entry(
            at=first.at,
            action=ACTION,
            user_id=first.user_id,
            domain_id=first.domain_id,
            address=first.address,
            user_agent=first.user_agent,
            outcome="REFUSED",
        )
    )
