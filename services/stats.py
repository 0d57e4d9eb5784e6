"""Live load: the last value and a short ring for each kernel and node, in memory. No sample is written to the database.

A subscriber gets the newest value when it is ready for one, so a slow browser skips samples and stalls nobody.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from agents.protocol import KernelStats, NodeStats, Stats, decode_to_manager, encode
from services.bus import Bus, StatsSampled

#: Samples kept for a chart that is opened late (10 minutes at one each 2 s).
RING = 300
#: Seconds after which a value no longer says anything about now.
STALE = 30.0


@dataclass(frozen=True)
class KernelSample:
    """`at`: Unix seconds, by the agent's clock."""

    at: float
    stats: KernelStats


@dataclass(frozen=True)
class NodeSample:
    at: float
    stats: NodeStats
    kernel_count: int


T = TypeVar("T")


class Latest(AsyncIterator[T], Generic[T]):
    """One subscriber's newest value, given once."""

    def __init__(self) -> None:
        self._values: deque[T] = deque(maxlen=1)
        self._ready = asyncio.Event()

    def put(self, value: T) -> None:
        self._values.append(value)
        self._ready.set()

    async def __anext__(self) -> T:
        await self._ready.wait()
        self._ready.clear()
        return self._values.popleft()


class StatsBook:
    """All samples that this manager has heard of, its own agents' and (over the bus) other managers'."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kernels: dict[str, deque[KernelSample]] = {}
        self._nodes: dict[str, NodeSample] = {}
        self._heard: dict[str, float] = {}
        self._kernel_watchers: dict[str, set[Latest[KernelSample]]] = defaultdict(set)
        self._node_watchers: dict[str, set[Latest[NodeSample]]] = defaultdict(set)

    async def report(self, agent_id: str, message: Stats) -> None:
        """Take a sample from an agent that is connected to this manager, and pass it on to the others."""
        self.ingest(agent_id, message)
        if self._bus.shared:
            await self._bus.publish(StatsSampled(agent_id=agent_id, frame=encode(message)))

    async def follow_bus(self) -> None:
        """Take other managers' samples, for ever."""
        async with self._bus.subscribe(StatsSampled) as hints:
            async for hint in hints:
                message = decode_to_manager(hint.frame)
                if isinstance(message, Stats):
                    self.ingest(hint.agent_id, message)

    def ingest(self, agent_id: str, message: Stats) -> None:
        moment = time.monotonic()
        node = NodeSample(message.at, message.node, len(message.kernels))
        self._nodes[agent_id] = node
        self._heard[agent_id] = moment
        for latest in self._node_watchers.get(agent_id, ()):
            latest.put(node)
        for stats in message.kernels:
            sample = KernelSample(message.at, stats)
            ring = self._kernels.get(stats.kernel)
            if ring is None:
                ring = self._kernels[stats.kernel] = deque(maxlen=RING)
            ring.append(sample)
            self._heard[stats.kernel] = moment
            for latest in self._kernel_watchers.get(stats.kernel, ()):
                latest.put(sample)

    def kernel(self, kernel_id: str) -> KernelSample | None:
        """The newest sample of a kernel, None when there is none or it is stale."""
        ring = self._kernels.get(kernel_id)
        return ring[-1] if ring and self._fresh(kernel_id) else None

    def recent(self, kernel_id: str, count: int) -> list[KernelSample]:
        """The newest samples of a kernel, the newest first; none when there are none or they are stale."""
        ring = self._kernels.get(kernel_id)
        return list(islice(reversed(ring), count)) if ring and self._fresh(kernel_id) else []

    def kernel_history(self, kernel_id: str) -> list[KernelSample]:
        return list(self._kernels.get(kernel_id, ()))

    def node(self, agent_id: str) -> NodeSample | None:
        return self._nodes.get(agent_id) if self._fresh(agent_id) else None

    def forget(self, ids: Iterable[str]) -> None:
        """Drop what is kept of kernels that have ended and agents that were removed."""
        for key in ids:
            self._kernels.pop(key, None)
            self._nodes.pop(key, None)
            self._heard.pop(key, None)

    @asynccontextmanager
    async def watch_kernel(self, kernel_id: str) -> AsyncGenerator[Latest[KernelSample]]:
        """Samples of a kernel as they come; the last known one first."""
        latest: Latest[KernelSample] = Latest()
        if (known := self.kernel(kernel_id)) is not None:
            latest.put(known)
        with _registered(self._kernel_watchers, kernel_id, latest):
            yield latest

    @asynccontextmanager
    async def watch_node(self, agent_id: str) -> AsyncGenerator[Latest[NodeSample]]:
        """Samples of a node as they come; the last known one first."""
        latest: Latest[NodeSample] = Latest()
        if (known := self.node(agent_id)) is not None:
            latest.put(known)
        with _registered(self._node_watchers, agent_id, latest):
            yield latest

    def _fresh(self, key: str) -> bool:
        return time.monotonic() - self._heard.get(key, float("-inf")) < STALE


@contextmanager
def _registered(watchers: dict[str, set[Latest[T]]], key: str, latest: Latest[T]) -> Generator[None]:
    watchers[key].add(latest)
    try:
        yield
    finally:
        watchers[key].discard(latest)
        if not watchers[key]:
            del watchers[key]
