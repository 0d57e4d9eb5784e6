"""What is taken of each scope, counted in the transaction that changes a kernel's status.

A scope is an agent, a keypair, a user, a resource group, a group or a domain, named by its id. Rows are locked in one fixed
order (domain, group, resource group, user, keypair, agent; then slot), so that transactions that share some of them queue up and never deadlock.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import and_, bindparam, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.db import bulk
from services.db.tables import Occupancy, Slots

#: The pseudo-slot that counts sessions.
SESSIONS: Final = "sessions"

_ORDER: Final = ("dom", "grp", "rgp", "usr", "key", "agt")

#: (scope, slot).
Key = tuple[str, str]
Amounts = dict[Key, int]
#: What something takes, (scope, amounts); a scope may come more than once.
Wants = list[tuple[str, Slots]]
#: Scope → slot → the most; what is not named is unlimited.
Caps = dict[str, Slots]


def order(key: tuple[str, str]) -> tuple[int, str, str]:
    """The order in which occupancy rows are locked."""
    scope_id, slot = key
    return _ORDER.index(scope_id[:3]), scope_id, slot


class Ledger:
    """Occupancies locked for the present transaction: take, as often as there is something, then `write` once."""

    def __init__(self, used: Amounts, caps: Caps) -> None:
        self._before = used
        self._used: dict[str, Slots] = {}
        for (scope_id, slot), amount in used.items():
            self._used.setdefault(scope_id, {})[slot] = amount
        self._caps = caps

    @classmethod
    async def lock(cls, db: AsyncSession, wants: Wants, caps: Caps) -> "Ledger":
        """Lock the rows of all that is wanted, making those that are missing."""
        ordered = sorted({(scope_id, slot) for scope_id, amounts in wants for slot in amounts}, key=order)
        if not ordered:
            return cls({}, caps)
        asked = bulk.table(
            db,
            "asked",
            {
                "scope_id": (bulk.TEXT, [scope_id for scope_id, _ in ordered]),
                "slot": (bulk.TEXT, [slot for _, slot in ordered]),
                "place": (bulk.NUMBER, range(len(ordered))),
            },
        )
        same = and_(Occupancy.scope_id == asked.c.scope_id, Occupancy.slot == asked.c.slot)
        missing = (
            select(asked.c.scope_id, asked.c.slot, literal(0))
            .where(~select(Occupancy.scope_id).where(same).exists())
            .order_by(asked.c.place)
        )
        dialect = postgresql if bulk.on_postgres(db) else sqlite
        await db.execute(
            dialect.insert(Occupancy)
            .from_select(["scope_id", "slot", "used"], missing, include_defaults=False)
            .on_conflict_do_nothing()
        )
        found = await db.execute(
            select(Occupancy.scope_id, Occupancy.slot, Occupancy.used)
            .join(asked, same)
            .order_by(asked.c.place)
            .with_for_update(of=Occupancy)
        )
        return cls({(scope_id, slot): used for scope_id, slot, used in found}, caps)

    def take(self, wants: Wants) -> bool:
        """Take all of it, or nothing where that would exceed a cap. Returns which."""
        fits = True
        for scope_id, amounts in wants:
            used, caps = self._used[scope_id], self._caps.get(scope_id, {})
            for slot, amount in amounts.items():
                used[slot] += amount
                if slot in caps and used[slot] > caps[slot]:
                    fits = False
        if not fits:
            for scope_id, amounts in wants:
                for slot, amount in amounts.items():
                    self._used[scope_id][slot] -= amount
        return fits

    async def write(self, db: AsyncSession) -> None:
        changed = [
            (key, self._used[key[0]][key[1]] - before)
            for key, before in self._before.items()
            if self._used[key[0]][key[1]] != before
        ]
        if not changed:
            return
        more = bulk.table(
            db,
            "more",
            {
                "scope_id": (bulk.TEXT, [scope_id for (scope_id, _), _ in changed]),
                "slot": (bulk.TEXT, [slot for (_, slot), _ in changed]),
                "amount": (bulk.NUMBER, [amount for _, amount in changed]),
            },
        )
        await (await db.connection()).execute(
            update(Occupancy)
            .where(Occupancy.scope_id == more.c.scope_id, Occupancy.slot == more.c.slot)
            .values(used=Occupancy.used + more.c.amount)
        )


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
