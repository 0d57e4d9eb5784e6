"""Networks between the nodes of a session: made before its kernels, gone after them, whatever is lost on the way."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agents.hub import AgentOffline, AgentRefused
from agents.protocol import CreateKernel, MakeNetwork, RemoveNetwork
from services import sessions
from services.commands import Commands
from services.core import Core
from services.db.tables import Session
from services.permissions import Actor
from tests.factories import Clock
from tests.services.test_gangs import spread
from tests.services.world import World


class Nodes:
    """In the hub's place: takes commands, or not."""

    def __init__(self, *connected: str) -> None:
        self.connected = connected
        self.heard: list[tuple[str, Any]] = []
        self.fail: dict[type, Exception] = {}

    async def call(self, agent_id: str, message: Callable[[int], Any], deadline: float) -> None:
        command = message(1)
        self.heard.append((agent_id, command))
        if type(command) in self.fail:
            raise self.fail[type(command)]

    def took(self, kind: type) -> list[tuple[str, Any]]:
        return [(agent, command) for agent, command in self.heard if isinstance(command, kind)]


async def started(core: Core, **more: Any) -> tuple[World, Actor, Session, Nodes, Commands]:
    world, actor, session = await spread(core, world=more)
    agents = [kernel.agent_id or "" for kernel in await world.kernels(session.id)]
    nodes = Nodes(*agents)
    core.hub = nodes  # type: ignore[assignment]
    return world, actor, session, nodes, Commands(core, world.links)


async def deliver(commands: Commands, nodes: Nodes) -> None:
    await commands.deliver(nodes.connected)
    await commands.close()


async def test_it_is_made_once_and_then_the_kernels_are(core: Core) -> None:
    world, _, session, nodes, commands = await started(core)
    await deliver(commands, nodes)
    assert nodes.took(CreateKernel) == []
    ((maker, made),) = nodes.took(MakeNetwork)
    now = await world.session(session.id)
    assert (made.name, now.network_agent_id) == (session.network, maker)
    await deliver(commands, nodes)
    assert len(nodes.took(MakeNetwork)) == 1
    specs = {command.kernel: command.spec for _, command in nodes.took(CreateKernel)}
    assert {spec.cluster.network for spec in specs.values()} == {session.network}
    assert {spec.cluster.hosts for spec in specs.values()} == {("main1", "sub1", "sub2")}
    assert len({spec.cluster.public_key for spec in specs.values()}) == 1
    main = next(spec for spec in specs.values() if spec.hostname == "main1")
    assert main.environ["BERTH_CLUSTER_HOSTS"] == "main1,sub1,sub2"
    assert {spec.environ["BERTH_CLUSTER_LOCAL_RANK"] for spec in specs.values()} == {"0"}
    assert {spec.environ["PET_NODE_RANK"] for spec in specs.values()} == {"0", "1", "2"}


async def test_a_lost_command_is_sent_again_and_a_refusal_ends_the_session_with_its_words(core: Core) -> None:
    world, _, session, nodes, commands = await started(core)
    nodes.fail[MakeNetwork] = AgentOffline("away")
    await deliver(commands, nodes)
    assert (await world.session(session.id)).status == "SCHEDULED"
    nodes.fail[MakeNetwork] = AgentRefused("agt", "NETWORK_FAILED", "The swarm has no leader.")
    await deliver(commands, nodes)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("ERROR", "NETWORK_FAILED")
    assert ended.reason_message == "The swarm has no leader."


async def test_after_a_failed_start_it_is_made_again_for_it_may_be_gone(core: Core, clock: Clock) -> None:
    world, _, session, nodes, commands = await started(core, retries=1)
    await deliver(commands, nodes)
    for kernel in await world.kernels(session.id):
        await world.tell(kernel, "ERROR", code="CREATE_FAILED", message="There is no such network.")
    assert (await world.session(session.id)).status == "PENDING"
    clock.advance(timedelta(seconds=10))
    await world.dispatch()
    await deliver(commands, nodes)
    assert [made.name for _, made in nodes.took(MakeNetwork)] == [session.network] * 2


async def test_it_is_removed_after_the_session_as_soon_as_nothing_is_on_it(core: Core) -> None:
    world, actor, session, nodes, commands = await started(core)
    await deliver(commands, nodes)
    assert nodes.took(RemoveNetwork) == []
    await sessions.terminate(core, actor, [session.id], force=True)
    nodes.fail[RemoveNetwork] = AgentRefused("agt", "REMOVE_FAILED", "In use.")
    await deliver(commands, nodes)
    assert (await world.session(session.id)).network == session.network
    del nodes.fail[RemoveNetwork]
    await deliver(commands, nodes)
    await deliver(commands, nodes)
    assert len(nodes.took(RemoveNetwork)) == 2
    assert (await world.session(session.id)).network == ""


@pytest.mark.parametrize("startup", ["mpirun hostname", None])
async def test_main1_is_made_when_its_command_finds_all_the_others(core: Core, startup: str | None) -> None:
    world, _, session = await spread(core, startup_command=startup)
    kernels = await world.kernels(session.id)
    nodes = Nodes(*[kernel.agent_id or "" for kernel in kernels])
    core.hub = nodes  # type: ignore[assignment]
    commands = Commands(core, world.links)
    for _ in range(2):
        await deliver(commands, nodes)
    made = {command.kernel for _, command in nodes.took(CreateKernel)}
    assert (kernels[0].id in made) == (startup is None)
    for kernel in kernels[1:]:
        for phase in ("PULLING", "PREPARED", "CREATING", "RUNNING"):
            await world.tell(kernel, phase)
    await deliver(commands, nodes)
    commanded = {command.kernel: command.spec for _, command in nodes.took(CreateKernel)}
    assert commanded.keys() == {kernel.id for kernel in kernels}
    assert [commanded[kernel.id].bootstrap for kernel in kernels] == [startup, None, None]
