"""What a node says of its devices, and a node that has less than it runs."""

from agents.protocol import Device, KernelReport, Resources
from services.core import Core
from services.db.tables import Agent
from tests.services.test_sessions import running
from tests.services.world import World

DEVICE = Device("GPU-aaaa", "cuda", "H100", 80 << 30, capacity={"cuda.shares": 1000})
SLOTS = {"cpu": 4000, "mem": 8 << 30, "cuda.shares": 1000}


async def row(core: Core, agent: str) -> Agent:
    async with core.db.read() as db:
        found = await db.get(Agent, agent)
        assert found is not None
        return found


async def test_devices_are_known_from_the_greeting_on(core: Core) -> None:
    world = await World(core).build()
    agent = await world.agent()
    await world.hello(agent, slots=SLOTS, devices=(DEVICE,), faults={"tpu": "It hangs."})
    known = await row(core, agent)
    assert known.slots == SLOTS
    (device,) = known.hardware["devices"]
    assert (device["id"], device["capacity"]) == ("GPU-aaaa", {"cuda.shares": 1000})
    assert known.hardware["faults"] == {"tpu": "It hangs."}


async def test_what_a_node_has_changes_while_it_is_connected(core: Core) -> None:
    """A device fails: only what is held of it is left of the capacity. Then it is gone altogether."""
    world = await World(core).build()
    agent = await world.agent()
    await world.hello(agent, slots=SLOTS, devices=(DEVICE,))
    failed = Device("GPU-aaaa", "cuda", healthy=False, reason="It failed.", held={"cuda.shares": 300})
    await world.links.take(agent, Resources({**SLOTS, "cuda.shares": 300}, (failed,)))
    known = await row(core, agent)
    assert known.slots["cuda.shares"] == 300
    assert known.hardware["devices"][0]["reason"] == "It failed."
    await world.links.take(agent, Resources({"cpu": 4000, "mem": 8 << 30}))
    assert (await row(core, agent)).hardware["devices"] == []


async def test_what_an_older_connection_said_is_void(core: Core) -> None:
    world = await World(core).build()
    agent = await world.agent()
    other = World(core)
    await other.hello(agent, slots=SLOTS)
    await world.links.take(agent, Resources({"cpu": 1}))
    assert (await row(core, agent)).slots == SLOTS


async def test_a_node_that_has_less_than_it_runs_keeps_its_sessions_and_gets_no_new_ones(core: Core) -> None:
    """Half of its processors are gone after a reboot of the host."""
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    first = await running(world, actor, cpu="3")
    kernel = await world.kernel(first.id)
    report = KernelReport(kernel.id, kernel.generation, first.id, "RUNNING", slots=kernel.slots)
    welcome = await world.hello(agent, (report,), slots={"cpu": 2000, "mem": 8 << 30})
    assert welcome.remove == ()
    second = await world.launch(actor, cpu="0.5")
    await world.dispatch()
    assert (await world.session(first.id)).status == "RUNNING"
    waiting = await world.session(second.id)
    assert waiting.status == "PENDING"
    assert waiting.pending_reason is not None
    assert waiting.pending_reason["slot"] == "cpu"
    assert waiting.pending_reason["free"] == "0"
    await world.links.take(agent, Resources({"cpu": 4000, "mem": 8 << 30}))
    await world.dispatch()
    assert (await world.session(second.id)).status != "PENDING"
