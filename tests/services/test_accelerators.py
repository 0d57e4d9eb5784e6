"""What a node says of its devices, and a node that has less than it runs."""

import asyncio
from collections.abc import Iterator

import pytest

from agents.protocol import Device, KernelReport, Resources, SlotKind
from services import agents, sessions, slots
from services.bus import AgentChanged
from services.core import Core
from services.db.tables import Agent, Session
from services.errors import BadInput
from services.permissions import Actor
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
    assert waiting.pending_reason["free"] == -1000
    await world.links.take(agent, Resources({"cpu": 4000, "mem": 8 << 30}))
    await world.dispatch()
    assert (await world.session(second.id)).status != "PENDING"


@pytest.fixture
def known_slots() -> Iterator[None]:
    """What a test teaches is forgotten after it."""
    before = dict(slots.SLOT_TYPES)
    yield
    slots.SLOT_TYPES.clear()
    slots.SLOT_TYPES.update(before)


TPU = SlotKind("tpu.device", "unique", "TPU", "TPU", "Whole TPUs.", step=1000)


@pytest.mark.usefixtures("known_slots")
async def test_sessions_can_ask_for_what_a_plug_in_gives(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    with pytest.raises(BadInput, match=r"no slot 'tpu\.device'"):
        await launch_with(world, actor, ("tpu.device", "1"))
    await world.hello(agent, slots={**SLOTS, "tpu.device": 2000}, slot_kinds=(TPU,))
    session = await launch_with(world, actor, ("tpu.device", "2"))
    assert (await world.kernel(session.id)).slots["tpu.device"] == 2000
    with pytest.raises(BadInput, match="must be a multiple of 1"):
        await launch_with(world, actor, ("tpu.device", "0.5"))


@pytest.mark.usefixtures("known_slots")
async def test_a_manager_learns_the_slots_of_nodes_that_others_are_connected_to(core: Core) -> None:
    world = await World(core).build()
    agent = await world.agent()
    await world.hello(agent, slots=SLOTS, slot_kinds=(TPU,))
    del slots.SLOT_TYPES["tpu.device"]  # as in a manager that was started since
    following = asyncio.create_task(agents.follow_slots(core))
    async with asyncio.timeout(20):
        while "tpu.device" not in slots.SLOT_TYPES:
            await asyncio.sleep(0)
        del slots.SLOT_TYPES["tpu.device"]
        await core.bus.publish(AgentChanged(agent_id=agent))
        while "tpu.device" not in slots.SLOT_TYPES:
            await asyncio.sleep(0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.usefixtures("known_slots")
def test_a_node_cannot_redefine_slots_nor_add_without_end() -> None:
    cpu = slots.SLOT_TYPES["cpu"]
    strange = ["cpu", "sessions", "x", "A.b", "a." + "b" * 200, "a b.c"]
    slots.learn(SlotKind(name, "bytes") for name in strange)
    assert slots.SLOT_TYPES["cpu"] is cpu
    assert not set(strange[1:]) & slots.SLOT_TYPES.keys()
    slots.learn(SlotKind(f"many.s{number}", "count") for number in range(1000))
    assert len(slots.SLOT_TYPES) <= 100
    assert slots.SLOT_TYPES["many.s1"].unit == "COUNT"


async def launch_with(world: World, actor: Actor, *more: tuple[str, str]) -> Session:
    asked = [("cpu", "0.5"), ("mem", str(2**28)), *more]
    spec = sessions.SessionSpec(world.group, world.resource_group, await world.image(), asked)
    return await sessions.create(world.core, actor, spec)
