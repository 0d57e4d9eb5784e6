"""The daemon around the state machine: restarts, full disks, engines that stop."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents import daemon
from agents.journal import Journal
from agents.protocol import (
    CancelPull,
    CreateKernel,
    DestroyKernel,
    ImagesChanged,
    KernelLog,
    KernelPhase,
    PullImage,
    RemoveImage,
)
from agents.runtimes.contract import Exit, RuntimeFailure
from tests.agents.fakes import PATIENCE, SPEC, FakeManager, FakeRuntime, agent_of


@pytest.fixture
async def manager() -> AsyncIterator[FakeManager]:
    async with FakeManager().serving() as manager:
        yield manager


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "RETRY_SECONDS", 0.01)


async def run(manager: FakeManager, kernel: str = "knl_1") -> None:
    await manager.hub.call("agt_1", lambda n: CreateKernel(n, kernel, 1, SPEC), deadline=PATIENCE)
    await manager.until_phase("RUNNING", kernel)


async def test_an_engine_that_is_not_up_yet_is_waited_for(manager: FakeManager, tmp_path: Path) -> None:
    """The machine boots, and the agent is faster than the engine."""
    runtime = FakeRuntime()
    runtime.fail["open"] = RuntimeFailure("ENGINE_UNREACHABLE", "no engine")
    async with agent_of(manager, runtime, tmp_path) as agent:
        await runtime.changes.until(lambda: runtime.calls.count("open") > 2)
        assert agent.status()["recovered"] is False
        assert not manager.hellos
        del runtime.fail["open"]
        await manager.until_connected()


async def test_no_work_is_taken_before_the_node_is_known(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.hang["recover"] = asyncio.Event()
    async with agent_of(manager, runtime, tmp_path):
        await runtime.changes.until(lambda: "recover" in runtime.calls)
        assert not manager.sockets
        runtime.hang.pop("recover").set()
        await manager.until_connected()


async def test_sessions_go_on_when_the_agent_stops(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await run(manager)
    assert runtime.kernels["knl_1"].phase == "RUNNING"
    assert "stop" not in runtime.calls
    assert runtime.calls[-1] == "close"


async def test_the_log_and_the_exit_code_of_a_batch_job_arrive(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await run(manager)
        runtime.kernels["knl_1"].exit = Exit(3, "EXITED", "It ended with code 3.")
        runtime.kernels["knl_1"].ended.set()
        await manager.until_phase("TERMINATED")
    log = next(event.body for event in manager.events if isinstance(event.body, KernelLog))
    end = manager.events[-1].body
    assert log.size == 18
    assert isinstance(end, KernelPhase)
    assert (end.exit_code, end.code) == (3, "EXITED")


async def test_a_full_disk_holds_up_no_kernels_end(
    manager: FakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ending kernels is what makes room: so it goes on, and what could not be journalled is told later, in order."""
    runtime = FakeRuntime()
    append = Journal.append
    full = True

    async def refusing(self: Journal, bodies):
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        return await append(self, bodies)

    async with agent_of(manager, runtime, tmp_path) as agent:
        await manager.until_connected()
        await run(manager)
        monkeypatch.setattr(Journal, "append", refusing)
        await manager.hub.call("agt_1", lambda n: DestroyKernel(n, "knl_1", 1, 0), deadline=PATIENCE)
        await runtime.changes.until(lambda: not runtime.kernels)
        assert agent.status()["unwritten"]
        assert manager.phases()[-1] == "RUNNING"
        full = False
        await manager.until_phase("TERMINATED")
    assert manager.phases()[-2:] == ["TERMINATING", "TERMINATED"]


async def test_a_failing_pull_is_told_with_its_reason(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.present = []
    runtime.fail["pull"] = RuntimeFailure("IMAGE_NOT_FOUND", "no such image in the registry")
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await manager.hub.call("agt_1", lambda n: CreateKernel(n, "knl_1", 1, SPEC), deadline=PATIENCE)
        await manager.until_phase("ERROR")
    end = manager.events[-1].body
    assert isinstance(end, KernelPhase)
    assert (end.code, end.message) == ("IMAGE_NOT_FOUND", "no such image in the registry")


async def test_one_pull_serves_all_who_need_the_image(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.present = []
    runtime.hang["pull"] = asyncio.Event()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        for kernel in ("knl_1", "knl_2"):
            create = CreateKernel(0, kernel, 1, SPEC)
            await manager.hub.call(
                "agt_1", lambda n, c=create: CreateKernel(n, c.kernel, 1, c.spec), deadline=PATIENCE
            )
        await manager.until_phase("PULLING", "knl_2")
        await runtime.changes.until(lambda: "pull" in runtime.calls)
        runtime.hang["pull"].set()
        await manager.until_phase("RUNNING", "knl_1")
        await manager.until_phase("RUNNING", "knl_2")
    assert runtime.pulled == ["python:3"]


async def test_a_pull_that_nobody_waits_for_is_given_up(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.present = []
    runtime.hang["pull"] = asyncio.Event()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await manager.hub.call("agt_1", lambda n: CreateKernel(n, "knl_1", 1, SPEC), deadline=PATIENCE)
        await runtime.changes.until(lambda: "pull" in runtime.calls)
        await manager.hub.call("agt_1", lambda n: DestroyKernel(n, "knl_1", 1, 0), deadline=PATIENCE)
        await manager.until_phase("TERMINATED")
    assert runtime.pulled == []


async def test_the_manager_hears_of_images_that_go(manager: FakeManager, tmp_path: Path) -> None:
    async with agent_of(manager, FakeRuntime(), tmp_path):
        await manager.until_connected()
        assert [image.reference for image in manager.hellos[0].images] == ["python:3"]
        await manager.hub.call("agt_1", lambda n: RemoveImage(n, "python:3"), deadline=PATIENCE)
        event = await manager.changes.until(
            lambda: next((e for e in manager.events if isinstance(e.body, ImagesChanged)), None)
        )
    assert event.body.images == ()


async def test_a_kernel_that_was_given_up_meanwhile_is_ended_on_return(
    manager: FakeManager, tmp_path: Path
) -> None:
    """The manager's row is gone; the agent reports the kernel as unknown and is asked to end it."""
    runtime = FakeRuntime()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await run(manager)
    manager.remove = manager.reported  # all that it reports
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_phase("TERMINATED")
    end = manager.events[-1].body
    assert isinstance(end, KernelPhase)
    assert end.code == "GIVEN_UP"


async def test_an_image_that_nobody_wants_any_more_is_not_pulled_on(
    manager: FakeManager, tmp_path: Path
) -> None:
    """Asked for by itself; a kernel that needs it as well keeps the pull going."""
    runtime = FakeRuntime()
    runtime.present = []
    runtime.hang["pull"] = asyncio.Event()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        for shared in (False, True):
            calls = runtime.calls.count("pull")
            asked = asyncio.create_task(
                manager.hub.call("agt_1", lambda n: PullImage(n, "python:3"), deadline=PATIENCE)
            )
            await runtime.changes.until(lambda before=calls: runtime.calls.count("pull") > before)
            if shared:
                await manager.hub.call(
                    "agt_1", lambda n: CreateKernel(n, "knl_1", 1, SPEC), deadline=PATIENCE
                )
                await manager.until_phase("PULLING", "knl_1")
            await manager.hub.call("agt_1", lambda n: CancelPull(n, "python:3"), deadline=PATIENCE)
            asked.cancel()
        runtime.hang["pull"].set()
        await manager.until_phase("RUNNING", "knl_1")
    assert runtime.pulled == ["python:3"]
