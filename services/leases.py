"""Duties that one manager at a time has, with a fencing number.

A holder that was paused and wakes up late still believes that it has the duty; so what it writes is guarded by
`holds`, in the same transaction, and an older number writes nothing.
"""

from datetime import timedelta

from sqlalchemy import or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.core import Core
from services.db.engine import insert_into
from services.db.tables import Lease


async def acquire(core: Core, name: str, life: timedelta) -> int | None:
    """Take or renew a duty. Returns its fencing number, None while another manager has it."""
    now = core.now()
    async with core.db.write() as db:
        await db.execute(
            insert_into(db, Lease)
            .values(name=name, holder="", fence=0, expires_at=now)
            .on_conflict_do_nothing()
        )
        renewed = await db.scalar(
            update(Lease)
            .where(Lease.name == name, Lease.holder == core.manager_id, Lease.expires_at > now)
            .values(expires_at=now + life)
            .returning(Lease.fence)
        )
        if renewed is not None:
            return renewed
        return await db.scalar(
            update(Lease)
            .where(Lease.name == name, or_(Lease.expires_at <= now, Lease.holder == core.manager_id))
            .values(holder=core.manager_id, fence=Lease.fence + 1, expires_at=now + life)
            .returning(Lease.fence)
        )


async def holds(core: Core, db: AsyncSession, name: str, fence: int) -> bool:
    """Is the duty still ours, in this transaction? The row stays locked until its end."""
    held = await db.scalar(
        update(Lease)
        .where(
            Lease.name == name,
            Lease.holder == core.manager_id,
            Lease.fence == fence,
            Lease.expires_at > core.now(),
        )
        .values(fence=fence)
        .returning(Lease.fence)
    )
    return held is not None


async def release(core: Core, name: str) -> None:
    """Give a duty up, so that another manager need not wait for its end."""
    async with core.db.write() as db:
        await db.execute(
            update(Lease)
            .where(Lease.name == name, Lease.holder == core.manager_id)
            .values(expires_at=core.now())
        )


async def end_all(core: Core) -> None:
    """End all duties: for a manager that can be the only one, so that it need not wait for what a killed one had."""
    async with core.db.write() as db:
        await db.execute(update(Lease).values(expires_at=core.now()))
