"""Shells that outlive whoever looks at them: the agent reads each one always, and keeps the end of what it wrote.

    runtime's Terminal ──▶ pump ──┬─▶ scrollback (the last 256 KiB)      a new viewer gets it first, then what is live
                                  ├─▶ viewer's buffer ──▶ its websocket
                                  └─▶ viewer's buffer ──▶ …              full: this viewer is dropped, nobody waits

All viewers of one terminal see the same and may all type; the last resize wins. A viewer that was dropped attaches
again and finds the scrollback.
"""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass

from agents.runtimes.contract import Runtime, RuntimeFailure, Terminal

log = logging.getLogger(__name__)

#: Bytes of output kept of each terminal.
SCROLLBACK = 256 * 1024
#: Bytes that a viewer may be behind: the scrollback and as much again and more.
VIEWER_BUFFER = 1024 * 1024
#: Terminals of one kernel.
MAX_TERMINALS = 32


@dataclass(frozen=True)
class ShellExit:
    """The shell has ended. `code` is None when the runtime cannot know it."""

    code: int | None


class SlowViewer(Exception):
    """This viewer did not take the output fast enough and was dropped."""


class Scrollback:
    """The newest bytes of a terminal, cut at a line's beginning: never inside a character or a colour code."""

    def __init__(self, limit: int = SCROLLBACK) -> None:
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._cut = False

    def append(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        while self._size - len(self._chunks[0]) >= self._limit:
            self._size -= len(self._chunks.popleft())
            self._cut = True

    def read(self) -> bytes:
        data = b"".join(self._chunks)
        cut = self._cut or len(data) > self._limit
        data = data[-self._limit :]
        # One line as long as the whole scrollback has no beginning: then it is shown as it is.
        return data[data.find(b"\n") + 1 :] if cut else data


class Viewer:
    """One who looks at a terminal. `read` by one task."""

    def __init__(self, shell: "SharedShell", first: bytes) -> None:
        self._shell = shell
        self._chunks: deque[bytes] = deque([first] if first else [])
        self._size = len(first)
        self._end: ShellExit | SlowViewer | None = None
        self._changed = asyncio.Event()

    async def read(self) -> bytes | ShellExit:
        """All that has come since the last call, or how the shell ended. Raises `SlowViewer`."""
        while not self._chunks and self._end is None:
            self._changed.clear()
            await self._changed.wait()
        if self._chunks:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            return data
        if isinstance(self._end, SlowViewer):
            raise self._end
        assert self._end is not None  # noqa: S101 - the loop above ended by it
        return self._end

    async def write(self, data: bytes) -> None:
        await self._shell.terminal.write(data)

    async def resize(self, columns: int, rows: int) -> None:
        await self._shell.resize(columns, rows)

    def leave(self) -> None:
        """The shell goes on."""
        self._shell.viewers.discard(self)

    def take(self, data: bytes) -> None:
        if self._size + len(data) > VIEWER_BUFFER:
            self._chunks.clear()
            self.end(
                SlowViewer("the output was not read fast enough; connect again to go on from the scrollback")
            )
            self.leave()
        else:
            self._chunks.append(data)
            self._size += len(data)
            self._changed.set()

    def end(self, how: ShellExit | SlowViewer) -> None:
        self._end = self._end or how
        self._changed.set()


class SharedShell:
    """A shell, its scrollback and its viewers."""

    def __init__(self, terminal: Terminal, size: tuple[int, int]) -> None:
        self.terminal = terminal
        self.viewers: set[Viewer] = set()
        self._size = size
        self._scrollback = Scrollback()

    def attach(self) -> Viewer:
        viewer = Viewer(self, self._scrollback.read())
        self.viewers.add(viewer)
        return viewer

    async def resize(self, columns: int, rows: int) -> None:
        if (columns, rows) != self._size:
            self._size = (columns, rows)
            await self.terminal.resize(columns, rows)

    async def pump(self) -> None:
        """Read until the shell ends, then tell the viewers."""
        code: int | None = None
        try:
            while data := await self.terminal.read():
                self._scrollback.append(data)
                for viewer in tuple(self.viewers):
                    viewer.take(data)
            code = await self.terminal.wait()
        except RuntimeFailure as failure:
            log.warning("a terminal ended: %s", failure.message)
        finally:
            for viewer in tuple(self.viewers):
                viewer.end(ShellExit(code))


class Terminals:
    """All open shells of the node."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._shells: dict[tuple[str, str], SharedShell] = {}
        self._pumps: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._doors: dict[tuple[str, str], asyncio.Lock] = {}

    async def attach(self, kernel: str, terminal: str, columns: int, rows: int) -> Viewer:
        """Look at a shell, which is started when there is none of this id.

        Raises:
            RuntimeFailure: `NOT_RUNNING`, `TOO_MANY_TERMINALS`, …
        """
        key = (kernel, terminal)
        # Two that attach at once must find one shell.
        door = self._doors.setdefault(key, asyncio.Lock())
        async with door:
            shell = self._shells.get(key)
            if shell is None:
                shell = await self._open(key, columns, rows)
        viewer = shell.attach()
        with contextlib.suppress(RuntimeFailure):  # it ends right now: the viewer will be told
            await shell.resize(columns, rows)
        return viewer

    async def close(self, kernel: str, terminal: str) -> None:
        """End a shell and forget its scrollback. Absent is success."""
        shell = self._shells.get((kernel, terminal))
        if shell:
            await shell.terminal.close()
            await asyncio.wait([self._pumps[(kernel, terminal)]], timeout=5.0)
            self._forget((kernel, terminal))

    async def close_kernel(self, kernel: str) -> None:
        """The kernel has ended, and its shells with it."""
        for key in [key for key in self._shells if key[0] == kernel]:
            pump = self._pumps[key]
            with contextlib.suppress(RuntimeFailure, OSError):
                await self._shells[key].terminal.close()
            pump.cancel()
            await asyncio.wait([pump])
            self._forget(key)

    async def detach(self) -> None:
        """The agent stops: let go of the shells without ending those that the runtime can keep."""
        for key, shell in list(self._shells.items()):
            pump = self._pumps[key]
            pump.cancel()
            await asyncio.wait([pump])
            with contextlib.suppress(RuntimeFailure, OSError):
                await shell.terminal.detach()
            self._forget(key)

    async def _open(self, key: tuple[str, str], columns: int, rows: int) -> SharedShell:
        if sum(1 for kernel, _ in self._shells if kernel == key[0]) >= MAX_TERMINALS:
            message = f"{MAX_TERMINALS} terminals of this session are open already: close one first"
            raise RuntimeFailure("TOO_MANY_TERMINALS", message)
        terminal = await self._runtime.open_terminal(*key, columns, rows)
        shell = self._shells[key] = SharedShell(terminal, (columns, rows))
        pump = self._pumps[key] = asyncio.create_task(shell.pump())
        pump.add_done_callback(lambda task: self._ended(key, shell, task))
        return shell

    def _ended(self, key: tuple[str, str], shell: SharedShell, pump: "asyncio.Task[None]") -> None:
        if not pump.cancelled() and (error := pump.exception()):
            log.error("reading a terminal failed", exc_info=error)
        if self._shells.get(key) is shell:
            self._forget(key)

    def _forget(self, key: tuple[str, str]) -> None:
        self._shells.pop(key, None)
        self._pumps.pop(key, None)
        door = self._doors.get(key)
        if door and not door.locked():
            del self._doors[key]
