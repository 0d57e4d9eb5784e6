"""What has run for as long as anything may is warned and ended, and nothing sooner."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from services import sessions
from services.core import Core
from services.db.tables import Agent, ResourcePolicy, Session
from services.permissions import Actor
from tests.factories import Clock
from tests.services.test_idle import built, codes, sample
from tests.services.test_sessions import running
from tests.services.world import World, ledger_is_true

LIMIT = 3600
HOUR = timedelta(hours=1)


async def stands(core: Core, actor: Actor, session: Session) -> tuple[str, float | None, str | None]:
    """(reason, seconds left, what ends it first)."""
    row = await sessions.get(core, actor, session.id)
    (terms,) = (await sessions.find_terms(core, actor, [session.id]))[session.id]
    found, end = sessions.lifetime(core, row, terms), sessions.expected_end(core, row, terms)
    left = None if found.ends_at is None else (found.ends_at - core.now()).total_seconds()
    return found.reason, left, end and end.cause


async def later(world: World, clock: Clock, seconds: float) -> int:
    clock.advance(timedelta(seconds=seconds))
    return await sessions.end_aged(world.core)


async def test_an_old_session_is_warned_and_then_ended_though_it_is_used(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"max_lifetime_seconds": LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    assert await stands(core, actor, session) == ("LIMITED", LIMIT, "MAX_LIFETIME")
    assert await later(world, clock, LIMIT - 301) == 0
    assert await codes(core, actor, session) == []
    core.activity.note(session.id, core.now())
    assert await later(world, clock, 1) == 0
    assert await codes(core, actor, session) == ["LIFETIME_WARNING"]
    assert await later(world, clock, 299) == 0
    assert await stands(core, actor, session) == ("LIMITED", 1, "MAX_LIFETIME")
    assert await later(world, clock, 1) == 1
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("TERMINATING", "MAX_LIFETIME")
    await world.report(session.id, "TERMINATED", code="REQUESTED", exit_code=0)
    assert await ledger_is_true(core)


@pytest.mark.parametrize(
    ("policy", "group", "least"), [(900, 0, 900), (0, 900, 900), (900, 600, 600), (600, 900, 600)]
)
async def test_the_smaller_of_policy_and_resource_group_counts(
    core: Core, clock: Clock, policy: int, group: int, least: int
) -> None:
    world = await built(core, policy={"max_lifetime_seconds": policy}, group={"max_lifetime_seconds": group})
    actor = await world.user()
    session = await running(world, actor)
    assert await stands(core, actor, session) == ("LIMITED", least, "MAX_LIFETIME")
    assert await later(world, clock, least - 300) == 0
    assert await later(world, clock, 299) == 0
    assert await later(world, clock, 1) == 1


async def test_without_a_limit_it_may_get_as_old_as_it_likes(core: Core, clock: Clock) -> None:
    world = await built(core)
    actor = await world.user()
    session = await running(world, actor)
    assert await later(world, clock, 10**7) == 0
    assert await stands(core, actor, session) == ("NO_LIMIT", None, None)


async def test_who_is_exempt_goes_on_and_is_warned_anew_when_that_ends(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"max_lifetime_seconds": LIMIT})
    owner, admin = await world.user(), await world.user("DOMAIN_ADMIN")
    session = await running(world, owner)
    assert await later(world, clock, LIMIT - 60) == 0
    await sessions.exempt(core, admin, session.id, exempted=True)
    assert await later(world, clock, LIMIT) == 0
    assert await stands(core, owner, session) == ("EXEMPT", None, None)
    await sessions.exempt(core, admin, session.id, exempted=False)
    assert await stands(core, owner, session) == ("LIMITED", 300, "MAX_LIFETIME")
    assert await later(world, clock, 1) == 0
    assert await later(world, clock, 299) == 0
    assert await later(world, clock, 1) == 1
    assert (await codes(core, owner, session))[:4] == [
        "LIFETIME_WARNING",
        "IDLE_EXEMPTED",
        "IDLE_EXEMPTION_ENDED",
        "LIFETIME_WARNING",
    ]


@pytest.mark.parametrize("how", ["the manager was away", "the limit was lowered", "the clock jumped"])
async def test_nothing_ends_before_its_warning_has_had_its_time(core: Core, clock: Clock, how: str) -> None:
    lowered = how == "the limit was lowered"
    world = await built(core, policy={"max_lifetime_seconds": 10**6 if lowered else LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    if lowered:
        async with core.db.write() as db:
            await db.execute(update(ResourcePolicy).values(max_lifetime_seconds=LIMIT))
    assert await later(world, clock, 5 * LIMIT) == 0
    assert await codes(core, actor, session) == ["LIFETIME_WARNING"]
    assert await stands(core, actor, session) == ("LIMITED", 300, "MAX_LIFETIME")
    assert await later(world, clock, 299) == 0
    assert await later(world, clock, 1) == 1


@pytest.mark.parametrize("change", [{"max_lifetime_seconds": 10 * LIMIT}, {"max_lifetime_seconds": 0}])
async def test_a_warning_is_taken_back_when_the_limit_is_raised(
    core: Core, clock: Clock, change: dict[str, Any]
) -> None:
    world = await built(core, policy={"max_lifetime_seconds": LIMIT})
    session = await running(world, await world.user())
    await later(world, clock, LIMIT - 10)
    assert (await world.session(session.id)).lifetime_warned_at is not None
    async with core.db.write() as db:
        await db.execute(update(ResourcePolicy).values(**change))
    assert await later(world, clock, LIMIT) == 0
    assert (await world.session(session.id)).lifetime_warned_at is None
    assert (await world.session(session.id)).status == "RUNNING"


async def test_a_clock_that_was_ahead_has_ended_nothing_once_it_is_right_again(
    core: Core, clock: Clock
) -> None:
    world = await built(core, policy={"max_lifetime_seconds": LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    assert await later(world, clock, 86400) == 0
    assert await later(world, clock, -86400) == 0
    assert await stands(core, actor, session) == ("LIMITED", LIMIT, "MAX_LIFETIME")
    assert await later(world, clock, LIMIT - 300) == 0
    assert await codes(core, actor, session) == ["LIFETIME_WARNING", "LIFETIME_WARNING"]


async def test_a_session_on_a_lost_node_ends_for_its_age_too(core: Core, clock: Clock) -> None:
    """What it holds is needed by others; its node removes it when it comes back."""
    world = await built(core, policy={"max_lifetime_seconds": LIMIT})
    actor = await world.user()
    session = await running(world, actor)
    async with core.db.write() as db:
        await db.execute(update(Agent).values(status="LOST"))
    await later(world, clock, LIMIT - 300)
    assert await later(world, clock, 300) == 1
    assert (await world.session(session.id)).status == "TERMINATING"


async def test_what_ends_it_first_is_said(core: Core, clock: Clock) -> None:
    world = await built(core, policy={"max_lifetime_seconds": LIMIT, "idle_timeout_seconds": 1200})
    actor = await world.user()
    brief = await running(world, actor, cpu="0.5", max_duration_seconds=600)
    other = await running(world, actor, cpu="0.5")
    assert (await stands(core, actor, brief))[2] == "MAX_DURATION"
    assert (await stands(core, actor, other))[2] == "UNUSED"
    for _ in range(100):
        clock.advance(timedelta(seconds=30))
        core.activity.note(other.id, core.now())
        await sample(world, other)
        await sessions.end_unused(core)
    assert (await stands(core, actor, other))[2] == "MAX_LIFETIME"


async def test_a_look_asks_the_same_however_many_sessions_there_are(
    core: Core, clock: Clock, count_statements: Any
) -> None:
    world = await built(core, policy={"max_lifetime_seconds": LIMIT})
    actor, numbers = await world.user(), list[int]()
    for more in (1, 3):
        made = [await running(world, actor, cpu="0.5") for _ in range(more)]
        clock.advance(timedelta(seconds=LIMIT - 100))
        with count_statements(core) as statements:
            await sessions.end_aged(core)
        numbers.append(len(statements))
        for session in made:
            assert await codes(core, actor, session) == ["LIFETIME_WARNING"]
            await sessions.terminate(core, actor, [session.id], force=True)
    assert numbers[0] == numbers[1]
