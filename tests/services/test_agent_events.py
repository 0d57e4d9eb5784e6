"""Events of an agent that are taken together."""

import asyncio
import time
from typing import Any

import pytest

from agents.protocol import Event, KernelPhase, Phase
from services.core import Core
from services.sessions import observe
from tests.services.test_sessions import ledger_is_true
from tests.services.world import World


async def placed(core: Core, count: int) -> tuple[World, str, list[str]]:
    """Sessions that wait for their only node to begin."""
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    sessions = [(await world.launch(actor)).id for _ in range(count)]
    await world.dispatch()
    return world, agent, sessions


async def events(world: World, sessions: list[str], *phases: Phase, first: int = 1) -> list[Event]:
    bodies = [
        KernelPhase(kernel.id, kernel.generation, kernel.session_id, phase)
        for phase in phases
        for kernel in [await world.kernel(session) for session in sessions]
    ]
    return [Event(number, time.time(), body) for number, body in enumerate(bodies, first)]


async def statuses(world: World, sessions: list[str]) -> list[str]:
    return [(await world.session(session)).status for session in sessions]


async def test_what_comes_together_is_committed_together_each_with_its_place_in_the_timeline(
    core: Core,
) -> None:
    world, agent, sessions = await placed(core, 3)
    told = await events(world, sessions, "PULLING", "PREPARED", "CREATING", "RUNNING")
    ack = await world.links.take_events(agent, told)
    assert ack.seq == 12
    assert await statuses(world, sessions) == ["RUNNING"] * 3
    assert await world.links.take_events(agent, told) == ack  # once more, after a lost acknowledgement
    ended = await events(world, sessions, "TERMINATED", first=13)
    assert (await world.links.take_events(agent, [*told[6:], *ended])).seq == 15
    assert await statuses(world, sessions) == ["TERMINATED"] * 3
    assert await ledger_is_true(core)


async def test_one_that_cannot_be_taken_holds_up_none_before_it(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, agent, sessions = await placed(core, 3)
    told = await events(world, sessions, "PULLING")
    poisoned, plain = told[1].body, observe.phase

    async def phase(core: Core, db: Any, agent_id: str, report: KernelPhase, changes: Any) -> Any:
        if report == poisoned:
            raise ZeroDivisionError
        return await plain(core, db, agent_id, report, changes)

    monkeypatch.setattr(observe, "phase", phase)
    with pytest.raises(ZeroDivisionError):
        await world.links.take_events(agent, told)
    assert await statuses(world, sessions) == ["PULLING", "SCHEDULED", "SCHEDULED"]
    monkeypatch.undo()
    await world.links.take_events(agent, told)
    assert await statuses(world, sessions) == ["PULLING"] * 3


async def test_two_agents_that_tell_of_many_sessions_do_not_wait_in_a_circle(core: Core) -> None:
    world, agent, sessions = await placed(core, 4)
    other = await world.agent()
    told = await events(world, sessions, "PULLING", "PREPARED", "CREATING", "RUNNING")
    # The second has nothing to say of them, and says it in the other order.
    wrong = [Event(number, event.at, event.body) for number, event in enumerate(reversed(told), 1)]
    await asyncio.gather(
        world.links.take_events(agent, told),
        world.links.take_events(other, wrong),
    )
    assert await statuses(world, sessions) == ["RUNNING"] * 4
    assert await ledger_is_true(core)
