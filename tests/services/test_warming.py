"""Machine code of the scheduler is made beside the dispatcher's work, and never keeps a manager from ending."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scheduler import fast, machine_code
from services.core import Core
from services.scheduling import dispatch
from services.scheduling.dispatch import Dispatcher


@pytest.mark.parametrize("kept", [True, False])
def test_it_is_compiled_once_a_version(kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(machine_code, "folder", lambda: tmp_path / "folder")
    if kept:
        machine_code.completed()
    assert fast.needs_compiling() is not kept


async def test_a_dispatcher_that_ends_does_not_wait_for_the_compiler(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_compiler.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    slow = SimpleNamespace(__name__="slow_compiler", needs_compiling=lambda: True, load=lambda: None)
    monkeypatch.setattr(dispatch, "fast", slow)
    started: asyncio.Future[asyncio.subprocess.Process] = asyncio.get_running_loop().create_future()
    execute = asyncio.create_subprocess_exec

    async def noted(*arguments: Any) -> asyncio.subprocess.Process:
        process = await execute(*arguments)
        started.set_result(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    running = asyncio.create_task(Dispatcher(core).run())
    compiler = await started
    assert compiler.returncode is None
    running.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait([running])
    assert compiler.returncode is not None


async def test_where_no_process_can_be_started_it_is_compiled_all_the_same(
    core: Core, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def refused(*_arguments: Any) -> None:
        raise OSError("no more processes")

    slow = SimpleNamespace(
        __name__="none", needs_compiling=lambda: True, load=lambda: loop.call_soon_threadsafe(loaded.set)
    )
    monkeypatch.setattr(dispatch, "fast", slow)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
    running = asyncio.create_task(Dispatcher(core).run())
    async with asyncio.timeout(60):
        await loaded.wait()
    running.cancel()
    await asyncio.wait([running])
    assert "no more processes" in caplog.text
