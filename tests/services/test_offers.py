"""Which presets can be had: now, after some waiting, or never, and what stands in the way."""

from typing import Any

import pytest
from sqlalchemy import update

from services import ids, resource_groups, sessions
from services.core import Core
from services.db.tables import Agent
from services.errors import NotFound, QuotaExceeded
from services.resource_groups import ResourceGroupChanges
from services.scheduling import offers
from services.scheduling.offers import Offer
from tests.factories import Factories
from tests.services.world import World

GIB = 2**30


async def offered(world: World, actor: Any) -> dict[str, Offer]:
    found = await offers.find(world.core, actor, world.group, world.resource_group)
    return {offer.preset.name: offer for offer in found}


async def sizes(make: Factories, **cpu: int) -> None:
    for name, amount in cpu.items():
        await make.preset(name=name, slots={"cpu": amount, "mem": GIB})


async def test_a_preset_is_to_be_had_later_while_others_use_the_nodes_and_never_when_no_node_is_so_large(
    core: Core, make: Factories
) -> None:
    world = await World(core).build()
    actor, _, _ = await world.user(), await world.agent(), await world.agent(cpu=2000, mem=8 * GIB)
    await sizes(make, small=1000, medium=3000, large=5000)
    assert {name: one.state for name, one in (await offered(world, actor)).items()} == {
        "small": "NOW",
        "medium": "NOW",
        "large": "NEVER",
    }
    await world.launch(actor, cpu="2")
    await world.launch(actor, cpu="2")
    await world.launch(actor, cpu="1")
    await world.dispatch()
    found = await offered(world, actor)
    assert (found["small"].state, found["small"].obstacle) == ("NOW", None)
    later, never = found["medium"], found["large"]
    assert later.obstacle is not None
    assert never.obstacle is not None
    assert (later.state, later.obstacle.slot, later.obstacle.asked) == ("LATER", "cpu", 3000)
    assert (later.obstacle.free or 0) < 3000
    assert later.obstacle.limit == 4000
    assert (never.state, never.obstacle.limit, never.obstacle.free) == ("NEVER", 4000, None)
    assert never.obstacle.message == "It asks for 5 cpu; the node that comes nearest has 4 cpu, even empty."


@pytest.mark.parametrize("scope", ["policy", "group", "domain", "resource_group"])
async def test_the_limit_in_the_way_is_named(core: Core, make: Factories, scope: str) -> None:
    world = await World(core).build(**{f"{scope}_slots": {"cpu": 3000}})
    actor, _ = await world.user(), await world.agent(cpu=64000, mem=64 * GIB)
    await sizes(make, small=1000, medium=2000, large=4000)
    await world.launch(actor, cpu="2")
    await world.dispatch()
    found = await offered(world, actor)
    assert found["small"].state == "NOW"
    later, never = found["medium"].obstacle, found["large"].obstacle
    assert later is not None
    assert never is not None
    assert (found["medium"].state, later.slot, later.asked, later.free, later.limit) == (
        "LATER", "cpu", 2000, 1000, 3000,
    )  # fmt: skip
    assert (found["large"].state, never.slot, never.limit) == ("NEVER", "cpu", 3000)
    for obstacle in (later, never):
        assert scope.replace("_", " ") in obstacle.whose
        assert "3 cpu" in obstacle.message


async def test_what_never_can_be_had_is_what_is_refused_and_the_rest_is_not(
    core: Core, make: Factories
) -> None:
    world = await World(core).build(group_slots={"cpu": 2000}, policy_slots={"mem": 4 * GIB})
    actor, _ = await world.user(), await world.agent()
    for cpu in (1000, 2000, 3000):
        for mem in (1, 4, 5):
            await make.preset(name=f"{cpu}-{mem}", slots={"cpu": cpu, "mem": mem * GIB})
    states = {name: offer.state for name, offer in (await offered(world, actor)).items()}
    assert set(states.values()) == {"NOW", "NEVER"}
    for name, state in states.items():
        cpu, mem = map(int, name.split("-"))
        if state == "NEVER":
            with pytest.raises(QuotaExceeded):
                await world.launch(actor, str(cpu // 1000), mem * GIB)
        else:
            await world.launch(actor, str(cpu // 1000), mem * GIB)


async def test_sessions_at_once_count(core: Core, make: Factories) -> None:
    world = await World(core).build(concurrent=1)
    actor, _ = await world.user(), await world.agent()
    await sizes(make, small=1000)
    assert (await offered(world, actor))["small"].state == "NOW"
    session = await world.launch(actor)
    await world.dispatch()
    found = (await offered(world, actor))["small"]
    assert found.obstacle is not None
    assert (found.state, found.obstacle.slot, found.obstacle.limit) == ("LATER", "sessions", 1)
    assert "1 sessions at once" in found.obstacle.message
    await sessions.terminate(core, actor, [session.id], force=True)
    assert (await offered(world, actor))["small"].state == "NOW"


async def test_nodes_that_take_no_work_now_may_later(core: Core, make: Factories) -> None:
    world = await World(core).build()
    actor = await world.user()
    await sizes(make, small=1000, large=9000)
    assert {one.state for one in (await offered(world, actor)).values()} == {"LATER"}
    agent = await world.agent()
    for change in ({"schedulable": False}, {"schedulable": True, "status": "LOST"}):
        async with core.db.write() as db:
            await db.execute(update(Agent).where(Agent.id == agent).values(**change))
        found = await offered(world, actor)
        assert (found["small"].state, found["large"].state) == ("LATER", "NEVER")
    async with core.db.write() as db:
        await db.execute(update(Agent).where(Agent.id == agent).values(status="TERMINATED"))
    found = await offered(world, actor)
    assert found["large"].obstacle is not None
    assert "has no nodes yet" in found["large"].obstacle.message


async def test_two_halves_of_different_devices_are_no_whole(core: Core, make: Factories) -> None:
    """1.2 of two GPUs are free, 0.6 on each: enough for 0.6 and not for 0.8."""
    world = await World(core).build()
    actor = await world.user()
    agent = await world.agent(**{"cpu": 4000, "mem": 8 * GIB, "cuda.shares": 2000})
    devices = [
        {"id": name, "capacity": {"cuda.shares": 1000}, "held": {"cuda.shares": 400}} for name in ("0", "1")
    ]
    kinds = [{"name": "cuda.shares", "type": "count"}]
    async with core.db.write() as db:
        hardware = {"devices": devices, "slot_kinds": kinds}
        await db.execute(update(Agent).where(Agent.id == agent).values(hardware=hardware))
    for shares in (600, 800):
        await make.preset(name=f"s{shares}", slots={"cpu": 1000, "mem": GIB, "cuda.shares": shares})
    found = await offered(world, actor)
    assert found["s600"].state == "NOW"
    obstacle = found["s800"].obstacle
    assert obstacle is not None
    assert (found["s800"].state, obstacle.slot) == ("LATER", "cuda.shares")
    assert "in one piece" in obstacle.message


async def test_in_a_resource_group_that_takes_nothing_there_is_nothing(core: Core, make: Factories) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    await sizes(make, small=1000)
    changes = ResourceGroupChanges(active=False)
    await resource_groups.edit(core, await make.superadmin(), world.resource_group, changes)
    assert (await offered(world, actor))["small"].state == "NEVER"


async def test_the_number_of_statements_does_not_depend_on_presets_nodes_and_sessions(
    core: Core,
    make: Factories,
    count_statements,  # type: ignore[no-untyped-def]
) -> None:
    world = await World(core).build()
    actor = await world.user()
    numbers: list[int] = []
    for _ in range(2):
        await world.agent()
        for _ in range(5):
            await make.preset()
            await world.launch(actor, cpu="0.1")
        with count_statements(core) as statements:
            await offers.find(core, actor, world.group, world.resource_group)
        numbers.append(len([one for one in statements if one.startswith("SELECT")]))
    assert numbers[0] == numbers[1] == 7


async def test_what_is_not_the_actors_is_not_found(core: Core, make: Factories) -> None:
    world, elsewhere = await World(core).build(), await World(core).build()
    actor = await world.user()
    for group, resource_group, path in (
        (elsewhere.group, world.resource_group, "groupId"),
        (ids.new("grp"), world.resource_group, "groupId"),
        (world.group, elsewhere.resource_group, "resourceGroupId"),
    ):
        with pytest.raises(NotFound) as refused:
            await offers.find(core, actor, group, resource_group)
        assert refused.value.path == path
