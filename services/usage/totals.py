"""Adding to the usage totals: each amount in its hour, day and month, for its user and for all users together."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import case, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.db import bulk
from services.db.tables import UsageTotal
from services.usage import periods

#: Of an amount, what is in `low`.
BASE: Final = 2**32


@dataclass(frozen=True, order=True)
class Scope:
    """Whose usage, and where."""

    domain_id: str
    group_id: str
    resource_group_id: str
    user_id: str


@dataclass
class Additions:
    """What is to be added to totals."""

    amounts: Counter[tuple[str, Scope, str]] = field(default_factory=Counter[tuple[str, Scope, str]])
    peaks: dict[tuple[str, Scope, str], int] = field(default_factory=dict[tuple[str, Scope, str], int])

    def add(self, hour: datetime, scope: Scope, measure: str, amount: int, peak: int = 0) -> None:
        for period in periods.names(hour):
            for whose in (scope.user_id, ""):
                key = period, Scope(scope.domain_id, scope.group_id, scope.resource_group_id, whose), measure
                self.amounts[key] += amount
                if peak:
                    self.peaks[key] = max(peak, self.peaks.get(key, 0))

    def add_kernel(self, scope: Scope, slots: Mapping[str, int], begin: int, end: int) -> None:
        """So much of a kernel's time; backwards it is taken off."""
        sign = 1 if begin <= end else -1
        for hour, duration in periods.spread(min(begin, end), max(begin, end)):
            for slot, amount in slots.items():
                self.add(hour, scope, slot, sign * amount * duration)

    async def write(self, db: AsyncSession) -> None:
        """Into the rows, in one order for all, so that two managers cannot wait for each other."""
        keys = sorted(key for key in self.amounts if self.amounts[key] or self.peaks.get(key))
        if not keys:
            return
        those = bulk.table(
            db,
            "those",
            {
                "user_id": (bulk.TEXT, [scope.user_id for _, scope, _ in keys]),
                "period": (bulk.TEXT, [period for period, _, _ in keys]),
                "domain_id": (bulk.TEXT, [scope.domain_id for _, scope, _ in keys]),
                "group_id": (bulk.TEXT, [scope.group_id for _, scope, _ in keys]),
                "resource_group_id": (bulk.TEXT, [scope.resource_group_id for _, scope, _ in keys]),
                "measure": (bulk.TEXT, [measure for _, _, measure in keys]),
                "high": (bulk.NUMBER, [self.amounts[key] // BASE for key in keys]),
                "low": (bulk.NUMBER, [self.amounts[key] % BASE for key in keys]),
                "peak": (bulk.NUMBER, [self.peaks.get(key, 0) for key in keys]),
            },
        )
        dialect = postgresql if bulk.on_postgres(db) else sqlite
        # SQLite takes ON CONFLICT for a join's without a WHERE before it.
        added = dialect.insert(UsageTotal).from_select(
            [column.name for column in those.c],
            select(*those.c).where(literal(1) == 1),
            include_defaults=False,
        )
        new = added.excluded
        await db.execute(
            added.on_conflict_do_update(
                index_elements=[column.name for column in UsageTotal.__table__.primary_key],
                set_={
                    "high": UsageTotal.high + new.high,
                    "low": UsageTotal.low + new.low,
                    "peak": case((new.peak > UsageTotal.peak, new.peak), else_=UsageTotal.peak),
                },
            )
        )
