"""One agent's link as the manager serves it, from its Welcome to its end.

    reader     Heartbeat, Stats, PullProgress, Resources ──▶ on_message;  Reply ──▶ the call that waits for it
    deliverer  Events, in order, each once a connection ──▶ on_events ──▶ Ack
    watchdog   ends a link that has been silent for the lease time

Events have a queue of their own because they end in transactions: a slow database must not make heartbeats late and
a living node look lost. The queue is bounded, and so is what an honest agent sends unacknowledged (`EVENT_WINDOW`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

from agents.connections import Connection, ConnectionLost
from agents.protocol import (
    CLOSE_FLOOD,
    CLOSE_GAP,
    CLOSE_MALFORMED,
    CLOSE_SILENT,
    CLOSE_SUPERSEDED,
    EVENT_WINDOW,
    Ack,
    Event,
    Heartbeat,
    Hello,
    MalformedFrame,
    PullProgress,
    Reply,
    Resources,
    Stats,
    Welcome,
    decode_to_manager,
    encode,
)

log = logging.getLogger(__name__)

Report = Heartbeat | Stats | PullProgress | Resources
OnMessage = Callable[[Report], Awaitable[None]]
OnEvents = Callable[[Sequence[Event]], Awaitable[Ack]]
OnReady = Callable[[], Awaitable[None]]

#: Events handed over at once, at most: half of what an agent sends ahead, so that it goes on meanwhile.
BATCH = EVENT_WINDOW // 2
#: Seconds for what a link is doing to come to its end before it is cancelled.
SETTLE_SECONDS = 10.0
#: A frame costs one token, and one more for each of these bytes.
BYTES_A_TOKEN = 64 * 1024


@dataclass(frozen=True)
class Flood:
    """How much an agent may send: a bucket of `burst` frames that fills up again by `rate` frames a second.

    20 kernels' events, stats each 2 s and heartbeats are some 2 frames a second; a replay is paced by its acks.
    """

    rate: float = 200.0
    burst: float = 4000.0


@dataclass(frozen=True)
class LinkEnd:
    """How a link ended. A superseded agent is not offline: its newer link lives."""

    code: int
    reason: str
    #: The epoch of its Welcome; 0 when it never got one.
    epoch: int = 0

    @property
    def superseded(self) -> bool:
        return self.code == CLOSE_SUPERSEDED


class ServedLink:
    """See the module. `stop` ends it from outside; `finished` is set once nothing of it is being delivered."""

    def __init__(
        self, agent_id: str, connection: Connection, hello: Hello, welcome: Welcome, flood: Flood
    ) -> None:
        self.agent_id = agent_id
        self.connection = connection
        self.epoch = welcome.epoch
        self.end: LinkEnd | None = None
        self.finished = asyncio.Event()
        self.pending: dict[int, asyncio.Future[Reply]] = {}
        self._clock = asyncio.get_running_loop().time
        self._heard = self._refilled = self._clock()
        self._flood = flood
        self._tokens = flood.burst
        self._lease = welcome.lease_seconds
        # What the agent no longer holds (its journal is bounded; the manager's database may be new) cannot be replayed.
        oldest = hello.oldest_seq or hello.newest_seq + 1
        lost = max(oldest - 1 - welcome.acknowledged, 0)
        if lost:
            log.warning("agent %s no longer has %d events before number %d", agent_id, lost, oldest)
        self._received = self._acknowledged = welcome.acknowledged + lost
        self._events: asyncio.Queue[Event] = asyncio.Queue(2 * EVENT_WINDOW)
        self._ended = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._deliverer: asyncio.Task[None] | None = None
        # True while the task only waits, so that cancelling it leaves nothing half done.
        self._reader_waits = self._deliverer_waits = False

    def stop(self, code: int, reason: str) -> None:
        """Take nothing more; what is being delivered comes to its end first. Only the first call counts."""
        if self.end is not None:
            return
        self.end = LinkEnd(code, reason, self.epoch)
        self._ended.set()
        for reply in self.pending.values():
            if not reply.done():
                reply.set_exception(ConnectionLost(code, reason))
        if self._reader and self._reader_waits:
            self._reader.cancel()
        if self._deliverer and self._deliverer_waits:
            self._deliverer.cancel()

    async def run(self, on_message: OnMessage, on_events: OnEvents, on_ready: OnReady | None) -> LinkEnd:
        """Serve until either end stops."""
        self._reader = asyncio.create_task(self._guard(self._read(on_message)))
        self._deliverer = asyncio.create_task(self._guard(self._deliver(on_events)))
        tasks = {self._reader, self._deliverer}
        if on_ready:
            tasks.add(asyncio.create_task(self._guard(_call(on_ready))))
        watchdog = asyncio.create_task(self._watch())
        try:
            await self._ended.wait()
            await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
        finally:
            self.stop(1001, "the manager stops")
            for task in (watchdog, *tasks):
                task.cancel()
            await asyncio.wait((watchdog, *tasks))
        assert self.end is not None  # noqa: S101 - `stop` has set it
        return self.end

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except ConnectionLost as lost:
            self.stop(lost.code, lost.reason)
        except MalformedFrame as error:
            self.stop(CLOSE_MALFORMED, str(error))
        except Exception:
            log.exception("serving agent %s failed", self.agent_id)
            self.stop(1011, "the manager could not handle this; connect again")

    async def _read(self, on_message: OnMessage) -> None:
        receive = self.connection.receive
        while self.end is None:
            self._reader_waits = True
            frame = await receive()
            self._reader_waits = False
            if not isinstance(frame, bytes):
                raise MalformedFrame("a text frame; the link carries binary ones only")
            if not self._afford(len(frame)):
                return self.stop(CLOSE_FLOOD, "too many messages; send less and connect again")
            message = decode_to_manager(frame)
            if isinstance(message, Report):
                try:
                    await on_message(message)
                except (
                    Exception
                ):  # the next sample or heartbeat says it anew; what must not be lost is an Event
                    log.exception("a %s of agent %s failed", type(message).__name__, self.agent_id)
            elif isinstance(message, Event):
                await self._accept(message)
            elif isinstance(message, Reply):
                waiting = self.pending.get(message.request)
                if waiting and not waiting.done():
                    waiting.set_result(message)
            else:
                raise MalformedFrame("a second Hello on one connection")
        return None

    def _afford(self, size: int) -> bool:
        now = self._heard = self._clock()
        tokens = self._tokens + (now - self._refilled) * self._flood.rate - 1 - size // BYTES_A_TOKEN
        self._refilled = now
        self._tokens = min(tokens, self._flood.burst)
        return tokens >= 0

    async def _accept(self, event: Event) -> None:
        if event.seq == self._received + 1:
            self._received = event.seq
            await self._events.put(event)
        elif event.seq > self._received:
            self.stop(CLOSE_GAP, f"event {event.seq} came after {self._received}; replay from there")
        elif event.seq <= self._acknowledged:
            await self.connection.send(encode(Ack(self._acknowledged)))
        # else: it is in the queue, and is acknowledged from there.

    async def _deliver(self, on_events: OnEvents) -> None:
        while self.end is None:
            self._deliverer_waits = True
            events = [await self._events.get()]
            self._deliverer_waits = False
            while len(events) < BATCH and not self._events.empty():
                events.append(self._events.get_nowait())
            ack = await on_events(events)
            self._acknowledged = max(self._acknowledged, ack.seq)
            await self.connection.send(encode(Ack(self._acknowledged)))

    async def _watch(self) -> None:
        while self.end is None:
            silence = self._clock() - self._heard
            if silence >= self._lease:
                self.stop(CLOSE_SILENT, f"silent for {silence:.0f} s")
            else:
                await asyncio.sleep(self._lease - silence)


async def _call(on_ready: OnReady) -> None:
    await on_ready()
