"""Kernels as processes in a bubblewrap sandbox: for machines without a container engine.

A sandbox has its own users, processes, IPC and host name, a home of its own, and sees the node's `/usr` read-only. It
shares the node's network and kernel with everything else, so sessions are *not* safe from each other: not for untrusted
users, and the console says so.

A kernel is a directory, `kernels/<kernel>-<generation>`; all that is known of it is there, so a restarted agent finds it
again. Sandboxes do not die with the agent.
"""

import asyncio
import contextlib
import os
import platform
import shutil
import signal
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from agents.protocol import Hardware, ImageInfo, KernelReport, KernelSpec, KernelStats, Phase
from agents.runtimes import bubblewrap, disk
from agents.runtimes.cgroups import Cgroup, Mounts, Usage
from agents.runtimes.contract import Duplex, Exit, Fingerprint, PullProgressSink, RuntimeFailure, Terminal
from agents.runtimes.pipes import Pipe

_START_SECONDS: Final = 20.0
_LOG_LIMIT: Final = 64 * 1024 * 1024
_PROCESSES: Final = 4096
_HOME_EVERY: Final = 30.0
_VERSION: Final = platform.python_version().rpartition(".")[0]


class _Record(msgspec.Struct):
    """`kernel.json`: what was asked for, and the process that answers for it once it was started."""

    kernel: str
    generation: int
    spec: KernelSpec
    #: The outermost process and its start time in clock ticks since boot: a number alone may be another's by now.
    pid: int = 0
    started: int = 0
    #: Names of the control groups that hold its limits; empty where none could be made.
    limited: bool = False


@dataclass(frozen=True)
class _Place:
    directory: Path

    @property
    def record(self) -> Path:
        return self.directory / "kernel.json"

    @property
    def log(self) -> Path:
        return self.directory / "run/log"

    def read(self) -> _Record | None:
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, record: _Record) -> None:
        draft = self.record.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.record)

    def exit_code(self) -> int | None:
        try:
            return int(msgspec.json.decode((self.directory / "run/exit.json").read_bytes())["code"])
        except (OSError, msgspec.DecodeError, KeyError, TypeError):
            return None


class ProcessRuntime:
    """See the module. Options: `reserve_memory` (bytes kept for the node itself)."""

    name = "process"

    def __init__(self, state_dir: Path, options: dict[str, Any]) -> None:
        self._root = state_dir.resolve() / "kernels"
        self._reserve = int(options.get("reserve_memory", 256 * 2**20))
        self._bwrap = ""
        self._cpu: dict[str, tuple[float, int]] = {}
        self._homes: dict[str, tuple[float, int]] = {}

    async def open(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        found = bubblewrap.find() if platform.system() == "Linux" else None
        if found is None:
            raise RuntimeFailure(
                "ENGINE_UNREACHABLE",
                "The process runtime needs Linux and bubblewrap. Install it: pip install 'berth[sandbox]', or your "
                "distribution's package bubblewrap; or use Docker.",
            )
        trial = await asyncio.create_subprocess_exec(
            *(found, "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, problem = await trial.communicate()
        if trial.returncode != 0:
            raise RuntimeFailure(
                "ENGINE_UNREACHABLE",
                "Sandboxes cannot be made here: user namespaces seem to be switched off "
                f"({problem.decode(errors='replace').strip()}). Allow them (sysctl kernel.unprivileged_userns_clone=1, "
                "or kernel.apparmor_restrict_unprivileged_userns=0), or use Docker.",
            )
        self._bwrap = found

    async def close(self) -> None:
        """Nothing to let go of: sandboxes go on."""

    async def fingerprint(self) -> Fingerprint:
        memory, cpus = psutil.virtual_memory().total, psutil.cpu_count() or 1
        return Fingerprint(
            architecture=platform.machine(),
            slots={"cpu": cpus * 1000, "mem": max(0, memory - self._reserve)},
            hardware=Hardware(
                hostname=platform.node(),
                os=f"{platform.system()} {platform.machine()}",
                kernel=platform.release(),
                cpu_model=platform.processor(),
                cpu_count=cpus,
                memory=memory,
                disk=shutil.disk_usage(self._root).total,
                engine="bubblewrap",
            ),
            isolated=False,
        )

    async def images(self) -> Sequence[ImageInfo]:
        """This machine itself, under two names, so that the launcher has something to choose."""
        common = {
            "berth.image.version": "1",
            "berth.base": platform.system().lower(),
            "berth.min.cpu": "0.1",
            "berth.min.mem": "32m",
            "berth.isolation": "process",
        }
        python = {"berth.environment": "Python (this machine)", "berth.environment.version": _VERSION}
        shell = {"berth.environment": "Shell (this machine)", "berth.environment.version": "1"}
        return [
            ImageInfo(
                f"berth/process/python:{_VERSION}", "process", platform.machine(), 0, {**common, **python}
            ),
            ImageInfo("berth/process/shell:1", "process", platform.machine(), 0, {**common, **shell}),
        ]

    async def pull(
        self, image: str, progress: PullProgressSink, username: str = "", password: str = ""
    ) -> None:
        if image not in {one.reference for one in await self.images()}:
            raise RuntimeFailure(
                "IMAGE_NOT_FOUND", f"This node runs processes, not containers: it has no image {image}."
            )
        progress(1, 1)

    async def remove_image(self, image: str) -> None:
        raise RuntimeFailure(
            "REMOVE_FAILED", "This node's environments are the machine itself and cannot be removed."
        )

    # A kernel's life

    async def create(self, kernel: str, generation: int, spec: KernelSpec) -> str:
        await self.pull(spec.image, lambda _now, _all: None)
        for place in self._places(kernel):
            await self._destroy(place)
        place = self._place(kernel, generation)
        try:
            await asyncio.to_thread(self._lay_out, place, _Record(kernel, generation, spec))
        except OSError as error:
            code = "NO_SPACE" if error.errno == 28 else "CREATE_FAILED"
            raise RuntimeFailure(
                code, f"The session's directory could not be made: {error.strerror}."
            ) from error
        return place.directory.name

    async def start(self, kernel: str, generation: int) -> None:
        place = self._place(kernel, generation)
        record = place.read()
        if record is None:
            raise RuntimeFailure("NOT_RUNNING", "The session's directory is gone from the node.")
        if record.pid and _lives(record.pid, record.started):
            return
        groups = await asyncio.to_thread(_make_groups, place.directory.name, record.spec)
        # The shell between is gone at once: what it started is nobody's child and outlives the agent.
        script = 'for group in $1; do echo 0 >"$group" || exit 9; done; shift; "$@" >>"$BERTH_LOG" 2>&1 </dev/null & echo $!'
        launcher = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", script, "sh", " ".join(map(str, groups))),
            *bubblewrap.command(self._bwrap, place.directory, record.spec),
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "BERTH_LOG": str(place.log)},
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        output, _ = await launcher.communicate()
        if launcher.returncode != 0 or not output.strip().isdigit():
            raise RuntimeFailure("START_FAILED", "The sandbox could not be started.")
        record.pid = int(output)
        record.started = _start_time(record.pid)
        record.limited = bool(groups)
        place.write(record)
        await self._until_up(place, record)

    async def wait(self, kernel: str, generation: int) -> Exit:
        place = self._place(kernel, generation)
        record = place.read()
        if record is None:
            raise RuntimeFailure("NOT_RUNNING", "The session's directory is gone from the node.")
        watch = asyncio.create_task(self._watch_memory(place, record)) if not record.limited else None
        try:
            await _gone(record.pid, record.started)
        finally:
            if watch is not None:
                watch.cancel()
        if (place.directory / "run/oom").exists() or _was_oom_killed(_groups(place.directory.name)):
            return Exit(
                137,
                "OOM_KILLED",
                "It needed more memory than it was given and was killed. Ask for more memory.",
            )
        code = place.exit_code()
        if code is None:
            return Exit(137, "KILLED", "Its processes were killed.")
        return Exit(code, "EXITED", f"Its main process ended with exit code {code}.")

    async def stop(self, kernel: str, generation: int, grace_seconds: float) -> None:
        place = self._place(kernel, generation)
        if grace_seconds > 0:
            with contextlib.suppress(RuntimeFailure, OSError, TimeoutError):
                async with self._asking(place, {"op": "terminate", "grace": grace_seconds}):
                    pass
                async with asyncio.timeout(grace_seconds + 2):
                    while _sandbox_pids(place.directory):
                        await asyncio.sleep(0.02)
        await self._kill(place)

    async def remove(self, kernel: str, generation: int) -> None:
        await self._destroy(self._place(kernel, generation))

    async def recover(self) -> Sequence[KernelReport]:
        reports: list[KernelReport] = []
        for directory in sorted(self._root.iterdir()):
            record = _Place(directory).read()
            if record is None:
                # Its making was cut short before anything was written down: nothing of it is of use.
                await self._destroy(_Place(directory))
                continue
            phase: Phase = "CREATING"
            if record.pid:
                phase = "RUNNING" if _lives(record.pid, record.started) else "TERMINATED"
            reports.append(
                KernelReport(
                    kernel=record.kernel,
                    generation=record.generation,
                    session=record.spec.session,
                    phase=phase,
                    container=directory.name,
                    slots=record.spec.slots,
                )
            )
        return reports

    # Looking in

    async def stats(self, kernels: Sequence[str]) -> Sequence[KernelStats]:
        return await asyncio.to_thread(self._samples, list(kernels))

    async def open_terminal(self, kernel: str, terminal: str, columns: int, rows: int) -> Terminal:
        place = self._running(kernel)
        asked = {"op": "terminal", "id": terminal, "columns": columns, "rows": rows}
        reader, writer = await self._ask(place, asked)
        return _SandboxTerminal(self, place, terminal, reader, writer)

    async def connect(self, kernel: str, port: int, service: str = "") -> Duplex:
        self._running(kernel)
        try:
            async with asyncio.timeout(10):
                return Pipe(*await asyncio.open_connection("127.0.0.1", port))
        except (OSError, TimeoutError) as error:
            raise RuntimeFailure(
                "CONNECT_FAILED", f"Nothing answers on port {port} of the session."
            ) from error

    async def logs(self, kernel: str, tail: int, follow: bool) -> AsyncIterator[bytes]:
        places = self._places(kernel)
        if not places:
            return
        place = places[-1]
        try:
            # The session can write to its run directory: a link that it put there must not be followed.
            descriptor = os.open(place.log, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return
        with os.fdopen(descriptor, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - tail) if tail else 0)
            while True:
                record = place.read()
                lives = record is not None and _lives(record.pid, record.started)
                while data := file.read(65536):
                    yield data
                if not follow or not lives:
                    return
                await asyncio.sleep(0.2)

    async def close_terminal(self, place: _Place, terminal: str) -> None:
        async with self._asking(place, {"op": "close", "id": terminal}):
            pass

    # Beneath

    def _place(self, kernel: str, generation: int) -> _Place:
        return _Place(self._root / f"{kernel}-{generation}")

    def _places(self, kernel: str) -> list[_Place]:
        """All generations of a kernel, the newest last."""
        found = [path for path in self._root.glob(f"{kernel}-*") if path.name.rpartition("-")[2].isdigit()]
        return [_Place(path) for path in sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))]

    def _running(self, kernel: str) -> _Place:
        for place in reversed(self._places(kernel)):
            record = place.read()
            if record is not None and _lives(record.pid, record.started):
                return place
        raise RuntimeFailure("NOT_RUNNING", "The session is not running.")

    def _lay_out(self, place: _Place, record: _Record) -> None:
        for name in ("home", "run", "etc"):
            (place.directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        (place.directory / "etc/passwd").write_text(bubblewrap.PASSWD)
        (place.directory / "etc/group").write_text(bubblewrap.GROUP)
        for name in (".bashrc", ".profile"):
            skeleton = Path("/etc/skel") / name
            if skeleton.exists():
                shutil.copyfile(skeleton, place.directory / "home" / name)
        spec = {"bootstrap": record.spec.bootstrap, "command": record.spec.command}
        (place.directory / "run/spec.json").write_bytes(msgspec.json.encode(spec))
        place.log.touch()
        place.write(record)

    async def _until_up(self, place: _Place, record: _Record) -> None:
        """Until its first program answers, or has ended already, as a short command does."""
        until = time.monotonic() + _START_SECONDS
        while not (place.directory / "run/s").exists():
            if place.exit_code() is not None:
                return
            if not _lives(record.pid, record.started):
                detail = place.log.read_text(errors="replace")[-500:].strip()
                raise RuntimeFailure(
                    "START_FAILED", f"The sandbox ended at once: {detail or 'without a word'}"
                )
            if time.monotonic() > until:
                await self._kill(place)
                raise RuntimeFailure(
                    "TIMED_OUT", f"The sandbox was not up within {_START_SECONDS:g} seconds."
                )
            await asyncio.sleep(0.01)

    async def _kill(self, place: _Place) -> None:
        """End every process of a sandbox: with the first of its process namespace the kernel ends all others."""
        until = time.monotonic() + 15
        while pids := _sandbox_pids(place.directory):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                raise RuntimeFailure("STOP_FAILED", "Processes of the session do not end.")
            await asyncio.sleep(0.01)
        group = _groups(place.directory.name)
        if group.exists:
            await group.kill()

    async def _destroy(self, place: _Place) -> None:
        await self._kill(place)
        _remove_groups(_groups(place.directory.name))
        await asyncio.to_thread(shutil.rmtree, place.directory, ignore_errors=True)

    async def _ask(
        self, place: _Place, asked: dict[str, Any]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the sandbox's first program. Through a descriptor: a socket's path has at most 107 characters."""
        try:
            descriptor = os.open(place.directory / "run", os.O_PATH | os.O_DIRECTORY)
            try:
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}/s")
            finally:
                os.close(descriptor)
        except (OSError, TimeoutError) as error:
            raise RuntimeFailure("NOT_RUNNING", "The session does not answer.") from error
        try:
            async with asyncio.timeout(10):
                writer.write(msgspec.json.encode(asked) + b"\n")
                answer = msgspec.json.decode(
                    await reader.readline() or b'{"error": "it ended"}', type=dict[str, Any]
                )
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            writer.close()
            raise RuntimeFailure("NOT_RUNNING", "The session does not answer.") from error
        if "error" in answer:
            writer.close()
            raise RuntimeFailure("NOT_RUNNING", f"The session refused: {answer['error']}")
        return reader, writer

    @asynccontextmanager
    async def _asking(self, place: _Place, asked: dict[str, Any]) -> AsyncGenerator[None]:
        _, writer = await self._ask(place, asked)
        try:
            yield
        finally:
            writer.close()

    async def _watch_memory(self, place: _Place, record: _Record) -> None:
        """Where no control group can be made, somebody has to look."""
        limit = record.spec.slots.get("mem", 0)
        while limit:
            usage = await asyncio.to_thread(_tree_usage, place.directory)
            if usage.memory_bytes > limit:
                (place.directory / "run/oom").touch()
                await self._kill(place)
                return
            await asyncio.sleep(1)

    def _samples(self, kernels: list[str]) -> list[KernelStats]:
        samples: list[KernelStats] = []
        for kernel in kernels:
            places = self._places(kernel)
            if places and (record := places[-1].read()) is not None and _lives(record.pid, record.started):
                samples.append(self._sample(kernel, places[-1], record))
        for gone in self._cpu.keys() - set(kernels):
            del self._cpu[gone]
            self._homes.pop(gone, None)
        return samples

    def _sample(self, kernel: str, place: _Place, record: _Record) -> KernelStats:
        usage = _groups(place.directory.name).usage() if record.limited else _tree_usage(place.directory)
        now, before = time.monotonic(), self._cpu.get(kernel)
        self._cpu[kernel] = now, usage.cpu_milliseconds
        percent = 0.0
        if before is not None and now > before[0]:
            percent = max(0.0, (usage.cpu_milliseconds - before[1]) / (now - before[0]) / 10)
        at, size = self._homes.get(kernel, (float("-inf"), 0))
        if now - at > _HOME_EVERY:
            size = disk.usage(place.directory / "home")
            self._homes[kernel] = now, size
            with contextlib.suppress(OSError):
                descriptor = os.open(place.log, os.O_WRONLY | os.O_NOFOLLOW)
                try:
                    if os.fstat(descriptor).st_size > _LOG_LIMIT:
                        os.ftruncate(descriptor, 0)
                finally:
                    os.close(descriptor)
        return KernelStats(
            kernel=kernel,
            cpu_percent=round(percent, 1),
            cpu_milliseconds=usage.cpu_milliseconds,
            memory_bytes=usage.memory_bytes,
            memory_limit_bytes=usage.memory_limit_bytes or record.spec.slots.get("mem", 0),
            block_read_bytes=usage.block_read_bytes,
            block_write_bytes=usage.block_write_bytes,
            home_bytes=size,
            processes=usage.processes,
        )


class _SandboxTerminal:
    """A shell that the sandbox's first program keeps."""

    def __init__(
        self,
        runtime: ProcessRuntime,
        place: _Place,
        terminal: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._runtime = runtime
        self._place = place
        self._terminal = terminal
        self._reader = reader
        self._writer = writer
        self._code: int | None = None

    async def read(self) -> bytes:
        try:
            kind, length = struct.unpack(">cI", await self._reader.readexactly(5))
            content = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return b""
        if kind == b"x":
            self._code = int(content)
            return b""
        return content

    async def write(self, data: bytes) -> None:
        await self._send(b"d", data)

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
            await self._runtime.close_terminal(self._place, self._terminal)
        await self.detach()

    async def _send(self, kind: bytes, content: bytes) -> None:
        try:
            self._writer.write(struct.pack(">cI", kind, len(content)) + content)
            await self._writer.drain()
        except OSError as error:
            raise RuntimeFailure("NOT_RUNNING", "The terminal's shell has ended.") from error


def _start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def _lives(pid: int, started: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and int(fields[19]) == started


async def _gone(pid: int, started: int) -> None:
    """Return once a process, ours or not our child at all, has ended."""
    if not _lives(pid, started):
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        if _lives(pid, started):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _sandbox_pids(directory: Path) -> set[int]:
    """The sandbox's outer process and the first of its process namespace, by the directory in their command line."""
    mark = f"{directory}/home".encode()
    found: set[int] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                arguments = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                state = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if arguments[0].endswith(b"bwrap") and mark in arguments and state != "Z":
                found.add(int(entry.name))
    return found


def _tree_usage(directory: Path) -> Usage:
    """What a sandbox's processes use, added up: for where no control group counts it."""
    cpu = memory = read = written = count = 0
    seen: set[int] = set()
    for root in _sandbox_pids(directory):
        with contextlib.suppress(psutil.Error):
            for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
                if process.pid in seen:
                    continue
                seen.add(process.pid)
                with contextlib.suppress(psutil.Error):
                    times, io = process.cpu_times(), process.io_counters()
                    cpu += int((times.user + times.system) * 1000)
                    memory += process.memory_info().rss
                    read, written, count = read + io.read_bytes, written + io.write_bytes, count + 1
    return Usage(cpu, memory, 0, read, written, count)


def _groups(name: str) -> Cgroup:
    return Cgroup.named((f"berth/{name}",))


def _make_groups(name: str, spec: KernelSpec) -> list[Path]:
    """Control groups with the session's limits: files to write a process's number to. Empty where none can be made."""
    mounts = Mounts.read()
    memory, cpu = spec.slots.get("mem", 0), spec.slots.get("cpu", 0)
    wanted: list[tuple[Path | None, dict[str, str]]] = [
        (
            mounts.v1.get("memory"),
            {"memory.limit_in_bytes": str(memory), "memory.memsw.limit_in_bytes": str(memory)},
        ),
        (
            mounts.v1.get("cpu"),
            {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(max(1000, cpu * 100))},
        ),
        (mounts.v1.get("cpuacct"), {}),
        (mounts.v1.get("pids"), {"pids.max": str(_PROCESSES)}),
        (mounts.v1.get("blkio"), {}),
    ]
    if mounts.v2 is not None and not mounts.v1.get("memory"):
        limits = {
            "memory.max": str(memory),
            "memory.swap.max": "0",
            "cpu.max": f"{max(1000, cpu * 100)} 100000",
            "pids.max": str(_PROCESSES),
        }
        with contextlib.suppress(OSError):
            (mounts.v2 / "berth").mkdir(exist_ok=True)
            (mounts.v2 / "berth/cgroup.subtree_control").write_text("+memory +cpu +pids +io")
        wanted = [(mounts.v2, limits)]
    made: dict[Path, None] = {}
    for mount, limits in wanted:
        if mount is None:
            continue
        group = mount / "berth" / name
        try:
            group.mkdir(parents=True, exist_ok=True)
            for file, value in limits.items():
                # Swap accounting is not built into every kernel; the other limits must hold.
                with contextlib.suppress(*([OSError] if "memsw" in file or "swap" in file else [])):
                    (group / file).write_text(value)
        except OSError:
            _remove_groups(_groups(name))
            return []
        made[group / "cgroup.procs"] = None
    return list(made)


def _remove_groups(group: Cgroup) -> None:
    for path in {*group.v1.values(), *([group.v2] if group.v2 else [])}:
        with contextlib.suppress(OSError):
            path.rmdir()


def _was_oom_killed(group: Cgroup) -> bool:
    for path in ("memory.oom_control", "memory.events"):
        for directory in {*group.v1.values(), *([group.v2] if group.v2 else [])}:
            with contextlib.suppress(OSError):
                for line in (directory / path).read_text().splitlines():
                    name, _, count = line.partition(" ")
                    if name == "oom_kill" and count.strip() not in ("", "0"):
                        return True
    return False
