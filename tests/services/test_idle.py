"""What nobody uses is warned and ended; what is used, or cannot be seen, is not."""

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from agents.protocol import DeviceUse, KernelStats, NodeStats, Stats
from services import sessions
from services.activity import ActivityBook
from services.core import Core
from services.db.tables import Agent, ResourceGroup, ResourcePolicy, Session
from services.errors import Conflict, Forbidden, NotFound
from services.permissions import Actor
from services.sessions import idle
from tests.factories import Clock
from tests.services.test_sessions import ledger_is_true, running
from tests.services.world import World

LIMIT = 1200


async def built(core: Core, *, policy: Any = None, group: Any = None) -> World:
    """A cluster whose policy and resource group have these rules."""
    world = await World(core).build()
    await world.agent()
    async with core.db.write() as db:
        if policy:
            await db.execute(update(ResourcePolicy).where(ResourcePolicy.id == world.policy).values(**policy))
        if group:
            await db.execute(
                update(ResourceGroup).where(ResourceGroup.id == world.resource_group).values(**group)
            )
    return world


async def sample(world: World, session: Session, cpu: float = 0.0, **more: Any) -> None:
    kernel = await world.kernel(session.id)
    stats = KernelStats(kernel=kernel.id, cpu_percent=cpu, **more)
    world.core.stats.ingest(kernel.agent_id or "", Stats(time.time(), NodeStats(), (stats,)))


async def passes(world: World, clock: Clock, session: Session, seconds: float, cpu: float = 0.0) -> int:
    """Time in which its load is so; looked at every half minute. Returns how many sessions were ended."""
    ended = 0
    while seconds > 0:
        step = min(30.0, seconds)
        clock.advance(timedelta(seconds=step))
        seconds -= step
        for _ in range(5):
            await sample(world, session, cpu)
        ended += await sessions.end_unused(world.core)
    return ended


async def codes(core: Core, actor: Actor, session: Session) -> list[str]:
    timeline = (await sessions.timelines(core, actor, [session.id]))[session.id]
    return [event.code for event in timeline if event.code]


async def remaining(core: Core, actor: Actor, session: Session) -> tuple[str, float | None]:
    row = await sessions.get(core, actor, session.id)
    (found_terms,) = (await sessions.find_terms(core, actor, [session.id]))[session.id]
    found = sessions.standing(core, row, found_terms.idle)
    return found.reason, None if found.ends_at is None else (found.ends_at - core.now()).total_seconds()


async def test_an_unused_session_is_warned_and_then_ended(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    assert await passes(world, clock, session, LIMIT - 330) == 0
    assert await codes(core, actor, session) == []
    reason, left = await remaining(core, actor, session)
    assert reason == "UNUSED"
    assert left == pytest.approx(360, abs=31)
    assert await passes(world, clock, session, 60) == 0
    assert await codes(core, actor, session) == ["IDLE_WARNING"]
    assert await passes(world, clock, session, 240) == 0
    assert await passes(world, clock, session, 90) == 1
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("TERMINATING", "IDLE_TIMEOUT")
    await world.report(session.id, "TERMINATED", code="REQUESTED", exit_code=0)
    assert (await world.session(session.id)).reason_code == "IDLE_TIMEOUT"
    assert await ledger_is_true(core)


async def test_use_after_the_warning_begins_the_time_anew(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    await passes(world, clock, session, LIMIT - 120)
    assert await codes(core, actor, session) == ["IDLE_WARNING"]
    core.activity.note(session.id, core.now())
    assert await passes(world, clock, session, LIMIT - 360) == 0
    assert (await world.session(session.id)).idle_warned_at is None
    await passes(world, clock, session, 120)
    assert await codes(core, actor, session) == ["IDLE_WARNING", "IDLE_WARNING"]
    assert await passes(world, clock, session, 400) == 1


@pytest.mark.parametrize("cpu", [6.0, 100.0])
async def test_load_above_the_threshold_is_use(core: Core, clock: Clock, cpu: float) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 60, "idle_cpu_percent": 5})
    actor = await world.user()
    session = await running(world, actor)
    assert await passes(world, clock, session, 300, cpu) == 0
    assert await remaining(core, actor, session) == ("IN_USE", 60)
    assert await passes(world, clock, session, 120, 4.0) == 1


async def test_load_is_measured_by_what_was_given(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 60, "idle_cpu_percent": 5})
    session = await running(world, await world.user(), cpu="4")
    assert await passes(world, clock, session, 150, 19.0) == 1


async def test_load_of_a_device_is_use(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 60, "idle_accelerator_percent": 10})
    session = await running(world, await world.user())
    busy = DeviceUse("gpu0", "cuda.device", 1000, utilisation=11.0)
    for devices in ((busy,), (DeviceUse("gpu0", "cuda.device", 1000, utilisation=9.0),)):
        ended = 0
        for _ in range(8):
            clock.advance(timedelta(seconds=15))
            for _ in range(5):
                await sample(world, session, devices=devices)
            ended += await sessions.end_unused(core)
        assert ended == (0 if devices == (busy,) else 1)


async def test_a_threshold_of_all_says_that_load_is_no_use(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 60, "idle_cpu_percent": 100})
    session = await running(world, await world.user())
    assert await passes(world, clock, session, 150, 130.0) == 1


async def test_the_shorter_of_two_rules_counts_with_its_own_threshold(core: Core, clock: Clock) -> None:
    world = await built(
        core,
        policy={"idle_timeout_seconds": LIMIT, "idle_cpu_percent": 5},
        group={"idle_timeout_seconds": 120, "idle_cpu_percent": 50},
    )
    session = await running(world, await world.user())
    assert await passes(world, clock, session, 300, 40.0) == 1


async def test_without_a_rule_nothing_is_ended(core: Core, clock: Clock) -> None:
    world = await built(core)
    actor = await world.user()
    session = await running(world, actor)
    assert await passes(world, clock, session, 300) == 0
    assert await remaining(core, actor, session) == ("NO_LIMIT", None)


async def test_what_is_not_seen_is_not_unused(core: Core, clock: Clock) -> None:
    """Its node is silent: there is no sample of it."""
    world = await built(core, policy={"idle_timeout_seconds": 60})
    session = await running(world, await world.user())
    for _ in range(10):
        clock.advance(timedelta(seconds=30))
        assert await sessions.end_unused(core) == 0
    assert (await world.session(session.id)).status == "RUNNING"


@pytest.mark.parametrize("how", ["stopped", "asleep"])
async def test_a_manager_that_was_away_begins_to_watch_anew(core: Core, clock: Clock, how: str) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 600})
    session = await running(world, await world.user())
    await passes(world, clock, session, 60)
    clock.advance(timedelta(hours=8))
    if how == "stopped":
        core.activity = ActivityBook()
    await sample(world, session)
    assert await sessions.end_unused(core) == 0
    assert (await world.session(session.id)).idle_warned_at is None
    assert await passes(world, clock, session, 570) == 0
    assert await passes(world, clock, session, 60) == 1


async def test_a_lowered_limit_still_warns_first(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 10 * LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    await passes(world, clock, session, LIMIT)
    async with core.db.write() as db:
        await db.execute(update(ResourcePolicy).values(idle_timeout_seconds=600))
    assert await passes(world, clock, session, 270) == 0
    assert await codes(core, actor, session) == ["IDLE_WARNING"]
    assert await passes(world, clock, session, 60) == 1


async def test_an_admin_lets_a_session_go_on(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 60})
    owner, peer, admin = await world.user(), await world.user(), await world.user("DOMAIN_ADMIN")
    session = await running(world, owner)
    with pytest.raises(Forbidden):
        await sessions.exempt(core, owner, session.id, exempted=True)
    with pytest.raises(NotFound):
        await sessions.exempt(core, peer, session.id, exempted=True)
    await sessions.exempt(core, admin, session.id, exempted=True)
    assert await passes(world, clock, session, 300) == 0
    assert await remaining(core, owner, session) == ("EXEMPT", None)
    await sessions.exempt(core, admin, session.id, exempted=False)
    assert await passes(world, clock, session, 30) == 0
    assert await passes(world, clock, session, 60) == 1
    assert (await codes(core, owner, session))[:2] == ["IDLE_EXEMPTED", "IDLE_EXEMPTION_ENDED"]
    await world.report(session.id, "TERMINATED", code="REQUESTED")
    with pytest.raises(Conflict):
        await sessions.exempt(core, admin, session.id, exempted=True)


async def test_one_that_was_used_in_the_last_moment_is_not_ended(core: Core, clock: Clock) -> None:
    """Through another manager, which has written it down, between this one's look and its decision."""
    world = await built(core, policy={"idle_timeout_seconds": 60})
    session = await running(world, await world.user())
    await passes(world, clock, session, 60)
    warned = await world.session(session.id)
    assert warned.idle_warned_at is not None
    clock.advance(timedelta(seconds=30))
    await sample(world, session)
    (watched,) = await idle._watched(core)
    async with core.db.write() as db:
        await db.execute(update(Session).values(last_used_at=core.now(), idle_warned_at=None))
    assert not await idle._end(core, watched)
    assert (await world.session(session.id)).status == "RUNNING"


async def test_a_look_asks_the_same_however_many_sessions_there_are(
    core: Core, clock: Clock, count_statements: Any
) -> None:
    world = await built(core, policy={"idle_timeout_seconds": LIMIT})
    actor = await world.user()
    numbers: list[int] = []
    for more in (1, 2):
        made = [await running(world, actor, cpu="0.5") for _ in range(more)]
        for session in made:
            await sample(world, session)
        clock.advance(timedelta(seconds=LIMIT - 60))
        core.activity.look(core.now() - timedelta(seconds=1), [])
        core.activity.since = None
        with count_statements(core) as statements:
            await sessions.end_unused(core)
        numbers.append(len(statements))
        for session in made:
            assert await codes(core, actor, session) == ["IDLE_WARNING"]
            await sessions.terminate(core, actor, [session.id], force=True)
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1), timedelta(minutes=-5)])
async def test_a_clock_that_jumps_makes_nobody_unused(core: Core, clock: Clock, jump: timedelta) -> None:
    """Forward it is as if the manager had been away; backward, as if it had been used later than it was."""
    world = await built(core, policy={"idle_timeout_seconds": LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    await passes(world, clock, session, 60)
    clock.advance(jump)
    assert await passes(world, clock, session, LIMIT / 2) == 0
    assert (await world.session(session.id)).idle_warned_at is None


async def test_a_session_of_a_lost_node_is_not_unused_and_its_time_begins_when_the_node_is_back(
    core: Core, clock: Clock
) -> None:
    """It may have been used all the while by what cannot be seen."""
    world = await built(core, policy={"idle_timeout_seconds": 600})
    actor = await world.user()
    session = await running(world, actor)
    kernel = await world.kernel(session.id)
    await passes(world, clock, session, 300)
    core.stats.forget([kernel.id])
    async with core.db.write() as db:
        await db.execute(update(Agent).values(status="LOST"))
    for _ in range(40):
        clock.advance(timedelta(seconds=30))
        assert await sessions.end_unused(core) == 0
    async with core.db.write() as db:
        await db.execute(update(Agent).values(status="ALIVE"))
    assert await passes(world, clock, session, 570) == 0
    assert await passes(world, clock, session, 60) == 1


async def test_load_below_the_threshold_with_traffic_is_use(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"idle_timeout_seconds": 120, "idle_cpu_percent": 50})
    session = await running(world, await world.user())
    for _ in range(12):
        clock.advance(timedelta(seconds=30))
        core.activity.note(session.id, core.now())
        await sample(world, session, 1.0)
        assert await sessions.end_unused(core) == 0
    assert await passes(world, clock, session, 150, 49.0) == 1
