"""The MPS control daemon of a node: started, watched, begun again and ended by the agent.

CUDA's Multi-Process Service lets several processes share a GPU within limits. Its control daemon must go on when the
agent stops, for the sessions that use it do: so it is no child of the agent, and one that is found is kept.

    DIRECTORY/pipe   where the daemon listens: shown to sessions as CUDA_MPS_PIPE_DIRECTORY
    DIRECTORY/log    what the daemon and its server write
    DIRECTORY/shm    the /dev/shm of the daemon and of all its sessions: they talk to each other by shared memory

Reference: NVIDIA, "Multi-Process Service", docs.nvidia.com/deploy/mps.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.accelerators.contract import AcceleratorFailure

log = logging.getLogger(__name__)

PROGRAM: Final = "nvidia-cuda-mps-control"
#: Seconds for an answer of the daemon, and for it to answer after its start.
_ANSWER_SECONDS: Final = 5.0
_START_SECONDS: Final = 10.0
#: A daemon that does not answer so often in a row is ended and begun again.
_PATIENCE: Final = 3
#: In a name space of its own, so that its shared memory is not the node's.
_APART: Final = 'mount --bind "$1" /dev/shm && exec "$2" -d'


@dataclass
class MpsDaemon:
    """One control daemon for all shared GPUs of the node.

    Args:
        directory: kept for it alone.
        program: its name or path.
        apart: give it a shared memory of its own; needs to be root. Else it is the node's /dev/shm.
    """

    directory: Path
    program: str = PROGRAM
    apart: bool = False
    _silent: int = 0
    _started: bool = False

    @property
    def pipe(self) -> Path:
        return self.directory / "pipe"

    @property
    def shared_memory(self) -> Path:
        """What sessions must see as /dev/shm."""
        return self.directory / "shm" if self.apart else Path("/dev/shm")  # noqa: S108 - where it is

    def ensure(self, gpus: Sequence[str]) -> frozenset[str]:
        """See to it that the daemon runs for these GPUs (UUIDs). Returns those that it manages.

        It learns of GPUs at its start only: for one that has come back since, it is begun again once nobody uses it.

        Raises:
            AcceleratorFailure: it does not run, with what it said.
        """
        if self.answers():
            self._silent, self._started = 0, True
            managed = self._managed()
            if managed.issuperset(gpus) or self._in_use():
                return managed
            log.info("the MPS daemon is begun again, for other GPUs than before")
            self._stop()
            self._start(gpus)
            self._started = True
            return self._managed()
        if self._pid() and self._silent + 1 < _PATIENCE:
            self._silent += 1
            raise AcceleratorFailure("The MPS daemon does not answer.")
        if self._started:
            log.error("the MPS daemon has ended; it is begun again, and sessions that used it must be, too")
        self._end()
        self._start(gpus)
        self._silent, self._started = 0, True
        return self._managed()

    def answers(self) -> bool:
        """Whether a daemon listens."""
        if not self.pipe.is_dir():
            return False
        try:
            return self._control("get_default_active_thread_percentage").returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    def quit(self) -> None:
        """End it. Its sessions' GPU work fails: only when there is none."""
        self._stop()
        self._started = False
        if self.apart and self.shared_memory.is_mount():
            self._system("umount", str(self.shared_memory))

    def _stop(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._control("quit")
        self._end()

    def _start(self, gpus: Sequence[str]) -> None:
        program = shutil.which(self.program)
        if program is None:
            raise AcceleratorFailure(
                f"Shares of GPUs need the MPS daemon, and {self.program} is not installed: it comes with the driver "
                "(Debian, Ubuntu: nvidia-compute-utils). Or use the mode time-sliced."
            )
        for directory in (self.pipe, self.directory / "log"):
            # For others to read: sessions are other users than the agent. The directory itself stays, for it is what
            # sessions that run have mounted: they find the next daemon in it.
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            for left in directory.iterdir():
                left.unlink(missing_ok=True)
        self.directory.chmod(0o711)
        self._note.write_text("\n".join(gpus))
        command = [program, "-d"]
        if self.apart:
            self._make_shared_memory()
            command = ["unshare", "--mount", "sh", "-c", _APART, "sh", str(self.shared_memory), program]
        environ = {**self._environ(), "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        try:
            # Into a file, not a pipe: a daemon that keeps its end of one open would be waited for.
            with (self.directory / "log" / "start.log").open("wb") as output:
                begun = subprocess.run(  # noqa: S603 - a program of the driver
                    command,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=_START_SECONDS,
                    start_new_session=True,
                    check=False,
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AcceleratorFailure(f"The MPS daemon does not start: {error}.") from error
        until = time.monotonic() + _START_SECONDS
        while begun.returncode == 0 and time.monotonic() < until:
            if self.answers():
                log.info("the MPS daemon runs for %s", ", ".join(gpus))
                return
            time.sleep(0.05)
        said = (self.directory / "log" / "start.log").read_text(errors="replace").strip()
        raise AcceleratorFailure(f"The MPS daemon does not start: {said[-300:] or 'it says nothing'}")

    @property
    def _note(self) -> Path:
        """Which GPUs the daemon was started for: the next agent must know it, too."""
        return self.directory / "gpus"

    def _managed(self) -> frozenset[str]:
        try:
            return frozenset(self._note.read_text().split())
        except OSError:
            return frozenset()

    def _in_use(self) -> bool:
        """Whether any process computes through the daemon; it is taken to be in use when it does not say."""
        try:
            servers = self._control("get_server_list").stdout.split()
            return any(self._control(f"get_client_list {server}").stdout.strip() for server in servers)
        except (OSError, subprocess.TimeoutExpired):
            return True

    def _make_shared_memory(self) -> None:
        path = self.shared_memory
        path.mkdir(exist_ok=True)
        if not path.is_mount():
            options = "mode=1777,nosuid,nodev,noexec"
            said = self._system("mount", "-t", "tmpfs", "-o", options, "berth-mps", str(path))
            if said:
                raise AcceleratorFailure(f"No shared memory for the MPS daemon: {said}")

    def _system(self, *command: str) -> str:
        """Run a program of the system; returns what it complains of."""
        done = subprocess.run(  # noqa: S603 - fixed programs, our own paths
            command, capture_output=True, text=True, timeout=_START_SECONDS, check=False
        )
        return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""

    def _end(self) -> None:
        """End a daemon that does not do it by itself, and its server with it."""
        pid = self._pid()
        if not pid:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
            until = time.monotonic() + _ANSWER_SECONDS
            while self._pid() == pid and time.monotonic() < until:
                time.sleep(0.02)

    def _pid(self) -> int:
        """The daemon, by the file that it writes; 0 when it does not run. The number alone may be another's by now."""
        try:
            pid = int((self.pipe / "nvidia-cuda-mps-control.pid").read_text().strip())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError, IndexError):
            return 0
        named = any(Path(os.fsdecode(part)).name == Path(self.program).name for part in arguments)
        return pid if named and state != "Z" else 0

    def _control(self, command: str) -> "subprocess.CompletedProcess[str]":
        program = shutil.which(self.program) or self.program
        return subprocess.run(  # noqa: S603 - a program of the driver
            [program],
            input=f"{command}\n",
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "CUDA_MPS_PIPE_DIRECTORY": str(self.pipe),
            "CUDA_MPS_LOG_DIRECTORY": str(self.directory / "log"),
        }
