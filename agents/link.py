"""The agent's end of the link: dials the manager, says what it has, replays, keeps alive, and dials again.

    dial ─▶ Hello ─▶ Welcome ─┬ receiver   commands ─▶ node;  Ack ─▶ journal
      ▲                       ├ sender     the journal's events from the first unacknowledged on, at most EVENT_WINDOW ahead
      │                       └ heartbeat
      └── back-off ◀── the end of any of them

Only the journal outlives a connection. Stats and pull progress are sent while connected or not at all.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from agents.connections import ConnectionLost, close
from agents.journal import Journal
from agents.protocol import (
    CLOSE_BAD_CREDENTIAL,
    CLOSE_MALFORMED,
    CLOSE_PROTOCOL,
    CLOSE_REMOVED,
    CLOSE_SUPERSEDED,
    EVENT_WINDOW,
    SUBPROTOCOL,
    Ack,
    Heartbeat,
    Hello,
    MalformedFrame,
    PullProgress,
    Reply,
    Resources,
    Stats,
    ToAgent,
    Welcome,
    decode_to_agent,
    encode,
)
from agents.sockets import DialRefused, Manager, Socket, dial

log = logging.getLogger(__name__)

#: Seconds from Hello until Welcome must be there.
WELCOME_SECONDS = 30.0

#: What a close code means to whoever runs the node. These do not mend themselves: tried again, but slowly.
_FINAL = {
    CLOSE_BAD_CREDENTIAL: "the manager does not know this node's credential: join again with a new token",
    CLOSE_REMOVED: "this node was removed from the cluster: join again with a new token if it shall come back",
    CLOSE_PROTOCOL: "manager and agent do not speak the same protocol: bring both to the same release",
    CLOSE_SUPERSEDED: "another agent with this node's credential has taken over: is its state directory used twice?",
}


class LinkRejected(Exception):
    """The manager will not have this agent, now or later. `code`: the close code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Node(Protocol):
    """What the link asks of the daemon."""

    async def hello(self) -> Hello:
        """What to say first; the link fills in the journal and the address."""
        ...

    def welcomed(self, welcome: Welcome) -> None: ...

    def command(self, message: ToAgent, reply: Callable[[Reply], None]) -> None:
        """Take a command without waiting. `reply` answers on the connection that it came by, if that still is."""
        ...

    def disconnected(self) -> None: ...


@dataclass
class Backoff:
    """Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015): a thousand agents of a manager that
    comes back do not knock at once. Seconds.
    """

    first: float = 0.2
    most: float = 15.0
    #: Between attempts that are not expected to succeed.
    slow: float = 60.0
    #: A connection of this length was a good one: the next cut begins anew.
    stable: float = 30.0
    failures: int = 0
    uniform: Callable[[float, float], float] = field(default=random.uniform, repr=False)

    def next(self) -> float:
        ceiling = min(self.most, self.first * 2**self.failures)
        self.failures = min(self.failures + 1, 32)
        return self.uniform(0, ceiling)

    def ended_after(self, seconds: float) -> None:
        if seconds >= self.stable:
            self.failures = 0


class Link:
    """Keeps one connection to the manager.

    Args:
        exit_when_rejected: `run` raises `LinkRejected` instead of trying again slowly.
    """

    def __init__(
        self,
        manager: Manager,
        credential: str,
        journal: Journal,
        node: Node,
        *,
        backoff: Backoff | None = None,
        exit_when_rejected: bool = False,
    ) -> None:
        self._manager = manager
        self._credential = credential
        self._journal = journal
        self._node = node
        self._backoff = backoff or Backoff()
        self._exit_when_rejected = exit_when_rejected
        self._current: _Connected | None = None

    @property
    def connected(self) -> bool:
        return self._current is not None

    def offer(self, message: Stats | PullProgress | Resources) -> None:
        """Send it now or never: dropped while offline, and while the one before it is not out yet."""
        if self._current:
            self._current.offer(message)

    def journalled(self) -> None:
        """There are new events in the journal."""
        if self._current:
            self._current.wake.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            began = time.monotonic()
            try:
                await self._connect_once()
                pause = self._backoff.next()
            except LinkRejected as rejected:
                if self._exit_when_rejected:
                    raise
                pause = self._backoff.slow
                log.error("%s; sessions go on, trying again in %g s", rejected, pause)  # noqa: TRY400
            except ConnectionLost as lost:
                self._backoff.ended_after(time.monotonic() - began)
                pause = self._backoff.next()
                log.warning("no connection (%s); trying again in %.1f s", lost.reason or lost.code, pause)
            await asyncio.sleep(pause)

    async def _connect_once(self) -> None:
        """One connection from dialling to its end. Raises `ConnectionLost` or `LinkRejected`, and returns never else."""
        try:
            socket = await dial(self._manager, "/agents/link", self._credential, SUBPROTOCOL)
        except DialRefused as refused:
            if refused.status in (401, 403):
                raise LinkRejected(CLOSE_BAD_CREDENTIAL, _FINAL[CLOSE_BAD_CREDENTIAL]) from refused
            raise ConnectionLost(1006, str(refused)) from refused
        code, reason = 1000, "the agent stops"
        try:
            welcome = await self._greet(socket)
            log.info("connected to %s (epoch %d)", self._manager.url, welcome.epoch)
            self._current = _Connected(socket, self._journal, self._node, welcome)
            self._node.welcomed(welcome)
            await self._current.run()
        except MalformedFrame as error:
            code, reason = CLOSE_MALFORMED, str(error)
            raise ConnectionLost(code, f"the manager sent what is no message: {error}") from error
        except ConnectionLost as lost:
            if lost.code in _FINAL:
                said = f" (it said: {lost.reason})" if lost.reason else ""
                raise LinkRejected(lost.code, _FINAL[lost.code] + said) from lost
            raise
        finally:
            if self._current:
                self._current = None
                self._node.disconnected()
            await close(socket, code, reason)

    async def _greet(self, socket: Socket) -> Welcome:
        if socket.subprotocol != SUBPROTOCOL:
            raise ConnectionLost(CLOSE_PROTOCOL, f"the manager does not speak {SUBPROTOCOL}")
        journal = self._journal
        # The journal's numbers are read last: what the recovery for `hello` journals is then counted.
        hello = await self._node.hello()
        hello = msgspec.structs.replace(
            hello,
            journal=journal.id,
            oldest_seq=await journal.oldest(),
            newest_seq=journal.newest,
            address=hello.address or socket.local_address,
        )
        await socket.send(encode(hello))
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                frame = await socket.receive()
        except TimeoutError:
            raise ConnectionLost(1006, f"no Welcome within {WELCOME_SECONDS:g} s") from None
        welcome = _decode(frame)
        if not isinstance(welcome, Welcome):
            raise MalformedFrame("the first frame must be Welcome")
        await journal.acknowledge(welcome.acknowledged)
        return welcome


class _Connected:
    """One connection after its Welcome."""

    def __init__(self, socket: Socket, journal: Journal, node: Node, welcome: Welcome) -> None:
        self.wake = asyncio.Event()
        self._socket = socket
        self._journal = journal
        self._node = node
        self._welcome = welcome
        self._fresh: dict[str, Stats | PullProgress | Resources] = {}
        self._replies: list[Reply] = []
        self._outgoing = asyncio.Event()
        self._acknowledged = welcome.acknowledged

    def offer(self, message: Stats | PullProgress | Resources) -> None:
        about = message.image if isinstance(message, PullProgress) else ""
        self._fresh[f"{type(message).__name__} {about}"] = message
        self._outgoing.set()

    def reply(self, reply: Reply) -> None:
        self._replies.append(reply)
        self._outgoing.set()

    async def run(self) -> None:
        """Serve until the connection ends, with the reason of the first that noticed."""
        tasks = [
            asyncio.create_task(part)
            for part in (self._receive(), self._send_events(), self._send_others(), self._beat())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # The receiver knows the close code; a sender only that its frame did not go out.
            for task in sorted(done, key=tasks.index):
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self) -> None:
        while True:
            message = _decode(await self._socket.receive())
            if isinstance(message, Ack):
                self._acknowledged = max(self._acknowledged, message.seq)
                await self._journal.acknowledge(message.seq)
                self.wake.set()
            elif isinstance(message, Welcome):
                raise MalformedFrame("a second Welcome on one connection")
            else:
                self._node.command(message, self.reply)

    async def _send_events(self) -> None:
        sent = self._acknowledged
        while True:
            self.wake.clear()
            room = self._acknowledged + EVENT_WINDOW - sent
            events = await self._journal.after(sent, room) if room > 0 else []
            for event in events:
                await self._socket.send(encode(event))
                sent = event.seq
            if not events:
                await self.wake.wait()

    async def _send_others(self) -> None:
        while True:
            await self._outgoing.wait()
            self._outgoing.clear()
            replies, self._replies = self._replies, []
            fresh, self._fresh = self._fresh, {}
            for message in (*replies, *fresh.values()):
                await self._socket.send(encode(message))

    async def _beat(self) -> None:
        while True:
            await self._socket.send(encode(Heartbeat(time.time())))
            # Never later than asked, and not in step with all the other agents.
            await asyncio.sleep(self._welcome.heartbeat_seconds * random.uniform(0.8, 1.0))  # noqa: S311


def _decode(frame: bytes | str) -> ToAgent:
    if isinstance(frame, str):
        raise MalformedFrame("a text frame; the link carries binary ones only")
    return decode_to_agent(frame)
