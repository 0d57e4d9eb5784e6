"""Starts that fail for a reason of their node are tried again, elsewhere if possible, and not for ever."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from services import agents, sessions
from services.core import Core
from services.db.tables import Agent, Session
from tests.factories import Clock
from tests.services.test_sessions import ledger_is_true, running, used
from tests.services.world import World

WHY = {"code": "NO_SPACE", "message": "The disk is full."}


async def placed(world: World, actor: Any, **more: Any) -> Session:
    session = await world.launch(actor, **more)
    await world.dispatch()
    return await world.session(session.id)


async def fails(world: World, session: Session, **why: Any) -> Session:
    await world.report(session.id, "PULLING")
    await world.report(session.id, "ERROR", **(why or WHY))
    return await world.session(session.id)


async def test_it_is_tried_again_on_another_node_with_a_higher_generation(core: Core, clock: Clock) -> None:
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    session = await placed(world, actor)
    first = await world.kernel(session.id)
    back = await fails(world, session)
    assert (back.status, back.reason_code) == ("PENDING", "START_RETRIED")
    assert "NO_SPACE" in back.reason_message
    assert back.pending_reason is not None
    assert back.pending_reason["code"] == "RETRY_LATER"
    assert await ledger_is_true(core)
    await world.dispatch()
    assert (await world.session(session.id)).status == "PENDING"
    clock.advance(timedelta(seconds=10))
    await world.dispatch()
    second = await world.kernel(session.id)
    assert second.status == "SCHEDULED"
    assert second.agent_id not in (None, first.agent_id)
    assert second.generation > first.generation
    for phase in ("PULLING", "PREPARED", "CREATING", "RUNNING"):
        await world.report(session.id, phase)
    timeline = (await sessions.timelines(core, actor, [session.id]))[session.id]
    assert [(one.status, one.code) for one in timeline][2:5] == [
        ("PULLING", ""),
        ("PENDING", "START_RETRIED"),
        ("SCHEDULED", ""),
    ]
    assert await ledger_is_true(core)


async def test_it_is_tried_no_more_often_than_its_resource_group_says(core: Core, clock: Clock) -> None:
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    session = await placed(world, actor)
    for pause in (10, 20):
        assert (await fails(world, session)).status == "PENDING"
        clock.advance(timedelta(seconds=pause - 1))
        await world.dispatch()
        assert (await world.session(session.id)).status == "PENDING"
        clock.advance(timedelta(seconds=1))
        await world.dispatch()
        assert (await world.session(session.id)).status == "SCHEDULED"
    ended = await fails(world, session)
    assert (ended.status, ended.reason_code) == ("ERROR", "NO_SPACE")
    assert await ledger_is_true(core)


async def test_without_another_node_that_fits_it_is_tried_on_the_same(core: Core, clock: Clock) -> None:
    world = await World(core).build(retries=1)
    actor, agent = await world.user(), await world.agent()
    await world.agent(cpu=500, mem=2**33)
    session = await placed(world, actor)
    await fails(world, session)
    clock.advance(timedelta(seconds=10))
    await world.dispatch()
    assert (await world.kernel(session.id)).agent_id == agent


@pytest.mark.parametrize("code", ["IMAGE_NOT_FOUND", "EXITED", "NOBODY_KNOWS"])
async def test_what_is_the_same_everywhere_is_not_tried_again(core: Core, code: str) -> None:
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    ended = await fails(world, await placed(world, actor), code=code)
    assert (ended.status, ended.reason_code) == ("ERROR", code)


async def test_what_has_run_is_not_started_again(core: Core) -> None:
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    session = await running(world, actor)
    await world.report(session.id, "ERROR", **WHY)
    assert (await world.session(session.id)).status == "ERROR"


async def test_one_that_was_asked_to_end_is_not_tried_again(core: Core) -> None:
    """Also where its node had begun to clear the failed start away before that."""
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    for before in (True, False):
        session = await placed(world, actor)
        if not before:
            await world.report(session.id, "TERMINATING", **WHY)
        await sessions.terminate(core, actor, [session.id])
        await world.report(session.id, "ERROR", **WHY)
        ended = await world.session(session.id)
        assert (ended.status, ended.reason_code) == ("CANCELLED", "REQUESTED")
    assert await ledger_is_true(core)


async def test_a_failure_that_took_time_to_clear_away_is_tried_again(core: Core) -> None:
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    session = await placed(world, actor)
    why = {"code": "ENGINE_UNREACHABLE", "message": "No answer."}
    await world.report(session.id, "TERMINATING", **why)
    assert (await world.session(session.id)).status == "TERMINATING"
    await world.report(session.id, "TERMINATED", **why)
    assert (await world.session(session.id)).status == "PENDING"
    assert await ledger_is_true(core)


async def test_late_words_of_the_first_node_change_nothing(core: Core, clock: Clock) -> None:
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    session = await placed(world, actor)
    first = await world.kernel(session.id)
    await fails(world, session)
    clock.advance(timedelta(seconds=10))
    await world.dispatch()
    for phase in ("RUNNING", "ERROR"):
        await world.report(
            session.id, phase, agent=first.agent_id, generation=first.generation, code="NO_SPACE"
        )
    assert (await world.session(session.id)).status == "SCHEDULED"


async def test_a_lost_node_keeps_its_start_until_it_is_given_up(core: Core, clock: Clock) -> None:
    world = await World(core).build(retries=2, grace=60)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    session = await placed(world, actor)
    first = await world.kernel(session.id)
    async with core.db.write() as db:
        await db.execute(
            update(Agent).where(Agent.id == first.agent_id).values(status="LOST", lost_at=core.now())
        )
    clock.advance(timedelta(seconds=60))
    assert await agents.give_up_lost(core) == 0
    await world.dispatch()
    assert (await world.kernel(session.id)).agent_id == first.agent_id
    clock.advance(timedelta(seconds=1))
    assert await agents.give_up_lost(core) == 1
    assert (await world.session(session.id)).status == "PENDING"
    assert not any((await used(core, first.agent_id or "")).values())
    clock.advance(timedelta(seconds=10))
    await world.dispatch()
    second = await world.kernel(session.id)
    assert second.status == "SCHEDULED"
    assert second.agent_id != first.agent_id
    assert await ledger_is_true(core)


async def test_of_a_failure_and_an_end_at_once_one_is_first_and_quotas_are_right(core: Core) -> None:
    world = await World(core).build(retries=2)
    actor, *_ = await world.user(), await world.agent(), await world.agent()
    for _ in range(5):
        session = await placed(world, actor)
        await asyncio.gather(
            world.report(session.id, "ERROR", **WHY), sessions.terminate(core, actor, [session.id])
        )
        ended = await world.session(session.id)
        # Back in the queue it was cancelled at once; still on its node it ended there.
        assert (ended.status, ended.reason_code) == ("CANCELLED", "REQUESTED")
        assert await ledger_is_true(core)
