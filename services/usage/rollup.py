"""Usage over time: what kernels had of each slot, hour by hour, added up for days and months.

    kernels ──(once an hour, and at their end)──▶ usage_totals ──▶ services/usage/reports.py
    samples of agents ── services/usage/meters.py ────────▲

A kernel's time is that of its session's record: from the session's start to the kernel's end. How much of it is in the
totals is written on the kernel (`accounted_until`) in the transaction that adds it, so nothing is counted twice or left
out, whichever manager does it, and however long none did; and where an end turns out to be before that (a clock that was
set back) the rest is taken off again. So the totals are always what the records say.

Measures: the name of a slot (internal units times microseconds), `sessions` (microseconds), and those of `meters`.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import leases, options
from services.core import Core
from services.db import bulk
from services.db.tables import FINAL, Kernel, KernelMeter, Session, UsageTotal
from services.usage import periods
from services.usage.totals import Additions, Scope

SESSIONS: Final = "sessions"
_DUTY: Final = "usage"
_LEASE: Final = timedelta(seconds=60)
_BATCH: Final = 200
#: Of one kernel in one transaction: after a long absence, or where there were no totals before, there is more.
_LONGEST: Final = 3 * 24 * 3_600_000_000
#: After their end the last samples of kernels are waited for, and what another manager has not committed yet.
_SETTLED: Final = timedelta(minutes=2)
_PURGED_AT_ONCE: Final = 100


async def roll_up(core: Core) -> int:
    """A duty of every minute: add the time of kernels up to the last whole hour, and of those that have ended all of it.

    One manager at a time does it, and where two believe to, each kernel is still added once.

    Returns:
        How many kernels were looked at.
    """
    if await leases.acquire(core, _DUTY, _LEASE) is None:
        return 0
    done = 0
    while (batch := await _roll_up_some(core)) > 0:
        done += batch
        if await leases.acquire(core, _DUTY, _LEASE) is None:
            break
    return done


async def purge(core: Core) -> None:
    """A duty of every ten minutes: forget hours that have been days for long."""
    before = periods.names(core.now() - hours_kept(core))[0]
    # Each hour of anybody's is there for all users together, too: few rows to look through.
    old = (
        select(UsageTotal.period)
        .where(
            UsageTotal.user_id == "",
            UsageTotal.period < before,
            func.length(UsageTotal.period) == len(before),
        )
        .distinct()
        .limit(_PURGED_AT_ONCE)
    )
    async with core.db.read() as db:
        hours = (await db.scalars(old)).all()
    for hour in hours:
        async with core.db.write() as db:
            for whose in (UsageTotal.user_id != "", UsageTotal.user_id == ""):
                await db.execute(delete(UsageTotal).where(whose, UsageTotal.period == hour))


def hours_kept(core: Core) -> timedelta:
    """Hours are kept for so long; before, there are days."""
    return timedelta(days=core.options.value(options.STATISTICS_RETENTION))


async def _roll_up_some(core: Core) -> int:
    horizon = periods.microseconds(periods.floor_hour(core.now()))
    additions = Additions()
    async with core.db.write() as db:
        rows = (await db.execute(_due(horizon, core.now() - _SETTLED))).all()
        if not rows:
            return 0
        until: list[tuple[int | None, bool]] = []
        for row in rows:
            kernel, started_at, *dimensions = tuple(row)
            begin, known, target = times(kernel, started_at, horizon)
            if begin is None or known is None or target is None:
                until.append((None, True))
                continue
            reached = min(max(target, known - _LONGEST), known + _LONGEST)
            until.append((reached, reached == target))
            additions.add_kernel(Scope(*dimensions), measured(kernel), known, reached)
        await additions.write(db)
        await _mark(db, [kernel for kernel, *_ in rows], until)
    return len(rows)


def measured(kernel: Kernel) -> dict[str, int]:
    """What a kernel has while it runs; a session is counted by its main one."""
    return {**kernel.slots, SESSIONS: 1} if kernel.rank == 0 else dict(kernel.slots)


def times(
    kernel: Kernel, session_started_at: datetime | None, horizon: int
) -> tuple[int, int, int] | tuple[None, None, None]:
    """(its beginning, up to where it is in the totals, up to where it is to be), in microseconds since 1970.

    Args:
        horizon: time after it is not to be in the totals yet, unless the kernel has ended.
    """
    if session_started_at is None:
        return None, None, None
    begin = periods.microseconds(session_started_at)
    known = begin if kernel.accounted_until is None else kernel.accounted_until
    if kernel.status in FINAL and kernel.terminated_at is not None:
        return begin, known, max(begin, periods.microseconds(kernel.terminated_at))
    # Of one that lives on, what is in the totals beyond that is in them because a clock was set back since.
    return begin, known, max(begin, horizon)


def _due(horizon: int, settled: datetime) -> Any:
    """Kernels with time that is not in the totals yet, locked."""
    whole = periods.moment(horizon)
    return (
        select(
            Kernel,
            Session.started_at,
            Session.domain_id,
            Session.group_id,
            Session.resource_group_id,
            Session.user_id,
        )
        .join(Session, Session.id == Kernel.session_id)
        .where(
            ~Kernel.accounted,
            or_(
                and_(
                    Kernel.status.in_(FINAL),
                    or_(Kernel.terminated_at.is_(None), Kernel.terminated_at < settled),
                ),
                and_(
                    Kernel.status.not_in(FINAL),
                    Session.started_at < whole,
                    or_(Kernel.accounted_until.is_(None), Kernel.accounted_until < horizon),
                ),
            ),
        )
        .order_by(Kernel.id)
        .limit(_BATCH)
        .with_for_update(of=Kernel, skip_locked=True)
    )


async def _mark(db: AsyncSession, kernels: list[Kernel], until: list[tuple[int | None, bool]]) -> None:
    """Write down how far these are in the totals; those that have ended and are in them to their end are closed.

    Args:
        until: of each, up to where it is in them (None: it has no time), and whether that is as far as it is to be now.
    """
    marks = list(zip(kernels, until, strict=True))
    ended = [kernel.id for kernel, (_, whole) in marks if whole and kernel.status in FINAL]
    known = [(kernel.id, moment) for kernel, (moment, _) in marks if moment is not None]
    connection = await db.connection()
    if known:
        those = bulk.table(
            db,
            "those",
            {"id": (bulk.TEXT, [one for one, _ in known]), "until": (bulk.NUMBER, [one for _, one in known])},
        )
        await connection.execute(
            update(Kernel).where(Kernel.id == those.c.id).values(accounted_until=those.c.until)
        )
    if ended:
        await connection.execute(
            update(Kernel).where(bulk.among(db, Kernel.id, ended)).values(accounted=True)
        )
        await connection.execute(delete(KernelMeter).where(bulk.among(db, KernelMeter.kernel_id, ended)))
    for kernel in kernels:
        db.expunge(kernel)
