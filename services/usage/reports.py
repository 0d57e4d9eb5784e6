"""Reports of usage: of a scope and a time, by parts and over points of time, within what the actor may see.

What is read does not grow with the length of the time: it is put together from months, days and hours, and the time of
kernels that is not in the totals yet is added from their rows. So the parts of a time always add up to the whole.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Float, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services import ids, permissions
from services.core import Core
from services.db import bulk
from services.db.tables import Kernel, Session, UsageTotal
from services.errors import Problems
from services.permissions import Actor, Reach
from services.usage import calendars, periods, rollup
from services.usage.totals import BASE

Resolution = Literal["HOUR", "DAY", "MONTH"]
Grouping = Literal["USER", "GROUP", "DOMAIN", "RESOURCE_GROUP"]

#: Of the largest parts; with points of time, fewer.
MOST_PARTS: Final = 100
MOST_PARTS_WITH_POINTS: Final = 20
MOST_YEARS: Final = 20
#: Far enough from what a date can be that days of any time zone are.
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000
_MOST_POINTS: Final = {"HOUR": 31 * 24, "DAY": 400, "MONTH": 12 * MOST_YEARS}
_KINDS: Final = {"usr": "user_id", "grp": "group_id", "dom": "domain_id", "rgp": "resource_group_id"}
_GROUPS: Final = {
    "USER": "user_id",
    "GROUP": "group_id",
    "DOMAIN": "domain_id",
    "RESOURCE_GROUP": "resource_group_id",
}
_PLACE: Final = {"HOUR": 0, "DAY": 1, "MONTH": 2}


@dataclass(frozen=True)
class Ask:
    begin: datetime
    end: datetime
    #: A user, group, domain or resource group that the actor sees; None: all that the actor may see of usage.
    scope_id: str | None = None
    group_by: Grouping | None = None
    #: None: only the total.
    resolution: Resolution | None = None
    #: Whose days and months: a name of the IANA database.
    timezone: str = "UTC"


@dataclass
class Figures:
    #: Measure → amount, as `services/usage/rollup.py` and `services/usage/meters.py` have them.
    amounts: Counter[str] = field(default_factory=Counter[str])
    peaks: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, measure: str, amount: int, peak: int = 0) -> None:
        self.amounts[measure] += amount
        if peak:
            self.peaks[measure] = max(peak, self.peaks.get(measure, 0))


@dataclass(frozen=True)
class Part:
    #: Of whom or what; empty: everything of the scope.
    id: str
    total: Figures
    #: (when it begins, what was used from then on until the next)
    points: Sequence[tuple[datetime, Figures]]


@dataclass(frozen=True)
class Report:
    """From and to whole hours; with points, to whole ones of these."""

    begin: datetime
    end: datetime
    parts: Sequence[Part]


async def report(core: Core, actor: Actor, ask: Ask) -> Report:
    """What was used.

    The scope must have been found to be the actor's to see; within it, a user has their own usage, and an administrator of
    a domain that of the domain.

    Raises:
        BadInput: the time is empty or too long; Forbidden.
    """
    permissions.require_role(actor, "read:usage")
    begin, end = _whole(core, ask)
    conditions = [*_role(actor), *_scope(ask)]
    by = _GROUPS[ask.group_by] if ask.group_by else None
    points = _points(begin, end, ask) if ask.resolution else []
    pieces = _pieces(points, end, ask) if ask.resolution else dict.fromkeys(periods.cover(begin, end), "")
    most = MOST_PARTS_WITH_POINTS if ask.resolution else MOST_PARTS
    users = by == "user_id" or any(name == "user_id" for name, _ in conditions)
    async with core.db.read() as db:
        if bulk.on_postgres(db):
            # Totals and kernels as one moment has them: what moves from these to those is not to be missed.
            await db.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        rows = _Rows(db, pieces, conditions, by, users=users)
        largest = await rows.largest(most) if by else [""]
        found = await rows.sums(largest if by else None, each_period=ask.resolution is not None)
        live = await _live(core, db, conditions, by)
    figures: dict[tuple[str, str], Figures] = defaultdict(Figures)
    for key, period, measure, high, low, peak in found:
        figures[key, period].add(measure, int(high) * BASE + int(low), peak)
    room = set(largest) if len(largest) >= most else None
    for key, hour, measure, amount in live:
        if begin <= hour < end and (room is None or key in room):
            period = _key(points[bisect_right(points, hour) - 1]) if points else ""
            figures[key, period].add(measure, amount)
    return Report(begin, end, _parts(figures, points, by, most))


def _whole(core: Core, ask: Ask) -> tuple[datetime, datetime]:
    """The time in whole hours, days or months around what was asked for."""
    problems, zone = Problems(), calendars.find(ask.timezone)
    if ask.begin.year < _FIRST_YEAR or ask.end.year > _LAST_YEAR:
        problems.add("from", f"Between the years {_FIRST_YEAR} and {_LAST_YEAR}.")
        problems.check()
    if ask.end <= ask.begin:
        problems.add("to", "It must be after `from`.")
    elif ask.end - ask.begin > timedelta(days=366 * MOST_YEARS):
        problems.add("to", f"At most {MOST_YEARS} years.")
    if zone is None:
        problems.add("timezone", "There is no such time zone; a name is for example `Asia/Seoul`.")
    elif zone.key != "UTC" and ask.resolution not in ("DAY", "MONTH"):
        problems.add("timezone", "Days and months alone have a time zone; leave it out.")
    problems.check()
    kept = periods.floor_day(core.now() - rollup.hours_kept(core) + timedelta(days=1))
    begin, end = (
        periods.floor_hour(ask.begin),
        periods.ceiling(ask.end, periods.floor_hour(ask.end), periods.HOUR),
    )
    if ask.resolution in ("DAY", "MONTH"):
        whole = calendars.Calendar(zone or calendars.UTC_ZONE, months=ask.resolution == "MONTH")
        begin, end = whole.floor(begin), whole.ceiling(end)
    else:
        begin = periods.floor_day(begin) if begin < kept else begin
        end = periods.ceiling(end, periods.floor_day(end), timedelta(days=1)) if end < kept else end
    if ask.resolution == "HOUR" and begin < kept:
        problems.add("from", f"Hours are kept for {rollup.hours_kept(core).days - 1} days; ask for days.")
    points = _points(begin, end, ask) if ask.resolution else []
    if ask.resolution and len(points) > _MOST_POINTS[ask.resolution]:
        problems.add("to", f"At most {_MOST_POINTS[ask.resolution]} points; ask for longer ones.")
    for point in [*points, end]:
        if point != periods.floor_hour(point):
            problems.add(
                "timezone", "Its days do not begin with an hour of UTC, by which usage is kept; ask for UTC."
            )
            break
        if point < kept and point != periods.floor_day(point):
            kept_for = rollup.hours_kept(core).days - 1
            problems.add(
                "from", f"Hours, of which its days are made, are kept for {kept_for} days; ask for UTC."
            )
            break
    problems.check()
    return begin, end


def _points(begin: datetime, end: datetime, ask: Ask) -> list[datetime]:
    """Beginnings of points."""
    if ask.resolution == "HOUR":
        hours = (end - begin) // periods.HOUR
        return [begin + number * periods.HOUR for number in range(hours)]
    zone = calendars.find(ask.timezone) or calendars.UTC_ZONE
    return calendars.Calendar(zone, months=ask.resolution == "MONTH").between(begin, end)


def _pieces(points: Sequence[datetime], end: datetime, ask: Ask) -> dict[str, str]:
    """Periods of the totals → the point that they are part of."""
    if ask.timezone == "UTC" and ask.resolution:
        return {periods.names(point)[_PLACE[ask.resolution]]: _key(point) for point in points}
    return {
        piece: _key(begin)
        for begin, until in zip(points, [*points[1:], end], strict=True)
        for piece in periods.cover(begin, until)
    }


def _key(point: datetime) -> str:
    return point.strftime("%Y-%m-%dT%H")


Conditions = list[tuple[str, str]]


def _role(actor: Actor) -> Conditions:
    match permissions.reach(actor, "read:usage"):
        case Reach.EVERYTHING:
            return []
        case Reach.DOMAIN:
            return [("domain_id", actor.domain_id)]
        case _:
            return [("user_id", actor.user_id)]


def _scope(ask: Ask) -> Conditions:
    if ask.scope_id is None:
        return []
    name = _KINDS.get(ids.kind(ask.scope_id) or "")
    problems = Problems()
    if name is None:
        problems.add("scopeId", "A user, group, domain or resource group.")
    problems.check()
    return [(name or "", ask.scope_id)]


class _Rows:
    """The totals of some periods that meet conditions."""

    def __init__(
        self, db: AsyncSession, pieces: dict[str, str], conditions: Conditions, by: str | None, *, users: bool
    ) -> None:
        self._db = db
        self._key: Any = getattr(UsageTotal, by) if by else literal("")
        self._by = by
        self._points = bulk.table(
            db,
            "points",
            {"piece": (bulk.TEXT, list(pieces)), "point": (bulk.TEXT, list(pieces.values()))},
        )
        self._where: list[ColumnElement[bool]] = [
            bulk.among(db, UsageTotal.period, list(pieces)),
            UsageTotal.user_id != "" if users else UsageTotal.user_id == "",
            *(getattr(UsageTotal, name) == value for name, value in conditions),
        ]

    async def largest(self, most: int) -> list[str]:
        """Those that had the most of all processors, or by their ids where nobody had any."""
        size = func.sum(cast(UsageTotal.high, Float) * BASE + UsageTotal.low).filter(
            UsageTotal.measure == "cpu"
        )
        query = select(self._key).where(*self._where).group_by(self._key)
        found = await self._db.scalars(query.order_by(size.desc().nulls_last(), self._key).limit(most))
        return list(found)

    async def sums(self, keys: Sequence[str] | None, *, each_period: bool) -> Iterable[Any]:
        """(key, period, measure, high, low, peak)."""
        key: Any = self._key if self._by else literal("").label("key")
        period: Any = self._points.c.point if each_period else literal("").label("period")
        groups = [*([self._key] if self._by else []), *([period] if each_period else [])]
        where = [*self._where, *([UsageTotal.period == self._points.c.piece] if each_period else [])]
        if keys is not None:
            column: InstrumentedAttribute[str] = self._key
            where.append(bulk.among(self._db, column, keys))
        return await self._db.execute(
            select(
                key,
                period,
                UsageTotal.measure,
                func.sum(UsageTotal.high),
                func.sum(UsageTotal.low),
                func.max(UsageTotal.peak),
            )
            .where(*where)
            .group_by(*groups, UsageTotal.measure)
        )


async def _live(
    core: Core, db: AsyncSession, conditions: Conditions, by: str | None
) -> list[tuple[str, datetime, str, int]]:
    """(key, hour, measure, amount) of kernels' time that is not in the totals yet, as the same moment sees both."""
    key: Any = getattr(Session, by) if by else literal("")
    rows = await db.execute(
        select(Kernel, Session.started_at, key)
        .join(Session, Session.id == Kernel.session_id)
        .where(
            ~Kernel.accounted,
            Session.started_at.is_not(None),
            *(getattr(Session, name) == value for name, value in conditions),
        )
    )
    now = periods.microseconds(core.now())
    found: list[tuple[str, datetime, str, int]] = []
    for kernel, started_at, of in rows:
        _, known, until = rollup.times(kernel, started_at, now)
        if known is None or until is None or known == until:
            continue
        sign = 1 if known < until else -1
        measured = rollup.measured(kernel)
        for hour, duration in periods.spread(min(known, until), max(known, until)):
            found += [(of, hour, slot, sign * amount * duration) for slot, amount in measured.items()]
    return found


def _parts(
    figures: dict[tuple[str, str], Figures], points: Sequence[datetime], by: str | None, most: int
) -> list[Part]:
    keys = {key for key, _ in figures} if by else {""}
    parts: list[Part] = []
    for key in keys:
        total = Figures()
        for (of, _), one in figures.items():
            if of == key:
                for measure, amount in one.amounts.items():
                    total.add(measure, amount, one.peaks.get(measure, 0))
        shown = [(point, figures.get((key, _key(point)), Figures())) for point in points]
        parts.append(Part(key, total, shown))
    parts.sort(key=lambda part: (-part.total.amounts["cpu"], part.id))
    return parts[:most]
