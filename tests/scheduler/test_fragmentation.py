"""Devices in fractions, and placing so that what is left of them stays useful."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import devices
from scheduler.engine import Scheduler, plan
from scheduler.fragmentation import MOST, Fragmentation, FragmentationOptions, Kind
from scheduler.placers import Pack, PackOptions
from scheduler.plan import NoAgentFits
from scheduler.sequencers import Fifo, FifoOptions
from tests.scheduler.builders import GROUP, Cluster, Engine, builtin

SCHEDULER = Scheduler(Fifo(FifoOptions()), Fragmentation(FragmentationOptions()))

on = st.lists(st.sampled_from((0, 1, 250, 500, 999, 1000)), max_size=6)


@given(on, st.integers(0, 5000))
def test_columns_say_whether_an_amount_fits_on_devices(free: list[int], amount: int) -> None:
    whole, rest = divmod(amount, 1000)
    empty = free.count(1000)
    fits = empty >= whole and (not rest or empty > whole or any(rest <= one < 1000 for one in free))
    wanted = zip(devices.needs(amount), devices.columns(free), strict=True)
    assert all(need <= have for need, have in wanted) == fits
    if fits:
        left = list(free)
        devices.allot(left, amount)
        assert sum(free) - sum(left) == amount
        assert min(left, default=0) >= 0
        touched = [before for before, after in zip(free, left, strict=True) if before != after]
        assert len(touched) == whole + bool(rest)


@pytest.mark.parametrize("placer", [Pack(PackOptions()), Fragmentation(FragmentationOptions())])
def test_a_fraction_never_spans_devices(placer: Pack | Fragmentation, engine: Engine) -> None:
    """Two halves are free in sum; three fifths fit on neither."""
    cluster = (
        Cluster("gpu")
        .agent("a", gpu=2000, used={"gpu": 1000}, devices=[500, 500])
        .session("s", gpu=600)
        .session("tenth", gpu=100)
    )
    made = plan(cluster.build(), {GROUP: Scheduler(Fifo(FifoOptions()), placer)}, engine)
    assert made.placements == {"tenth": ("a",)}
    assert made.waiting["s"].reason == NoAgentFits(
        slot="gpu", asked=600, free=500, largest_free=500, largest_capacity=1000, never=False
    )


def test_agents_that_do_not_tell_of_devices_are_counted_in_sum(engine: Engine) -> None:
    cluster = Cluster("gpu").agent("a", gpu=2000, used={"gpu": 1000}).session("s", gpu=600)
    assert plan(cluster.build(), {GROUP: builtin()}, engine).placements == {"s": ("a",)}


def test_a_fraction_goes_where_a_device_is_begun_though_another_agent_is_fuller(engine: Engine) -> None:
    """On `full` it would begin the last whole device, which whole requests want; `begun` has half of one to spare."""
    cluster = (
        Cluster("gpu")
        .agent("begun", cpu=8, gpu=2000, used={"gpu": 500}, devices=[500, 1000])
        .agent("full", cpu=8, gpu=2000, used={"cpu": 6, "gpu": 1000}, devices=[0, 1000])
        .session("fraction", cpu=1, gpu=500)
    )
    for number in range(3):
        cluster.session(f"whole{number}", cpu=1, gpu=1000)
    placements = plan(cluster.build(), {GROUP: SCHEDULER}, engine).placements
    assert placements["fraction"] == ("begun",)
    assert len(placements) == 3
    packed = plan(cluster.build(), {GROUP: builtin()}, engine).placements
    assert packed["fraction"] == ("full",)


def test_sessions_without_a_device_keep_off_cores_that_devices_need(engine: Engine) -> None:
    cluster = (
        Cluster("gpu")
        .agent("devices", cpu=4, gpu=1000, used={"cpu": 2}, devices=[1000])
        .agent("none", cpu=4)
        .session("plain", cpu=2)
        .session("wants", cpu=2, gpu=1000)
    )
    assert plan(cluster.build(), {GROUP: SCHEDULER}, engine).placements == {
        "plain": ("none",),
        "wants": ("devices",),
    }


def test_who_may_run_anywhere_keeps_off_the_model_that_is_short_for_those_bound_to_it(engine: Engine) -> None:
    """More are bound to the common model, but the rare one has only as much as is bound to it."""
    cluster = Cluster("gpu").agent("rare", cpu=64, gpu=2000, devices=[1000, 1000], architecture="rare")
    for number in range(4):
        common = {"gpu": 2000, "devices": [1000, 1000], "architecture": "common"}
        cluster.agent(f"common{number}", cpu=64, **common)
    for name, count, architectures in (("any", 2, []), ("rare", 2, ["rare"]), ("common", 3, ["common"])):
        for number in range(count):
            cluster.session(f"for {name} {number}", cpu=1, gpu=1000, architectures=architectures)
    assert len(plan(cluster.build(), {GROUP: SCHEDULER}, engine).placements) == 7


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_what_is_bound_presses_no_less_than_what_is_not_and_within_bounds(
    weight: int, amounts: list[int]
) -> None:
    capacity = {f"model{number}": amount for number, amount in enumerate(amounts)}
    free, bound = Kind((1,), frozenset(), weight), Kind((1,), frozenset(["model0"]), weight)
    if amounts[0]:
        assert free.presses("model0", capacity) <= bound.presses("model0", capacity)
    assert bound.presses("model0", capacity) <= MOST * free.presses("model0", capacity)
    assert bound.presses("model9", capacity) == 0
