"""What is taken of each scope, counted in the transaction that changes a kernel's status.

A scope is an agent, a keypair, a user, a resource group, a group or a domain, named by its id. Rows are locked in one fixed
order (domain, group, resource group, user, keypair, agent; then slot), so that transactions that share some of them queue up and never deadlock.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import bindparam, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.db import bulk
from services.db.engine import insert_into
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
    """Occupancies locked for the present transaction, to be tried on: take, as often as there is something."""

    def __init__(self, used: Amounts, caps: Caps) -> None:
        self._used: dict[str, Slots] = {}
        for (scope_id, slot), amount in used.items():
            self._used.setdefault(scope_id, {})[slot] = amount
        self._caps = caps

    @classmethod
    async def lock(cls, db: AsyncSession, wants: Wants, caps: Caps) -> "Ledger":
        """Lock the rows of all that is wanted, making those that are missing."""
        return cls(
            await add(db, {(scope_id, slot): 0 for scope_id, amounts in wants for slot in amounts}), caps
        )

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


async def add(db: AsyncSession, amounts: Amounts) -> Amounts:
    """Add to occupancies, making those that are missing, in the order of locks and in one statement.

    Returns: what is taken of each now; the rows stay locked until the transaction ends.
    """
    ordered = sorted(amounts, key=order)
    if not ordered:
        return {}
    more = bulk.table(
        db,
        "more",
        {
            "scope_id": (bulk.TEXT, [scope_id for scope_id, _ in ordered]),
            "slot": (bulk.TEXT, [slot for _, slot in ordered]),
            "amount": (bulk.NUMBER, [amounts[key] for key in ordered]),
            "place": (bulk.NUMBER, range(len(ordered))),
        },
    )
    insert = insert_into(db, Occupancy).from_select(
        ["scope_id", "slot", "used"],
        # SQLite needs a condition, to know that what follows is not one of a join.
        select(more.c.scope_id, more.c.slot, more.c.amount).where(true()).order_by(more.c.place),
        include_defaults=False,
    )
    rows = await (await db.connection()).execute(
        insert.on_conflict_do_update(
            index_elements=[Occupancy.scope_id, Occupancy.slot],
            set_={"used": Occupancy.used + insert.excluded.used},
        ).returning(Occupancy.scope_id, Occupancy.slot, Occupancy.used)
    )
    return {(scope_id, slot): used for scope_id, slot, used in rows.all()}


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
    rows = await db.execute(
        select(Occupancy.scope_id, Occupancy.slot, Occupancy.used).where(
            bulk.among(db, Occupancy.scope_id, list(scope_ids))
        )
    )
    for scope_id, slot, used in rows:
        result.setdefault(scope_id, {})[slot] = used
    return result
