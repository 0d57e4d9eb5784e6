"""Programs that outlive the script that started them: started, waited for, known again, ended; and found or installed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docker"))

# Shared with docker/build-images; the other scripts take them from here.
from engine import Engine as Engine  # noqa: E402
from engine import Failure as Failure  # noqa: E402
from engine import find_engine as find_engine  # noqa: E402

#: Seconds until an installation has failed, and until a program that was asked to end is made to.
INSTALL, STOP = 600, 25


def say(text: str) -> None:
    print(f"services: {text}", file=sys.stderr, flush=True)


class Book:
    """What was started in DIR: written before anything is waited for, so that `down` finds it after any crash."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "services.json"
        self.services: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            self.services = json.loads(self._path.read_text())

    def write(self) -> None:
        draft = self._path.with_suffix(".new")
        draft.touch(0o600)
        draft.write_text(json.dumps(self.services, indent=2))
        draft.replace(self._path)

    def put(self, name: str, **facts: Any) -> None:
        self.services.setdefault(name, {}).update(facts)
        self.write()

    def drop(self, name: str) -> None:
        self.services.pop(name, None)
        self.write()


def birth(pid: int) -> str:
    """When a process started, to tell it from a later one of the same number; "" when there is none that lives."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def lives(service: dict[str, Any]) -> bool:
    return bool(service.get("pid")) and birth(service["pid"]) == service["birth"] != ""


def launch(book: Book, name: str, command: list[str], log: Path, **options: Any) -> Callable[[], int | None]:
    """Start a program that outlives this one; returns a question for its exit status (None while it runs)."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **options
        )
    book.put(name, pid=process.pid, birth=birth(process.pid), log=str(log))
    return process.poll


def until(
    what: str, seconds: float, good: Callable[[], bool], ended: Callable[[], int | None], log: Path
) -> None:
    """Wait for `good`, at most `seconds`. Raises `Failure` with the log's end."""
    limit = time.monotonic() + seconds
    told = time.monotonic() + 5
    while not good():
        status = ended()
        if status is not None or time.monotonic() > limit:
            why = f"ended with status {status}" if status is not None else f"is not up after {seconds:.0f} s"
            tail = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
            raise Failure("\n".join([f"{what} {why}. The end of {log}:", *tail]))
        if time.monotonic() > told:
            say(f"waiting for {what}")
            told += 5
        time.sleep(0.05)


def end(pid: int, born: str, first: signal.Signals = signal.SIGTERM) -> None:
    """End a process and wait until it has; harder after `STOP` seconds."""
    for sent, seconds in ((first, STOP), (signal.SIGKILL, 5)):
        limit = time.monotonic() + seconds
        while birth(pid) == born != "":
            if sent is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sent)
                sent = None
            if time.monotonic() > limit:
                break
            time.sleep(0.05)


def install(packages: Iterable[str], why: str) -> None:
    """Debian packages, when this is root on Debian; their daemons are kept from starting."""
    names = list(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(
            f"{why} Missing: {', '.join(names)}. Install that (Debian's names), or run this as root."
        )
    say(f"installing {' '.join(names)}")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *names]):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL, env=environ, check=False
            )
        if done.returncode:
            raise Failure(f"{' '.join(names)} could not be installed:\n{done.stderr.strip()[-1500:]}")
    except subprocess.TimeoutExpired as error:
        raise Failure(f"apt-get did not finish in {INSTALL} s") from error
    finally:
        if ours:
            policy.unlink()


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def in_wheels(pattern: str) -> Path | None:
    """A program that a wheel brought into this clone's virtual environment, or into the active one."""
    for environment in (os.environ.get("VIRTUAL_ENV", ""), str(ROOT / ".venv")):
        for path in sorted(Path(environment or "/nonexistent").glob(f"lib/python3*/site-packages/{pattern}")):
            return path
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False
