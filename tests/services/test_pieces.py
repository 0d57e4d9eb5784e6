"""Fractions of devices are planned only where one device has room for them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.accelerators.pools import Pool
from agents.protocol import Device, Resources, SlotKind
from scheduler.placers import Scale
from services.core import Core
from services.db.tables import Agent
from services.scheduling.pieces import SIZES, Pieces, plain
from services.sessions.reasons import explain
from tests.services.test_accelerators import SLOTS, launch_with
from tests.services.world import World

SHARES = SlotKind("cuda.shares", "count", step=10)
KINDS: list[dict[str, Any]] = [{"name": "cuda.shares", "type": "count", "step": 10}]


def node(*held: int, sick: frozenset[int] = frozenset()) -> Agent:
    """One with devices of which this much is held."""
    devices = [
        {
            "id": f"D{n}",
            "capacity": {"cuda.shares": 1000},
            "held": {"cuda.shares": one},
            "healthy": n not in sick,
        }
        for n, one in enumerate(held)
    ]
    slots = {"cuda.shares": sum(one if n in sick else 1000 for n, one in enumerate(held))}
    return Agent(id="agt_1", slots=slots, hardware={"slot_kinds": KINDS, "devices": devices})


def room(agent: Agent, asked: int, used: int) -> int:
    """What a scheduler sees free for a request in its own size."""
    pieces = Pieces([{"cuda.shares": asked}], [agent])
    capacity, taken = pieces.of(agent, {"cuda.shares": used})
    (name,) = pieces.needs({"cuda.shares": asked}).keys() - {"cuda.shares"}
    return capacity[name] - taken[name]


def test_what_is_free_in_pieces_is_no_room() -> None:
    assert room(node(600, 600), asked=500, used=1200) == 0
    assert room(node(600, 500), asked=500, used=1100) == 500
    assert room(node(0, 600), asked=400, used=600) == 1200


def test_whole_devices_need_idle_ones_and_more_than_one_is_nowhere_in_one_piece() -> None:
    assert room(node(0, 0, 10), asked=2000, used=10) == 2000
    assert room(node(0, 0), asked=1500, used=0) == 0


def test_what_a_node_has_not_told_yet_is_not_planned_again() -> None:
    """0.5 was just given to it, on a device that only it knows."""
    assert room(node(0, 0), asked=500, used=500) == 1500
    assert room(node(0), asked=700, used=500) == 0


def test_failed_devices_have_no_room() -> None:
    assert room(node(300, 0, sick=frozenset({1})), asked=700, used=300) == 700
    assert room(node(300, 0, sick=frozenset({1})), asked=800, used=300) == 0


def test_a_node_without_devices_is_taken_by_its_sum() -> None:
    agent = Agent(id="agt_1", slots={"cuda.shares": 700}, hardware={"slot_kinds": KINDS})
    assert room(agent, asked=700, used=0) == 700


def test_fair_shares_and_fullness_are_what_they_are_without() -> None:
    """The additional slots are never the largest part that anybody has, and weigh nothing in how full a node is."""
    agent = node(600, 600)
    pieces = Pieces([{"cuda.shares": 500}, {"cuda.shares": 1000}], [agent])
    capacity, taken = pieces.of(agent, {"cuda.shares": 1200})
    needs = pieces.needs({"cuda.shares": 500})
    assert len(needs) == 3
    share = needs["cuda.shares"] / capacity["cuda.shares"]
    assert all(needs[name] / capacity[name] < share / 1e6 for name in needs if name != "cuda.shares")
    scale = Scale.of(list(capacity), list(capacity.values()), {})
    with_pieces = scale.left(0, [capacity[name] - taken[name] for name in capacity])
    plainly = Scale.of(["cuda.shares"], [2000], {}).left(0, [800])
    assert with_pieces == plainly


def test_sessions_without_devices_are_left_as_they_are() -> None:
    pieces = Pieces([{"cpu": 1000}], [node(0)])
    assert pieces.needs({"cpu": 1000}) == {"cpu": 1000}
    assert pieces.of(node(0), {}) == ({"cuda.shares": 1000}, {})


def test_names_are_told_plainly() -> None:
    (name,) = Pieces([{"cuda.shares": 300}], [node(0)]).needs({"cuda.shares": 300}).keys() - {"cuda.shares"}
    assert name == "cuda.shares in pieces of 0.3"
    assert plain(name) == ("cuda.shares", True)
    assert plain("cuda.shares") == ("cuda.shares", False)


AMOUNTS = st.one_of(
    st.integers(1, 100).map(lambda n: n * 10), st.sampled_from([1000, 2000, 3000]), st.integers(101, 250)
).map(lambda n: n // 10 * 10)


@given(
    held=st.lists(st.integers(0, 100).map(lambda n: n * 10), min_size=1, max_size=5),
    queue=st.lists(AMOUNTS, max_size=25),
)
def test_whatever_a_plan_adds_up_has_room_on_the_devices(held: list[int], queue: list[int]) -> None:
    """Against the node's own choice of devices: what the sums admit, in whatever order, is never refused."""
    agent = node(*held)
    pieces = Pieces([{"cuda.shares": amount} for amount in queue], [agent])
    capacity, taken = pieces.of(agent, {"cuda.shares": sum(held)})
    assert len(capacity) <= 1 + SIZES
    free = {name: capacity[name] - taken.get(name, 0) for name in capacity}
    devices = {f"D{n}": Device(f"D{n}", "cuda", capacity={"cuda.shares": 1000}) for n in range(len(held))}
    pool = Pool({"cuda.shares": SHARES}, devices)
    on = {f"D{n}": {"cuda.shares": one} for n, one in enumerate(held)}
    for amount in queue:
        needs = pieces.needs({"cuda.shares": amount})
        if all(free[name] >= need for name, need in needs.items()):
            for name, need in needs.items():
                free[name] -= need
            for name, given_ in pool.place({"cuda.shares": amount}, on)["cuda.shares"].items():
                on[name]["cuda.shares"] += given_


@given(held=st.lists(st.integers(0, 100).map(lambda n: n * 10), min_size=1, max_size=5), amount=AMOUNTS)
def test_one_that_fits_is_never_kept_waiting(held: list[int], amount: int) -> None:
    fits = (
        sum(one <= 1000 - amount for one in held) >= 1
        if amount <= 1000
        else amount % 1000 == 0 and held.count(0) >= amount // 1000
    )
    assert (room(node(*held), amount, sum(held)) >= amount) == fits


async def test_a_fraction_waits_with_its_reason_until_one_device_has_room(core: Core) -> None:
    """It is never sent to a node that would refuse it."""
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    devices = [
        Device(f"D{n}", "cuda", capacity={"cuda.shares": 1000}, held={"cuda.shares": 600}) for n in (1, 2)
    ]
    slots = {**SLOTS, "cuda.shares": 2000}
    await world.hello(agent, slots=slots, devices=tuple(devices), slot_kinds=(SHARES,))
    session = await launch_with(world, actor, ("cuda.shares", "0.5"))
    await world.dispatch()
    waiting = await world.session(session.id)
    assert waiting.status == "PENDING"
    assert waiting.pending_reason is not None
    assert waiting.pending_reason["slot"] == "cuda.shares in pieces of 0.5"
    assert (waiting.pending_reason["asked"], waiting.pending_reason["free"]) == (500, 0)
    assert explain(waiting.pending_reason) == "It asks for 0.5 GPU in one piece; no device has so much free."
    roomy = Device("D1", "cuda", capacity={"cuda.shares": 1000}, held={"cuda.shares": 300})
    await world.links.take(agent, Resources(slots, (roomy, devices[1])))
    await world.dispatch()
    assert (await world.session(session.id)).status == "SCHEDULED"
