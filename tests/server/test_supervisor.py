"""Children of a supervisor: begun again when they end, ended in order, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from server.supervisor import Backoff, Child, Command, rotate


def python(program: str) -> Callable[[], Command]:
    return lambda: Command([sys.executable, "-c", program], dict(os.environ))


async def until(claim: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something that other processes do."""
    async with asyncio.timeout(seconds):
        while not claim():
            await asyncio.sleep(0.01)


class Children:
    """Makes children in a folder and stops whatever a test leaves running."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Child] = []

    def __call__(self, program: str, **options: object) -> Child:
        child = Child("child", python(program), self._folder / "child.log", **options)  # pyright: ignore[reportArgumentType]
        self._made.append(child)
        return child

    async def stop(self) -> None:
        for child in self._made:
            await child.stop()


@pytest.fixture
async def children(tmp_path: Path) -> AsyncIterator[Children]:
    made = Children(tmp_path)
    yield made
    await made.stop()


async def test_a_child_that_ends_begins_again_and_tells_how_it_ended(children: Children) -> None:
    ends: list[int] = []
    child = children(
        "import sys; print('here', flush=True); sys.exit(7)",
        backoff=Backoff(first=0.01, most=0.01),
        on_exit=lambda status, _pause: ends.append(status),
    )
    child.start()
    await until(lambda: child.starts >= 3)
    assert set(ends) == {7}
    assert "here" in child.tail()


async def test_stopping_asks_first_and_the_child_is_not_begun_again(
    children: Children, tmp_path: Path
) -> None:
    child = children(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)"
    )
    child.start()
    await until(lambda: "ready" in child.tail())
    await child.stop()
    assert child.tail().splitlines()[-1] == "bye"
    assert child.starts == 1
    assert child.pid is None


async def test_a_child_that_does_not_listen_is_killed_after_the_grace(children: Children) -> None:
    child = children(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n"
        "while True: time.sleep(1)",
        grace=0.2,
    )
    child.start()
    await until(lambda: "deaf" in child.tail())
    process = psutil.Process(child.pid)
    await child.stop()
    assert not process.is_running()


async def test_a_child_has_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(children: Children) -> None:
    child = children("import time\nprint('ready', flush=True)\nwhile True: time.sleep(1)")
    child.start()
    await until(lambda: "ready" in child.tail())
    assert child.pid is not None
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


async def test_a_descriptor_is_handed_over_and_closed_here(children: Children, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    made: list[int] = []

    def command() -> Command:
        made.append(writer)
        return Command(
            [sys.executable, "-c", f"import os; os.write({writer}, b'hello')"], dict(os.environ), (writer,)
        )

    child = Child("child", command, tmp_path / "log", backoff=Backoff(first=60))
    child.start()
    await child.ended.wait()
    await child.stop()
    # An end of file, since nobody holds the other end any more.
    assert os.read(reader, 100) + os.read(reader, 100) == b"hello"
    os.close(reader)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_a_killed_supervisor_leaves_no_child(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, sys
from pathlib import Path
from server.supervisor import Child, Command
async def main():
    command = Command([sys.executable, "-c", "import time\\nprint('ready', flush=True)\\nwhile True: time.sleep(1)"], dict(os.environ))
    child = Child("child", lambda: command, Path({str(tmp_path)!r}) / "child.log")
    child.start()
    while "ready" not in child.tail():
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    child = psutil.Process(int(supervisor.stdout.readline()))
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_the_pause_doubles_up_to_a_bound_and_begins_anew_after_a_good_run() -> None:
    backoff = Backoff(first=0.5, most=3.0, stable=60.0)
    assert [backoff.after(1.0) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.after(61.0) == 0.5


def test_a_long_log_is_put_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("a") as writer:
        for generation in range(5):
            writer.write(f"{generation}" * 100)
            writer.flush()
            assert rotate(path, limit=50, kept=3)
            assert path.stat().st_size == 0
        writer.write("newest")
        writer.flush()
    assert not rotate(path, limit=50, kept=3)
    assert path.read_text() == "newest"
    assert [(tmp_path / f"log.{n}").read_text()[0] for n in (1, 2, 3)] == ["4", "3", "2"]
    assert not (tmp_path / "log.4").exists()
    assert (tmp_path / "log.1").stat().st_mode & 0o077 == 0
