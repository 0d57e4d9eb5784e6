"""Terminals and connections into Docker containers."""

import contextlib
from typing import Any

import aiohttp

from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.engine import Engine

_MOST_OUTPUT = 1024 * 1024

#: tmux keeps the shell while nobody is attached, through a restart of the agent too; without it there is a plain shell.
_SHELL = """
if command -v tmux >/dev/null 2>&1; then exec tmux -u new-session -A -s "berth-$0"; fi
if command -v bash >/dev/null 2>&1; then exec bash -l; fi
exec sh -l
"""


class DockerTerminal:
    """A PTY exec."""

    def __init__(self, engine: Engine, container: Any, terminal: str, execution: Any, stream: Any) -> None:
        self._engine = engine
        self._container = container
        self._terminal = terminal
        self._exec = execution
        self._stream = stream

    @classmethod
    async def open(
        cls, engine: Engine, container: str, terminal: str, columns: int, rows: int
    ) -> "DockerTerminal":
        what = "Opening a terminal"
        inside = engine.docker.containers.container(container)
        execution = await engine.call(
            inside.exec(
                ["/bin/sh", "-c", _SHELL, terminal],
                stdin=True,
                tty=True,
                user="1000:1000",
                workdir="/home/work",
                environment={"TERM": "xterm-256color", "COLORTERM": "truecolor"},
            ),
            "NOT_RUNNING",
            what,
        )
        stream = execution.start(detach=False)
        await engine.call(stream._init(), "NOT_RUNNING", what)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  # else it begins with the first read
        made = cls(engine, inside, terminal, execution, stream)
        await made.resize(columns, rows)
        return made

    async def read(self) -> bytes:
        try:
            message = await self._stream.read_out()
        except (aiohttp.ClientError, OSError):
            return b""
        return message.data if message is not None else b""

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write_in(data)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise RuntimeFailure("NOT_RUNNING", "The terminal's shell has ended.") from error

    async def resize(self, columns: int, rows: int) -> None:
        # A shell that has just ended cannot be resized, and nobody minds.
        with contextlib.suppress(RuntimeFailure):
            await self._engine.call(
                self._exec.resize(w=columns, h=rows), "NOT_RUNNING", "Resizing a terminal"
            )

    async def wait(self) -> int | None:
        found = await self._engine.call(self._exec.inspect(), "NOT_RUNNING", "Reading an exit code")
        return found.get("ExitCode")

    async def detach(self) -> None:
        await self._stream.close()

    async def close(self) -> None:
        """The end of its terminal ends a shell; tmux, which would outlive it, is told."""
        await self._stream.close()
        with contextlib.suppress(RuntimeFailure):
            await run(
                self._engine,
                self._container,
                [
                    "/bin/sh",
                    "-c",
                    'command -v tmux >/dev/null && tmux kill-session -t "=berth-$0"',
                    self._terminal,
                ],
            )


async def run(
    engine: Engine, container: Any, command: list[str], *, environ: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Run a command in a container to its end. Returns its exit code and what it wrote (at most 1 MiB)."""
    what = f"Running {command[0]}"
    execution = await engine.call(
        container.exec(command, user="1000:1000", workdir="/home/work", environment=environ),
        "NOT_RUNNING",
        what,
    )
    output = await engine.call(_read_all(execution), "NOT_RUNNING", what)
    found = await engine.call(execution.inspect(), "NOT_RUNNING", what)
    code = found.get("ExitCode")
    return (0 if code is None else code), output


async def _read_all(execution: Any) -> bytes:
    output = bytearray()
    async with execution.start(detach=False) as stream:
        while (message := await stream.read_out()) is not None:
            if message.stream == 1 and len(output) < _MOST_OUTPUT:
                output += message.data
    return bytes(output)


class ExecPipe:
    """A command's standard input and output as a connection (`stdio` services: sshd -i)."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        while True:
            try:
                message = await self._stream.read_out()
            except (aiohttp.ClientError, OSError):
                return b""
            if message is None:
                return b""
            if message.stream == 1:
                return message.data

    async def write(self, data: bytes) -> None:
        await self._stream.write_in(data)

    async def write_eof(self) -> None:
        """An exec's input cannot be half closed by every engine; closing it ends the command."""

    async def close(self) -> None:
        await self._stream.close()
