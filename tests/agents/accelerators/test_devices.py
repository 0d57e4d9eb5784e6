"""A whole agent with accelerators, linked to a manager over a real connection."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agents import devices
from agents.accelerators.contract import AcceleratorFailure, Allocation
from agents.accelerators.inventories import Inventory
from agents.accelerators.mock import MockAccelerator
from agents.hub import AgentRefused
from agents.protocol import (
    CreateKernel,
    DestroyKernel,
    Device,
    Grant,
    KernelPhase,
    KernelSpec,
    Resources,
    Stats,
)
from tests.agents.fakes import FakeManager, FakeRuntime, agent_of


def mock(path: Path, **options: str) -> MockAccelerator:
    return MockAccelerator(path / "accelerators", {"devices": "2", "memory": "8g", **options})


def create(kernel: str, shares: int, generation: int = 1) -> Callable[[int], CreateKernel]:
    spec = KernelSpec("ses_1", "one", "python:3", "x86_64", {"cpu": 100, "mock.shares": shares})
    return lambda request: CreateKernel(request, kernel, generation, spec)


def held(listed: tuple[Device, ...]) -> dict[str, int]:
    return {device.id: sum(device.held.values()) for device in listed}


def newest(manager: FakeManager) -> Resources | None:
    return next((m for m in reversed(manager.others) if isinstance(m, Resources)), None)


async def until_held(manager: FakeManager, expected: dict[str, int]) -> Resources:
    def told() -> Resources | None:
        resources = newest(manager)
        return resources if resources and held(resources.devices) == expected else None

    return await manager.changes.until(told)


async def test_an_agent_tells_its_devices_and_what_they_give(tmp_path: Path) -> None:
    async with (
        FakeManager().serving() as manager,
        agent_of(manager, FakeRuntime(), tmp_path, accelerators=Inventory([mock(tmp_path)])),
    ):
        await manager.until_connected()
    (hello,) = manager.hellos
    assert hello.slots == {"cpu": 4000, "mem": 8 << 30, "mock.shares": 2000}
    assert [(device.id, device.plugin, device.memory) for device in hello.devices] == [
        ("MOCK-0", "mock", 8 << 30),
        ("MOCK-1", "mock", 8 << 30),
    ]
    assert [(kind.name, kind.type) for kind in hello.slot_kinds] == [("mock.shares", "count")]


async def test_devices_are_given_told_sampled_and_given_back(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    async with (
        FakeManager().serving() as manager,
        agent_of(manager, runtime, tmp_path, accelerators=Inventory([mock(tmp_path)])),
    ):
        await manager.until_connected()
        for kernel in ("knl_1", "knl_2"):
            await manager.hub.call("agt_1", create(kernel, 500), deadline=10)
            await manager.until_phase("RUNNING", kernel)
        told = await until_held(manager, {"MOCK-0": 1000, "MOCK-1": 0})
        assert told.slots["mock.shares"] == 2000
        assert runtime.kernels["knl_1"].spec.environ["MOCK_VISIBLE_DEVICES"] == "MOCK-0"
        assert runtime.kernels["knl_2"].spec.environ["MOCK_DEVICE_SHARES"] == "0.5"

        def sampled() -> Stats | None:
            return next(
                (m for m in reversed(manager.others) if isinstance(m, Stats) and len(m.kernels) == 2), None
            )

        stats = await manager.changes.until(sampled)
        assert {device.id: device.utilisation for device in stats.node.devices} == {"MOCK-0": 50, "MOCK-1": 0}
        for kernel in stats.kernels:
            assert kernel.accelerators == {"mock.shares": 50.0}
            assert [(use.device, use.amount, use.memory_limit) for use in kernel.devices] == [
                ("MOCK-0", 500, 4 << 30)
            ]
        await manager.hub.call("agt_1", lambda request: DestroyKernel(request, "knl_1", 1), deadline=10)
        await until_held(manager, {"MOCK-0": 500, "MOCK-1": 0})


async def test_the_map_is_the_same_after_the_agent_was_killed(tmp_path: Path) -> None:
    """Another agent on the same node, with nothing but what the runtime has on its labels."""
    runtime = FakeRuntime()
    async with FakeManager().serving() as manager:
        manager.remove = lambda hello: ()
        async with agent_of(manager, runtime, tmp_path, accelerators=Inventory([mock(tmp_path)])):
            await manager.until_connected()
            for kernel, shares in (("knl_1", 700), ("knl_2", 600)):
                await manager.hub.call("agt_1", create(kernel, shares), deadline=10)
                await manager.until_phase("RUNNING", kernel)
        async with agent_of(
            manager, runtime, tmp_path / "new", accelerators=Inventory([mock(tmp_path)])
        ) as agent:
            await manager.until_connected(2)
            assert held(manager.hellos[1].devices) == {"MOCK-0": 700, "MOCK-1": 600}
            assert {report.kernel: report.devices for report in manager.hellos[1].kernels} == {
                "knl_1": {"mock.shares": {"MOCK-0": 700}},
                "knl_2": {"mock.shares": {"MOCK-1": 600}},
            }
            with pytest.raises(AgentRefused, match=r"mock\.shares: 500 asked for, 700 free, on one device"):
                await manager.hub.call("agt_1", create("knl_3", 500), deadline=10)
            assert agent.state.attempts.held()["MOCK-0"] == {"mock.shares": 700}


async def test_a_device_that_fails_is_told_and_what_runs_on_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "LOOK_SECONDS", 0.01)
    plugin, runtime = mock(tmp_path), FakeRuntime()
    async with (
        FakeManager().serving() as manager,
        agent_of(manager, runtime, tmp_path, accelerators=Inventory([plugin])),
    ):
        await manager.until_connected()
        await manager.hub.call("agt_1", create("knl_1", 300), deadline=10)
        await manager.until_phase("RUNNING")
        plugin.broken.write_text("MOCK-0")

        def failed() -> Resources | None:
            resources = newest(manager)
            return resources if resources and not resources.devices[0].healthy else None

        told = await manager.changes.until(failed)
        assert told.slots["mock.shares"] == 1300, "what is held, and the other device"
        assert told.devices[0].held == {"mock.shares": 300}
        assert runtime.kernels["knl_1"].phase == "RUNNING"
        plugin.broken.unlink()

        def back() -> bool:
            resources = newest(manager)
            return resources is not None and resources.slots["mock.shares"] == 2000

        await manager.changes.until(back)


class Refusing(MockAccelerator):
    """Gives devices that cannot be used."""

    def grant(self, kernel: str, devices: Allocation) -> Grant:
        raise AcceleratorFailure("Its daemon does not start.")


async def test_a_kernel_that_cannot_be_given_its_device_ends_with_the_plug_ins_sentence(
    tmp_path: Path,
) -> None:
    plugin = Refusing(tmp_path, {})
    async with (
        FakeManager().serving() as manager,
        agent_of(manager, FakeRuntime(), tmp_path, accelerators=Inventory([plugin])),
    ):
        await manager.until_connected()
        await manager.hub.call("agt_1", create("knl_1", 500), deadline=10)
        await manager.until_phase("ERROR")
        bodies = [event.body for event in manager.events]
        (failed,) = [b for b in bodies if isinstance(b, KernelPhase) and b.phase == "ERROR"]
        assert failed.code == "ACCELERATOR_FAILED"
        assert "Its daemon does not start." in failed.message
        await until_held(manager, {"MOCK-0": 0})


async def test_an_agent_without_accelerators_says_nothing_of_them(tmp_path: Path) -> None:
    async with FakeManager().serving() as manager, agent_of(manager, FakeRuntime(), tmp_path):
        await manager.until_connected()
        spec = KernelSpec("ses_1", "one", "python:3", "x86_64", {"cpu": 100})
        await manager.hub.call("agt_1", lambda request: CreateKernel(request, "knl_1", 1, spec), deadline=10)
        await manager.until_phase("RUNNING")
    assert manager.hellos[0].devices == ()
    assert newest(manager) is None
