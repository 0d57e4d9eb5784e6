"""What kernels really use, from the samples of their agents: added up in memory, written into the usage totals every minute.

Measures, beside those of `services/usage/rollup.py`:

    use:cpu         processor time, microseconds              use:mem        bytes times microseconds; its peak in bytes
    use:SLOT        load of an accelerator, thousandths of     seen:SLOT      for so long that was known, microseconds
                    a percent times microseconds              seen           for so long a kernel was watched, microseconds
    io:read, io:written, net:received, net:sent               bytes

Counters are the kernels' own, so what is between two samples is not lost when a manager is restarted; of the other values
a crash loses a minute. What is written counts for the hour in which it is.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from agents.protocol import KernelStats, Stats
from services.db import bulk
from services.db.engine import Database, insert_into
from services.db.tables import Kernel, KernelMeter, Session
from services.usage import periods
from services.usage.totals import Additions, Scope

#: Two samples that are further apart say nothing of the time between them (seconds).
_GAP: Final = 30.0
#: Column of a meter → measure, and how much of it one unit is.
_COUNTERS: Final = {
    "cpu_milliseconds": ("use:cpu", 1000),
    "block_read_bytes": ("io:read", 1),
    "block_write_bytes": ("io:written", 1),
    "network_received_bytes": ("net:received", 1),
    "network_sent_bytes": ("net:sent", 1),
}
_LARGEST: Final = 2**62


@dataclass
class _Watched:
    heard: float
    newest: KernelStats
    amounts: Counter[str] = field(default_factory=Counter[str])
    memory_peak: int = 0


class MeterBook:
    """Kernels of agents that are connected to this manager.

    Args:
        clock: monotonic seconds; an agent's own clock may jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kernels: dict[str, _Watched] = {}

    def take(self, message: Stats) -> None:
        """A sample of a node."""
        now = self._clock()
        for stats in message.kernels:
            known = self._kernels.get(stats.kernel)
            if known is None:
                known = self._kernels[stats.kernel] = _Watched(now, stats)
            elif now - known.heard <= _GAP:
                _add(known.amounts, stats, round((now - known.heard) * 1_000_000))
            known.heard, known.newest = now, stats
            known.memory_peak = max(known.memory_peak, stats.memory_bytes)

    def drain(self) -> dict[str, _Watched]:
        """What came since the last time; who is still heard of goes on from here."""
        now, drained = self._clock(), self._kernels
        self._kernels = {
            kernel: _Watched(one.heard, one.newest)
            for kernel, one in drained.items()
            if now - one.heard <= _GAP
        }
        return drained

    async def flush(self, db: Database, at: datetime) -> None:
        """A duty of every minute: add what was measured to the totals. When that fails, a minute of it is lost."""
        watched = self.drain()
        if watched:
            async with db.write() as session:
                await _flush(session, watched, periods.floor_hour(at))


async def _flush(db: AsyncSession, watched: dict[str, _Watched], hour: datetime) -> None:
    additions = Additions()
    scopes = await _scopes(db, list(watched))
    before = await _meters(db, list(scopes))
    for kernel_id, scope in scopes.items():
        one = watched[kernel_id]
        for measure, amount in one.amounts.items():
            additions.add(hour, scope, measure, amount)
        additions.add(hour, scope, "use:mem", 0, peak=_bounded(one.memory_peak))
        for name, (measure, unit) in _COUNTERS.items():
            now = _bounded(getattr(one.newest, name))
            then = before[kernel_id][name] if kernel_id in before else 0
            # A counter that is smaller than before began anew.
            additions.add(hour, scope, measure, (now - then if now >= then else now) * unit)
    await additions.write(db)
    await _write_down(db, {kernel_id: watched[kernel_id].newest for kernel_id in scopes})


def _add(amounts: Counter[str], stats: KernelStats, duration: int) -> None:
    amounts["seen"] += duration
    amounts["use:mem"] += _bounded(stats.memory_bytes) * duration
    for slot, percent in stats.accelerators.items():
        amounts[f"use:{slot}"[:64]] += round(min(max(percent, 0.0), 1e6) * 1000) * duration
        amounts[f"seen:{slot}"[:64]] += duration


def _bounded(value: int) -> int:
    """An agent is believed within what a database can keep."""
    return min(max(value, 0), _LARGEST)


async def _scopes(db: AsyncSession, kernel_ids: list[str]) -> dict[str, Scope]:
    """Whose these kernels are; those whose time is closed are not there any more. They stay open until the commit."""
    rows = await db.execute(
        select(Kernel.id, Session.domain_id, Session.group_id, Session.resource_group_id, Session.user_id)
        .join(Session, Session.id == Kernel.session_id)
        .where(bulk.among(db, Kernel.id, kernel_ids), ~Kernel.accounted)
        .order_by(Kernel.id)
        .with_for_update(of=Kernel, read=True, key_share=True)
    )
    return {kernel_id: Scope(*dimensions) for kernel_id, *dimensions in rows}


async def _meters(db: AsyncSession, kernel_ids: list[str]) -> dict[str, dict[str, int]]:
    rows = await db.scalars(
        select(KernelMeter)
        .where(bulk.among(db, KernelMeter.kernel_id, kernel_ids))
        .order_by(KernelMeter.kernel_id)
        .with_for_update()
    )
    return {row.kernel_id: {name: getattr(row, name) for name in _COUNTERS} for row in rows}


async def _write_down(db: AsyncSession, newest: dict[str, KernelStats]) -> None:
    if not newest:
        return
    rows = [
        {"kernel_id": kernel_id, **{name: _bounded(getattr(stats, name)) for name in _COUNTERS}}
        for kernel_id, stats in sorted(newest.items())
    ]
    statement = insert_into(db, KernelMeter)
    changed = {name: statement.excluded[name] for name in _COUNTERS}
    await db.execute(
        statement.on_conflict_do_update(index_elements=[KernelMeter.kernel_id], set_=changed), rows
    )
