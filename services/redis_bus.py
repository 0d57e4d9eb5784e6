"""The bus of several managers: Redis pub/sub, as a hint and nothing more.

This process' own subscribers hear a hint at once, whether Redis is there or not; the others through Redis. What may have
been lost is never passed over in silence: after a broken connection the subscribers here have lagged, and when hints of
ours could not be sent the others are told (an empty message) that they have lagged.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.bus import AnyHint, LocalBus, Queue, StatsSampled

log = logging.getLogger(__name__)

CHANNEL: Final = "berth:hints"
_ORIGIN_BYTES: Final = 8
#: Hints that wait to be sent; more than these are dropped and the others told that they lagged.
_BACKLOG: Final = 10_000
_BATCH: Final = 500
#: Seconds of silence after which a connection is tried, and that its answer may take.
_QUIET: Final = 5.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_COUNT_EVERY: Final = 15.0
_FAILURES: Final = (RedisError, OSError, TimeoutError)

T = TypeVar("T")


class RedisBus:
    """See `services.bus.Bus`."""

    shared = True

    def __init__(self, url: str, *, channel: str = CHANNEL, quiet: float = _QUIET) -> None:
        # No retries inside the client: it would subscribe again unseen, and nobody would know of the gap.
        self.client = Redis.from_url(
            url, socket_timeout=quiet, socket_connect_timeout=quiet, retry=Retry(NoBackoff(), 0)
        )
        self._channel = channel
        self._quiet = quiet
        self._origin = secrets.token_bytes(_ORIGIN_BYTES)
        self._local = LocalBus()
        self._outgoing: deque[bytes] = deque()
        self._wanted = asyncio.Event()
        self._listening = asyncio.Event()
        #: Hints of ours were lost on the way; the others do not know yet.
        self._gap = False
        self._managers = 1
        self._counted_at = float("-inf")
        #: When messages of ours were sent that have not come back yet, in order.
        self._under_way: deque[float] = deque(maxlen=_BACKLOG)
        #: Seconds that the last message of ours took by way of Redis and back.
        self.lag = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[AnyHint] = msgspec.msgpack.Decoder(AnyHint)

    async def open(self) -> None:
        """Connect; a Redis that is not there is waited for in the background, not here."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._send())]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._quiet):
                await self._listening.wait()

    async def close(self) -> None:
        # The client sometimes swallows a cancellation (redis 8.1, while it connects), so the loops are told as well.
        self._closing = True
        self._wanted.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(*_FAILURES):
            await self.client.aclose()

    @property
    def connected(self) -> bool:
        return self._listening.is_set()

    @property
    def backlog(self) -> int:
        """Hints that wait to be sent."""
        return len(self._outgoing)

    def managers(self) -> int:
        """How many managers there are, as last known; at least this one."""
        return self._managers

    async def publish(self, hint: AnyHint) -> None:
        # A sample is only for those that its agent is not connected to.
        if not isinstance(hint, StatsSampled):
            self._local.deliver(hint)
        if len(self._outgoing) >= _BACKLOG:
            self._outgoing.clear()
            self._gap = True
        self._outgoing.append(self._origin + self._encoder.encode(hint))
        self._wanted.set()

    def subscribe(self, *kinds: type[T]) -> AbstractAsyncContextManager[Queue[T]]:
        return self._local.subscribe(*kinds)

    # ── in ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing:
            pubsub = self.client.pubsub()
            try:
                await self._subscribe(pubsub)
                pause = _FIRST_PAUSE
                await self._read(pubsub)
            except _FAILURES as error:
                if self._listening.is_set() or pause == _FIRST_PAUSE:
                    log.warning(
                        "The connection to Redis failed (%s); trying again", error or type(error).__name__
                    )
            finally:
                self._listening.clear()
                with contextlib.suppress(*_FAILURES):
                    await pubsub.aclose()
            # Managers that lost the same Redis shall not all come back in the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret depends on it
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _subscribe(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(self._channel)
        while True:
            message = await pubsub.get_message(timeout=self._quiet)
            if message is None:
                raise TimeoutError("no answer to SUBSCRIBE")
            if message["type"] == "subscribe":
                break
        self._under_way.clear()
        # Whatever was said until now has not been heard here.
        self._local.lag()
        self._listening.set()
        self._wanted.set()

    async def _read(self, pubsub: PubSub) -> None:
        waiting_for_pong = False
        while not self._closing:
            message: dict[str, Any] | None = await pubsub.get_message(timeout=self._quiet)
            if message is None:
                if waiting_for_pong:
                    raise TimeoutError("no answer to PING")
                waiting_for_pong = True
                await pubsub.ping()
                continue
            waiting_for_pong = False
            if message["type"] == "message":
                self._hear(message["data"])

    def _hear(self, data: bytes) -> None:
        origin, body = data[:_ORIGIN_BYTES], data[_ORIGIN_BYTES:]
        if origin == self._origin:
            if self._under_way:
                self.lag = time.monotonic() - self._under_way.popleft()
            return
        if not body:
            self._local.lag()
            return
        try:
            hint = self._decoder.decode(body)
        except msgspec.DecodeError:
            # A newer manager says something that this one does not know: to be safe, read everything afresh.
            self._local.lag()
            return
        self._local.deliver(hint)

    # ── out ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: Python 3.11's loses a cancellation that comes in the moment of success.
                async with asyncio.timeout(_COUNT_EVERY):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._flush()
                await self._count()
                pause = _FIRST_PAUSE
            except _FAILURES:
                self._outgoing.clear()
                self._gap = True
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(pause * 2, _LONGEST_PAUSE)
                self._wanted.set()

    async def _flush(self) -> None:
        while self._gap or self._outgoing:
            batch = [self._outgoing.popleft() for _ in range(min(len(self._outgoing), _BATCH))]
            told = self._gap
            if told:
                batch.insert(0, self._origin)
            try:
                pipeline = self.client.pipeline(transaction=False)
                for data in batch:
                    pipeline.publish(self._channel, data)
                    self._under_way.append(time.monotonic())
                await pipeline.execute()
            except BaseException:
                self._gap = True
                self._under_way.clear()
                raise
            if told:
                self._gap = False

    async def _count(self) -> None:
        if time.monotonic() - self._counted_at < _COUNT_EVERY:
            return
        found = await self.client.pubsub_numsub(self._channel)
        self._managers = max(1, int(found[0][1]))
        self._counted_at = time.monotonic()
