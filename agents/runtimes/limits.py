"""Control groups of the process runtime's sandboxes: made first, joined by the first process, removed at the end.

Two places are tried: directly below each hierarchy's root (an agent that runs as root), and below the agent's own group
(one that was delegated to an ordinary user). Where neither can be written, there are no groups.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agents.runtimes.cgroups import Cgroup, Mounts

#: Processes and threads of one sandbox: far more than a notebook needs, far less than a fork bomb wants.
PROCESSES: Final = 4096

_UNIFIED: Final = "unified"


def make(name: str, cpu: int, memory: int, mounts: Mounts | None = None) -> dict[str, str]:
    """Make the groups of one sandbox with its limits.

    Args:
        cpu: milli-cores; 0 is no limit.
        memory: bytes, swap included; 0 is no limit.

    Returns:
        The path of each group by its controller (`unified` for version 2); empty where none can be made.
    """
    mounts = mounts or Mounts.read()
    if "memory" in mounts.v1:
        return _make_v1(name, cpu, memory, mounts)
    return _make_v2(name, cpu, memory, mounts.v2) if mounts.v2 is not None else {}


def of(groups: Mapping[str, str]) -> Cgroup:
    """The groups that `make` returned."""
    v1 = {name: Path(path) for name, path in groups.items() if name != _UNIFIED}
    return Cgroup(v1, Path(groups[_UNIFIED]) if _UNIFIED in groups else None, own=True)


def remove(groups: Mapping[str, str]) -> None:
    """Absent is success; a group that still has processes stays."""
    for path in set(groups.values()):
        with contextlib.suppress(OSError):
            Path(path).rmdir()


def was_oom_killed(groups: Mapping[str, str]) -> bool:
    """Whether the kernel has killed a process of theirs for memory."""
    for path in set(groups.values()):
        for file in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError):
                for line in (Path(path) / file).read_text().splitlines():
                    event, _, count = line.partition(" ")
                    if event == "oom_kill" and count.strip() not in ("", "0"):
                        return True
    return False


def _make_v1(name: str, cpu: int, memory: int, mounts: Mounts) -> dict[str, str]:
    limits: dict[str, dict[str, str]] = {
        "memory": {"memory.limit_in_bytes": str(memory), "memory.memsw.limit_in_bytes": str(memory)}
        if memory
        else {},
        "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": _quota(cpu)} if cpu else {},
        "cpuacct": {},
        "pids": {"pids.max": str(PROCESSES)},
        "blkio": {},
    }
    own = Cgroup.of_pid(os.getpid(), mounts).v1
    made: dict[str, str] = {}
    for controller, values in limits.items():
        if controller not in mounts.v1:
            continue
        parents = [mounts.v1[controller], *([own[controller]] if controller in own else [])]
        path = next((path for parent in parents if (path := _group(parent, name, values))), None)
        if path is None:
            remove(made)
            return {}
        made[controller] = str(path)
    return made


def _make_v2(name: str, cpu: int, memory: int, mount: Path) -> dict[str, str]:
    values = {"pids.max": str(PROCESSES)}
    if memory:
        values |= {"memory.max": str(memory), "memory.swap.max": "0"}
    if cpu:
        values["cpu.max"] = f"{_quota(cpu)} 100000"
    own = Cgroup.of_pid(os.getpid()).v2
    for parent in dict.fromkeys([mount, own or mount]):
        with contextlib.suppress(OSError):
            (parent / "berth").mkdir(exist_ok=True)
        for directory in (parent, parent / "berth"):
            # Refused where processes sit in the group itself; then setting the limits fails below.
            for controller in ("memory", "cpu", "pids", "io"):
                with contextlib.suppress(OSError):
                    _set(directory / "cgroup.subtree_control", f"+{controller}")
        if path := _group(parent, name, values):
            return {_UNIFIED: str(path)}
    return {}


def _group(parent: Path, name: str, values: Mapping[str, str]) -> Path | None:
    path = parent / "berth" / name
    try:
        path.mkdir(parents=True, exist_ok=True)
        for file, value in values.items():
            # Swap accounting is not built into every kernel; the other limits must hold.
            optional = "memsw" in file or "swap" in file
            with contextlib.suppress(*([OSError] if optional else [])):
                _set(path / file, value)
        if not os.access(path / "cgroup.procs", os.W_OK):
            raise PermissionError
    except OSError:
        with contextlib.suppress(OSError):
            path.rmdir()
        return None
    return path


def _set(file: Path, value: str) -> None:
    """Never makes a file: what the kernel does not offer is an error."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _quota(cpu: int) -> str:
    """Microseconds in each 100 ms; the kernel's least is 1000."""
    return str(max(1000, cpu * 100))
