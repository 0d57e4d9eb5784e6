"""Recalculating usage: occupancies counted anew from what runs, and every difference told.

Occupancies change only together with the kernels that they count, so there should be nothing to correct. There is
after somebody edited the database by hand, restored a part of it, or met a fault of ours.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from services import permissions, trail
from services.bus import Wake
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import Kernel, Occupancy, Session, in_status
from services.errors import Unavailable
from services.permissions import Actor
from services.scheduling import limits
from services.scheduling.occupancy import SESSIONS, Amounts
from services.sessions.lifecycle import PLACED

log = logging.getLogger(__name__)

#: For so long others' transactions are waited for; nobody else waits for longer because of it.
_PATIENCE: Final = "10s"
#: PostgreSQL: a lock was not to be had in time; two waited for each other.
_BUSY: Final = ("55P03", "40P01")


@dataclass(frozen=True)
class Correction:
    """One account that was wrong; internal units."""

    scope_id: str
    slot: str
    before: int
    after: int


async def recalculate(core: Core, actor: Actor, *, dry_run: bool = False) -> list[Correction]:
    """Set every occupancy to what live kernels occupy, in one transaction. A second time there is nothing to correct.

    Args:
        dry_run: only say what would be corrected.

    Raises:
        Forbidden; Unavailable: others' transactions took too long.
    """
    permissions.require_role(actor, "recalculateUsage")
    try:
        async with core.db.write() as db:
            await _hold_still(db)
            corrections = _differences(await _recorded(db), await _occupied(db))
            if not dry_run:
                await _write(db, corrections)
                for one in corrections:
                    trail.note(one.scope_id, one.slot, one.before, one.after)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _BUSY:
            raise Unavailable(
                "Sessions start and end too fast just now. Try again.", part="database", retry_after=5
            ) from error
        raise
    if corrections and not dry_run:
        for one in corrections:
            log.warning(
                "usage of %s, %s: corrected from %d to %d", one.scope_id, one.slot, one.before, one.after
            )
        # What waits may fit now.
        await core.bus.publish(Wake(anew=True))
    return corrections


async def _hold_still(db: AsyncSession) -> None:
    """Nobody else changes occupancies until the end of this transaction, and none who has is still undecided.

    On SQLite there is one writer anyway.
    """
    if db.get_bind().dialect.name == "postgresql":
        await db.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
        await db.execute(text(f"LOCK TABLE {Occupancy.__tablename__} IN SHARE ROW EXCLUSIVE MODE"))


async def _recorded(db: AsyncSession) -> Amounts:
    rows = await db.execute(select(Occupancy.scope_id, Occupancy.slot, Occupancy.used))
    return {(scope_id, slot): used for scope_id, slot, used in rows}


async def _occupied(db: AsyncSession) -> Amounts:
    """What the accounts should say."""
    amounts: Counter[tuple[str, str]] = Counter()
    placed = await db.execute(
        select(Kernel.agent_id, Kernel.slots, *(getattr(Session, name) for name in limits.SCOPES))
        .join(Session, Session.id == Kernel.session_id)
        .where(Kernel.status.in_(PLACED))
    )
    for agent_id, held, *scopes in placed:
        for scope_id in filter(None, (agent_id, *scopes)):
            for slot, amount in held.items():
                amounts[scope_id, slot] += amount
    for name in limits.COUNTING_SESSIONS:
        scope = getattr(Session, name)
        counted = select(scope, func.count()).where(in_status(PLACED)).group_by(scope)
        for scope_id, sessions in await db.execute(counted):
            amounts[scope_id, SESSIONS] += sessions
    return dict(amounts)


def _differences(recorded: Amounts, occupied: Amounts) -> list[Correction]:
    """By scope and slot, so that a report reads the same each time. An account that is missing says nothing is used."""
    return [
        Correction(*key, recorded.get(key, 0), occupied.get(key, 0))
        for key in sorted(recorded.keys() | occupied.keys())
        if recorded.get(key, 0) != occupied.get(key, 0)
    ]


async def _write(db: AsyncSession, corrections: list[Correction]) -> None:
    if not corrections:
        return
    rows: list[dict[str, Any]] = [
        {"scope_id": one.scope_id, "slot": one.slot, "used": 0} for one in corrections
    ]
    await db.execute(insert_into(db, Occupancy).on_conflict_do_nothing(), rows)
    connection = await db.connection()
    await connection.execute(
        update(Occupancy)
        .where(Occupancy.scope_id == bindparam("scope"), Occupancy.slot == bindparam("name"))
        .values(used=bindparam("amount")),
        [{"scope": one.scope_id, "name": one.slot, "amount": one.after} for one in corrections],
    )
