"""One execution for many subscribers: live values of which only the newest counts.

A dashboard that a hundred people watch asks the same question with the same rights a hundred times. Each sample is then
executed and encoded once; a subscriber takes the newest payload when its connection is ready for one, so a slow one
skips samples, holds up nobody and grows no queue.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from graphql import FieldNode, OperationType
from strawberry import Schema

from server.operations import Operation, operation_of
from server.results import Payload, encode

log = logging.getLogger(__name__)

#: Root fields whose older values nobody needs.
NEWEST_COUNTS: Final = frozenset({"sessionStats", "agentStats", "agentsStats"})

Key = tuple[Any, ...]


class Listener(AsyncIterator[Payload]):
    """One subscriber's view: the newest payload it has not had, in the end `StopAsyncIteration`."""

    def __init__(self) -> None:
        self._payload: Payload | None = None
        self._ended = False
        self._ready = asyncio.Event()

    def put(self, payload: Payload) -> None:
        self._payload = payload
        self._ready.set()

    def end(self) -> None:
        self._ended = True
        self._ready.set()

    async def __anext__(self) -> Payload:
        await self._ready.wait()
        payload, self._payload = self._payload, None
        if payload is None:
            raise StopAsyncIteration
        if not self._ended:
            self._ready.clear()
        return payload


class _Stream:
    """One execution and who listens to it."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.last: Payload | None = None
        self.task: asyncio.Task[None] | None = None

    def publish(self, payload: Payload) -> None:
        self.last = payload
        for listener in self.listeners:
            listener.put(payload)

    def end(self) -> None:
        for listener in self.listeners:
            listener.end()


class SharedStreams:
    """The shared executions of this process."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._streams: dict[Key, _Stream] = {}
        #: Results executed since the start, for metrics and tests.
        self.executed = 0

    def key(self, operation: Operation, actor: Any) -> Key | None:
        """What makes two subscriptions the same, None for an operation that is not to be shared."""
        if actor is None or not _newest_counts(operation.query, operation.name):
            return None
        try:
            variables = msgspec.json.encode(operation.variables or {}, order="deterministic")
        except TypeError:
            return None
        rights = (actor.user_id, actor.role, actor.domain_id, actor.group_ids)
        return operation.query, operation.name, variables, rights

    @asynccontextmanager
    async def join(self, key: Key, operation: Operation, context: Any) -> AsyncGenerator[Listener]:
        """Listen to the execution of this key, beginning it if nobody does yet."""
        listener = Listener()
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
            stream.task = asyncio.create_task(self._execute(key, stream, operation, context))
        stream.listeners.add(listener)
        if stream.last is not None:
            listener.put(stream.last)
        try:
            yield listener
        finally:
            stream.listeners.discard(listener)
            if not stream.listeners and self._streams.get(key) is stream:
                del self._streams[key]
                if stream.task is not None:
                    stream.task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await stream.task

    async def _execute(self, key: Key, stream: _Stream, operation: Operation, context: Any) -> None:
        try:
            async with context as entered:
                results = await self._schema.stream(
                    operation.query,
                    variable_values=operation.variables,
                    context_value=entered,
                    operation_name=operation.name,
                )
                async with contextlib.aclosing(results) as opened:
                    async for result in opened:
                        self.executed += 1
                        stream.publish(encode(result))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a shared subscription failed")
        finally:
            if self._streams.get(key) is stream:
                del self._streams[key]
            stream.end()


def _newest_counts(query: str, name: str | None) -> bool:
    operation = operation_of(query, name)
    if operation is None or operation.operation is not OperationType.SUBSCRIPTION:
        return False
    fields = operation.selection_set.selections
    return len(fields) == 1 and isinstance(fields[0], FieldNode) and fields[0].name.value in NEWEST_COUNTS
