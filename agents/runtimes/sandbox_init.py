"""The first program inside a sandbox of the process runtime: runs what the session is for, keeps its terminals.

It runs with the sandbox's own Python and nothing but the standard library. It outlives the agent: shells and their
scrollback are here, so an agent that was restarted finds them again.

/run/berth in the sandbox is a directory of the node:

    spec.json   what to run: {"bootstrap", "command"}
    log         output of both
    s           a Unix socket that the agent connects to
    exit.json   {"code"}: written whole before the end; without it the sandbox was killed

A connection begins with one line of JSON and is answered with one line, {"ok": true} or {"error"}:

    {"op": "terminal", "id", "columns", "rows"}   the kept scrollback, then the shell, until either side closes
    {"op": "close", "id"}                         ends a shell
    {"op": "terminate", "grace"}                  SIGTERM to everything, after `grace` seconds the end

After that a terminal's connection carries frames both ways: one byte of kind, four of length (big-endian), the content.
From the agent: `d` input, `r` new size as two 16-bit numbers (columns, rows). To the agent: `d` output, `x` the exit code
in decimal, the last frame.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

RUN = "/run/berth"
SCROLLBACK = 256 * 1024
#: Bytes that a slow reader may be behind before it is let go; it can come back.
BEHIND = 1024 * 1024
HOME = "/home/work"


class Shell:
    """A shell on a PTY, its scrollback, and who looks at it."""

    def __init__(self, identity: str, columns: int, rows: int, ended: Callable[[str], None]) -> None:
        self.kept = bytearray()
        self.viewers: set[asyncio.StreamWriter] = set()
        self.code: int | None = None
        self._telling: asyncio.Task[None] | None = None
        self._ended = ended
        self._identity = identity
        pid, self.master = pty.fork()
        if pid == 0:
            os.chdir(HOME)
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
            os.execv(shell, [shell, "-l"])
        self.pid = pid
        self.resize(columns, rows)
        os.set_blocking(self.master, False)
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def resize(self, columns: int, rows: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def write(self, data: bytes) -> None:
        # What does not fit into the PTY's buffer of a program that never reads is lost, as on any terminal.
        with contextlib.suppress(OSError):
            os.write(self.master, data)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGHUP)

    def _read(self) -> None:
        try:
            data = os.read(self.master, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self.kept += data
        del self.kept[:-SCROLLBACK]
        for viewer in list(self.viewers):
            send(viewer, b"d", data)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        while self.code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                await asyncio.sleep(0.02)
        for viewer in self.viewers:
            send(viewer, b"x", str(self.code).encode())
            viewer.close()
        self._ended(self._identity)


class Init:
    def __init__(self) -> None:
        self.shells: dict[str, Shell] = {}
        self.stopping: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop, 2.0)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{RUN}/s")
        server = await asyncio.start_unix_server(self.serve, f"{RUN}/s")
        with open(f"{RUN}/spec.json") as file:
            spec = json.load(file)
        if spec["bootstrap"]:
            await run(spec["bootstrap"])
        command: asyncio.Task[int] | None = None
        waiting: list[asyncio.Future[Any]] = [self.stopping]
        if spec["command"] is not None:
            command = loop.create_task((await run(spec["command"])).wait())
            waiting.append(command)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        code = 143
        if command is not None and not self.stopping.done():
            code = command.result()
        else:
            await everything_ends(self.stopping.result())
        with open(f"{RUN}/exit.new", "w") as file:
            json.dump({"code": code if code >= 0 else 128 - code}, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{RUN}/exit.new", f"{RUN}/exit.json")
        server.close()

    def stop(self, grace: float) -> None:
        if not self.stopping.done():
            self.stopping.set_result(grace)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked: dict[str, Any] = json.loads(await reader.readline())
            if asked["op"] == "terminal":
                await self.view(asked, reader, writer)
            elif asked["op"] == "close":
                if asked["id"] in self.shells:
                    self.shells[asked["id"]].close()
                writer.write(b'{"ok": true}\n')
            elif asked["op"] == "terminate":
                writer.write(b'{"ok": true}\n')
                self.stop(float(asked["grace"]))
            else:
                writer.write(b'{"error": "unknown op"}\n')
        except (ValueError, KeyError, TypeError, OSError, asyncio.IncompleteReadError) as error:
            with contextlib.suppress(OSError):
                writer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        finally:
            writer.close()

    async def view(
        self, asked: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        shell = self.shells.get(asked["id"])
        if shell is None:
            shell = Shell(asked["id"], asked["columns"], asked["rows"], self.forget)
            self.shells[asked["id"]] = shell
        else:
            shell.resize(asked["columns"], asked["rows"])
        writer.write(b'{"ok": true}\n')
        if shell.kept:
            send(writer, b"d", bytes(shell.kept))
        shell.viewers.add(writer)
        try:
            while True:
                kind, length = struct.unpack(">cI", await reader.readexactly(5))
                content = await reader.readexactly(length)
                if kind == b"d":
                    shell.write(content)
                elif kind == b"r":
                    shell.resize(*struct.unpack(">HH", content))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            shell.viewers.discard(writer)

    def forget(self, identity: str) -> None:
        self.shells.pop(identity, None)


def send(writer: asyncio.StreamWriter, kind: bytes, content: bytes) -> None:
    if writer.transport.get_write_buffer_size() > BEHIND:
        writer.transport.abort()
        return
    writer.write(struct.pack(">cI", kind, len(content)) + content)


async def run(script: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script, cwd=HOME, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )


async def everything_ends(grace: float) -> None:
    """SIGTERM to all processes of the sandbox but its own two; wait until they are gone or the grace is over."""
    until = asyncio.get_running_loop().time() + grace
    for pid in others():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while others() and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.02)


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


async def main() -> None:
    await Init().main()


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
