"""The first program inside a sandbox of the process runtime: runs what the session is for, keeps its terminals.

It runs with the sandbox's own Python and nothing but the standard library. It outlives the agent: shells and their
scrollback are here, so an agent that was restarted finds them again.

/run/berth in the sandbox is a directory of the node:

    spec.json   what to run: {"bootstrap", "command", "processes" (0: no limit)}
    log, log.1  output of both, the newer and the older part, 8 MiB each
    s           a Unix socket that the agent connects to
    exit.json   {"code"}: written whole before the end; without it the sandbox was killed

A connection begins with one line of JSON and is answered with one line, {"ok": true} or {"error"}:

    {"op": "terminal", "id", "columns", "rows"}   the kept scrollback, then the shell, until either side closes
    {"op": "close", "id"}                         ends a shell
    {"op": "terminate", "grace"}                  SIGTERM to everything, after `grace` seconds the end

After that a terminal's connection carries frames both ways: one byte of kind, four of length (big-endian, at most 1 MiB),
the content. From the agent: `d` input, `r` new size as two 16-bit numbers (columns, rows). To the agent: `d` output, `x`
the exit code in decimal, the last frame.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

RUN = "/run/berth"
HOME = "/home/work"
WORK = 1000
SCROLLBACK = 256 * 1024
#: Bytes that may wait in either direction before the other side has to wait too.
BEHIND = 256 * 1024
#: Seconds for which a viewer may take nothing before it is let go; it can come back.
PATIENCE = 30.0
FRAME = 1024 * 1024
LOG_PART = 8 * 1024 * 1024
OPEN_FILES = 65536
_PR_SET_DUMPABLE = 4


class Log:
    """Output of bootstrap and command, through a pipe, into two files of bounded size."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._file = self._open()
        asyncio.get_running_loop().add_reader(self._reader, self.drain)

    def drain(self) -> None:
        """Write down what has come. At most so much at once that others get their turn."""
        for _ in range(16):
            try:
                data = os.read(self._reader, 65536)
            except BlockingIOError:
                return
            # A full disk costs the log, never the session.
            with contextlib.suppress(OSError):
                self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]
        if os.fstat(self._file).st_size >= LOG_PART:
            os.close(self._file)
            os.rename(f"{RUN}/log", f"{RUN}/log.1")
            self._file = self._open()

    def _open(self) -> int:
        return os.open(f"{RUN}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class Shell:
    """A shell on a PTY, its scrollback, and who looks at it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.viewers: set[asyncio.StreamWriter] = set()
        self._kept = bytearray()
        self._typed = bytearray()
        self._room = asyncio.Event()
        self._room.set()
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        self.resize(columns, rows)

    async def start(self, ended: Callable[[], None]) -> None:
        path = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        # A session's leader that opens a terminal gets it as its controlling one; no fork of this process is needed.
        self._process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", 'exec "$1" -l <>"$2" >&0 2>&0', "sh", path, os.ttyname(self._slave)),
            cwd=HOME,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        loop = asyncio.get_running_loop()
        loop.add_reader(self._master, self._read)
        self._life = loop.create_task(self._live(ended))

    def attach(self, viewer: asyncio.StreamWriter) -> None:
        viewer.transport.set_write_buffer_limits(BEHIND)
        if self._kept:
            send(viewer, b"d", bytes(self._kept))
        self.viewers.add(viewer)

    def resize(self, columns: int, rows: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def write(self, data: bytes) -> None:
        """Type something; waits while the program takes no more."""
        await self._room.wait()
        if self._process.returncode is None:
            self._typed += data
            self._flush()

    async def close(self) -> None:
        """End the shell; when this returns, nobody finds it any more."""
        self._signal(signal.SIGHUP)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 2)
        self._signal(signal.SIGKILL)
        await asyncio.shield(self._life)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            del self._typed[: os.write(self._master, self._typed)]
        except BlockingIOError:
            pass
        except OSError:
            self._typed.clear()
        if self._typed:
            loop.add_writer(self._master, self._flush)
        else:
            loop.remove_writer(self._master)
        if len(self._typed) < BEHIND:
            self._room.set()
        else:
            self._room.clear()

    def _read(self) -> bool:
        """Returns whether there may be more."""
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self._kept += data
        del self._kept[:-SCROLLBACK]
        for viewer in self.viewers:
            send(viewer, b"d", data)
        slow = [one for one in self.viewers if one.transport.get_write_buffer_size() > BEHIND]
        if slow and self._process.returncode is None:
            asyncio.get_running_loop().remove_reader(self._master)
            self._pause = asyncio.get_running_loop().create_task(self._let_catch_up(slow))
        return bool(data)

    async def _let_catch_up(self, slow: list[asyncio.StreamWriter]) -> None:
        for viewer in slow:
            try:
                await asyncio.wait_for(viewer.drain(), PATIENCE)
            except (TimeoutError, OSError):
                viewer.transport.abort()
                self.viewers.discard(viewer)
        if self._process.returncode is None:
            asyncio.get_running_loop().add_reader(self._master, self._read)

    async def _live(self, ended: Callable[[], None]) -> None:
        """The shell's end ends the terminal, even if something in the background still holds the PTY."""
        code = await self._process.wait()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        for _ in range(256):
            if not self._read():
                break
        self._room.set()
        ended()
        for viewer in self.viewers:
            send(viewer, b"x", str(code if code >= 0 else 128 - code).encode())
            viewer.close()
        self.viewers.clear()
        os.close(self._master)
        os.close(self._slave)


class Init:
    def __init__(self, log: Log) -> None:
        self.log = log
        self.shells: dict[str, Shell] = {}
        self.opening = asyncio.Lock()
        self.stopping: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def main(self, spec: dict[str, Any]) -> None:
        """Listens last: who finds the socket finds all else as well."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop, 2.0)
        bootstrap = await self.run(spec["bootstrap"]) if spec["bootstrap"] else None
        command: asyncio.Task[int] | None = None
        waiting: list[asyncio.Future[Any]] = [self.stopping]
        if spec["command"] is not None:
            command = loop.create_task((await self.run(spec["command"])).wait())
            waiting.append(command)
        server = await asyncio.start_unix_server(self.serve, f"{RUN}/s.new")
        os.rename(f"{RUN}/s.new", f"{RUN}/s")
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self.stopping.done():
            await self.everything_ends(self.stopping.result())
        code = command.result() if command is not None and command.done() else 128 + signal.SIGTERM
        self.log.drain()
        write_exit(code if code >= 0 else 128 - code)
        server.close()
        del bootstrap

    def stop(self, grace: float) -> None:
        if not self.stopping.done():
            self.stopping.set_result(grace)

    async def run(self, script: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", script),
            cwd=HOME,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self.log.writer,
            stderr=self.log.writer,
            start_new_session=True,
        )

    async def everything_ends(self, grace: float) -> None:
        """SIGTERM to all processes of the sandbox but its own two; wait until they are gone or the grace is over."""
        until = asyncio.get_running_loop().time() + grace
        # Shells that wait for somebody to type ignore SIGTERM.
        hanging = [asyncio.ensure_future(shell.close()) for shell in self.shells.values()]
        for pid in others():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
        while others() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)
        for task in hanging:
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked: dict[str, Any] = json.loads(await reader.readline())
            if asked["op"] == "terminal":
                await self.view(asked, reader, writer)
            elif asked["op"] == "close":
                if asked["id"] in self.shells:
                    await self.shells[asked["id"]].close()
                writer.write(b'{"ok": true}\n')
            elif asked["op"] == "terminate":
                writer.write(b'{"ok": true}\n')
                self.stop(float(asked["grace"]))
            else:
                writer.write(b'{"error": "unknown op"}\n')
        except (ValueError, KeyError, TypeError, OSError, struct.error) as error:
            with contextlib.suppress(OSError):
                writer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        finally:
            writer.close()

    async def view(
        self, asked: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        identity, size = str(asked["id"]), (int(asked["columns"]), int(asked["rows"]))
        async with self.opening:
            shell = self.shells.get(identity)
            if shell is None:
                shell = Shell(*size)
                await shell.start(lambda: self.forget(identity))
                self.shells[identity] = shell
            else:
                shell.resize(*size)
        writer.write(b'{"ok": true}\n')
        shell.attach(writer)
        try:
            while True:
                kind, length = struct.unpack(">cI", await reader.readexactly(5))
                if length > FRAME:
                    return
                content = await reader.readexactly(length)
                if kind == b"d":
                    await shell.write(content)
                elif kind == b"r":
                    shell.resize(*struct.unpack(">HH", content))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            shell.viewers.discard(writer)

    def forget(self, identity: str) -> None:
        self.shells.pop(identity, None)


def send(writer: asyncio.StreamWriter, kind: bytes, content: bytes) -> None:
    writer.write(struct.pack(">cI", kind, len(content)) + content)


def write_exit(code: int) -> None:
    with open(f"{RUN}/exit.new", "w") as file:
        json.dump({"code": code}, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{RUN}/exit.new", f"{RUN}/exit.json")


def others() -> list[int]:
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and int(name) not in (1, os.getpid()) and alive(name)
    ]


def alive(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def become_work() -> None:
    """Let go of root, where the agent is root."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(WORK, WORK, WORK)
        os.setresuid(WORK, WORK, WORK)
    os.chdir(HOME)


def bound(processes: int) -> None:
    """Bound what the session may use up."""
    limit(resource.RLIMIT_CORE, 0, 0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    limit(resource.RLIMIT_NOFILE, most, most)
    if processes:
        limit(resource.RLIMIT_NPROC, processes, processes)
    # Nobody inside looks into this program or writes to its files, though they are the same user.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def limit(which: int, soft: int, hard: int) -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (soft, hard))


async def main() -> None:
    become_work()
    with open(f"{RUN}/spec.json") as file:
        spec = json.load(file)
    bound(int(spec["processes"]))
    await Init(Log()).main(spec)
    # What it left in the background ends with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
