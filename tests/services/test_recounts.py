"""Recalculating usage: what is recorded is made to agree with what runs, and every difference is told."""

import asyncio

import pytest
from sqlalchemy import delete, update

from services import ids, sessions
from services.bus import Wake
from services.core import Core
from services.db.tables import Occupancy
from services.errors import Forbidden, Unavailable
from services.scheduling import recounts
from services.scheduling.recounts import Correction
from tests.factories import Factories
from tests.services.world import World, ledger_is_true


async def busy(core: Core) -> World:
    """Three sessions that occupy something, one that waits and one that has ended."""
    world = await World(core).build(concurrent=4)
    actor, _ = await world.user(), await world.agent()
    made = [await world.launch(actor, cpu=cpu) for cpu in ("0.5", "0.5", "1", "1")]
    await world.dispatch()
    await sessions.terminate(core, actor, [made[0].id], force=True)
    await world.launch(actor, cpu="4")
    await world.dispatch()
    return world


async def test_where_everything_is_right_nothing_is_corrected(core: Core, make: Factories) -> None:
    await busy(core)
    assert await ledger_is_true(core)
    async with core.bus.subscribe(Wake) as heard:
        assert await recounts.recalculate(core, await make.superadmin()) == []
        assert heard.drain() == []


async def test_each_wrong_row_is_corrected_and_told_and_a_second_time_there_is_nothing(
    core: Core, make: Factories
) -> None:
    world, gone = await busy(core), ids.new("agt")
    async with core.db.write() as db:
        # Too much, too little, missing, left behind.
        await db.execute(_of(world.group, "cpu").values(used=99_000))
        await db.execute(_of(world.domain, "mem").values(used=1))
        await db.execute(
            delete(Occupancy).where(Occupancy.scope_id.startswith("key_"), Occupancy.slot == "sessions")
        )
        db.add(Occupancy(scope_id=gone, slot="cpu", used=500))
        db.add(Occupancy(scope_id=gone, slot="mem", used=0))
    assert not await ledger_is_true(core)
    admin = await make.superadmin()
    foreseen = await recounts.recalculate(core, admin, dry_run=True)
    assert not await ledger_is_true(core)
    async with core.bus.subscribe(Wake) as heard:
        corrected = await recounts.recalculate(core, admin)
        assert heard.drain() == [Wake(anew=True)]
    assert corrected == foreseen
    assert {(one.scope_id[:3], one.slot, one.before, one.after) for one in corrected} == {
        ("grp", "cpu", 99_000, 2500),
        ("dom", "mem", 1, 3 * 2**28),
        ("key", "sessions", 0, 3),
        ("agt", "cpu", 500, 0),
    }
    assert Correction(gone, "cpu", 500, 0) in corrected
    assert await ledger_is_true(core)
    assert await recounts.recalculate(core, admin) == []


async def test_it_agrees_with_sessions_that_start_and_end_meanwhile(core: Core, make: Factories) -> None:
    """Whatever is decided beside it, the books are right afterwards: it takes no half-done change for a whole one."""
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent(cpu=64000, mem=64 * 2**30)
    admin = await make.superadmin()
    made = [await world.launch(actor, cpu="0.1") for _ in range(12)]
    await world.dispatch()

    async def end(which: int) -> None:
        await sessions.terminate(core, actor, [made[which].id], force=True)

    async def start() -> None:
        await world.launch(actor, cpu="0.2")
        await world.dispatch()

    async with core.db.write() as db:
        await db.execute(_of(world.group, "cpu").values(used=5_000_000))
    done = await asyncio.gather(
        *(end(which) for which in range(6)),
        *(recounts.recalculate(core, admin) for _ in range(4)),
        start(),
        *(end(which) for which in range(6, 12)),
    )
    assert sum(len(one) for one in done if one) == 1
    assert await ledger_is_true(core)


@pytest.mark.parametrize("template", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_who_holds_the_books_for_too_long_is_not_waited_for(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, admin = await busy(core), await make.superadmin()
    monkeypatch.setattr("services.scheduling.recounts._PATIENCE", "1ms")
    async with core.db.write() as db:
        await db.execute(_of(world.group, "cpu").values(used=1))
        with pytest.raises(Unavailable):
            await recounts.recalculate(core, admin)


@pytest.mark.parametrize("role", ["DOMAIN_ADMIN", "USER"])
async def test_only_a_superadmin_recalculates(core: Core, make: Factories, role: str) -> None:
    actor = make.actor(await make.user(role=role))
    with pytest.raises(Forbidden):
        await recounts.recalculate(core, actor, dry_run=True)


def _of(scope_id: str, slot: str):  # type: ignore[no-untyped-def]
    return update(Occupancy).where(Occupancy.scope_id == scope_id, Occupancy.slot == slot)
