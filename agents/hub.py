"""The manager's end of the wire: who is connected, what was asked of them, what they tell. No database here.

    route ── serve(connection, agent_id, on_hello, on_message, on_events)
                Hello ──▶ older link fenced ──▶ on_hello ──▶ Welcome ──▶ on_ready      (one at a time for each agent)
                what the agent tells ──▶ on_message                                       (see `served`)
    caller ── call(agent_id, make, deadline=…) ──▶ Reply
    caller ── open_stream(agent_id, target, deadline=…) ──▶ Stream                        (see `dialbacks`)
    route ── attach_stream(token, agent_id, connection)

The route authenticates and accepts; the hub believes its `agent_id`. Whether a kernel belongs to that agent is for
`on_message` to check.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from itertools import count
from weakref import WeakValueDictionary

import msgspec

from agents.connections import Connection, ConnectionLost, close
from agents.dialbacks import Dialbacks, Stream, StreamRefused
from agents.protocol import (
    CLOSE_MALFORMED,
    CLOSE_PROTOCOL,
    CLOSE_SILENT,
    CLOSE_SUPERSEDED,
    PROTOCOL,
    Hello,
    LogTarget,
    MalformedFrame,
    OpenStream,
    PortTarget,
    Reply,
    TerminalTarget,
    ToAgent,
    Welcome,
    decode_to_manager,
    encode,
)
from agents.served import Flood, LinkEnd, OnEvents, OnMessage, OnReady, Report, ServedLink

__all__ = [
    "AgentOffline",
    "AgentRefused",
    "CallFailed",
    "CallTimedOut",
    "Connection",
    "ConnectionLost",
    "Flood",
    "Hub",
    "LinkEnd",
    "LinkRefused",
    "Report",
    "Stream",
    "StreamRefused",
    "Target",
]

log = logging.getLogger(__name__)

OnHello = Callable[[Hello], Awaitable[Welcome]]
Target = TerminalTarget | PortTarget | LogTarget

#: Seconds from the websocket's opening until the Hello must be there.
HELLO_SECONDS = 10.0


class LinkRefused(Exception):
    """Raised by `on_hello`: this agent may not connect. The link is closed with the code and the sentence."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code
        self.reason = reason


class CallFailed(Exception):
    """A command has no good answer.

    ├── AgentOffline   not connected, or cut off meanwhile: the command may or may not have arrived
    ├── CallTimedOut   no answer before the deadline: likewise
    └── AgentRefused   the agent said no, with a code and a sentence
    """

    def __init__(self, agent_id: str, code: str, message: str) -> None:
        super().__init__(message)
        self.agent_id = agent_id
        self.code = code
        self.message = message


class AgentOffline(CallFailed):
    def __init__(self, agent_id: str) -> None:
        super().__init__(agent_id, "AGENT_OFFLINE", f"agent {agent_id} is not connected")


class CallTimedOut(CallFailed):
    def __init__(self, agent_id: str, seconds: float) -> None:
        super().__init__(agent_id, "TIMED_OUT", f"agent {agent_id} did not answer within {seconds:g} s")


class AgentRefused(CallFailed):
    """`code` and `message` are the agent's."""


class _Greeting(msgspec.Struct, tag_field="t", tag="hello"):
    """The field of `Hello` that every version has, so that an older agent is told so and not called malformed."""

    protocol: int


_greeting = msgspec.msgpack.Decoder(_Greeting)


class Hub:
    """All agents that are connected to this manager.

    Args:
        hello_seconds: time for the Hello after the websocket's opening.
        flood: how much one agent may send.
    """

    def __init__(self, *, hello_seconds: float = HELLO_SECONDS, flood: Flood | None = None) -> None:
        self._hello_seconds = hello_seconds
        self._flood = flood or Flood()
        self._links: dict[str, ServedLink] = {}
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._dialbacks = Dialbacks()
        self._requests = count(1)

    @property
    def connected(self) -> Collection[str]:
        """Ids of the agents that may be called now (a live view)."""
        return self._links.keys()

    async def serve(
        self,
        connection: Connection,
        agent_id: str,
        on_hello: OnHello,
        on_message: OnMessage,
        on_events: OnEvents,
        on_ready: OnReady | None = None,
    ) -> LinkEnd:
        """Serve an accepted websocket of an authenticated agent until it ends; it is closed on return.

        Args:
            on_hello: decides what to answer; may raise `LinkRefused`. By then nothing of an older connection of this
                agent is being delivered any more.
            on_message: takes what is fresh or not at all; raising is only logged. It may run while `on_events` does.
            on_events: takes events in order, each once a connection, as many at once as have come meanwhile; they are
                acknowledged by the `Ack` returned. Raising ends the link, and they come again on the next.
            on_ready: called in a task of the link once `call` reaches the agent.

        Raises nothing but cancellation.
        """
        link: ServedLink | None = None
        try:
            hello = await self._hello(connection)
            link = await self._open(connection, agent_id, hello, on_hello)
            end = await link.run(on_message, on_events, on_ready)
        except ConnectionLost as lost:
            end = LinkEnd(lost.code, lost.reason)
        except LinkRefused as refused:
            end = LinkEnd(refused.close_code, refused.reason)
        except Exception:
            log.exception("greeting agent %s failed", agent_id)
            end = LinkEnd(1011, "the manager could not handle this; connect again")
        finally:
            if link:
                if self._links.get(agent_id) is link:
                    del self._links[agent_id]
                link.finished.set()
        log.info("agent %s: link ended with %d %s", agent_id, end.code, end.reason)
        await close(connection, end.code if _may_be_sent(end.code) else 1000, end.reason)
        return end

    async def call(self, agent_id: str, make: Callable[[int], ToAgent], *, deadline: float) -> Reply:
        """Send a command and wait for its answer.

        Args:
            make: builds the command from its request number: `lambda request: DestroyKernel(request, …)`.
            deadline: seconds from now.

        Raises:
            AgentOffline, CallTimedOut, AgentRefused: see `CallFailed`.
        """
        link = self._links.get(agent_id)
        if link is None or link.end is not None:
            raise AgentOffline(agent_id)
        request = next(self._requests)
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        link.pending[request] = waiting
        try:
            async with asyncio.timeout(deadline):
                await link.connection.send(encode(make(request)))
                reply = await waiting
        except TimeoutError:
            raise CallTimedOut(agent_id, deadline) from None
        except ConnectionLost:
            raise AgentOffline(agent_id) from None
        finally:
            del link.pending[request]
            _retrieve(waiting)
        if reply.error:
            raise AgentRefused(agent_id, reply.error, reply.message)
        return reply

    async def disconnect(self, agent_id: str, code: int, reason: str = "") -> None:
        """Close the agent's link and its streams (revoked, removed). Not connected is success."""
        if link := self._links.get(agent_id):
            link.stop(code, reason)
        await self._dialbacks.close_all(agent_id, code, reason)
        if link:
            await link.finished.wait()

    async def close(self) -> None:
        """Close everything because the manager stops: the agents dial again, sessions go on."""
        agents = set(self._links) | self._dialbacks.agents
        await asyncio.gather(*(self.disconnect(agent, 1001, "the manager stops") for agent in agents))

    async def open_stream(self, agent_id: str, target: Target, *, deadline: float) -> Stream:
        """Have the agent open a target and dial back. The caller closes the stream.

        Raises:
            AgentOffline, CallTimedOut, AgentRefused: as `call`; an agent refuses with `NOT_RUNNING`,
                `CONNECT_FAILED`, …
        """
        token, arrived = self._dialbacks.expect(agent_id)
        taken = False
        try:
            async with asyncio.timeout(deadline):
                await self.call(
                    agent_id, lambda request: OpenStream(request, token, target), deadline=deadline
                )
                stream = await arrived
            taken = True
        except TimeoutError:
            raise CallTimedOut(agent_id, deadline) from None
        except ConnectionLost:
            raise AgentOffline(agent_id) from None
        finally:
            self._dialbacks.forget(token)
            _retrieve(arrived)
            if not taken and arrived.done() and not arrived.cancelled() and not arrived.exception():
                await arrived.result().close(1001, "nobody waits for this stream any more")
        return stream

    async def attach_stream(self, token: str, agent_id: str, connection: Connection) -> None:
        """Serve the accepted websocket of a dial-back until its stream ends; it is closed on return.

        Raises:
            StreamRefused: unknown, used, expired or foreign token; the connection is already closed with
                `CLOSE_NO_STREAM`. `foreign` is worth an audit record.
        """
        await self._dialbacks.attach(token, agent_id, connection)

    async def _hello(self, connection: Connection) -> Hello:
        try:
            async with asyncio.timeout(self._hello_seconds):
                frame = await connection.receive()
        except TimeoutError:
            raise LinkRefused(CLOSE_SILENT, f"no Hello within {self._hello_seconds:g} s") from None
        if not isinstance(frame, bytes):
            raise LinkRefused(CLOSE_MALFORMED, "a text frame; the link carries binary ones only")
        spoken = _protocol_of(frame)
        if spoken != PROTOCOL and spoken is not None:
            older = "agent" if spoken < PROTOCOL else "manager"
            raise LinkRefused(
                CLOSE_PROTOCOL,
                f"the agent speaks protocol {spoken}, this manager {PROTOCOL}: upgrade the {older}",
            )
        try:
            hello = decode_to_manager(frame)
        except MalformedFrame as error:
            raise LinkRefused(CLOSE_MALFORMED, str(error)) from error
        if not isinstance(hello, Hello):
            raise LinkRefused(CLOSE_MALFORMED, "the first frame of a link must be Hello")
        return hello

    async def _open(
        self, connection: Connection, agent_id: str, hello: Hello, on_hello: OnHello
    ) -> ServedLink:
        door = self._doors.setdefault(agent_id, asyncio.Lock())
        async with door:
            if older := self._links.get(agent_id):
                older.stop(CLOSE_SUPERSEDED, "a newer connection of this agent has taken over")
                await older.finished.wait()
            welcome = await on_hello(hello)
            link = ServedLink(agent_id, connection, hello, welcome, self._flood)
            await connection.send(encode(welcome))
            self._links[agent_id] = link
        return link


def _protocol_of(frame: bytes) -> int | None:
    try:
        return _greeting.decode(frame).protocol
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return None


def _may_be_sent(code: int) -> bool:
    """RFC 6455 §7.4.1: 1005, 1006 and 1015 say that there was no close frame and are never in one."""
    return 1000 <= code < 5000 and code not in (1005, 1006, 1015)


def _retrieve(future: "asyncio.Future[Reply] | asyncio.Future[Stream]") -> None:
    """A future that nobody awaits any more may hold an exception: read it, so that it is not logged as lost."""
    if not future.done():
        future.cancel()
    elif not future.cancelled():
        future.exception()
