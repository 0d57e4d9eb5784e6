"""Telling the rest of the process, and other managers, that something changed.

What is published is a hint that names rows; the truth is in the database. Losing one loses nothing but time, so a slow
subscriber never stalls a publisher: either its queue is marked as broken and it reads afresh (`Lagged`), or it asked
for the newest value only.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

import msgspec


class Hint(msgspec.Struct, tag_field="t", frozen=True, omit_defaults=True):
    """Base of what may be published."""


class SessionChanged(Hint, frozen=True, tag="session"):
    session_id: str
    #: Number of the timeline's row, 0 for a change that is not on the timeline (pull progress, a pending reason).
    event_id: int = 0


class AgentChanged(Hint, frozen=True, tag="agent"):
    agent_id: str
    event_id: int = 0


class PullAdvanced(Hint, frozen=True, tag="pull"):
    """More of a session's image has arrived on its node; `total` is 0 while unknown (bytes)."""

    session_id: str
    kernel_id: str
    current: int
    total: int


class ImageArrived(Hint, frozen=True, tag="image"):
    """More of an image that was asked for by itself has arrived on a node; `total` is 0 while unknown (bytes)."""

    agent_id: str
    reference: str
    current: int
    total: int


class TaskChanged(Hint, frozen=True, tag="task"):
    """A task is new, has got on, is to be cancelled or has ended."""

    task_id: str


class AgentAsked(Hint, frozen=True, tag="asked"):
    """A manager wants something of an agent that is not connected to it (`services.calls`)."""

    call: str
    manager: str
    agent_id: str
    deadline: float
    #: The command, sealed.
    sealed: bytes


class AgentAnswered(Hint, frozen=True, tag="answered"):
    """How that went; `code` is TAKEN at first, and empty in the end when it is done."""

    call: str
    code: str = ""
    message: str = ""


class Revoked(Hint, frozen=True, tag="revoked"):
    """Tokens of this user (or of this one login) are void from now on: cached checks and open streams end.

    With the id of a domain: all its users may have been shut out, or let in again.
    """

    user_id: str
    login_id: str = ""


class Wake(Hint, frozen=True, tag="wake"):
    """There may be work for the dispatcher. What leaves a row in a timeline is found there; what does not is named."""

    #: To be looked at again, where one of them has changed.
    session_id: str = ""
    agent_id: str = ""
    #: Something else has, such as a limit: all is to be looked at again.
    anew: bool = False


class Deliver(Hint, frozen=True, tag="deliver"):
    """There may be commands to send to this agent; the manager that holds its connection acts."""

    agent_id: str


class StatsSampled(Hint, frozen=True, tag="stats"):
    """An agent's sample (an encoded `agents.protocol.Stats`), for managers that it is not connected to."""

    agent_id: str
    frame: bytes


class SettingsChanged(Hint, frozen=True, tag="settings"):
    """These settings were changed: read them anew."""

    keys: tuple[str, ...] = ()


class AnnouncementsChanged(Hint, frozen=True, tag="announcements"):
    """Something was announced, changed or taken back."""


AnyHint = (
    SessionChanged
    | AgentChanged
    | PullAdvanced
    | ImageArrived
    | TaskChanged
    | AgentAsked
    | AgentAnswered
    | Revoked
    | Wake
    | Deliver
    | StatsSampled
    | SettingsChanged
    | AnnouncementsChanged
)
T = TypeVar("T")


class Lagged(Exception):
    """A subscriber was too slow and has missed something: read afresh, then subscribe again."""


class Bus(Protocol):
    #: True when other processes hear it too.
    shared: bool

    async def publish(self, hint: AnyHint) -> None:
        """Tell everybody. Never raises for a subscriber's or a broker's sake."""
        ...

    def subscribe(self, *kinds: type[T]) -> AbstractAsyncContextManager["Queue[T]"]:
        """Listen for these kinds, from the moment that the context is entered. Iterating may raise `Lagged`."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...


#: Hints a subscriber may be behind before it has lagged.
QUEUE_LIMIT = 1000


class Queue(AsyncIterator[T]):
    """One subscriber's hints, in order."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._ready = asyncio.Event()
        self._lagged = False

    def put(self, item: T) -> None:
        if len(self._items) >= QUEUE_LIMIT:
            self.lag()
        else:
            self._items.append(item)
            self._ready.set()

    def lag(self) -> None:
        """Something was missed: what is queued is void, the reader is told to read afresh."""
        self._items.clear()
        self._lagged = True
        self._ready.set()

    def drain(self) -> list[T]:
        """Take what is there, without waiting."""
        items = list(self._items)
        self._items.clear()
        if not self._lagged:
            self._ready.clear()
        return items

    async def __anext__(self) -> T:
        await self._ready.wait()
        if self._lagged:
            self._lagged = False
            self._ready.clear()
            raise Lagged
        item = self._items.popleft()
        if not self._items:
            self._ready.clear()
        return item


class LocalBus:
    """The bus within one process."""

    shared = False

    def __init__(self) -> None:
        self._queues: dict[type, set[Queue[object]]] = defaultdict(set)

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def publish(self, hint: AnyHint) -> None:
        self.deliver(hint)

    def deliver(self, hint: AnyHint) -> None:
        for queue in self._queues.get(type(hint), ()):
            queue.put(hint)

    def lag(self) -> None:
        """Hints may have been lost: all subscribers read afresh."""
        for queue in {queue for queues in self._queues.values() for queue in queues}:
            queue.lag()

    @asynccontextmanager
    async def subscribe(self, *kinds: type[T]) -> AsyncGenerator[Queue[T]]:
        queue: Queue[T] = Queue()
        for kind in kinds:
            self._queues[kind].add(queue)  # pyright: ignore[reportArgumentType]
        try:
            yield queue
        finally:
            for kind in kinds:
                self._queues[kind].discard(queue)  # pyright: ignore[reportArgumentType]
