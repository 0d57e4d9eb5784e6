"""Images on nodes: who is told that something was done reads that it was."""

import asyncio

import pytest

from agents.hub import AgentRefused
from agents.protocol import Event, ImagesChanged, PullImage, RemoveImage
from services import images, tasks
from services.core import Core
from services.errors import NotFound, Unavailable
from services.permissions import Actor
from tests.services.test_networks import Nodes
from tests.services.world import MINIMAL, World


@pytest.fixture
async def world(core: Core) -> World:
    return await World(core).build()


async def installation(
    core: Core, admin: Actor, image_ids: list[str], agent_ids: list[str]
) -> tuple[str, list[str]]:
    """How an installation ended, and what became of each image on each node."""
    task = await images.install(core, admin, image_ids, agent_ids)
    runner = tasks.Runner(core, [images.INSTALL])
    await runner.look()
    await runner.idle()
    lines = await tasks.lines(core, admin, task.id, after=0, first=100)
    return (await tasks.get(core, admin, task.id)).status, [line.outcome for line in lines]


async def test_what_was_removed_or_brought_reads_so_before_the_node_reports_it(
    core: Core, world: World
) -> None:
    admin, agent = await world.user("SUPERADMIN"), await world.agent()
    core.hub = Nodes(agent)  # type: ignore[assignment]
    image = await world.image()
    for _ in range(2):  # the second time nothing is to be written
        (outcome,) = await images.remove(core, admin, [image], [agent])
        assert outcome.error is None
        assert await images.installed(core, [image]) == set()
    for _ in range(2):
        assert await installation(core, admin, [image], [agent]) == ("SUCCEEDED", ["DONE"])
        assert await images.installed(core, [image]) == {image}


async def test_a_report_of_the_node_at_the_same_moment_does_no_harm(core: Core, world: World) -> None:
    admin, agent = await world.user("SUPERADMIN"), await world.agent()
    core.hub = Nodes(agent)  # type: ignore[assignment]
    image = await world.image()
    for seq in range(1, 9):
        await images.remove(core, admin, [image], [agent])
        _, outcome = await asyncio.gather(
            world.links.take_events(agent, [Event(seq, 0.0, ImagesChanged((MINIMAL,)))]),
            installation(core, admin, [image], [agent]),
        )
        assert outcome == ("SUCCEEDED", ["DONE"])
        assert await images.installed(core, [image]) == {image}


async def test_what_a_node_refuses_changes_nothing(core: Core, world: World) -> None:
    admin, agent = await world.user("SUPERADMIN"), await world.agent()
    nodes = Nodes(agent)
    core.hub = nodes  # type: ignore[assignment]
    image = await world.image()
    nodes.fail = dict.fromkeys((RemoveImage, PullImage), AgentRefused(agent, "REMOVE_FAILED", "it is in use"))
    (outcome,) = await images.remove(core, admin, [image], [agent])
    assert isinstance(outcome.error, Unavailable)
    assert await images.installed(core, [image]) == {image}
    assert await installation(core, admin, [image], [agent]) == ("FAILED", ["FAILED"])
    assert await images.installed(core, [image]) == {image}


async def test_a_node_that_does_not_exist_is_named(core: Core, world: World) -> None:
    admin, agent = await world.user("SUPERADMIN"), await world.agent()
    with pytest.raises(NotFound, match="agt_nowhere"):
        await images.remove(core, admin, [await world.image()], [agent, "agt_nowhere"])
