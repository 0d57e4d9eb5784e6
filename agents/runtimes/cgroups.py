"""Control groups, version 1 and 2: what a kernel's processes use, and the end of all of them.

Version 1 has a hierarchy for each controller, version 2 one for all; a machine may have both (hybrid). What belongs to a
process is read from /proc/PID/cgroup, where hierarchies are mounted from /proc/self/mountinfo.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_UNLIMITED: Final = 2**60


@dataclass(frozen=True)
class Usage:
    """Counters grow while the group lives. Memory is without what is only cached and not in use."""

    cpu_milliseconds: int = 0
    memory_bytes: int = 0
    #: 0: unlimited.
    memory_limit_bytes: int = 0
    block_read_bytes: int = 0
    block_write_bytes: int = 0
    processes: int = 0


@dataclass(frozen=True)
class Mounts:
    """Where hierarchies are mounted: version 1 by controller, version 2 (or None)."""

    v1: dict[str, Path] = field(default_factory=dict[str, Path])
    v2: Path | None = None

    @classmethod
    def read(cls, mountinfo: Path = Path("/proc/self/mountinfo")) -> "Mounts":
        v1: dict[str, Path] = {}
        v2: Path | None = None
        for line in _text(mountinfo).splitlines():
            before, _, after = line.partition(" - ")
            kind, _, rest = after.partition(" ")
            mountpoint = Path(before.split()[4]) if len(before.split()) > 4 else None
            if mountpoint is None:
                continue
            if kind == "cgroup2":
                v2 = v2 or mountpoint
            elif kind == "cgroup":
                for option in rest.split()[-1].split(","):
                    v1.setdefault(option, mountpoint)
        return cls(v1, v2)


@dataclass(frozen=True)
class Cgroup:
    """One group, in whatever hierarchies there are."""

    v1: dict[str, Path] = field(default_factory=dict[str, Path])
    v2: Path | None = None
    #: It was found by its own name, so it is no other's: only such a group is ever killed.
    own: bool = False

    @classmethod
    def of_pid(cls, pid: int, mounts: Mounts | None = None, proc: Path = Path("/proc")) -> "Cgroup":
        """The groups of a process; empty when it is gone."""
        mounts = mounts or Mounts.read()
        v1: dict[str, Path] = {}
        v2: Path | None = None
        for line in _text(proc / str(pid) / "cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if not controllers and mounts.v2 is not None:
                v2 = _within(mounts.v2, path)
            for controller in filter(None, controllers.split(",")):
                if controller in mounts.v1:
                    v1[controller] = _within(mounts.v1[controller], path)
        return cls(v1, v2)

    @classmethod
    def named(cls, names: Iterable[str], mounts: Mounts | None = None) -> "Cgroup":
        """The groups that exist under one of these relative names, such as `docker/ID`."""
        mounts = mounts or Mounts.read()
        wanted = list(names)

        def existing(mount: Path) -> Path | None:
            return next((mount / name for name in wanted if (mount / name).is_dir()), None)

        v1 = {name: path for name, mount in mounts.v1.items() if (path := existing(mount)) is not None}
        return cls(v1, existing(mounts.v2) if mounts.v2 else None, own=True)

    @property
    def exists(self) -> bool:
        return any(path.is_dir() for path in self._paths())

    def pids(self) -> set[int]:
        """Processes in the group and the groups below it."""
        found: set[int] = set()
        for path in self._paths():
            for file in (path / "cgroup.procs", *path.glob("**/cgroup.procs")):
                found.update(int(line) for line in _text(file).split())
        return found

    async def kill(self, deadline: float = 10.0) -> bool:
        """End every process of the group. Returns False when some are left at the deadline (seconds).

        Raises:
            ValueError: the group was found by a process and may hold others, in the worst case the whole machine.
        """
        if not self.own:
            raise ValueError("only a group that was found by its own name is killed")
        until = time.monotonic() + deadline
        while pids := self.pids():
            if self.v2 is not None and (self.v2 / "cgroup.kill").exists():
                _write(self.v2 / "cgroup.kill", "1")
            for pid in pids:
                _signal(pid)
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.02)
        return True

    def usage(self) -> Usage:
        """What it uses now; zeros for what the machine does not count."""
        if self.v2 is not None and (self.v2 / "memory.current").exists():
            return self._usage_v2(self.v2)
        return self._usage_v1()

    def _usage_v2(self, path: Path) -> Usage:
        cpu, memory = _pairs(path / "cpu.stat"), _pairs(path / "memory.stat")
        read = written = 0
        for line in _text(path / "io.stat").splitlines():
            for part in line.split()[1:]:
                name, _, number = part.partition("=")
                read += int(number) if name == "rbytes" else 0
                written += int(number) if name == "wbytes" else 0
        return Usage(
            cpu_milliseconds=cpu.get("usage_usec", 0) // 1000,
            memory_bytes=max(0, _number(path / "memory.current") - memory.get("inactive_file", 0)),
            memory_limit_bytes=_limit(_number(path / "memory.max")),
            block_read_bytes=read,
            block_write_bytes=written,
            processes=_number(path / "pids.current"),
        )

    def _usage_v1(self) -> Usage:
        cpu, memory, pids = self.v1.get("cpuacct"), self.v1.get("memory"), self.v1.get("pids")
        read, written = self._io_v1()
        cached = _pairs(memory / "memory.stat").get("total_inactive_file", 0) if memory else 0
        return Usage(
            cpu_milliseconds=_number(cpu / "cpuacct.usage") // 1_000_000 if cpu else 0,
            memory_bytes=max(0, _number(memory / "memory.usage_in_bytes") - cached) if memory else 0,
            memory_limit_bytes=_limit(_number(memory / "memory.limit_in_bytes")) if memory else 0,
            block_read_bytes=read,
            block_write_bytes=written,
            processes=_number(pids / "pids.current") if pids else len(self.pids()),
        )

    def _io_v1(self) -> tuple[int, int]:
        blkio = self.v1.get("blkio")
        totals = {"Read": 0, "Write": 0}
        if blkio is not None:
            for line in _text(blkio / "blkio.throttle.io_service_bytes").splitlines():
                parts = line.split()
                if len(parts) == 3 and parts[1] in totals:
                    totals[parts[1]] += int(parts[2])
        return totals["Read"], totals["Write"]

    def _paths(self) -> set[Path]:
        return {*self.v1.values(), *([self.v2] if self.v2 else [])}


def network(pid: int, proc: Path = Path("/proc")) -> tuple[int, int]:
    """Bytes received and sent in the network namespace of a process, loopback left out."""
    received = sent = 0
    for line in _text(proc / str(pid) / "net/dev").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        if name.strip() != "lo" and len(fields) >= 9:
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def _within(mount: Path, path: str) -> Path:
    inner = mount / path.lstrip("/")
    # In a container's own cgroup namespace the path is not below the mount: the mount itself is the group.
    return inner if inner.is_dir() else mount


def _limit(value: int) -> int:
    return 0 if value >= _UNLIMITED else value


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _pairs(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _text(path: Path) -> str:
    """Groups come and go while they are read: what is gone is empty."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError:
        return


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
