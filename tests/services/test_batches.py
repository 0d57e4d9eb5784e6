"""Batch sessions: not before a moment, not before others have succeeded, not for longer than they may."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services import ids, sessions
from services.bus import SessionChanged
from services.core import Core
from services.db.tables import Session
from services.errors import BadInput, NotFound
from services.permissions import Actor
from tests.factories import Clock
from tests.services.test_sessions import ledger_is_true
from tests.services.world import World


async def batch(world: World, actor: Actor, **more: Any) -> Session:
    return await world.launch(actor, type="BATCH", startup_command="true", **more)


async def reach(world: World, session: Session, *phases: str) -> None:
    for phase in phases or ("PULLING", "PREPARED", "CREATING", "RUNNING"):
        await world.report(session.id, phase)  # type: ignore[arg-type]


async def exits(world: World, session: Session, code: int) -> Session:
    """It has been placed: it runs, and its command ends."""
    await reach(world, session)
    await world.report(session.id, "TERMINATED", code="EXITED", exit_code=code)
    return await world.session(session.id)


async def status(world: World, session: Session) -> tuple[str, str]:
    row = await world.session(session.id)
    return row.status, (row.pending_reason or {}).get("code", row.reason_code)


async def codes(core: Core, actor: Actor, session: Session) -> list[str]:
    return [event.code for event in (await sessions.timelines(core, actor, [session.id]))[session.id]]


async def test_it_starts_not_before_its_moment_and_holds_nobody_up(core: Core, clock: Clock) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent(cpu=1000, mem=2**33)
    moment = core.now() + timedelta(hours=1)
    later = await batch(world, actor, starts_at=moment, priority=100)
    soon = await batch(world, actor)
    assert await status(world, later) == ("PENDING", "STARTS_LATER")
    await world.dispatch()
    assert await status(world, later) == ("PENDING", "STARTS_LATER")
    assert (await exits(world, soon, 0)).status == "TERMINATED"

    clock.advance(timedelta(seconds=3599))
    await world.dispatch()
    assert await status(world, later) == ("PENDING", "STARTS_LATER")
    clock.advance(timedelta(seconds=1))
    await world.dispatch()
    assert (await world.session(later.id)).status == "SCHEDULED"


async def test_a_moment_that_has_passed_is_no_condition(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session = await batch(world, actor, starts_at=core.now() - timedelta(days=1))
    assert session.pending_reason is None
    await world.dispatch()
    assert (await world.session(session.id)).status == "SCHEDULED"


async def test_it_starts_when_all_that_it_depends_on_have_succeeded(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first, second = await batch(world, actor), await batch(world, actor)
    last = await batch(world, actor, depends_on=[first.id, second.id, first.id])
    assert await status(world, last) == ("PENDING", "WAITS_FOR_SESSIONS")
    await world.dispatch()
    await exits(world, first, 0)
    await world.dispatch()
    assert await status(world, last) == ("PENDING", "WAITS_FOR_SESSIONS")
    waits = await sessions.unmet(core, actor, [last.id])
    assert [one.id for one in waits[last.id]] == [second.id]
    await exits(world, second, 0)
    await world.dispatch()
    assert (await world.session(last.id)).status == "SCHEDULED"
    needed = await sessions.dependencies(core, actor, [last.id])
    assert [one.id for one in needed[last.id]] == [first.id, second.id]


async def test_one_that_waited_for_others_then_waits_for_its_moment(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await batch(world, actor)
    last = await batch(world, actor, depends_on=[first.id], starts_at=core.now() + timedelta(hours=1))
    assert await status(world, last) == ("PENDING", "WAITS_FOR_SESSIONS")
    await world.dispatch()
    await exits(world, first, 0)
    assert await status(world, last) == ("PENDING", "STARTS_LATER")


@pytest.mark.parametrize("how", ["exit code", "terminated", "cancelled", "failed start"])
async def test_what_depends_on_a_failure_is_cancelled_and_so_is_what_depends_on_that(
    core: Core, how: str
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await batch(world, actor, name="first")
    second = await batch(world, actor, name="second", depends_on=[first.id])
    third = await batch(world, actor, depends_on=[second.id])
    beside = await batch(world, actor, depends_on=[(await batch(world, actor)).id])
    if how == "cancelled":
        await sessions.terminate(core, actor, [first.id])
    else:
        await world.dispatch()
    match how:
        case "exit code":
            await exits(world, first, 1)
        case "terminated":
            await reach(world, first)
            await sessions.terminate(core, actor, [first.id])
            # It caught the signal and ended in good order: it was ended all the same.
            await world.report(first.id, "TERMINATED", code="REQUESTED", exit_code=0)
        case "failed start":
            await world.report(first.id, "ERROR", code="IMAGE_NOT_FOUND", message="Not there.")
        case _:
            pass
    await world.dispatch()
    assert await status(world, second) == ("CANCELLED", "DEPENDENCY_FAILED")
    assert "'first'" in (await world.session(second.id)).reason_message
    assert await status(world, third) == ("CANCELLED", "DEPENDENCY_FAILED")
    assert await status(world, beside) == ("PENDING", "WAITS_FOR_SESSIONS")
    assert await codes(core, actor, third) == ["", "DEPENDENCY_FAILED"]
    assert await ledger_is_true(core)


async def test_dependencies_are_own_batch_sessions_that_may_still_succeed(core: Core) -> None:
    world = await World(core).build()
    actor, other, _ = await world.user(), await world.user("DOMAIN_ADMIN"), await world.agent()
    foreign, interactive = await batch(world, actor), await world.launch(other)
    for hidden in (foreign.id, ids.new("ses")):
        with pytest.raises(NotFound) as refused:
            await batch(world, other, depends_on=[hidden])
        assert refused.value.path == "input.dependsOn"
    ended = await batch(world, other)
    await sessions.terminate(core, other, [ended.id])
    with pytest.raises(BadInput) as wrong:
        await batch(world, other, depends_on=[interactive.id, ended.id])
    assert [path for path, _ in wrong.value.fields] == ["input.dependsOn.0", "input.dependsOn.1"]


async def test_times_beyond_reason_are_named_together(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    with pytest.raises(BadInput) as wrong:
        await batch(
            world,
            actor,
            starts_at=core.now() + timedelta(days=367),
            max_duration_seconds=0,
            depends_on=[ids.new("ses") for _ in range(101)],
        )
    assert [path for path, _ in wrong.value.fields] == [
        "input.startsAt",
        "input.maxDurationSeconds",
        "input.dependsOn",
    ]


async def test_one_that_has_succeeded_already_is_waited_for_no_more(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await batch(world, actor)
    await world.dispatch()
    assert sessions.succeeded(await exits(world, first, 0))
    last = await batch(world, actor, depends_on=[first.id])
    assert last.pending_reason is None
    await world.dispatch()
    assert (await world.session(last.id)).status == "SCHEDULED"


async def test_it_ends_when_it_has_run_for_its_maximum_duration(core: Core, clock: Clock) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session, endless = await batch(world, actor, max_duration_seconds=60), await batch(world, actor)
    await world.dispatch()
    clock.advance(timedelta(seconds=50))
    await reach(world, session)
    await reach(world, endless)
    assert (await world.session(session.id)).ends_at == core.now() + timedelta(seconds=60)
    clock.advance(timedelta(seconds=59))
    assert await sessions.end_overlong(core) == 0
    clock.advance(timedelta(seconds=1))
    assert await sessions.end_overlong(core) == 1
    assert await sessions.end_overlong(core) == 0
    assert await status(world, session) == ("TERMINATING", "MAX_DURATION")
    await world.report(session.id, "TERMINATED", code="REQUESTED", exit_code=0)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("TERMINATED", "MAX_DURATION")
    assert not sessions.succeeded(ended)
    assert (await world.session(endless.id)).status == "RUNNING"
    assert await ledger_is_true(core)


@pytest.mark.parametrize("what", ["moment", "sessions"])
async def test_one_that_is_held_back_can_be_cancelled(core: Core, what: str) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await batch(world, actor)
    held = (
        await batch(world, actor, starts_at=core.now() + timedelta(hours=1))
        if what == "moment"
        else await batch(world, actor, depends_on=[first.id])
    )
    (outcome,) = await sessions.terminate(core, actor, [held.id])
    assert outcome.row is not None
    assert (outcome.row.status, outcome.row.pending_reason) == ("CANCELLED", None)
    await world.dispatch()
    assert (await world.session(held.id)).status == "CANCELLED"
    assert (await world.session(first.id)).status == "SCHEDULED"


async def test_who_waits_is_told_when_what_it_waits_for_has_ended(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await batch(world, actor)
    last = await batch(world, actor, depends_on=[first.id])
    await world.dispatch()
    await reach(world, first)
    async with core.bus.subscribe(SessionChanged) as hints:
        await world.report(first.id, "TERMINATED", code="EXITED", exit_code=0)
        assert {hint.session_id for hint in hints.drain()} == {first.id, last.id}


async def test_of_a_failure_and_a_cancellation_at_once_one_decides(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    for _ in range(3):
        first = await batch(world, actor)
        last = await batch(world, actor, depends_on=[first.id])
        await sessions.terminate(core, actor, [first.id])
        (outcome,), _ = await asyncio.gather(
            sessions.terminate(core, actor, [last.id]), sessions.cancel_hopeless(core)
        )
        row = await world.session(last.id)
        assert row.status == "CANCELLED"
        assert (row.reason_code == "REQUESTED") == (outcome.error is None)
        cancelled = [one for one in await codes(core, actor, last) if one]
        assert len(cancelled) == 1
