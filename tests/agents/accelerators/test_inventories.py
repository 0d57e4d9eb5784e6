"""Plug-ins of a node: found, made, and kept from harming each other."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agents.accelerators import inventories
from agents.accelerators.contract import (
    AcceleratorFailure,
    Allocation,
    BadOption,
    Holder,
    Sample,
)
from agents.accelerators.inventories import GROUP, Inventory, make
from agents.accelerators.mock import MockAccelerator
from agents.accelerators.options import Wanted
from agents.accelerators.workers import Hung, Worker
from agents.protocol import Device, DeviceRequest, DeviceStats, Grant, KernelSpec, Mount, SlotKind
from agents.runtimes.contract import RuntimeFailure

SPEC = KernelSpec("s", "s", "i", "x86_64", {}, environ={"A": "1"}, mounts=(Mount("/m", "/m"),))


class Steady:
    """Gives one device `OWN` and says what it was asked."""

    name = "steady"
    automatic = True

    def __init__(self, state_dir: Path = Path(), options: dict[str, str] | None = None) -> None:
        self.kinds: Sequence[SlotKind] = (SlotKind(f"{self.name}.shares", "count", step=10),)
        self.closed: list[bool] = []

    def detect(self) -> Sequence[Device]:
        return [Device(f"{self.name}-0", "", capacity={f"{self.name}.shares": 1000})]

    def grant(self, kernel: str, devices: Allocation) -> Grant:
        if not (ids := tuple(devices.get(f"{self.name}.shares", ()))):
            return Grant(environ={"SEEN": "none"})
        return Grant(
            {"SEEN": ",".join(ids)},
            (Mount("/run/steady", "/run/steady"),),
            (DeviceRequest("steady", ids, ("gpu",)),),
            ("/dev/steady0",),
        )

    def sample(self, holders: Sequence[Holder]) -> Sample:
        return Sample((DeviceStats(f"{self.name}-0", utilisation=5.0),))

    def close(self, in_use: bool) -> None:
        self.closed.append(in_use)


class Raising(Steady):
    """Works until `error` is set."""

    name = "raising"
    error: Exception | None = None

    def detect(self) -> Sequence[Device]:
        if self.error:
            raise self.error
        return super().detect()

    def grant(self, kernel: str, devices: Allocation) -> Grant:
        if self.error:
            raise self.error
        return super().grant(kernel, devices)

    def sample(self, holders: Sequence[Holder]) -> Sample:
        if self.error:
            raise self.error
        return super().sample(holders)

    def close(self, in_use: bool) -> None:
        super().close(in_use)
        if self.error:
            raise self.error


class Hanging(Steady):
    """Answers once, then not before `go` is set."""

    name = "hanging"

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def detect(self) -> Sequence[Device]:
        self.go.wait()
        return super().detect()


class Lying(Steady):
    """Says whatever it is told to say."""

    name = "lying"
    devices: Sequence[Device] = ()

    def detect(self) -> Sequence[Device]:
        return self.devices


@pytest.fixture
async def hanging() -> AsyncIterator[Hanging]:
    plugin = Hanging()
    yield plugin
    plugin.go.set()


async def test_a_plug_in_that_raises_keeps_its_devices_from_being_given_and_no_others() -> None:
    raising = Raising()
    node = Inventory([raising, Steady()])
    assert set((await node.detect()).free({})) == {"raising-0", "steady-0"}
    raising.error = AcceleratorFailure("The driver was unloaded.")
    pool = await node.detect()
    assert pool.free({}) == {"steady-0": {"steady.shares": 1000}}
    assert pool.devices["raising-0"].reason == "The driver was unloaded."
    assert node.faults == {"raising": "The driver was unloaded."}
    raising.error = None
    assert set((await node.detect()).free({})) == {"raising-0", "steady-0"}
    assert node.faults == {}


async def test_a_bug_of_a_plug_in_is_a_fault_as_well() -> None:
    raising = Raising()
    raising.error = ZeroDivisionError("division by zero")
    node = Inventory([raising])
    assert (await node.detect()).devices == {}
    assert node.faults == {"raising": "the plug-in raising failed: division by zero"}
    assert await node.sample([]) == ((), {})


async def test_a_plug_in_that_hangs_is_left_behind(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Inventory([hanging, Steady()])
    await node.detect()
    hanging.go.clear()
    monkeypatch.setattr(inventories, "DETECT_SECONDS", 0.05)
    pool = await node.detect()
    assert set(pool.free({})) == {"steady-0"}
    assert "hanging did not answer" in node.faults["hanging"]
    # It is not waited for again, and what is asked of it meanwhile is refused at once.
    spec = SPEC.__class__("s", "s", "i", "x", {}, devices={"hanging.shares": {"hanging-0": 500}})
    with pytest.raises(RuntimeFailure, match="has not come back"):
        await node.grant("knl_1", spec)
    monkeypatch.undo()
    hanging.go.set()
    while node.faults:
        await node.detect()


async def test_what_a_plug_in_says_is_looked_at() -> None:
    lying = Lying()
    node = Inventory([lying])
    for devices in (
        [Device("A", ""), Device("A", "")],
        [Device("", "")],
        [Device("A", "", capacity={"cpu": 64_000})],
    ):
        lying.devices = devices
        assert (await node.detect()).devices == {}
        assert node.faults
    lying.devices = [Device("A", "somebody else", capacity={"lying.shares": 1000})]
    assert (await node.detect()).devices["A"].plugin == "lying"


async def test_a_grant_adds_what_devices_need_to_what_was_asked_for() -> None:
    node = Inventory([Steady(), Raising()])
    spec = KernelSpec(
        *("s", "s", "i", "x86_64", {}),
        environ={"A": "1"},
        mounts=(Mount("/m", "/m"),),
        devices={"steady.shares": {"steady-0": 500}},
    )
    granted = await node.grant("knl_1", spec)
    assert granted.environ == {"A": "1", "SEEN": "steady-0"}
    assert [mount.target for mount in granted.mounts] == ["/m", "/run/steady"]
    assert granted.grant.requests == (DeviceRequest("steady", ("steady-0",), ("gpu",)),)
    assert granted.grant.nodes == ("/dev/steady0",)


async def test_a_kernel_without_devices_is_kept_from_those_there_are() -> None:
    node = Inventory([Steady()])
    assert (await node.grant("knl_1", SPEC)).environ == {"A": "1"}
    await node.detect()
    assert (await node.grant("knl_1", SPEC)).environ == {"A": "1", "SEEN": "none"}


async def test_what_a_manager_grants_is_of_no_effect() -> None:
    spec = KernelSpec("s", "s", "i", "x86_64", {}, grant=Grant(nodes=("/dev/mem",)))
    assert (await Inventory([Steady()]).grant("knl_1", spec)).grant == Grant()


async def test_a_grant_that_fails_is_a_sentence() -> None:
    raising = Raising()
    raising.error = AcceleratorFailure("The MPS daemon does not start.")
    spec = KernelSpec("s", "s", "i", "x86_64", {}, devices={"raising.shares": {"raising-0": 500}})
    with pytest.raises(RuntimeFailure, match=r"raising: The MPS daemon does not start\.") as failed:
        await Inventory([raising]).grant("knl_1", spec)
    assert failed.value.code == "ACCELERATOR_FAILED"


async def test_closing_says_whose_devices_are_still_held() -> None:
    steady, raising = Steady(), Raising()
    raising.error = ValueError("broken")
    await Inventory([raising, steady]).close({"steady.shares", "cpu"})
    assert (steady.closed, raising.closed) == ([True], [False])


async def test_a_node_without_devices_has_none_of_their_slots() -> None:
    lying = Lying()
    pool = await Inventory([lying]).detect()
    assert pool.capacity({}) == {}


def points(**plugins: type) -> list[EntryPoint]:
    for name, plugin in plugins.items():
        globals()[f"_{name}"] = plugin
    return [EntryPoint(name, f"{__name__}:_{name}", GROUP) for name in plugins]


class TestMaking:
    def test_those_that_look_by_themselves_are_made_when_none_is_named(self, tmp_path: Path) -> None:
        found = make([], tmp_path, points(mock=MockAccelerator, steady=Steady))
        assert [plugin.name for plugin in found] == ["steady"]

    def test_none_is_none(self, tmp_path: Path) -> None:
        assert make([Wanted("none")], tmp_path, points(steady=Steady)) == []

    def test_a_broken_one_that_nobody_asked_for_stops_nothing(self, tmp_path: Path) -> None:
        broken = EntryPoint("broken", "no.such:Module", GROUP)
        assert [p.name for p in make([], tmp_path, [broken, *points(steady=Steady)])] == ["steady"]
        with pytest.raises(ModuleNotFoundError):
            make([Wanted("broken")], tmp_path, [broken])

    def test_unknown_names_and_options_are_refused_with_those_there_are(self, tmp_path: Path) -> None:
        with pytest.raises(BadOption, match="installed are: mock"):
            make([Wanted("tpu")], tmp_path, points(mock=MockAccelerator))
        with pytest.raises(
            BadOption, match="accelerator mock: there is no option 'size'; there are: devices"
        ):
            make([Wanted("mock", {"size": "1"})], tmp_path, points(mock=MockAccelerator))

    def test_a_slot_has_one_owner(self, tmp_path: Path) -> None:
        with pytest.raises(BadOption, match=r"both mock and mock give the slot mock\.shares"):
            make([Wanted("mock"), Wanted("mock")], tmp_path, points(mock=MockAccelerator))

    def test_the_installed_ones_are_found(self) -> None:
        assert "mock" in inventories.installed()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cuda", Wanted("cuda")),
        ("mock:devices=2,memory=8g", Wanted("mock", {"devices": "2", "memory": "8g"})),
        (" mock: model=Big One ", Wanted("mock", {"model": "Big One"})),
    ],
)
def test_options_are_read(text: str, expected: Wanted) -> None:
    assert Wanted.parse(text) == expected


@pytest.mark.parametrize("text", ["", ":a=b", "mock:devices", "mock:=2"])
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        Wanted.parse(text)


class TestWorker:
    async def test_calls_come_one_after_the_other_in_one_thread(self) -> None:
        worker = Worker("x")
        threads = await asyncio.gather(*(worker.call(threading.get_ident, 5) for _ in range(3)))
        assert len(set(threads)) == 1
        assert threads[0] != threading.get_ident()

    async def test_what_a_call_raises_is_raised(self) -> None:
        def fail() -> None:
            raise KeyError("x")

        with pytest.raises(KeyError):
            await Worker("x").call(fail, 5)

    async def test_one_that_was_late_and_failed_is_forgotten(self) -> None:
        worker, go = Worker("x"), threading.Event()

        def late() -> None:
            go.wait()
            raise KeyError("late")

        with pytest.raises(Hung, match=r"within 0\.02 s"):
            await worker.call(late, 0.02)
        with pytest.raises(Hung, match="earlier call"):
            await worker.call(threading.get_ident, 5)
        go.set()
        assert await _until(lambda: worker.call(lambda: 7, 5)) == 7


async def _until(call: Callable[[], object]) -> object:
    async with asyncio.timeout(20):
        while True:
            try:
                return await call()  # type: ignore[misc]
            except Hung:
                await asyncio.sleep(0)
