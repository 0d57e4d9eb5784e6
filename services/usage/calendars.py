"""Days and months where people live: each begins at midnight there, and lasts as long as the clocks say."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

UTC_ZONE: Final = ZoneInfo("UTC")
_MORE: Final = timedelta(days=32)


def find(name: str) -> ZoneInfo | None:
    """A time zone of the IANA database; None: this machine knows none of this name."""
    # Asked for by name, it would be looked for among files.
    return ZoneInfo(name) if name in _names() else None


@cache
def _names() -> frozenset[str]:
    return frozenset({"UTC", *available_timezones()})


@dataclass(frozen=True)
class Calendar:
    """Days or months of a time zone, by the moments of UTC at which they begin."""

    zone: ZoneInfo
    months: bool

    def floor(self, moment: datetime) -> datetime:
        """When that began which the moment is in."""
        return self._midnight(self._first(moment))

    def ceiling(self, moment: datetime) -> datetime:
        """The same, or else when the next one begins."""
        return moment if moment == self.floor(moment) else self._midnight(self._next(self._first(moment)))

    def between(self, begin: datetime, end: datetime) -> list[datetime]:
        """All that begin from one beginning on, before another."""
        found, day = list[datetime](), self._first(begin)
        while (moment := self._midnight(day)) < end:
            found.append(moment)
            day = self._next(day)
        return found

    def _first(self, moment: datetime) -> date:
        day = moment.astimezone(self.zone).date()
        return day.replace(day=1) if self.months else day

    def _next(self, day: date) -> date:
        return (day + _MORE).replace(day=1) if self.months else day + timedelta(days=1)

    def _midnight(self, day: date) -> datetime:
        """Where clocks skip midnight: the moment at which they do."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)
