"""Live load of each kernel and node, in memory: the last few samples, and ten minutes of coarse history. No sample is
written to the database.

A subscriber gets the newest value when it is ready for one, so a slow browser skips samples and stalls nobody.

History is kept as the agents' frames, one each ten seconds: 20,000 kernels take some 130 MB so. As objects, one each two
seconds, they took gigabytes, and every run of the garbage collector stopped the manager for seconds.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from agents.protocol import KernelStats, NodeStats, Stats, decode_to_manager, encode
from services.bus import Bus, StatsSampled

#: Samples kept for a chart that is opened late, and seconds between two of them: ten minutes.
RING = 60
RING_SECONDS = 10.0
#: Samples at full pace that are kept of each kernel.
RECENT = 5
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


@dataclass
class _Kernel:
    agent_id: str
    #: By this process's monotonic clock.
    heard: float
    recent: deque[KernelSample]


@dataclass
class _Node:
    newest: NodeSample
    heard: float
    #: When the last frame was kept, and the frames, the oldest first.
    kept_at: float
    frames: deque[bytes]
    #: Its kernels, those that ended within the last ten minutes among them.
    kernels: dict[str, _Kernel]


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
        self._kernels: dict[str, _Kernel] = {}
        self._nodes: dict[str, _Node] = {}
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
        sample = NodeSample(message.at, message.node, len(message.kernels))
        node = self._nodes.get(agent_id)
        if node is None:
            node = self._nodes[agent_id] = _Node(sample, moment, float("-inf"), deque(maxlen=RING), {})
        node.newest, node.heard = sample, moment
        if moment - node.kept_at >= RING_SECONDS:
            node.kept_at = moment
            node.frames.append(encode(message))
            self._prune(node)
        for latest in self._node_watchers.get(agent_id, ()):
            latest.put(sample)
        for stats in message.kernels:
            self._ingest_kernel(agent_id, node, KernelSample(message.at, stats))

    def _ingest_kernel(self, agent_id: str, node: _Node, sample: KernelSample) -> None:
        name = sample.stats.kernel
        kernel = self._kernels.get(name)
        if kernel is None or kernel.agent_id != agent_id:
            if kernel is not None and _fresh(kernel.heard):
                return  # it runs elsewhere: nobody tells of another node's kernels
            kernel = self._kernels[name] = node.kernels[name] = _Kernel(
                agent_id, node.heard, deque(maxlen=RECENT)
            )
        kernel.heard = node.heard
        kernel.recent.append(sample)
        for latest in self._kernel_watchers.get(name, ()):
            latest.put(sample)

    def _prune(self, node: _Node) -> None:
        """Drop kernels of whose end nobody told, when the history has nothing of them any more."""
        ended = [
            name for name, kernel in node.kernels.items() if node.heard - kernel.heard > RING * RING_SECONDS
        ]
        for name in ended:
            self._drop(name, node.kernels.pop(name))

    def _drop(self, name: str, kernel: _Kernel) -> None:
        if self._kernels.get(name) is kernel:
            del self._kernels[name]

    def kernel(self, kernel_id: str) -> KernelSample | None:
        """The newest sample of a kernel, None when there is none or it is stale."""
        kernel = self._kernels.get(kernel_id)
        return kernel.recent[-1] if kernel and _fresh(kernel.heard) else None

    def recent(self, kernel_id: str) -> list[KernelSample]:
        """The last few samples of a kernel, the newest first; none when there are none or they are stale."""
        kernel = self._kernels.get(kernel_id)
        return list(reversed(kernel.recent)) if kernel and _fresh(kernel.heard) else []

    def kernel_history(self, kernel_id: str) -> list[KernelSample]:
        """Ten minutes of a kernel, the oldest first, and its newest sample."""
        kernel = self._kernels.get(kernel_id)
        if kernel is None:
            return []
        frames = self._nodes[kernel.agent_id].frames if kernel.agent_id in self._nodes else ()
        history = [
            sample for frame in frames for sample in _samples(frame) if sample.stats.kernel == kernel_id
        ]
        newest = kernel.recent[-1]
        return history if history and history[-1].at >= newest.at else [*history, newest]

    def node(self, agent_id: str) -> NodeSample | None:
        node = self._nodes.get(agent_id)
        return node.newest if node and _fresh(node.heard) else None

    def forget(self, ids: Iterable[str]) -> None:
        """Drop what is kept of kernels that have ended, and of agents that were removed and their kernels."""
        for key in ids:
            self._kernels.pop(key, None)
            node = self._nodes.pop(key, None)
            for name, kernel in node.kernels.items() if node else ():
                self._drop(name, kernel)

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

    @asynccontextmanager
    async def watch_nodes(self, agent_ids: Iterable[str]) -> AsyncGenerator[Latest[NodeSample]]:
        """Whatever comes of any of these nodes, from now on; of samples that come together one is told."""
        latest: Latest[NodeSample] = Latest()
        with ExitStack() as watching:
            for agent_id in set(agent_ids):
                watching.enter_context(_registered(self._node_watchers, agent_id, latest))
            yield latest


def _fresh(heard: float) -> bool:
    return time.monotonic() - heard < STALE


def _samples(frame: bytes) -> Iterator[KernelSample]:
    message = decode_to_manager(frame)
    if isinstance(message, Stats):
        for stats in message.kernels:
            yield KernelSample(message.at, stats)


@contextmanager
def _registered(watchers: dict[str, set[Latest[T]]], key: str, latest: Latest[T]) -> Generator[None]:
    watchers[key].add(latest)
    try:
        yield
    finally:
        watchers[key].discard(latest)
        if not watchers[key]:
            del watchers[key]
