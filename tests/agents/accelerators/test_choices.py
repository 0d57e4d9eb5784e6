"""Which devices a request gets, by hand and against every other choice there is."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accelerators.choices import choose, waste
from agents.accelerators.contract import Request
from agents.protocol import Device, SlotKind

SHARES = SlotKind("x.shares", "count", step=10)
WHOLE = SlotKind("x.device", "unique", step=1000)
BYTES = SlotKind("x.mem", "bytes")


def shares(amount: int, *free: int, spanning: bool = False) -> dict[str, int] | None:
    """What a request for shares gets of devices A, B … with this much free."""
    names = [chr(ord("A") + number) for number in range(len(free))]
    request = Request(
        wanted={"x.shares": amount},
        free={name: {"x.shares": left} for name, left in zip(names, free, strict=True)},
        devices={name: Device(name, "x", capacity={"x.shares": 1000}) for name in names},
        kinds={"x.shares": SHARES},
        spanning=frozenset({"x.shares"} if spanning else ()),
    )
    chosen = choose(request)
    return dict(chosen["x.shares"]) if chosen is not None else None


def whole(count: int, *devices: tuple[str, int], busy: str = "") -> list[str] | None:
    """What a request for whole devices gets of A, B …, given as (model, NUMA node); `busy` names those taken."""
    names = [chr(ord("A") + number) for number in range(len(devices))]
    request = Request(
        wanted={"x.device": count * 1000},
        free={name: {"x.device": 0 if name in busy else 1000} for name in names},
        devices={
            name: Device(name, "x", model=model, numa_node=node, capacity={"x.device": 1000})
            for name, (model, node) in zip(names, devices, strict=True)
        },
        kinds={"x.device": WHOLE},
    )
    chosen = choose(request)
    return sorted(chosen["x.device"]) if chosen is not None else None


class TestFractions:
    def test_an_idle_device_is_left_whole_where_another_has_room(self) -> None:
        assert shares(400, 1000, 500) == {"B": 400}

    def test_a_hole_of_just_the_size_is_filled(self) -> None:
        assert shares(300, 1000, 500, 300) == {"C": 300}

    def test_a_useful_remainder_is_worth_more_than_the_closest_fit(self) -> None:
        """Best fit would leave 0.1 of A, which nearly nobody wants; a quarter of B is still of use."""
        assert shares(500, 600, 750) == {"B": 500}

    def test_a_small_piece_goes_where_its_loss_hurts_nobody(self) -> None:
        """0.1 of A's 0.6 leaves 0.5, as useful as before; 0.1 of B's 0.5 would spoil it for halves."""
        assert shares(100, 600, 500) == {"A": 100}

    def test_equals_are_taken_in_order(self) -> None:
        assert shares(500, 1000, 1000, 1000) == {"A": 500}

    def test_a_fraction_does_not_span_devices(self) -> None:
        assert shares(600, 500, 500) is None

    def test_more_than_a_device_does_not_either_unless_it_is_whole_ones(self) -> None:
        assert shares(1500, 1000, 1000) is None
        assert shares(2000, 1000, 1000, 700) == {"A": 1000, "B": 1000}
        assert shares(2000, 1000, 900) is None

    def test_where_asked_for_it_spans_in_equal_parts_over_as_few_as_can_be(self) -> None:
        assert shares(600, 500, 500, spanning=True) == {"A": 300, "B": 300}
        assert shares(600, 500, 600, spanning=True) == {"B": 600}
        assert shares(1000, 320, 320, 900, spanning=True) is None
        assert shares(1000, 500, 330, 600, 340, spanning=True) == {"A": 500, "C": 500}
        assert shares(1000, 340, 330, 330, spanning=True) == {"A": 340, "B": 330, "C": 330}

    def test_nothing_free_is_no_choice(self) -> None:
        assert shares(10) is None
        assert shares(10, 0, 0) is None

    def test_the_slots_of_one_kernel_lie_on_the_same_device(self) -> None:
        devices = {name: Device(name, "x", capacity={"x.shares": 1000, "x.mem": 100}) for name in "AB"}
        request = Request(
            wanted={"x.shares": 500, "x.mem": 60},
            free={"A": {"x.shares": 500, "x.mem": 50}, "B": {"x.shares": 900, "x.mem": 100}},
            devices=devices,
            kinds={"x.shares": SHARES, "x.mem": BYTES},
        )
        assert choose(request) == {"x.shares": {"B": 500}, "x.mem": {"B": 60}}


class TestWholeDevices:
    def test_those_of_one_model_and_one_numa_node_go_together(self) -> None:
        assert whole(2, ("a", 0), ("a", 1), ("a", 1), ("b", 0)) == ["B", "C"]

    def test_the_smallest_group_that_has_enough_is_broken(self) -> None:
        assert whole(1, ("a", 0), ("a", 0), ("a", 1)) == ["C"]

    def test_a_model_is_kept_rather_than_a_numa_node(self) -> None:
        assert whole(3, ("a", 0), ("b", 0), ("a", 1), ("a", 1), ("b", 1)) == ["A", "C", "D"]

    def test_models_are_mixed_only_when_none_has_enough(self) -> None:
        assert whole(3, ("a", 0), ("b", 0), ("a", 0)) == ["A", "B", "C"]

    def test_few_numa_nodes_even_when_one_is_too_small(self) -> None:
        assert whole(4, *[("a", 0)] * 2, *[("a", 1)] * 3, ("a", 2)) == ["C", "D", "E", "F"]

    def test_busy_ones_are_not_given(self) -> None:
        assert whole(1, ("a", 0), ("a", 0), busy="A") == ["B"]
        assert whole(2, ("a", 0), ("a", 0), busy="A") is None

    def test_a_part_of_a_whole_device_is_no_amount(self) -> None:
        request = Request(
            wanted={"x.device": 500},
            free={"A": {"x.device": 1000}},
            devices={"A": Device("A", "x", capacity={"x.device": 1000})},
            kinds={"x.device": WHOLE},
        )
        assert choose(request) is None


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (1000, Fraction(0)),
        (500, Fraction(500 * 1, 5000)),
        (250, Fraction(250 * 2, 5000)),
        (90, Fraction(90 * 5, 5000)),
    ],
)
def test_waste_is_what_popular_sizes_cannot_use(free: int, expected: Fraction) -> None:
    assert waste(free, 1000) == expected


FREE = st.lists(st.integers(0, 100).map(lambda tenths: tenths * 10), max_size=6)


@given(free=FREE, amount=st.integers(1, 100).map(lambda tenths: tenths * 10))
def test_no_other_device_would_leave_less_waste(free: list[int], amount: int) -> None:
    """Against all alternatives: the total waste of the node afterwards is the least that can be had."""
    chosen = shares(amount, *free)

    def total(position: int) -> Fraction:
        left = [f - amount if at == position else f for at, f in enumerate(free)]
        return sum((waste(f, 1000) for f in left), Fraction(0))

    possible = [position for position, f in enumerate(free) if f >= amount]
    if chosen is None:
        assert not possible
    else:
        ((name, given),) = chosen.items()
        assert given == amount
        assert total(ord(name) - ord("A")) == min(total(position) for position in possible)


@given(free=FREE, amount=st.integers(1, 400).map(lambda tenths: tenths * 10))
def test_spanning_uses_the_fewest_devices_that_equal_parts_allow(free: list[int], amount: int) -> None:
    chosen = shares(amount, *free, spanning=True)

    def fits(count: int) -> bool:
        steps, more = divmod(amount // 10, count)
        parts = [(steps + (n < more)) * 10 for n in range(count)]
        most = sorted(free, reverse=True)[:count]
        return all(parts) and all(part <= left for part, left in zip(parts, most, strict=True))

    fewest = next((count for count in range(1, len(free) + 1) if fits(count)), None)
    if chosen is None:
        assert fewest is None
    else:
        assert len(chosen) == fewest
        assert sum(chosen.values()) == amount
        assert max(chosen.values()) - min(chosen.values()) <= 10
        assert all(given <= free[ord(name) - ord("A")] for name, given in chosen.items())


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=6), st.integers(1, 6), st.data()
)
def test_whole_devices_mix_models_only_when_they_must(
    devices: list[tuple[str, int]], count: int, data: st.DataObject
) -> None:
    names = [chr(ord("A") + number) for number in range(len(devices))]
    busy = "".join(data.draw(st.lists(st.sampled_from(names), unique=True)) if names else [])
    idle = [name for name in names if name not in busy]
    chosen = whole(count, *devices, busy=busy)
    if len(idle) < count:
        assert chosen is None
        return
    assert chosen is not None
    assert len(set(chosen)) == count
    assert not set(chosen) & set(busy)
    model = dict(zip(names, (model for model, _ in devices), strict=True))
    node = dict(zip(names, devices, strict=True))
    possible = list(itertools.combinations(idle, count))
    if any(len({model[n] for n in some}) == 1 for some in possible):
        assert len({model[n] for n in chosen}) == 1
    if any(len({node[n] for n in some}) == 1 for some in possible):
        assert len({node[n] for n in chosen}) == 1
