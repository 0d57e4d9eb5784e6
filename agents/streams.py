"""Serves `OpenStream`: opens the target, dials the manager with the token, and pumps bytes until either end stops.

The frames are those of `protocol.OpenStream`. Nothing is queued here: a side that does not read makes the other wait,
by the flow control of the two connections.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine

from agents.connections import Connection, ConnectionLost, close
from agents.protocol import (
    CLOSE_MALFORMED,
    STREAM_SUBPROTOCOL,
    LogTarget,
    OpenStream,
    PortTarget,
    TerminalTarget,
)
from agents.runtimes.contract import Duplex, Runtime, RuntimeFailure
from agents.sockets import DialRefused
from agents.terminals import ShellExit, SlowViewer, Terminals, Viewer

log = logging.getLogger(__name__)

#: Bytes of one frame at most: small enough that a control message is never long behind one.
FRAME = 128 * 1024
#: Streams open at once on this node.
MAX_STREAMS = 2048
#: RFC 6455 registry: try again later.
CLOSE_TRY_AGAIN = 1013

#: Dials the manager: path and subprotocol in, connection out. Raises as `sockets.dial`.
Dial = Callable[[str, str], Awaitable[Connection]]


class BadControl(ValueError):
    """A text frame that is no control message of this kind of stream."""


class Streams:
    """All byte streams of the node."""

    def __init__(self, runtime: Runtime, terminals: Terminals, dial: Dial) -> None:
        self._runtime = runtime
        self._terminals = terminals
        self._dial = dial
        self._pumps: set[asyncio.Task[None]] = set()

    async def open(self, message: OpenStream) -> None:
        """Open the target and dial back; the pump then goes on by itself.

        Raises:
            RuntimeFailure: the target cannot be opened, or the manager took no dial-back (`DIAL_FAILED`).
        """
        if len(self._pumps) >= MAX_STREAMS:
            raise RuntimeFailure(
                "TOO_MANY_STREAMS", f"{MAX_STREAMS} connections are open on this node already"
            )
        match message.target:
            case TerminalTarget() as target:
                size = max(1, min(target.columns, 1000)), max(1, min(target.rows, 1000))
                viewer = await self._terminals.attach(target.kernel, target.terminal, *size)
                await self._spawn(
                    message.token, lambda socket: pump_terminal(viewer, socket), _now(viewer.leave)
                )
            case PortTarget() as target:
                duplex = await self._runtime.connect(target.kernel, target.port, target.service)
                await self._spawn(message.token, lambda socket: pump_port(duplex, socket), duplex.close)
            case LogTarget() as target:
                chunks = self._runtime.logs(target.kernel, target.tail, target.follow)
                await self._spawn(message.token, lambda socket: pump_log(chunks, socket), _closer(chunks))

    async def close(self) -> None:
        """The agent stops."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _spawn(
        self,
        token: str,
        pump: Callable[[Connection], Coroutine[None, None, None]],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        try:
            socket = await self._dial(f"/agents/streams/{token}", STREAM_SUBPROTOCOL)
        except (DialRefused, ConnectionLost) as error:
            await release()
            raise RuntimeFailure("DIAL_FAILED", f"the manager did not take the stream: {error}") from error
        except BaseException:
            await release()
            raise
        task = asyncio.create_task(_serve(socket, pump(socket), release))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)


async def _serve(
    socket: Connection, pump: Coroutine[None, None, None], release: Callable[[], Awaitable[None]]
) -> None:
    code, reason = 1000, ""
    try:
        await pump
    except ConnectionLost:
        pass  # the viewer has gone: the commonest end
    except BadControl as error:
        code, reason = CLOSE_MALFORMED, str(error)
    except SlowViewer as error:
        code, reason = CLOSE_TRY_AGAIN, str(error)
    except RuntimeFailure as failure:
        code, reason = 1011, failure.message
        with contextlib.suppress(ConnectionLost, TimeoutError):
            async with asyncio.timeout(5.0):
                await socket.send(json.dumps({"error": failure.message, "code": failure.code}))
    except asyncio.CancelledError:
        code, reason = 1001, "the agent stops"
        raise
    except Exception:
        log.exception("a stream failed")
        code, reason = 1011, "the agent failed"
    finally:
        with contextlib.suppress(RuntimeFailure, OSError):
            await release()
        await close(socket, code, reason)


async def pump_terminal(viewer: Viewer, socket: Connection) -> None:
    """Until the shell or the viewer ends."""

    async def output() -> None:
        while not isinstance(data := await viewer.read(), ShellExit):
            await _send(socket, data)
        await socket.send(json.dumps({"exit": data.code}))

    async def keys() -> None:
        while True:
            frame = await socket.receive()
            if isinstance(frame, bytes):
                await viewer.write(frame)
            else:
                await viewer.resize(*_size_of(frame))

    await _first(output(), keys())


async def pump_port(duplex: Duplex, socket: Connection) -> None:
    """Until both directions have ended; either may end first (a half-closed TCP connection)."""

    async def outward() -> None:
        while data := await duplex.read():
            await _send(socket, data)
        await socket.send('{"eof": true}')

    async def inward() -> None:
        while True:
            frame = await socket.receive()
            if isinstance(frame, bytes):
                await duplex.write(frame)
            elif _control(frame).get("eof") is True:
                await duplex.write_eof()
                return
            else:
                raise BadControl("a port knows the control message eof only")

    tasks = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    try:
        await asyncio.gather(*tasks)
    except OSError as error:
        raise RuntimeFailure("CONNECTION_LOST", f"the app closed the connection: {error}") from error
    finally:
        await _cancel(tasks)


async def pump_log(chunks: AsyncIterator[bytes], socket: Connection) -> None:
    """Until the log or the reader ends."""

    async def output() -> None:
        async for chunk in chunks:
            await _send(socket, chunk)
        await socket.send('{"eof": true}')

    async def nothing() -> None:
        await socket.receive()
        raise BadControl("a log takes no input")

    await _first(output(), nothing())


async def _first(*parts: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=tasks.index):
            task.result()
    finally:
        await _cancel(tasks)


async def _cancel(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _send(socket: Connection, data: bytes) -> None:
    for start in range(0, len(data), FRAME):
        await socket.send(data[start : start + FRAME])


def _control(frame: str) -> dict[str, object]:
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise BadControl("a text frame must be a JSON object") from None
    if not isinstance(message, dict):
        raise BadControl("a text frame must be a JSON object")
    return {str(key): value for key, value in message.items()}


def _size_of(frame: str) -> tuple[int, int]:
    match _control(frame).get("resize"):
        case [int(columns), int(rows)] if 1 <= columns <= 1000 and 1 <= rows <= 1000:
            return columns, rows
        case _:
            raise BadControl('a terminal takes {"resize": [columns, rows]}, each from 1 to 1000')


def _now(release: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def later() -> None:
        release()

    return later


def _closer(chunks: AsyncIterator[bytes]) -> Callable[[], Awaitable[None]]:
    async def later() -> None:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()

    return later
