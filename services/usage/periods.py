"""Hours, days and months of UTC, under names that sort: `2026-11-24T08`, `2026-11-24`, `2026-11`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HOUR_MICROSECONDS: Final = 3_600_000_000


def microseconds(moment: datetime) -> int:
    """Since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(since_1970: int) -> datetime:
    return _EPOCH + timedelta(microseconds=since_1970)


def floor_hour(value: datetime) -> datetime:
    return value.replace(minute=0, second=0, microsecond=0)


def floor_day(value: datetime) -> datetime:
    return value.replace(hour=0, minute=0, second=0, microsecond=0)


def floor_month(value: datetime) -> datetime:
    return floor_day(value).replace(day=1)


def next_month(value: datetime) -> datetime:
    return floor_month(floor_month(value) + timedelta(days=32))


def ceiling(value: datetime, floor: datetime, step: timedelta) -> datetime:
    return value if value == floor else floor + step


def names(hour: datetime) -> tuple[str, str, str]:
    """The hour, the day and the month that it is in."""
    text = hour.strftime("%Y-%m-%dT%H")
    return text, text[:10], text[:7]


def spread(begin: int, end: int) -> Iterator[tuple[datetime, int]]:
    """(hour, microseconds of it) of a time between two moments in microseconds since 1970; they add up to it exactly."""
    while begin < end:
        hour = begin - begin % _HOUR_MICROSECONDS
        until = min(end, hour + _HOUR_MICROSECONDS)
        yield moment(hour), until - begin
        begin = until


def cover(begin: datetime, end: datetime) -> list[str]:
    """The fewest periods that are together exactly the time between two whole hours: months, days, hours."""
    pieces: list[str] = []
    while begin < end:
        hour, day, month = names(begin)
        if begin == floor_month(begin) and next_month(begin) <= end:
            pieces.append(month)
            begin = next_month(begin)
        elif begin == floor_day(begin) and begin + _DAY <= end:
            pieces.append(day)
            begin += _DAY
        else:
            pieces.append(hour)
            begin += HOUR
    return pieces
