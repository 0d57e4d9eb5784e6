"""The process runtime against a real bubblewrap: a kernel's life, and what it may use."""

import asyncio
import os
import secrets
from pathlib import Path

import pytest

from agents.protocol import Mount
from agents.runtimes import bubblewrap, limits
from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.sandboxes import start_time
from tests.agents.runtimes.sandboxed import log, spec, up
from tests.conftest import missing

pytestmark = pytest.mark.sandbox


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


async def test_what_a_command_leaves_in_the_background_ends_with_it(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="setsid sleep 1000 & exit 3")
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 30)).exit_code == 3
    assert not runtime._place(kernel, 1).pids()


async def test_a_command_runs_once_however_often_it_is_started(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="echo ran")
    await asyncio.wait_for(runtime.wait(kernel, 1), 30)
    await runtime.start(kernel, 1)
    assert (await runtime.wait(kernel, 1)).exit_code == 0
    assert await log(runtime, kernel) == b"ran\n"


async def test_what_an_agent_started_and_could_not_write_down_is_found(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    kernel = await up(runtime)
    place = runtime._place(kernel, 1)
    record = place.read()
    assert record is not None
    pid, record.pid = record.pid, 0
    place.write(record)
    again = ProcessRuntime(tmp_path, {})
    await again.open()
    assert [report.phase for report in await again.recover()] == ["RUNNING"]
    await again.start(kernel, 1)
    found = place.read()
    assert found is not None
    assert (found.pid, found.started) == (pid, start_time(pid))


async def test_a_number_that_another_process_has_by_now_is_not_taken_for_the_sandbox(
    runtime: ProcessRuntime,
) -> None:
    kernel = await up(runtime)
    await runtime.stop(kernel, 1, 0)
    place = runtime._place(kernel, 1)
    record = place.read()
    assert record is not None
    record.pid = os.getpid()
    place.write(record)
    assert [report.phase for report in await runtime.recover()] == ["TERMINATED"]
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 10)).code == "KILLED"


async def test_what_ended_before_anybody_looked_is_not_taken_for_alive(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="exit 6")
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 30)).exit_code == 6
    place = runtime._place(kernel, 1)
    record = place.read()
    assert record is not None
    record.started = 0
    place.write(record)
    assert [(r.phase, r.exit_code) for r in await runtime.recover()] == [("TERMINATED", 6)]
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 10)).exit_code == 6


async def test_what_was_launched_and_does_not_answer_yet_is_not_called_running(
    runtime: ProcessRuntime,
) -> None:
    """The agent was killed between launching a sandbox and its first program's answer: nobody could use it yet."""
    kernel = await up(runtime)
    place = runtime._place(kernel, 1)
    record = place.read()
    assert record is not None
    assert record.up
    # As it is in that moment: launched, never seen to answer, no socket.
    record.up = False
    place.write(record)
    (place.run / "s").unlink()
    assert [report.phase for report in await runtime.recover()] == ["CREATING"]
    # One that has answered before goes on, whatever the session does to its socket.
    record.up = True
    place.write(record)
    assert [report.phase for report in await runtime.recover()] == ["RUNNING"]


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
    assert not runtime._place(kernel, 1).pids()


async def test_a_new_generation_leaves_nothing_of_the_old_one(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    await runtime.create(kernel, 2, await spec(runtime))
    await runtime.start(kernel, 2)
    assert [(r.generation, r.phase) for r in await runtime.recover()] == [(2, "RUNNING")]
    assert not runtime._place(kernel, 1).pids()


async def test_a_home_without_permissions_is_removed(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="mkdir -p ~/a/b/c; touch ~/a/b/c/file; chmod 0 ~/a/b/c ~/a/b ~/a")
    await asyncio.wait_for(runtime.wait(kernel, 1), 30)
    await runtime.remove(kernel, 1)
    assert not runtime._place(kernel, 1).directory.exists()


async def test_control_groups_hold_while_it_lives_and_go_with_it(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime)
    record = runtime._place(kernel, 1).read()
    assert record is not None
    if not record.groups:
        missing("cgroups", "control groups cannot be made here: /sys/fs/cgroup is not writable")
    group = limits.of(record.groups)
    assert runtime._place(kernel, 1).pids() <= group.pids()
    assert group.usage().memory_limit_bytes == 128 * 2**20
    await runtime.remove(kernel, 1)
    assert not group.exists


async def test_a_sandbox_that_cannot_be_made_says_why(runtime: ProcessRuntime) -> None:
    kernel = f"knl_test{secrets.token_hex(6)}"
    await runtime.create(kernel, 1, await spec(runtime, mounts=(Mount("/does/not/exist", "/mnt/x"),)))
    with pytest.raises(RuntimeFailure) as failed:
        await runtime.start(kernel, 1)
    assert failed.value.code == "START_FAILED"
    assert "/does/not/exist" in failed.value.message


async def test_without_bubblewrap_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "find", lambda: None)
    with pytest.raises(RuntimeFailure) as failed:
        await ProcessRuntime(tmp_path, {}).open()
    assert failed.value.code == "ENGINE_UNREACHABLE"
    assert "pip install" in failed.value.message


async def test_without_user_namespaces_it_says_what_to_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2; exit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "find", lambda: str(refusing))
    with pytest.raises(RuntimeFailure) as failed:
        await ProcessRuntime(tmp_path, {}).open()
    assert failed.value.code == "ENGINE_UNREACHABLE"
    assert "No permissions" in failed.value.message
    assert "sysctl" in failed.value.message


async def test_too_little_memory_is_told_as_such(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="x=$(head -c 400000000 /dev/zero | tr '\\0' x); sleep 60")
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 60)).code == "OOM_KILLED"


async def test_memory_is_bounded_where_no_control_group_can_be_made(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "make", lambda *_: {})
    kernel = await up(runtime, command="x=$(head -c 400000000 /dev/zero | tr '\\0' x); sleep 60")
    record = runtime._place(kernel, 1).read()
    assert record is not None
    assert record.groups == {}
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 60)).code == "OOM_KILLED"
    assert not runtime._place(kernel, 1).pids()


async def test_processes_are_counted_where_no_control_group_does(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "make", lambda *_: {})
    kernel = await up(runtime, command="echo x > ~/file; while :; do :; done")
    async with asyncio.timeout(30):
        found = await runtime.stats([kernel])
        while not (found[0].cpu_percent > 10 and found[0].memory_bytes > 2**20):
            await asyncio.sleep(0.1)
            found = await runtime.stats([kernel])
    assert found[0].processes >= 3
    assert await runtime.stats(["knl_other"]) == []


async def test_samples_show_what_is_used(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="head -c 3000000 /dev/zero > ~/file; while :; do :; done")
    async with asyncio.timeout(30):
        while True:
            found = await runtime.stats([kernel])
            if found and found[0].cpu_percent > 10 and found[0].processes:
                break
            await asyncio.sleep(0.1)
    assert found[0].memory_limit_bytes == 128 * 2**20
    async with asyncio.timeout(30):
        while (await runtime.stats([kernel]))[0].home_bytes < 3_000_000:
            runtime._homes.clear()
            await asyncio.sleep(0.05)


async def test_a_log_is_followed_to_its_end(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="echo first; until [ -e ~/go ]; do sleep 0.05; done; echo last")
    followed = b""
    async with asyncio.timeout(30):
        async for part in runtime.logs(kernel, 0, follow=True):
            followed += part
            (runtime._place(kernel, 1).directory / "home/go").touch()
    assert followed == b"first\nlast\n"


async def test_a_log_is_bounded_and_its_end_is_kept(runtime: ProcessRuntime) -> None:
    kernel = await up(runtime, command="yes 0123456789abcde | head -c 40000000; echo; echo the end")
    followed = 0
    async with asyncio.timeout(60):
        async for part in runtime.logs(kernel, 0, follow=True):
            followed += len(part)
    await runtime.wait(kernel, 1)
    whole = await log(runtime, kernel)
    assert 8 * 2**20 <= len(whole) <= 16 * 2**20 + 2**17
    assert whole.endswith(b"the end\n")
    assert await log(runtime, kernel, tail=9_000_000) == whole[-9_000_000:]
    assert followed >= len(whole)


async def test_a_log_of_nothing_is_empty(runtime: ProcessRuntime) -> None:
    assert await log(runtime, "knl_unknown") == b""
    await runtime.create("knl_made", 1, await spec(runtime))
    assert await log(runtime, "knl_made") == b""


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
