"""Why a session waits: numbers, estimates, and what is told of them when."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from scheduler.plan import NoAgentFits, NoAgents, Reason, Reserved, Waiting
from services import sessions
from services.core import Core
from services.db.tables import Agent
from services.scheduling.dispatch import Dispatcher
from services.sessions.reasons import (
    Away,
    News,
    Turns,
    Writer,
    explain,
    held_back,
    moment_of,
    readable,
)
from services.sessions.watch import SessionNotice
from tests.factories import Clock
from tests.services.test_sessions import running
from tests.services.world import World

NOW = datetime.fromisoformat("2026-11-24T12:00:00+00:00")
Count = Callable[[Core], AbstractContextManager[list[str]]]


def fits(free: int, asked: int = 2000) -> NoAgentFits:
    return NoAgentFits(
        slot="cpu", asked=asked, free=free, largest_free=free, largest_capacity=8000, never=False
    )


def news(
    reason: Reason,
    old: dict[str, Any] | None,
    *,
    position: int = 1,
    starts_in: int | None = None,
    at: datetime = NOW,
) -> News | None:
    writer = Writer(at, {"rgp": Away(1, 2)}, {"ses": "rgp"})
    return next(writer.news([("ses", Waiting(position, reason, starts_in))], {"ses": old}), None)


def told(reason: Reason, **more: Any) -> dict[str, Any]:
    found = news(reason, None, **more)
    assert found is not None
    return found.document


def test_what_has_not_changed_is_no_news() -> None:
    assert news(fits(1000), told(fits(1000))) is None


@pytest.mark.parametrize(
    ("now", "position", "rank"),
    [
        (NoAgents(resource_group="rgp", agents=0), 100, 0),
        (fits(1500), 100, 1),
        (fits(1000), 94, 1),
        (fits(1000), 97, 2),
    ],
)
def test_another_constraint_is_told_before_other_numbers_and_these_before_small_ones(
    now: Reason, position: int, rank: int
) -> None:
    found = news(now, told(fits(1000), position=100), position=position)
    assert found is not None
    assert found.rank == rank


def test_an_estimate_that_is_counted_from_another_moment_is_the_same() -> None:
    old = told(Reserved(session="ses_1", starts_in=600), starts_in=900)
    later = NOW + timedelta(seconds=60)
    assert news(Reserved(session="ses_1", starts_in=541), old, starts_in=839, at=later) is None
    moved = news(Reserved(session="ses_1", starts_in=600), old, starts_in=839, at=later)
    assert moved is not None
    assert moment_of(moved.document, "until") == later + timedelta(seconds=600)


def test_everybodys_turn_comes_however_often_the_front_changes() -> None:
    turns, waiting = Turns(), [f"ses_{number}" for number in range(6)]
    seen: set[str] = set()
    for _ in range(3):
        found = [News(one, {"position": place}, 1) for place, one in enumerate(waiting, 1)]
        seen |= {one.session_id for one in turns.choose(found, waiting, moving=True, most=2)}
    assert seen == set(waiting)


def test_what_is_nearly_right_is_told_when_the_queue_is_at_rest() -> None:
    turns, nearly = Turns(), [News("ses_1", {"position": 97}, 2)]
    assert turns.choose(nearly, ["ses_1"], moving=True, most=2) == []
    assert turns.left
    assert turns.choose(nearly, ["ses_1"], moving=False, most=2) == nearly
    assert not turns.left


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (told(fits(1900)), "It asks for 2 cpu; no agent has more than 1.9 cpu free."),
        (
            told(NoAgents(resource_group="rgp", agents=3)),
            "No agent of its resource group takes new sessions now: 1 drained and 2 not connected.",
        ),
        (
            told(Reserved(session="ses_1", starts_in=600)),
            (
                "There is room, but it is kept for a session that waits longer and starts by 2026-11-24 12:10 UTC. "
                "With a maximum duration that ends before, it could go first."
            ),
        ),
        (held_back("WAITS_FOR_SESSIONS"), "It waits until the sessions that it depends on have succeeded."),
    ],
)
def test_a_reason_is_one_sentence_with_units(document: dict[str, Any], text: str) -> None:
    assert explain(document) == text


def test_reasons_of_an_earlier_release_are_not_shown() -> None:
    old = {"code": "NO_AGENT_FITS", "message": "…", "position": 1, "asked": "1"}
    assert readable(old) is None
    assert readable({**old, "code": "STARTS_LATER"}) is not None


async def reason_of(world: World, session_id: str) -> dict[str, Any]:
    found = (await world.session(session_id)).pending_reason
    assert found is not None
    return found


async def test_agents_that_take_no_work_are_counted(core: Core) -> None:
    world = await World(core).build()
    actor, drained = await world.user(), await world.agent()
    lost = await world.agent()
    async with core.db.write() as db:
        await db.execute(update(Agent).where(Agent.id == drained).values(schedulable=False))
        await db.execute(update(Agent).where(Agent.id == lost).values(status="LOST"))
    session = await world.launch(actor)
    await world.dispatch()
    found = await reason_of(world, session.id)
    assert (found["code"], found["drained"], found["lost"]) == ("NO_AGENTS", 1, 1)


async def next_of(stream: AsyncGenerator[SessionNotice], session_id: str) -> SessionNotice:
    """The next notice about one session."""
    async with asyncio.timeout(30):
        async for notice in stream:
            if notice.session is not None and notice.session.id == session_id:
                return notice
    raise AssertionError


async def listening(core: Core, waiting: "asyncio.Task[Any]") -> None:
    while not any(core.bus._queues.values()) and not waiting.done():  # type: ignore[attr-defined]
        await asyncio.sleep(0)


async def test_the_head_has_an_estimate_who_is_behind_it_a_reservation_and_both_are_told_live(
    core: Core,
    clock: Clock,  # stands still
) -> None:
    """The agent has 4 cpu, of which 3 are taken for at most an hour."""
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await running(world, actor, cpu="3", max_duration_seconds=3600)
    head = await world.launch(actor, cpu="4")
    behind = await world.launch(actor, cpu="1", max_duration_seconds=7200)
    dispatcher = await world.dispatch()
    ends_at = (await world.session(first.id)).ends_at
    assert ends_at is not None
    found = await reason_of(world, head.id)
    assert (found["code"], found["asked"], found["largest_free"]) == ("NO_AGENT_FITS", 4000, 1000)
    assert moment_of(found, "starts_at") == ends_at
    reserved = await reason_of(world, behind.id)
    assert (reserved["code"], reserved["session"], reserved["position"]) == ("RESERVED", head.id, 2)
    assert moment_of(reserved, "until") == ends_at

    last = await world.launch(actor, cpu="4")
    await dispatcher.cycle()
    assert (await reason_of(world, last.id))["position"] == 3
    stream = sessions.watch(core, actor, sessions.SessionFilter())
    waiting = asyncio.ensure_future(next_of(stream, last.id))
    await listening(core, waiting)
    await sessions.terminate(core, actor, [head.id])
    await dispatcher.cycle()
    notice = await waiting
    assert notice.session is not None
    assert notice.session.pending_reason is not None
    assert notice.session.pending_reason["position"] == 1
    assert moment_of(notice.session.pending_reason, "starts_at") == core.now() + timedelta(seconds=7200)
    assert notice.event is None
    await stream.aclose()


async def test_who_is_behind_the_head_has_an_estimate_too(
    core: Core,
    clock: Clock,  # stands still
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await running(world, actor, cpu="4", max_duration_seconds=3600)
    waiting = [await world.launch(actor, cpu="4", max_duration_seconds=600) for _ in range(3)]
    await world.dispatch()
    ends_at = (await world.session(first.id)).ends_at
    assert ends_at is not None
    found = [moment_of(await reason_of(world, one.id), "starts_at") for one in waiting]
    assert found == [ends_at + timedelta(seconds=600 * number) for number in range(3)]


def writes(statements: list[str]) -> list[str]:
    return [one for one in statements if one.startswith(("UPDATE sessions", "INSERT"))]


async def test_a_cycle_in_which_nothing_changed_writes_nothing_and_one_in_which_much_did_one_statement(
    core: Core, clock: Clock, count_statements: Count
) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    first = await running(world, actor, cpu="3", max_duration_seconds=3600)
    waiting = [await world.launch(actor, cpu="4") for _ in range(12)]
    dispatcher = Dispatcher(core)
    await dispatcher.take_duty()
    with count_statements(core) as statements:
        await dispatcher.cycle()
    assert len(writes(statements)) == 1
    assert [(await reason_of(world, one.id))["position"] for one in waiting] == list(range(1, 13))
    for _ in range(3):
        clock.advance(timedelta(seconds=3))
        with count_statements(core) as statements:
            await dispatcher.cycle()
        assert writes(statements) == []
    await world.report(first.id, "TERMINATED", agent=agent, code="EXITED")
    await dispatcher.cycle()
    assert (await world.session(waiting[0].id)).status == "SCHEDULED"
    assert [(await reason_of(world, one.id))["position"] for one in waiting[1:]] == list(range(1, 12))
