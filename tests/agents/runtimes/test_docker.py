"""The docker runtime against a real engine."""

import asyncio
import contextlib
import secrets
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from agents.protocol import KernelSpec
from agents.runtimes.cgroups import Mounts
from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.docker import DockerRuntime
from agents.runtimes.docker_streams import run
from agents.runtimes.engine import Engine
from tests.conftest import missing

pytestmark = pytest.mark.engine
IMAGE = "berth/minimal:12"


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncGenerator[DockerRuntime]:
    runtime = DockerRuntime(tmp_path, {})
    await runtime.open()
    yield runtime
    for report in await runtime.recover():
        await runtime.stop(report.kernel, report.generation, 0)
        await runtime.remove(report.kernel, report.generation)
    await runtime.close()


def kernel_id() -> str:
    return f"knl_test{secrets.token_hex(6)}"


def spec(**more: Any) -> KernelSpec:
    given: dict[str, Any] = {
        "session": f"ses_{secrets.token_hex(6)}",
        "session_name": "test",
        "image": IMAGE,
        "architecture": "x86_64",
        "slots": {"cpu": 500, "mem": 64 * 2**20},
        "shared_memory": 2**20,
        **more,
    }
    return KernelSpec(**given)


async def up(runtime: DockerRuntime, **more: Any) -> str:
    kernel = kernel_id()
    await runtime.create(kernel, 1, spec(**more))
    await runtime.start(kernel, 1)
    return kernel


async def inside(runtime: DockerRuntime, kernel: str, script: str) -> tuple[int, str]:
    container = runtime._engine.docker.containers.container(f"{kernel}-1")
    code, output = await run(runtime._engine, container, ["sh", "-c", script])
    return code, output.decode()


async def test_a_full_life_every_step_twice(runtime: DockerRuntime) -> None:
    kernel, wanted = kernel_id(), spec()
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
    assert (await runtime.wait(kernel, 1)).code in ("EXITED", "KILLED")
    for _ in range(2):
        await runtime.remove(kernel, 1)
    assert await runtime.recover() == []


async def test_a_command_ends_the_kernel_with_its_exit_code_and_its_log_is_there(
    runtime: DockerRuntime,
) -> None:
    kernel = await up(runtime, command="echo out; echo err >&2; exit 7", bootstrap="true")
    ended = await asyncio.wait_for(runtime.wait(kernel, 1), 30)
    assert (ended.exit_code, ended.code) == (7, "EXITED")
    log = b"".join([part async for part in runtime.logs(kernel, 0, follow=False)])
    assert set(log.split()) == {b"out", b"err"}


async def test_the_end_of_a_log_and_what_follows(runtime: DockerRuntime) -> None:
    kernel = await up(runtime, command="seq 1 1000; until [ -e /tmp/go ]; do sleep 0.1; done; echo last")
    seen = b""
    async with asyncio.timeout(30):
        while b"1000\n" not in seen:
            seen = b"".join([part async for part in runtime.logs(kernel, 100, follow=False)])
        assert len(seen) == 100
        stream = runtime.logs(kernel, 100, follow=True)
        followed = await anext(stream)
        await inside(runtime, kernel, "touch /tmp/go")
        async for part in stream:
            followed += part
    assert followed == seen + b"last\n"


async def test_too_little_memory_is_told_as_such(runtime: DockerRuntime) -> None:
    kernel = await up(runtime, command="x=$(head -c 200000000 /dev/zero | tr '\\0' x)")
    assert (await asyncio.wait_for(runtime.wait(kernel, 1), 60)).code == "OOM_KILLED"


async def test_it_is_hardened(runtime: DockerRuntime) -> None:
    kernel = await up(runtime, hostname="main1")
    script = (
        "id -u; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | cut -f2; hostname;"
        "ls -d /var/run/docker.sock 2>&1 | grep -c 'No such'; touch /usr/x 2>&1 | grep -c denied; touch /home/work/x && echo wrote"
    )
    _, output = await inside(runtime, kernel, script)
    assert output.split() == ["1000", "0000000000000000", "1", "2", "main1", "1", "1", "wrote"]
    shown = await runtime._get(kernel, 1)
    host = shown["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 64 * 2**20
    assert (host["NanoCpus"], host["PidsLimit"], host["Init"]) == (500_000_000, 4096, True)


async def test_a_process_that_ignores_the_request_is_killed(runtime: DockerRuntime) -> None:
    kernel = await up(runtime, command="trap '' TERM; echo armed; while :; do sleep 1; done")
    async with asyncio.timeout(30):
        while b"armed" not in b"".join([part async for part in runtime.logs(kernel, 0, follow=False)]):
            await asyncio.sleep(0.05)
        await runtime.stop(kernel, 1, 1)
    assert not (await runtime._get(kernel, 1))["State"]["Running"]


async def test_a_new_generation_leaves_nothing_of_the_old_one(runtime: DockerRuntime) -> None:
    kernel = await up(runtime)
    await runtime.create(kernel, 2, spec())
    await runtime.start(kernel, 2)
    assert [(r.generation, r.phase) for r in await runtime.recover()] == [(2, "RUNNING")]


async def test_a_new_agent_finds_what_the_old_one_ran_and_waits_for_it(
    runtime: DockerRuntime, tmp_path: Path
) -> None:
    kernel = await up(runtime)
    again = DockerRuntime(tmp_path, {})
    await again.open()
    assert [r.kernel for r in await again.recover()] == [kernel]
    waiting = asyncio.create_task(again.wait(kernel, 1))
    await runtime.stop(kernel, 1, 0)
    assert (await asyncio.wait_for(waiting, 30)).code == "KILLED"
    await again.close()


async def test_a_terminal_echoes_and_is_resized(runtime: DockerRuntime) -> None:
    kernel = await up(runtime)
    terminal = await runtime.open_terminal(kernel, "t1", 91, 33)
    await terminal.write(b"stty size; echo $((6*7)); exit 5\n")
    shown = b""
    async with asyncio.timeout(30):
        while part := await terminal.read():
            shown += part
    assert b"33 91" in shown
    assert b"42" in shown
    assert await terminal.wait() == 5
    await terminal.detach()


async def test_samples_show_what_is_used(runtime: DockerRuntime) -> None:
    kernel = await up(runtime, command="head -c 3000000 /dev/zero > /home/work/file; while :; do :; done")
    await runtime.stats([kernel])
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0.2)
            (sample,) = await runtime.stats([kernel])
            if sample.cpu_percent > 10 and sample.memory_limit_bytes == 64 * 2**20 and sample.processes:
                break
    runtime._homes.clear()
    (sample,) = await runtime.stats([kernel])
    assert sample.home_bytes >= 3_000_000


async def test_an_unknown_image_is_told_as_such(runtime: DockerRuntime) -> None:
    with pytest.raises(RuntimeFailure) as failed:
        await runtime.create(kernel_id(), 1, spec(image="berth/no-such-image:1"))
    assert failed.value.code == "IMAGE_NOT_FOUND"


async def test_labelled_images_are_listed(runtime: DockerRuntime) -> None:
    found = {image.reference: image for image in await runtime.images()}
    assert found[IMAGE].architecture == "x86_64"
    assert found[IMAGE].labels["berth.min.mem"] == "32m"


async def test_an_engine_that_does_not_answer_is_told_as_such_in_time(tmp_path: Path) -> None:
    """A socket that takes connections and never answers, as a stopped engine's does."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "silent.sock"))
        listening.listen()
        engine = Engine(f"unix://{tmp_path / 'silent.sock'}")
        with pytest.raises(RuntimeFailure) as failed:
            await engine.call(engine.docker.version(), "X", "Connecting", deadline=0.2)
        await engine.close()
    assert failed.value.code == "ENGINE_UNREACHABLE"


@pytest.fixture
def forgotten(runtime: DockerRuntime) -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """A kernel whose container the engine no longer has, and a process of it that lives on in its control group."""
    kernel, identity = kernel_id(), secrets.token_hex(32)
    mounts = Mounts.read()
    groups = [
        mount / "docker" / identity for mount in {*mounts.v1.values(), *([mounts.v2] if mounts.v2 else [])}
    ]
    process = subprocess.Popen(["sleep", "600"])
    made: list[Path] = []
    for group in groups:
        with contextlib.suppress(OSError):
            group.mkdir(parents=True)
            made.append(group)
            (group / "cgroup.procs").write_text(str(process.pid))
    if not made:
        process.kill()
        process.wait()
        missing("cgroups", "control groups cannot be made here: /sys/fs/cgroup is not writable")
    runtime._record(kernel, identity)
    yield kernel, process
    process.kill()
    process.wait()
    runtime._forget(kernel)
    for group in made:
        group.rmdir()


async def test_what_lives_on_of_a_container_that_the_engine_forgot_ends_before_its_place_is_given_away(
    runtime: DockerRuntime, forgotten: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """The agent was killed between the removal of a container and the end of what an engine had left behind in it."""
    _, process = forgotten
    assert process.poll() is None
    assert await runtime.recover() == []
    assert process.wait(timeout=10) == -signal.SIGKILL


async def test_a_stop_of_what_the_engine_forgot_is_one(
    runtime: DockerRuntime, forgotten: tuple[str, subprocess.Popen[bytes]]
) -> None:
    kernel, process = forgotten
    await runtime.stop(kernel, 1, 0)
    assert process.wait(timeout=10) == -signal.SIGKILL


async def test_recovering_leaves_alone_what_runs(runtime: DockerRuntime) -> None:
    kernel = await up(runtime)
    for _ in range(2):
        (report,) = await runtime.recover()
        assert (report.kernel, report.phase) == (kernel, "RUNNING")
