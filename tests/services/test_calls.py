"""An agent is asked through whichever manager has it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from agents.hub import AgentOffline, AgentRefused, CallTimedOut
from agents.protocol import Credentials, PullImage, RemoveImage
from services import calls
from services.bus import AgentAsked, LocalBus
from services.core import Core
from services.keys import Keys
from services.redis_bus import RedisBus
from tests.services.test_networks import Nodes
from tests.services.test_redis_bus import buses, server

__all__ = ["buses", "server"]

#: Nothing is asked of the database.
pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True)
PULL = PullImage(0, "behind.example/i:1", Credentials("robot", "open-sesame"))


class Shared(LocalBus):
    """One bus for two managers in this process; remembers what was said."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Any] = []

    async def publish(self, hint: Any) -> None:
        self.said.append(hint)
        await super().publish(hint)


@asynccontextmanager
async def two(
    core: Core, buses: tuple[Any, Any] | None = None, **more: Any
) -> AsyncGenerator[tuple[Core, Nodes, Any]]:
    """A manager without agents; the agents of another one; and what is between them."""
    shared, nodes = Shared(), Nodes("agt_1")
    here, bus = buses or (shared, shared)
    asking = replace(core, bus=here, hub=Nodes(), manager_id="mgr-1")  # type: ignore[arg-type]
    having = replace(core, bus=bus, hub=nodes, manager_id="mgr-2", **more)  # type: ignore[arg-type]
    following = [asyncio.create_task(calls.follow(one)) for one in (asking, having)]
    listening = [one._local if isinstance(one, RedisBus) else one for one in {here, bus}]
    while sum(len(one._queues[AgentAsked]) for one in listening) < 2:
        await asyncio.sleep(0)
    try:
        yield asking, nodes, bus
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def test_the_manager_that_has_it_asks_it_and_nobody_else_reads_the_password(core: Core) -> None:
    async with two(core) as (asking, nodes, bus):
        await calls.ask(asking, "agt_1", PULL, deadline=30)
        ((agent, heard),) = nodes.heard
        assert (agent, heard.image, heard.credentials) == ("agt_1", PULL.image, PULL.credentials)
        assert "open-sesame" not in repr(bus.said)
        assert not any(b"open-sesame" in hint.sealed for hint in bus.said if isinstance(hint, AgentAsked))


@pytest.mark.parametrize(
    "failure",
    [
        AgentOffline("agt_1"),
        CallTimedOut("agt_1", 30),
        AgentRefused("agt_1", "REMOVE_FAILED", "It is in use."),
    ],
)
async def test_what_goes_wrong_there_is_told_here(core: Core, failure: Exception) -> None:
    async with two(core) as (asking, nodes, _):
        nodes.fail[RemoveImage] = failure
        with pytest.raises(type(failure)) as told:
            await calls.ask(asking, "agt_1", RemoveImage(0, "i:1"), deadline=30)
        assert str(told.value) == str(failure)


async def test_an_agent_that_nobody_has_is_offline(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_TAKEN_WITHIN", 0.05)
    async with two(core) as (asking, nodes, _):
        with pytest.raises(AgentOffline):
            await calls.ask(asking, "agt_2", PULL, deadline=30)
        assert nodes.heard == []


async def test_a_manager_with_other_secrets_does_nothing(core: Core) -> None:
    async with two(core, keys=Keys.generate()) as (asking, nodes, _):
        with pytest.raises(AgentRefused, match="secrets"):
            await calls.ask(asking, "agt_1", PULL, deadline=30)
        assert nodes.heard == []


async def test_the_same_over_a_real_redis(
    core: Core,
    buses: tuple[RedisBus, RedisBus],
) -> None:
    async with two(core, buses) as (asking, nodes, _):
        nodes.fail[RemoveImage] = AgentRefused("agt_1", "REMOVE_FAILED", "It is in use.")
        await calls.ask(asking, "agt_1", PULL, deadline=30)
        assert nodes.heard[0][1].credentials == PULL.credentials
        with pytest.raises(AgentRefused, match="in use"):
            await calls.ask(asking, "agt_1", RemoveImage(0, "i:1"), deadline=30)
