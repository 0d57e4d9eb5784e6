"""The process runtime against a real bubblewrap."""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from agents.protocol import KernelSpec
from agents.runtimes.contract import RuntimeFailure, Terminal
from agents.runtimes.process import ProcessRuntime, _sandbox_pids

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncGenerator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path, {})
    await runtime.open()
    yield runtime
    for report in await runtime.recover():
        await runtime.remove(report.kernel, report.generation)


async def spec(runtime: ProcessRuntime, **more: Any) -> KernelSpec:
    given: dict[str, Any] = {
        "session": f"ses_{secrets.token_hex(6)}",
        "session_name": "test",
        "image": (await runtime.images())[1].reference,
        "architecture": "x86_64",
        "slots": {"cpu": 500, "mem": 128 * 2**20},
        **more,
    }
    return KernelSpec(**given)


async def up(runtime: ProcessRuntime, **more: Any) -> str:
    kernel = f"knl_test{secrets.token_hex(6)}"
    await runtime.create(kernel, 1, await spec(runtime, **more))
    await runtime.start(kernel, 1)
    return kernel


async def log(runtime: ProcessRuntime, kernel: str, tail: int = 0) -> bytes:
    return b"".join([part async for part in runtime.logs(kernel, tail, follow=False)])


async def until(terminal: Terminal, text: bytes) -> bytes:
    shown = b""
    async with asyncio.timeout(20):
        while text not in shown:
            part = await terminal.read()
            assert part, shown
            shown += part
    return shown


async def test_a_full_life_every_step_twice(runtime: ProcessRuntime) -> None:
    kernel = f"knl_test{secrets.token_hex(6)}"
    wanted = await spec(runtime)
    await runtime.create(kernel, 1, wanted)
    assert [r.phase for r in await runtime.recover()] == ["CREATING"]
    for _ in range(2):
        await runtime.start(kernel, 1)
    (report,) = await runtime.recover()
    assert (report.kernel, report.generation, report.phase, report.slots) == (
        kernel,
        1,
        "RUNNING",
        wanted.slots,
    )
    for _ in range(2):
        await runtime.stop(kernel, 1, 5)
    assert (await runtime.wait(kernel, 1)).exit_code == 143
    for _ in range(2):
        await runtime.remove(kernel, 1)
    assert await runtime.recover() == []


async def test_a_command_ends_the_kernel_with_its_exit_code_and_its_log_is_there(
    runtime: ProcessRuntime,
) -> None:
    kernel = await up(
        runtime, command="echo out; echo err >&2; echo $GREETING; exit 7", environ={"GREETING": "hi"}
    )
    ended = await asyncio.wait_for(runtime.wait(kernel, 1), 30)
    assert (ended.exit_code, ended.code) == (7, "EXITED")
    assert (await log(runtime, kernel)).split() == [b"out", b"err", b"hi"]
    assert await log(runtime, kernel, tail=3) == b"hi\n"


async def test_it_sees_only_itself(runtime: ProcessRuntime, tmp_path: Path) -> None:
    script = (
        f"id -u; hostname; ls -d {tmp_path} 2>&1 | grep -c 'No such'; ls -d /home/*; ls /proc | grep -c '^[0-9]'; touch /usr/x 2>&1 | grep -c -i read-only;"
        "grep NoNewPrivs /proc/self/status | cut -f2; echo x > ~/file && cat ~/file; echo $HOME; cat /etc/shadow 2>&1 | grep -c 'No such'"
    )
    kernel = await up(runtime, command=script, hostname="main1")
    await asyncio.wait_for(runtime.wait(kernel, 1), 30)
    said = (await log(runtime, kernel)).decode().splitlines()
    assert said[:4] == ["1000", "main1", "1", "/home/work"]
    assert int(said[-6]) < 12
    assert said[-5:] == ["1", "1", "x", "/home/work", "1"]


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


async def test_a_new_agent_waits_for_what_the_old_one_started(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    kernel = await up(runtime)
    again = ProcessRuntime(tmp_path, {})
    await again.open()
    waiting = asyncio.create_task(again.wait(kernel, 1))
    await runtime.stop(kernel, 1, 0)
    assert (await asyncio.wait_for(waiting, 30)).code == "KILLED"


async def test_a_process_that_ignores_the_request_is_killed(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="trap '' TERM; echo armed; while :; do sleep 1; done")
    async with asyncio.timeout(30):
        while b"armed" not in await log(runtime, kernel):
            await asyncio.sleep(0.02)
        await runtime.stop(kernel, 1, 0.5)
    assert not _sandbox_pids(runtime._place(kernel, 1).directory)


async def test_a_new_generation_leaves_nothing_of_the_old_one(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    await runtime.create(kernel, 2, await spec(runtime))
    await runtime.start(kernel, 2)
    assert [(r.generation, r.phase) for r in await runtime.recover()] == [(2, "RUNNING")]


async def test_too_little_memory_is_told_as_such(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="x=$(head -c 400000000 /dev/zero | tr '\\0' x); sleep 60")
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 60)).code == "OOM_KILLED"


async def test_samples_show_what_is_used(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="head -c 3000000 /dev/zero > ~/file; while :; do :; done")
    async with asyncio.timeout(30):
        while True:
            found = await runtime.stats([kernel])
            if found and found[0].cpu_percent > 10 and found[0].processes:
                break
            await asyncio.sleep(0.1)
    assert found[0].memory_limit_bytes == 128 * 2**20
    runtime._homes.clear()
    assert (await runtime.stats([kernel]))[0].home_bytes >= 3_000_000


async def test_a_log_is_followed_to_its_end(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="echo first; until [ -e ~/go ]; do sleep 0.05; done; echo last")
    followed = b""
    async with asyncio.timeout(30):
        async for part in runtime.logs(kernel, 0, follow=True):
            followed += part
            (runtime._place(kernel, 1).directory / "home/go").touch()
    assert followed == b"first\nlast\n"


async def test_a_port_inside_is_reached(runtime: ProcessRuntime) -> None:
    port = 20000 + os.getpid() % 20000
    kernel = await up(
        runtime, bootstrap=f"cd; echo hello > page; python3 -m http.server {port} --bind 127.0.0.1"
    )
    async with asyncio.timeout(30):
        while True:
            try:
                pipe = await runtime.connect(kernel, port)
                break
            except RuntimeFailure:
                await asyncio.sleep(0.05)
        await pipe.write(b"GET /page HTTP/1.0\r\n\r\n")
        answer = b""
        while part := await pipe.read():
            answer += part
    await pipe.close()
    assert answer.endswith(b"hello\n")


async def test_only_this_machine_itself_is_an_image(runtime: ProcessRuntime) -> None:
    with pytest.raises(RuntimeFailure) as failed:
        await runtime.create("knl_x", 1, await spec(runtime, image="berth/python:3.11"))
    assert failed.value.code == "IMAGE_NOT_FOUND"
    assert {image.labels["berth.isolation"] for image in await runtime.images()} == {"process"}


async def test_a_link_in_place_of_the_log_is_not_followed(runtime: ProcessRuntime, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the node")
    kernel = await up(runtime, command=f"ln -sf {secret} /run/berth/log; sleep 60")
    path = runtime._place(kernel, 1).log
    async with asyncio.timeout(20):
        while not path.is_symlink():
            await asyncio.sleep(0.02)
    assert await log(runtime, kernel) == b""
    await runtime.stats([kernel])
    assert secret.read_text() == "of the node"
