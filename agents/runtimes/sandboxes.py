"""A sandbox as the agent finds it: its directory, its processes, and the way to its first program.

    <kernel>-<generation>/
        kernel.json   what was asked for, and the process that answers for it once it was started
        launch.log    what bubblewrap and the first program had to complain about
        oom           it was killed for its memory by the agent's own watch
        etc/          the sandbox's own part of /etc
        home/         /home/work inside
        run/          /run/berth inside (see `sandbox_init`)

What is below `home` and `run` belongs to whoever is inside: links there are never followed, sizes never trusted.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import psutil

from agents.protocol import KernelSpec
from agents.runtimes import bubblewrap
from agents.runtimes.cgroups import Usage
from agents.runtimes.contract import RuntimeFailure

#: The name of the shell that starts a sandbox, for the moment before it becomes bubblewrap.
LAUNCHER: Final = "berth-sandbox"

_ANSWER_SECONDS: Final = 10.0
_KILL_SECONDS: Final = 15.0
_MAX_FRAME: Final = 1024 * 1024


class Record(msgspec.Struct):
    """`kernel.json`."""

    kernel: str
    generation: int
    spec: KernelSpec
    #: The outermost process and its start time in clock ticks since boot: a number alone may be another's by now.
    pid: int = 0
    started: int = 0
    #: Its first program has answered once.
    up: bool = False
    #: Control groups that hold its limits, by controller; empty where none could be made.
    groups: dict[str, str] = {}

    def lives(self) -> bool:
        # 0: it was gone before anybody could look when it had started.
        return self.started > 0 and start_time(self.pid) == self.started


@dataclass(frozen=True)
class Place:
    """The directory of one generation of a kernel."""

    directory: Path

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    def read(self) -> Record | None:
        try:
            return msgspec.json.decode((self.directory / "kernel.json").read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, record: Record) -> None:
        draft = self.directory / "kernel.new"
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.directory / "kernel.json")

    def lay_out(self, record: Record) -> None:
        """Make everything; `kernel.json` last, so that what has none was cut short."""
        for path in (self.home, self.run, self.directory / "etc"):
            path.mkdir(parents=True, mode=0o700)
        bubblewrap.lay_out_etc(self.directory / "etc", record.spec)
        for name in (".bashrc", ".profile"):
            skeleton = Path("/etc/skel") / name
            if skeleton.exists():
                shutil.copyfile(skeleton, self.home / name)
        for target, is_directory in bubblewrap.mount_points(record.spec):
            point = self.home / target
            point.parent.mkdir(parents=True, exist_ok=True)
            if is_directory:
                point.mkdir(exist_ok=True)
            else:
                point.touch()
        if bubblewrap.is_root():
            for path in (self.run, self.home, *self.home.rglob("*")):
                os.chown(path, bubblewrap.UID, bubblewrap.UID, follow_symlinks=False)
        self.write(record)

    def exit_code(self) -> int | None:
        """What the first program wrote down before its end; None when it was killed or lives."""
        try:
            with self.open("exit.json") as file:
                return int(msgspec.json.decode(file.read(1024))["code"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def open(self, name: str) -> IO[bytes]:
        """A plain file of `run`, and nothing that somebody inside put in its place."""
        descriptor = os.open(self.run / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(name)
        return os.fdopen(descriptor, "rb", buffering=0)

    def answers(self) -> bool:
        return (self.run / "s").is_socket()

    def complaint(self) -> str:
        with contextlib.suppress(OSError):
            return (self.directory / "launch.log").read_text(errors="replace")[-500:].strip()
        return ""

    async def ask(self, asked: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the sandbox's first program. Raises `RuntimeFailure(NOT_RUNNING)`."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await self._connect()
                writer.write(msgspec.json.encode(asked) + b"\n")
                line = await reader.readline()
            answer = msgspec.json.decode(line or b'{"error": "it ended"}', type=dict[str, Any])
        except (OSError, TimeoutError, ValueError) as error:
            if writer is not None:
                writer.close()
            raise RuntimeFailure("NOT_RUNNING", "The session does not answer.") from error
        if "error" in answer:
            writer.close()
            raise RuntimeFailure("NOT_RUNNING", f"The session refused: {answer['error']}")
        return reader, writer

    async def tell(self, asked: dict[str, Any]) -> None:
        """`ask` for something that has no more than an answer."""
        _, writer = await self.ask(asked)
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # By a descriptor: a socket's path has at most 107 characters, and what is no socket here is not followed.
        descriptor = os.open(self.run / "s", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    # Its processes

    def pids(self) -> set[int]:
        """The outer process and the first of the process namespace, by the directory in their command line.

        Others inside need no looking for: the kernel ends them with the first, whose end is seen only after theirs.
        """
        mark, own, found = f"{self.directory}/home".encode(), os.geteuid(), set[int]()
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                arguments = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            is_ours = arguments[0].endswith(b"bwrap") or LAUNCHER.encode() in arguments[:5]
            if is_ours and mark in arguments and _owner(entry.path) == own and start_time(int(entry.name)):
                found.add(int(entry.name))
        return found

    def outermost(self) -> int:
        """The process that `pids` begins with; 0 when it has none."""
        pids = self.pids()
        return next((pid for pid in sorted(pids) if _parent(pid) not in pids), 0)

    async def kill(self) -> None:
        """End every process. Raises `RuntimeFailure(STOP_FAILED)`."""
        until = time.monotonic() + _KILL_SECONDS
        while pids := await asyncio.to_thread(self.pids):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            for pid in pids:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, until - time.monotonic())):
                        await gone(pid)
            if time.monotonic() > until:
                raise RuntimeFailure("STOP_FAILED", "Processes of the session do not end.")

    def usage(self) -> Usage:
        """What its processes use, added up: for where no control group counts it."""
        cpu = memory = read = written = count = 0
        outer = self.outermost()
        tree: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            tree = [psutil.Process(outer), *psutil.Process(outer).children(recursive=True)] if outer else []
        for process in tree:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                # With its dead children's: a sum that does not fall when one of them ends.
                seconds = times.user + times.system + times.children_user + times.children_system
                cpu, memory, count = cpu + int(seconds * 1000), memory + process.memory_info().rss, count + 1
            with contextlib.suppress(psutil.Error, OSError):
                io = process.io_counters()
                read, written = read + io.read_bytes, written + io.write_bytes
        return Usage(cpu, memory, 0, read, written, count)


class SandboxTerminal:
    """A shell that the sandbox's first program keeps."""

    def __init__(
        self, place: Place, terminal: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._place = place
        self._terminal = terminal
        self._reader = reader
        self._writer = writer
        self._code: int | None = None

    async def read(self) -> bytes:
        try:
            kind, length = struct.unpack(">cI", await self._reader.readexactly(5))
            content = await self._reader.readexactly(length) if length <= _MAX_FRAME else b""
            if kind == b"x":
                self._code, content = int(content), b""
        except (asyncio.IncompleteReadError, OSError, ValueError):
            content = b""
        if not content:
            self._writer.close()
        return content

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), _MAX_FRAME):
            await self._send(b"d", data[start : start + _MAX_FRAME])

    async def resize(self, columns: int, rows: int) -> None:
        await self._send(b"r", struct.pack(">HH", columns, rows))

    async def wait(self) -> int | None:
        return self._code

    async def detach(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def close(self) -> None:
        with contextlib.suppress(RuntimeFailure):
            await self._place.tell({"op": "close", "id": self._terminal})
        await self.detach()

    async def _send(self, kind: bytes, content: bytes) -> None:
        try:
            self._writer.write(struct.pack(">cI", kind, len(content)) + content)
            await self._writer.drain()
        except OSError as error:
            raise RuntimeFailure("NOT_RUNNING", "The terminal's shell has ended.") from error


def remove_tree(path: Path) -> None:
    """Remove a directory, whatever permissions were left on what is in it. Raises OSError when some of it stays."""

    def mend(_remove: Callable[..., Any], failed: str, _error: Any) -> None:
        parent = Path(failed).parent
        for one in (parent, Path(failed)):
            if one.is_dir() and not one.is_symlink() and one.is_relative_to(path):
                one.chmod(0o700)

    # Once to mend, each time a level deeper may come to light; then for the error.
    for _ in range(64):
        shutil.rmtree(path, onerror=mend)
        if not path.exists():
            return
    shutil.rmtree(path)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is gone or dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError):
        return 0


async def gone(pid: int, started: int | None = None) -> None:
    """Return once a process, our child or not, has ended. `started`: only this one, not a later one of its number."""
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, ValueError):
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        if start_time(pid) and started in (None, start_time(pid)):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _owner(entry: str) -> int:
    try:
        lines = Path(entry, "status").read_text().splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), -1)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
