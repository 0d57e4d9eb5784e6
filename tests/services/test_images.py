"""Images on nodes: who is told that something was done reads that it was."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agents.hub import AgentRefused
from agents.protocol import (
    CancelPull,
    CreateKernel,
    Event,
    ImagesChanged,
    PullImage,
    PullProgress,
    RemoveImage,
)
from services import images, tasks
from services.commands import Commands
from services.core import Core
from services.db.tables import Group, Image, TaskLine
from services.errors import NotFound, Unavailable
from services.permissions import Actor
from tests.factories import Factories
from tests.services.test_networks import Nodes
from tests.services.world import MINIMAL, World


@pytest.fixture
async def world(core: Core) -> World:
    return await World(core).build()


async def lines_of(core: Core, admin: Actor, task_id: str) -> list[TaskLine]:
    asked = tasks.Lines(task_id)
    return (await tasks.lines(core, admin, [asked]))[asked]


async def installation(
    core: Core, admin: Actor, image_ids: list[str], agent_ids: list[str]
) -> tuple[str, list[str]]:
    """How an installation ended, and what became of each image on each node."""
    task = await images.install(core, admin, image_ids, agent_ids)
    runner = tasks.Runner(core, [images.INSTALL])
    await runner.look()
    await runner.idle()
    lines = await lines_of(core, admin, task.id)
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


class SlowNodes(Nodes):
    """Nodes that bring an image when they are told to."""

    def __init__(self, *connected: str) -> None:
        super().__init__(*connected)
        self.pulling, self.go_on = asyncio.Event(), asyncio.Event()

    async def call(self, agent_id: str, message: Callable[[int], Any], deadline: float) -> None:
        await super().call(agent_id, message, deadline)
        if isinstance(message(1), PullImage):
            self.pulling.set()
            await self.go_on.wait()


async def test_how_far_an_installation_is_can_be_seen_and_it_can_be_cancelled(
    core: Core, world: World, make: Factories
) -> None:
    admin, agent = await world.user("SUPERADMIN"), await world.agent()
    nodes = SlowNodes(agent)
    core.hub = nodes  # type: ignore[assignment]
    await make.registry(hostname="behind.example", username="robot", password="open-sesame")
    behind = await make.image(registry_host="behind.example", reference="behind.example/i:1")
    elsewhere = await make.image(architecture="aarch64", reference="a.example/i:1")
    task = last = await images.install(core, admin, [elsewhere.id, behind.id], [agent])
    runner = tasks.Runner(core, [images.INSTALL])
    following = asyncio.create_task(runner.follow())
    await asyncio.wait_for(nodes.pulling.wait(), 30)
    ((_, pull),) = nodes.took(PullImage)
    assert (pull.credentials.username, pull.credentials.password) == ("robot", "open-sesame")
    assert "open-sesame" not in repr(pull)
    told = PullProgress(behind.reference, 25, 100)
    async with asyncio.timeout(30):
        await world.links.take(agent, told)
        async for last in tasks.watch(core, admin, task.id):
            if "25 %" in last.message and not last.cancel_requested:
                assert last.pulls == [[agent, behind.id, behind.reference, 25, 100]]
                await tasks.cancel(core, admin, task.id)
    assert (last.status, last.current, last.total) == ("CANCELLED", 1, 2)
    # Nothing is left that looks as if it went on.
    assert (last.pulls, last.message) == ([], "")
    ((_, given_up),) = nodes.took(CancelPull)
    assert given_up.image == behind.reference
    failed, skipped = await lines_of(core, admin, task.id)
    assert (failed.outcome, "aarch64" in failed.message) == ("FAILED", True)
    assert (skipped.outcome, behind.reference in skipped.subject) == ("SKIPPED", True)
    following.cancel()
    await runner.close()


async def test_a_session_pulls_with_the_registrys_password(core: Core, world: World, make: Factories) -> None:
    user, agent = await world.user(), await world.agent()
    await world.launch(user)
    image = await make.fresh(Image(id=await world.image()))
    group = await make.fresh(Group(id=world.group))
    await make.registry(hostname=image.registry_host, granted=[group], username="robot", password="pw")
    nodes = Nodes(agent)
    core.hub = nodes  # type: ignore[assignment]
    await world.dispatch()
    commands = Commands(core, world.links)
    await commands.deliver([agent])
    await commands.close()
    ((_, created),) = nodes.took(CreateKernel)
    assert (created.spec.credentials.username, created.spec.credentials.password) == ("robot", "pw")
