"""Byte streams from the manager to a kernel: a one-time token goes down the link, and the agent dials back with it.

open_stream ──▶ token waits ──OpenStream(token)──▶ agent
                    ▲                                │ opens the terminal, port or log
attach_stream ──────┴──── GET /agents/streams/TOKEN ─┘
"""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Self

from agents.connections import Connection, ConnectionLost, close
from agents.protocol import CLOSE_NO_STREAM


class StreamRefused(Exception):
    """A dial-back came with a token that is unknown, used, expired, or given to another agent."""

    def __init__(self, reason: str, *, foreign: bool = False) -> None:
        super().__init__(reason)
        #: True when the token is good but belongs to another agent: worth an audit record.
        self.foreign = foreign


class Stream:
    """One byte stream to a kernel, with the flow control of its own TCP connection: nothing is queued here.

    Frames are those of `protocol.OpenStream`: bytes both ways, str for the JSON control messages. One task may
    receive while another sends.
    """

    def __init__(self, agent_id: str, connection: Connection) -> None:
        self.agent_id = agent_id
        self._connection = connection
        self._ended = asyncio.Event()

    async def receive(self) -> bytes | str:
        """The agent's next frame. Raises `ConnectionLost` at the end (code 1000: ended in order)."""
        try:
            return await self._connection.receive()
        except ConnectionLost:
            self._ended.set()
            raise

    async def send(self, data: bytes | str) -> None:
        """Send one frame to the agent; waits while the kernel does not read. Raises `ConnectionLost`."""
        try:
            await self._connection.send(data)
        except ConnectionLost:
            self._ended.set()
            raise

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the stream. Idempotent; the kernel's terminal goes on (`CloseTerminal` ends it)."""
        if not self._ended.is_set():
            self._ended.set()
            await close(self._connection, code, reason)

    async def ended(self) -> None:
        """Wait until either end has closed it (noticed by `receive`, `send` or `close`)."""
        await self._ended.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | str:
        try:
            return await self.receive()
        except ConnectionLost:
            raise StopAsyncIteration from None


@dataclass
class _Waiting:
    agent_id: str
    arrived: asyncio.Future[Stream]


@dataclass
class Dialbacks:
    """The tokens that wait for their agent, and the streams that are open."""

    _waiting: dict[bytes, _Waiting] = field(default_factory=dict[bytes, _Waiting])
    _open: dict[str, set[Stream]] = field(default_factory=dict[str, set[Stream]])

    def expect(self, agent_id: str) -> tuple[str, asyncio.Future[Stream]]:
        """A new 256-bit token for this agent, and the stream to come. `forget` must follow."""
        token = secrets.token_urlsafe(32)
        arrived: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        self._waiting[_digest(token)] = _Waiting(agent_id, arrived)
        return token, arrived

    def forget(self, token: str) -> None:
        """The token is void from now on."""
        waiting = self._waiting.pop(_digest(token), None)
        if waiting:
            waiting.arrived.cancel()

    async def attach(self, token: str, agent_id: str, connection: Connection) -> None:
        """Give the connection to whoever waits for the token; return when the stream has ended."""
        try:
            waiting = self._take(token, agent_id)
        except StreamRefused as refusal:
            await close(connection, CLOSE_NO_STREAM, str(refusal))
            raise
        stream = Stream(agent_id, connection)
        streams = self._open.setdefault(agent_id, set())
        streams.add(stream)
        try:
            waiting.arrived.set_result(stream)
            await stream.ended()
        finally:
            streams.discard(stream)
            if not streams and self._open.get(agent_id) is streams:
                del self._open[agent_id]
            await stream.close(1001, "the manager's end is gone")

    def _take(self, token: str, agent_id: str) -> _Waiting:
        key = _digest(token)
        waiting = self._waiting.get(key)
        if waiting is None or waiting.arrived.done():
            raise StreamRefused("no stream waits for this token: it was used, has expired, or never was")
        if waiting.agent_id != agent_id:
            # Not consumed: a foreign agent must not be able to break the stream of the right one.
            raise StreamRefused("this token was not given to this agent", foreign=True)
        return self._waiting.pop(key)

    async def close_all(self, agent_id: str, code: int, reason: str) -> None:
        """End all streams of an agent, open or expected."""
        for key, waiting in list(self._waiting.items()):
            if waiting.agent_id == agent_id:
                del self._waiting[key]
                if not waiting.arrived.done():
                    waiting.arrived.set_exception(ConnectionLost(code, reason))
        await asyncio.gather(*(stream.close(code, reason) for stream in list(self._open.get(agent_id, ()))))

    @property
    def agents(self) -> set[str]:
        """Agents with a stream, open or expected."""
        return set(self._open) | {waiting.agent_id for waiting in self._waiting.values()}


def _digest(token: str) -> bytes:
    # A look-up by digest takes as long for a near miss as for a far one.
    return hashlib.sha256(token.encode()).digest()
