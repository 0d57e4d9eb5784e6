"""GraphQL over websockets: the `graphql-transport-ws` protocol, and no other.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

    client                                  server
      │ connection_init {accessToken}         │   within 10 s, once
      │◀───────────────────── connection_ack ─┤
      │ subscribe {id, query, …}              │
      │◀──────────────────── next {id, …} … ──┤
      │ complete {id} ▶  or  ◀ complete/error │
      │ ping ◀▶ pong                          │

Streams of which only the newest value counts (stats) are executed and encoded once for all subscribers whose operation
and rights are the same (`server/shared.py`).
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry import Schema

from schema.errors import present_all
from server.graphql_http import Malformed, read_operation
from server.observing import Observer, Seen
from server.operations import Operation, is_subscription
from server.results import Payload, encode, wrap
from server.shared import SharedStreams
from services import requests
from services.errors import BerthError, Unavailable

log = logging.getLogger(__name__)

SUBPROTOCOL: Final = "graphql-transport-ws"
INIT_TIMEOUT: Final = 10.0
#: A message of a client is at most this long (characters).
MAX_MESSAGE: Final = 256 * 1024
#: Operations under way at once on one connection.
MAX_OPERATIONS: Final = 100
#: Seconds between checks that the login still stands.
STANDING_INTERVAL: Final = 3.0


class Closed(Exception):
    """The connection must end with this code and reason (of the protocol's list)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Gate(Protocol):
    """What the endpoint asks of the application around it."""

    async def authenticate(self, websocket: WebSocket, payload: dict[str, Any]) -> Any:
        """The actor of this connection, None for an anonymous one. Raises `BerthError`."""
        ...

    async def count(self, actor: Any) -> None:
        """Count one operation of this actor. Raises `BerthError` when there were too many."""
        ...

    def watch(self, actor: Any) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when the actor's login may have ended."""
        ...

    async def stands(self, actor: Any) -> bool:
        """Is the actor's login still good?"""
        ...

    def admit(self, connection: WebSocket, text: str) -> None:
        """Raises `BerthError` for a document that this client may not send."""
        ...

    def context(self, websocket: WebSocket, actor: Any) -> Any:
        """A new operation's context: an asynchronous context manager."""
        ...


class GraphQLWebSocket:
    """The `/graphql` endpoint for websockets."""

    def __init__(self, schema: Schema, gate: Gate, observer: Observer, *, timeout: float) -> None:
        self._schema = schema
        self._gate = gate
        self.observer = observer
        self._timeout = timeout
        self.shared = SharedStreams(schema)

    async def __call__(self, websocket: WebSocket) -> None:
        if SUBPROTOCOL not in websocket.scope.get("subprotocols", ()):
            await websocket.accept()
            await websocket.close(4406, "Subprotocol not acceptable")
            return
        await websocket.accept(subprotocol=SUBPROTOCOL)
        await _Connection(self, self._schema, self._gate, websocket, self._timeout).run()


class _Connection:
    def __init__(
        self, endpoint: GraphQLWebSocket, schema: Schema, gate: Gate, websocket: WebSocket, timeout: float
    ) -> None:
        self._endpoint = endpoint
        self._schema = schema
        self._gate = gate
        self._websocket = websocket
        self._timeout = timeout
        self._actor: Any = None
        self._initialised = False
        self._acknowledged = False
        #: Set once it is known who is at the other end.
        self._known = asyncio.Event()
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        watch = asyncio.create_task(self._watch())
        reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait({watch, reading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Closed as closed:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._websocket.close(closed.code, closed.reason)
        except WebSocketDisconnect:
            pass
        finally:
            tasks = [watch, reading, *self._operations.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """End what was not begun in time, and what a log-out or an administrator has ended elsewhere."""
        try:
            async with asyncio.timeout(INIT_TIMEOUT):
                await self._known.wait()
        except TimeoutError:
            raise Closed(4408, "Connection initialisation timeout") from None
        if self._actor is None:
            await asyncio.Event().wait()  # nobody's login can end
        with self._gate.watch(self._actor) as changed:
            while await self._gate.stands(self._actor):
                # Asked again even when nobody tells: a hint may be lost.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STANDING_INTERVAL):
                        await changed.wait()
                changed.clear()
        raise Closed(4403, "The login has ended")

    async def _read(self) -> None:
        while True:
            frame = await self._websocket.receive()
            if frame["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(frame.get("code", 1005))
            text = frame.get("text")
            if text is None or len(text) > MAX_MESSAGE:
                raise Closed(4400, "Messages are JSON texts of limited length")
            try:
                message: Any = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise Closed(4400, "Not a JSON message") from error
            if not isinstance(message, dict):
                raise Closed(4400, "A message is a JSON object")
            await self._handle(message)

    async def _handle(self, message: dict[str, Any]) -> None:
        payload = message.get("payload")
        match message.get("type"):
            case "connection_init":
                await self._init(payload)
            case "ping":
                await self._send({"type": "pong"})
            case "pong":
                pass
            case "subscribe":
                await self._subscribe(message.get("id"), payload)
            case "complete":
                task = self._operations.pop(str(message.get("id")), None)
                if task is not None:
                    task.cancel()
            case other:
                raise Closed(4400, f"Unknown message type {str(other)[:40]!r}")

    async def _init(self, payload: Any) -> None:
        if self._initialised:
            raise Closed(4429, "Too many initialisation requests")
        self._initialised = True
        if payload is not None and not isinstance(payload, dict):
            raise Closed(4400, "The payload of connection_init is an object")
        try:
            self._actor = await self._gate.authenticate(self._websocket, payload or {})
        except BerthError as error:
            raise Closed(4403, error.message[:120]) from error
        self._acknowledged = True
        self._known.set()
        await self._send({"type": "connection_ack"})

    async def _subscribe(self, operation_id: Any, payload: Any) -> None:
        if not self._acknowledged:
            raise Closed(4401, "Unauthorized")
        if not isinstance(operation_id, str) or not operation_id or not isinstance(payload, dict):
            raise Closed(4400, "subscribe needs an id and a payload")
        if operation_id in self._operations:
            raise Closed(4409, f"Subscriber for {operation_id[:64]} already exists")
        if len(self._operations) >= MAX_OPERATIONS:
            raise Closed(4400, f"At most {MAX_OPERATIONS} operations at once on one connection")
        try:
            operation = read_operation(payload)
        except Malformed as problem:
            raise Closed(4400, str(problem)) from problem
        task = asyncio.create_task(self._run(operation_id, operation))
        self._operations[operation_id] = task

    async def _run(self, operation_id: str, operation: Operation) -> None:
        try:
            with requests.serving(requests.Request()):
                await self._answer(operation_id, operation)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("the client went away", exc_info=True)
        finally:
            # A `complete` of the client has already made room for a new operation of the same id.
            if self._operations.get(operation_id) is asyncio.current_task():
                del self._operations[operation_id]

    async def _answer(self, operation_id: str, operation: Operation) -> None:
        observer, user_id = self._endpoint.observer, self._actor.user_id if self._actor else ""
        try:
            self._gate.admit(self._websocket, operation.query)
            await self._gate.count(self._actor)
        except BerthError as error:
            observer.refused(error.code)
            await self._send({"id": operation_id, "type": "error", "payload": present_all([wrap(error)])})
            return
        head = b'{"id":' + msgspec.json.encode(operation_id) + b',"type":"next","payload":'
        with observer.operation(operation.query, operation.name, user_id) as seen:
            async with contextlib.aclosing(self._results(operation, seen)) as results:
                async for payload in results:
                    if isinstance(payload, list):
                        await self._send({"id": operation_id, "type": "error", "payload": payload})
                        return
                    await self._websocket.send_text((head + payload + b"}").decode())
        await self._send({"id": operation_id, "type": "complete"})

    async def _results(self, operation: Operation, seen: Seen) -> AsyncGenerator[Payload]:
        """Encoded results; a list of errors ends an operation that took too long."""
        shared = self._endpoint.shared.key(operation, self._actor)
        if shared is not None:
            async with self._endpoint.shared.join(
                shared, operation, self._gate.context(self._websocket, self._actor)
            ) as results:
                async for payload in results:
                    yield payload
            return
        async with self._gate.context(self._websocket, self._actor) as context:
            stream = await self._schema.stream(
                operation.query,
                variable_values=operation.variables,
                context_value=context,
                operation_name=operation.name,
            )
            single = not is_subscription(operation.query, operation.name)
            async with contextlib.aclosing(stream) as results:
                if single:
                    yield await self._one(results, seen)
                    return
                async for result in results:
                    seen.failed(getattr(result, "errors", None))
                    yield encode(result)

    async def _one(self, results: AsyncIterator[Any], seen: Seen) -> Payload:
        """The result of a query or mutation, within the time that one may take."""
        try:
            async with asyncio.timeout(self._timeout):
                result = await anext(results)
                seen.failed(result.errors)
                return encode(result)
        except TimeoutError:
            seen.result = Unavailable.code
            late = Unavailable(f"The operation took longer than {self._timeout:g} seconds.", part="query")
            return present_all([wrap(late)])

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(msgspec.json.encode(message).decode())
