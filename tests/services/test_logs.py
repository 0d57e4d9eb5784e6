"""The log of a session: followed from before it runs until its end."""

import asyncio
from collections.abc import AsyncGenerator

from agents.protocol import LogTarget
from services import sessions
from services.core import Core
from services.permissions import Actor
from tests.services.test_networks import Nodes
from tests.services.world import World


class _Stream:
    def __init__(self, *frames: bytes) -> None:
        self._frames = frames

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for frame in self._frames:
            yield frame

    async def close(self) -> None:
        """There is nothing to close."""


class _Talking(Nodes):
    """Nodes whose kernels have written something."""

    async def open_stream(self, agent_id: str, target: LogTarget, deadline: float) -> _Stream:
        self.heard.append((agent_id, target))
        return _Stream(b"hello ", "wörld".encode()[:2], "wörld".encode()[2:])


async def read(core: Core, actor: Actor, session_id: str) -> str:
    return "".join([text async for text in sessions.follow_log(core, actor, session_id)])


async def test_who_asks_before_it_runs_is_told_from_its_beginning(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    nodes = _Talking(agent)
    core.hub = nodes  # type: ignore[assignment]
    session = await world.launch(actor)
    reading = asyncio.create_task(read(core, actor, session.id))
    await world.dispatch()
    for phase in ("PULLING", "PREPARED", "CREATING"):
        await world.report(session.id, phase)
        assert nodes.took(LogTarget) == []
    await world.report(session.id, "RUNNING")
    async with asyncio.timeout(60):
        assert await reading == "hello wörld"
    assert [where for where, _ in nodes.took(LogTarget)] == [agent]


async def test_who_waits_for_one_that_never_runs_is_told_its_end(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session = await world.launch(actor)
    reading = asyncio.create_task(read(core, actor, session.id))
    await asyncio.sleep(0)
    await sessions.terminate(core, actor, [session.id])
    async with asyncio.timeout(60):
        assert await reading == ""
