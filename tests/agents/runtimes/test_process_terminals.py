"""Shells in a sandbox: they outlive the agent and end with the session."""

import asyncio
from pathlib import Path

import pytest

from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.process import ProcessRuntime
from tests.agents.runtimes.sandboxed import until, up

pytestmark = pytest.mark.sandbox


async def test_a_shell_outlives_the_agent_and_comes_back_with_its_scrollback(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    kernel = await up(runtime)
    terminal = await runtime.open_terminal(kernel, "t1", 91, 33)
    await terminal.write(b"MARK=kept; stty size; echo be''fore\n")
    assert b"33 91" in await until(terminal, b"before")
    await terminal.detach()
    again = ProcessRuntime(tmp_path, {})
    await again.open()
    assert [r.phase for r in await again.recover()] == ["RUNNING"]
    terminal = await again.open_terminal(kernel, "t1", 80, 24)
    await until(terminal, b"before")
    await terminal.write(b"echo $MARK-after; exit 5\n")
    await until(terminal, b"kept-after")
    while await terminal.read():
        pass
    assert await terminal.wait() == 5
    await terminal.detach()


async def test_much_that_is_typed_at_once_all_arrives(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    terminal = await runtime.open_terminal(kernel, "t1", 80, 24)
    await terminal.write(b"stty -echo; cat > ~/file; wc -c < ~/file; echo be''fore\n")

    async def type_it() -> None:
        for _ in range(100):
            await terminal.write(b"0123456789abcde\n" * 256)
        await terminal.write(b"\x04")

    async with asyncio.timeout(30):
        typing = asyncio.create_task(type_it())
        assert b"409600" in await until(terminal, b"before")
        await typing
    await terminal.close()
    while await terminal.read():
        pass


async def test_a_flood_of_output_arrives_whole(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    terminal = await runtime.open_terminal(kernel, "t1", 80, 24)
    await terminal.write(b"yes 0123456789abcde | head -c 8000000; echo fin''ished; exit\n")
    size, last = 0, b""
    async with asyncio.timeout(60):
        while part := await terminal.read():
            size, last = size + len(part), (last + part)[-200:]
    assert size > 8_000_000
    assert b"finished" in last
    assert await terminal.wait() == 0


async def test_a_shell_that_is_closed_ends_and_one_of_that_id_begins_anew(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    terminal = await runtime.open_terminal(kernel, "t1", 80, 24)
    await terminal.write(b"trap '' HUP; MARK=old; echo re''ady\n")
    await until(terminal, b"ready")
    await asyncio.wait_for(terminal.close(), 20)
    terminal = await runtime.open_terminal(kernel, "t1", 80, 24)
    await terminal.write(b"echo ${MARK-none}''-here\n")
    assert b"ready" not in await until(terminal, b"none-here")
    await terminal.close()


async def test_a_shell_ends_though_something_in_its_background_goes_on(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    terminal = await runtime.open_terminal(kernel, "t1", 80, 24)
    await terminal.write(b"setsid sleep 1000 & exit 4\n")
    async with asyncio.timeout(20):
        while await terminal.read():
            pass
    assert await terminal.wait() == 4


async def test_a_stop_does_not_wait_for_idle_shells(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    terminal = await runtime.open_terminal(kernel, "t1", 80, 24)
    await terminal.write(b"echo re''ady\n")
    await until(terminal, b"ready")
    await asyncio.wait_for(runtime.stop(kernel, 1, 60), 20)
    async with asyncio.timeout(20):
        while await terminal.read():
            pass
    with pytest.raises(RuntimeFailure) as failed:
        await runtime.open_terminal(kernel, "t1", 80, 24)
    assert failed.value.code == "NOT_RUNNING"
