"""What is taken of each scope, counted in the transaction that changes a kernel's status.

A scope is an agent, a keypair, a user, a resource group, a group or a domain, named by its id. Rows are locked in one fixed
order (domain, group, resource group, user, keypair, agent; then slot), so that transactions that share some of them queue up and never deadlock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.db.tables import Occupancy, Slots

#: The pseudo-slot that counts sessions.
SESSIONS: Final = "sessions"

_ORDER: Final = ("dom", "grp", "rgp", "usr", "key", "agt")

Amounts = dict[tuple[str, str], int]


@dataclass(frozen=True)
class Shortage:
    """The first limit that stands in the way."""

    scope_id: str
    slot: str
    asked: int
    used: int
    limit: int


def order(key: tuple[str, str]) -> tuple[int, str, str]:
    """The order in which occupancy rows are locked."""
    scope_id, slot = key
    return _ORDER.index(scope_id[:3]), scope_id, slot


class Ledger:
    """Occupancies locked for the present transaction: ask, reserve, then `write` once."""

    def __init__(self, used: Amounts) -> None:
        self._used = used
        self._changes: Amounts = {}

    @classmethod
    async def lock(cls, db: AsyncSession, keys: Iterable[tuple[str, str]]) -> "Ledger":
        """Lock the rows of these (scope, slot) pairs, making those that are missing."""
        ordered = sorted(set(keys), key=order)
        if not ordered:
            return cls({})
        dialect = postgresql if db.get_bind().dialect.name == "postgresql" else sqlite
        rows: list[dict[str, Any]] = [{"scope_id": s, "slot": n, "used": 0} for s, n in ordered]
        await db.execute(dialect.insert(Occupancy).on_conflict_do_nothing(), rows)
        scopes = {scope_id for scope_id, _ in ordered}
        found = await db.execute(
            select(Occupancy.scope_id, Occupancy.slot, Occupancy.used)
            .where(Occupancy.scope_id.in_(scopes))
            .order_by(_rank(), Occupancy.scope_id, Occupancy.slot)
            .with_for_update()
        )
        return cls({(scope_id, slot): used for scope_id, slot, used in found})

    def shortage(self, wanted: Mapping[tuple[str, str], tuple[int, int | None]]) -> Shortage | None:
        """The first of `wanted` ((scope, slot) → amount, limit) that does not fit, None when all do."""
        for key in sorted(wanted, key=order):
            asked, limit = wanted[key]
            used = self._used.get(key, 0)
            if limit is not None and used + asked > limit:
                return Shortage(*key, asked=asked, used=used, limit=limit)
        return None

    def add(self, amounts: Mapping[tuple[str, str], int]) -> None:
        for key, amount in amounts.items():
            self._used[key] = self._used.get(key, 0) + amount
            self._changes[key] = self._changes.get(key, 0) + amount

    async def write(self, db: AsyncSession) -> None:
        await change(db, self._changes)


async def change(db: AsyncSession, amounts: Mapping[tuple[str, str], int]) -> None:
    """Add to (or, negative, take from) occupancies that exist, in the order of locks."""
    changed = [
        {"scope": scope_id, "name": slot, "more": amount}
        for (scope_id, slot), amount in sorted(amounts.items(), key=lambda item: order(item[0]))
        if amount
    ]
    if changed:
        connection = await db.connection()
        await connection.execute(
            update(Occupancy)
            .where(Occupancy.scope_id == bindparam("scope"), Occupancy.slot == bindparam("name"))
            .values(used=Occupancy.used + bindparam("more")),
            changed,
        )


async def of(db: AsyncSession, scope_ids: Iterable[str]) -> dict[str, Slots]:
    """Scope → slot → what is taken now."""
    result: dict[str, Slots] = {}
    rows = await db.execute(select(Occupancy).where(Occupancy.scope_id.in_(list(scope_ids))))
    for row in rows.scalars():
        result.setdefault(row.scope_id, {})[row.slot] = row.used
    return result


def _rank() -> Any:
    from_prefix = {prefix: position for position, prefix in enumerate(_ORDER)}
    return case(from_prefix, value=func.substr(Occupancy.scope_id, 1, 3))
