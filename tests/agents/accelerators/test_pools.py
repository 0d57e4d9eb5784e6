"""The allocation map: what may be put on which device, whatever has happened to it."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accelerators.contract import Allocation, Request
from agents.accelerators.pools import SOMEWHERE, NoRoom, Pool
from agents.protocol import Device, SlotKind

KINDS = {
    "x.shares": SlotKind("x.shares", "count", step=10),
    "x.device": SlotKind("x.device", "unique", step=1000),
}


def device(name: str, slot: str = "x.shares", **about: object) -> Device:
    return Device(name, "x", capacity={slot: 1000}, **about)  # type: ignore[arg-type]


def pool(*devices: Device) -> Pool:
    return Pool(KINDS, {one.id: one for one in devices})


def test_halves_share_a_device_and_the_next_gets_another() -> None:
    two = pool(device("A"), device("B"))
    assert two.place({"x.shares": 500}, {}) == {"x.shares": {"A": 500}}
    assert two.place({"x.shares": 500}, {"A": {"x.shares": 500}}) == {"x.shares": {"A": 500}}
    assert two.place({"x.shares": 500}, {"A": {"x.shares": 1000}}) == {"x.shares": {"B": 500}}


def test_what_is_free_in_pieces_is_refused_with_the_numbers() -> None:
    held = {"A": {"x.shares": 600}, "B": {"x.shares": 600}}
    with pytest.raises(NoRoom, match=r"x\.shares: 500 asked for, 800 free, on one device at most 400"):
        pool(device("A"), device("B")).place({"x.shares": 500}, held)


def test_slots_of_others_are_left_out() -> None:
    assert pool(device("A")).place({"cpu": 1000, "x.shares": 0}, {}) == {}


def test_a_failed_device_keeps_what_it_has_and_gets_nothing_new() -> None:
    """Its kernel goes on and is counted; the rest of the device is no capacity any more."""
    sick = pool(device("A", healthy=False, reason="It fell off the bus."), device("B"))
    held = {"A": {"x.shares": 300}}
    assert sick.capacity(held)["x.shares"] == 1300
    assert sick.free(held) == {"B": {"x.shares": 1000}}
    with pytest.raises(NoRoom, match=r"A: It fell off the bus\."):
        sick.place({"x.shares": 1000}, held | {"B": {"x.shares": 10}})


def test_a_device_that_has_vanished_is_listed_while_it_is_held() -> None:
    held = {"A": {"x.shares": 300}}
    (gone,) = pool().listed(held)
    assert (gone.id, gone.healthy, gone.held) == ("A", False, {"x.shares": 300})
    assert Pool().capacity(held) == {"x.shares": 300}
    assert pool().listed({}) == ()


def test_a_device_that_changed_its_mode_waits_for_its_holder() -> None:
    """Given whole before the agent was restarted with shares: no fraction of it is free until that kernel ends."""
    one = pool(device("A"))
    held = {"A": {"x.device": 1000}}
    assert one.capacity(held) == {"x.shares": 0, "x.device": 1000}
    with pytest.raises(NoRoom):
        one.place({"x.shares": 10}, held)


def test_amounts_whose_device_is_unknown_are_kept_free_somewhere() -> None:
    two = pool(device("A"), device("B"))
    held = {SOMEWHERE: {"x.shares": 1500}}
    assert two.place({"x.shares": 500}, held) == {"x.shares": {"A": 500}}
    with pytest.raises(NoRoom):
        two.place({"x.shares": 510}, held)


def test_named_devices_are_taken_where_they_fit() -> None:
    two = pool(device("A"), device("B"))
    named = {"x.shares": {"B": 500}}
    assert two.place({"x.shares": 500}, {}, named=named) == named
    for wrong in (
        {"x.shares": {"B": 400}},
        {"x.shares": {"Z": 500}},
        {"x.shares": {"A": -500, "B": 1000}},
        {"x.shares": {"A": 495, "B": 5}},
    ):
        with pytest.raises(NoRoom):
            two.place({"x.shares": 500}, {}, named=wrong)
    with pytest.raises(NoRoom, match="500 asked for on B, 400 free there"):
        two.place({"x.shares": 500}, {"B": {"x.shares": 600}}, named=named)


class Choosing:
    """A plug-in that chooses for itself."""

    def __init__(self, chosen: Allocation | Exception | None) -> None:
        self._chosen = chosen

    def choose(self, request: Request) -> Allocation | None:
        if isinstance(self._chosen, Exception):
            raise self._chosen
        return self._chosen


def test_a_plug_in_may_choose_for_itself() -> None:
    two = Pool(KINDS, {n: device(n) for n in "AB"}, {"x": Choosing({"x.shares": {"B": 500}})})
    assert two.place({"x.shares": 500}, {}) == {"x.shares": {"B": 500}}


@pytest.mark.parametrize(
    "chosen",
    [ValueError("broken"), None, {}, {"x.shares": {"A": 900}}, {"x.shares": {"Z": 500}}],
    ids=["raises", "none", "nothing", "too much", "unknown device"],
)
def test_what_a_plug_in_chooses_is_not_believed(chosen: Allocation | Exception | None) -> None:
    two = Pool(KINDS, {n: device(n) for n in "AB"}, {"x": Choosing(chosen)})
    with pytest.raises(NoRoom):
        two.place({"x.shares": 500}, {})


SLOTS = st.sampled_from(["x.shares", "x.device"])
DEVICES = st.lists(st.tuples(SLOTS, st.booleans()), max_size=4).map(
    lambda all_: [device(f"D{n}", slot, healthy=ok) for n, (slot, ok) in enumerate(all_)]
)
REQUESTS = st.lists(
    st.one_of(
        st.tuples(st.just("x.shares"), st.integers(1, 250).map(lambda n: n * 10)),
        st.tuples(st.just("x.device"), st.integers(1, 3).map(lambda n: n * 1000)),
    ),
    max_size=20,
)


@given(devices=DEVICES, requests=REQUESTS, spans=st.booleans(), data=st.data())
def test_no_device_is_ever_given_more_than_once(
    devices: list[Device], requests: list[tuple[str, int]], spans: bool, data: st.DataObject
) -> None:
    """Kernels come and go, devices fail and recover; what is held of each never exceeds it, and sums agree."""
    kernels: dict[int, Mapping[str, Mapping[str, int]]] = {}
    for number, (slot, amount) in enumerate(requests):
        node = pool(*devices)
        held = _held(kernels)
        before = node.capacity(held)
        free = {s: sum(a.get(s, 0) for a in node.free(held).values()) for s in KINDS}
        used = {s: sum(a.get(s, 0) for a in held.values()) for s in KINDS}
        assert all(before[s] == free[s] + used[s] for s in KINDS)
        try:
            placed = node.place({slot: amount}, held, spanning=[slot] if spans else [])
        except NoRoom:
            # Refused only for a reason: a fraction of one device finds room wherever any has it.
            fits = any(a.get(slot, 0) >= amount for a in node.free(held).values())
            assert not fits or slot == "x.device"
        else:
            assert sum(placed[slot].values()) == amount
            kernels[number] = placed
            if slot == "x.shares" and amount % 1000 and not spans:
                assert len(placed[slot]) == 1
        for name, amounts in _held(kernels).items():
            assert sum(amounts.values()) <= 1000, name
        if kernels and data.draw(st.booleans()):
            del kernels[data.draw(st.sampled_from(sorted(kernels)))]
        if devices and data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(devices) - 1))
            was = devices[at]
            devices[at] = device(was.id, next(iter(was.capacity)), healthy=not was.healthy)


def _held(kernels: Mapping[int, Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    held: dict[str, dict[str, int]] = {}
    for allocation in kernels.values():
        for slot, amounts in allocation.items():
            for name, amount in amounts.items():
                held.setdefault(name, {})[slot] = held.setdefault(name, {}).get(slot, 0) + amount
    return held
