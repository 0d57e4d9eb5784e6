"""Keeps child processes running: each in a session of its own, begun again when it ends, its output in a log.

    start ──▶ running ──(ends)──▶ waiting (0.5 s, doubling to 30 s; anew after a minute of running) ──▶ running
                 └──(stop)──▶ SIGTERM ──(grace)──▶ SIGKILL ──▶ ended

A terminal's Ctrl-C so reaches the supervisor alone, which ends its children in its own order.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.deadlines import within

log = logging.getLogger(__name__)

#: A log is put aside at this length (bytes), and so many are kept beside it.
MAX_LOG: Final = 10 * 1024 * 1024
KEPT_LOGS: Final = 3
_ROTATE_EVERY: Final = 10.0
_LEASH: Final = Path(__file__).with_name("leash.py")


@dataclass
class Backoff:
    """Seconds to wait before a child is begun again."""

    first: float = 0.5
    most: float = 30.0
    #: A child that ran for so long was well: its next end begins anew.
    stable: float = 60.0
    _next: float = field(default=0.0, init=False)

    def after(self, ran: float) -> float:
        if ran >= self.stable:
            self._next = 0.0
        self._next = min(self.most, self._next * 2 if self._next else self.first)
        return self._next


@dataclass(frozen=True)
class Command:
    """What to run. `hand_over`: descriptors that it gets, closed here once it runs, for it to tell its supervisor something."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    hand_over: Sequence[int] = ()


class Child:
    """One supervised process.

    Args:
        make: called before each start, so that a restart can differ from the first.
        log: file that its output is added to.
        on_exit: told of each end that was not asked for: (exit status, negative for a signal; seconds until the next start).
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Command],
        log: Path,
        *,
        grace: float = 15.0,
        backoff: Backoff | None = None,
        on_exit: Callable[[int, float], None] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.starts = 0
        #: Set while it does not run and is not about to: after its first end until it is begun again.
        self.ended = asyncio.Event()
        self._make = make
        self._grace = grace
        self._backoff = backoff or Backoff()
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def stop(self) -> None:
        """End it in order, by force after the grace. It is not begun again. Idempotent."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        try:
            with self.log.open(errors="replace") as file:
                return "".join(deque(file, maxlen=lines)).rstrip()
        except OSError:
            return ""

    async def _keep(self) -> None:
        rotation = asyncio.create_task(self._rotate())
        try:
            while True:
                began = time.monotonic()
                status = await self._run()
                pause = self._backoff.after(time.monotonic() - began)
                self.ended.set()
                if self._on_exit:
                    self._on_exit(status, pause)
                await asyncio.sleep(pause)
        finally:
            rotation.cancel()
            await asyncio.gather(rotation, return_exceptions=True)

    async def _run(self) -> int:
        command = self._make()
        self.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_LEASH), str(os.getpid())),
                *command.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(command.environment),
                pass_fds=command.hand_over,
                start_new_session=True,
            )
        finally:
            for given in (descriptor, *command.hand_over):
                os.close(given)
        self.starts += 1
        self.ended.clear()
        try:
            return await self._process.wait()
        except asyncio.CancelledError:
            await self._end(self._process)
            raise

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        for number, seconds in ((signal.SIGTERM, self._grace), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            try:
                await within(seconds, process.wait())
            except TimeoutError:
                log.warning("%s did not end within %g s of %s", self.name, seconds, number.name)
            else:
                return

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY)
            with contextlib.suppress(OSError):  # a full disk: tried again
                await asyncio.to_thread(rotate, self.log)


def rotate(path: Path, limit: int = MAX_LOG, kept: int = KEPT_LOGS) -> bool:
    """Put a log aside that has grown beyond `limit` bytes. Tells whether it did.

    It is copied and cut to nothing, since its writer keeps it open (for appending); lines written in between are lost.
    """
    if not path.exists() or path.stat().st_size <= limit:
        return False
    for number in range(kept - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    aside = path.with_name(f"{path.name}.1")
    shutil.copyfile(path, aside)
    aside.chmod(0o600)
    os.truncate(path, 0)
    return True
