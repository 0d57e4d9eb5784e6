"""What an agent is told by its command line and environment, and what it keeps in its state directory.

STATE_DIR/                 0700
  credential.json          0600   this node's id and secret, from `join`
  journal.sqlite                  events that the manager has not acknowledged
  lock                            held while an agent runs: two never share a directory
  status.json                     for `berth agent status`
  runtime/                        whatever the runtime keeps
  accelerators/                   whatever accelerator plug-ins keep, each in a directory of its name
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import msgspec

from agents.accelerators import inventories
from agents.accelerators.contract import BadOption
from agents.accelerators.inventories import Inventory
from agents.accelerators.options import Wanted
from agents.runtimes.contract import Runtime

#: The order in which `auto` looks for a runtime that works here.
AUTO = ("docker", "process")


class BadState(Exception):
    """The state directory cannot be used, with what to do about it."""


class Credential(msgspec.Struct, frozen=True):
    """What `join` obtained."""

    agent_id: str
    #: `agt_….SECRET`, as the manager gave it.
    credential: str
    manager: str


@dataclass(frozen=True)
class StateDir:
    """The agent's directory."""

    path: Path

    @classmethod
    def default(cls, environ: Mapping[str, str] = os.environ, uid: int | None = None) -> "StateDir":
        """/var/lib/berth/agent for root, else the XDG state directory."""
        if (os.getuid() if uid is None else uid) == 0:
            return cls(Path("/var/lib/berth/agent"))
        home = (
            environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".local" / "state"
        )
        return cls(Path(home) / "berth" / "agent")

    def prepare(self) -> None:
        """Make it, for its owner only. Raises `BadState`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.chmod(0o700)
        except OSError as error:
            raise BadState(f"cannot use {self.path} as the agent's directory: {error}") from error

    @property
    def journal(self) -> Path:
        return self.path / "journal.sqlite"

    @property
    def runtime(self) -> Path:
        return self.path / "runtime"

    @property
    def accelerators(self) -> Path:
        return self.path / "accelerators"

    def credential(self) -> Credential | None:
        """None before the node has joined. Raises `BadState` for a file that others may read, or that is broken."""
        path = self.path / "credential.json"
        try:
            if path.stat().st_mode & 0o077:
                raise BadState(f"{path} may be read by others: `chmod 600` it, and join again if anybody did")
            return msgspec.json.decode(path.read_bytes(), type=Credential)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadState(f"cannot read {path}: {error}") from error
        except msgspec.DecodeError as error:
            raise BadState(f"{path} is broken ({error}): remove it and join again") from error

    def keep(self, credential: Credential) -> None:
        """Write it so that it is either there whole or not at all. Raises `BadState`."""
        self._write("credential.json", msgspec.json.encode(credential), sync=True)

    def write_status(self, status: Mapping[str, object]) -> None:
        self._write("status.json", json.dumps(status).encode())

    def status(self) -> dict[str, Any] | None:
        """What the agent wrote last; None when it never did."""
        try:
            return cast("dict[str, Any]", json.loads((self.path / "status.json").read_bytes()))
        except (OSError, ValueError):
            return None

    @contextlib.contextmanager
    def lock(self) -> Generator[None]:
        """Hold the directory. Raises `BadState` while another agent does."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadState(f"cannot use {self.path} as the agent's directory: {error}") from error
        try:
            if not _lock(descriptor, fcntl.LOCK_EX, tries=5):
                raise BadState(
                    f"another agent runs in {self.path}: stop it, or give this one another --state-dir"
                )
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether an agent runs here."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _lock(descriptor, fcntl.LOCK_SH, tries=1)
        finally:
            os.close(descriptor)

    def _write(self, name: str, data: bytes, *, sync: bool = False) -> None:
        temporary = self.path / f".{name}.new"
        try:
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.rename(self.path / name)
        except OSError as error:
            raise BadState(f"cannot write {self.path / name}: {error}") from error


def _lock(descriptor: int, kind: int, *, tries: int) -> bool:
    # More than one try: `berth agent status` holds it for an instant to see whether it can.
    for attempt in range(tries):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < tries - 1:
                time.sleep(0.05)
        else:
            return True
    return False


def runtimes() -> dict[str, Callable[[], type]]:
    """Loaders of the runtimes that are installed, by name (entry points `berth.runtimes`)."""
    return {point.name: point.load for point in entry_points(group="berth.runtimes")}


def make_runtime(name: str, state_dir: StateDir, options: Mapping[str, Any]) -> Runtime:
    """Raises `BadState` for a name that nobody has registered."""
    loaders = runtimes()
    if name not in loaders:
        raise BadState(f"no runtime is named {name!r}; installed are: {', '.join(sorted(loaders)) or 'none'}")
    directory = state_dir.runtime
    directory.mkdir(parents=True, exist_ok=True)
    return cast("Runtime", loaders[name]()(directory, dict(options)))


def make_inventory(wanted: Sequence[str], state_dir: StateDir) -> Inventory:
    """The node's accelerators, by what an admin says of each plug-in (`Wanted.parse`).

    Raises `BadState` for a plug-in or option that is not known.
    """
    state_dir.accelerators.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        plugins = inventories.make(map(Wanted.parse, wanted), state_dir.accelerators)
    except BadOption as error:
        raise BadState(f"accelerators: {error}") from error
    return Inventory(plugins)
