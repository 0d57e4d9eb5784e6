"""The doors of the agents: join, link, streams. And the browser's end of a terminal."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from agents.connections import ConnectionLost
from agents.hub import LinkRefused, StreamRefused
from agents.protocol import (
    CLOSE_BAD_CREDENTIAL,
    CLOSE_REMOVED,
    MAX_FRAME,
    STREAM_SUBPROTOCOL,
    SUBPROTOCOL,
    Hello,
    Welcome,
)
from server.manager import Manager
from services import agents, audits, auth, terminals
from services.bus import Lagged, Revoked
from services.errors import BerthError, Unauthenticated
from services.trail import Entry

log = logging.getLogger(__name__)

#: Close codes of a terminal's websocket, in the range of applications.
CLOSE_TICKET = 4401
CLOSE_REVOKED = 4403
CLOSE_UNAVAILABLE = 4503
_MAX_JOIN_BODY = 16 * 1024
_TERMINAL_FRAME = 256 * 1024


class JoinRequest(msgspec.Struct, forbid_unknown_fields=False):
    token: str
    name: str
    protocol: int
    architecture: str = ""
    runtime: str = ""


class WebSocketConnection:
    """Starlette's websocket as `agents.connections.Connection`."""

    def __init__(self, websocket: WebSocket, max_frame: int = MAX_FRAME) -> None:
        self._websocket = websocket
        self._max_frame = max_frame
        self._closed = False

    async def receive(self) -> bytes | str:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            self._closed = True
            raise ConnectionLost(message.get("code") or 1006, message.get("reason") or "")
        data = message.get("bytes")
        frame: bytes | str = data if data is not None else message.get("text") or ""
        if len(frame) > self._max_frame:
            await self.close(1009, f"a frame has at most {self._max_frame} bytes")
            raise ConnectionLost(1009, "the peer's frame was too long")
        return frame

    async def send(self, data: bytes | str) -> None:
        try:
            if isinstance(data, str):
                await self._websocket.send_text(data)
            else:
                await self._websocket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            self._closed = True
            raise ConnectionLost from error

    async def close(self, code: int, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise ConnectionLost from error


def routes(manager: Manager) -> list[Route | WebSocketRoute]:
    doors = _Doors(manager)
    return [
        Route("/agents/join", doors.join, methods=["POST"]),
        WebSocketRoute("/agents/link", doors.link),
        WebSocketRoute("/agents/streams/{token}", doors.stream),
        WebSocketRoute("/terminals/{ticket}", doors.terminal),
    ]


class _Doors:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._core = manager.core

    async def join(self, request: Request) -> Response:
        """Exchange a join token for a credential. Answers JSON, errors as `{code, message}`."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_JOIN_BODY:
                return _problem(413, "BAD_USER_INPUT", "The request is too long.")
        try:
            asked = msgspec.json.decode(body, type=JoinRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _problem(400, "BAD_USER_INPUT", f"Not a join request: {error}")
        entry = Entry(
            at=self._core.now(),
            action="joinAgent",
            address=request.client.host if request.client else "",
            user_agent=request.headers.get("user-agent", ""),
            arguments=[("name", asked.name[:200])],
        )
        try:
            async with audits.recording(self._core, entry):
                joined = await agents.join(
                    self._core, token=asked.token, name=asked.name, protocol=asked.protocol
                )
        except BerthError as error:
            status = {"UNAUTHENTICATED": 401, "CONFLICT": 409, "RATE_LIMITED": 429}.get(error.code, 400)
            return _problem(status, error.code, error.message)
        return JSONResponse({"agentId": joined.agent_id, "credential": joined.credential})

    async def link(self, websocket: WebSocket) -> None:
        """An agent's control link, until it ends."""
        connection = await self._accept(websocket, SUBPROTOCOL)
        agent_id = await self._agent(websocket, connection)
        if agent_id is None:
            return
        links, commands = self._manager.links, self._manager.commands

        async def on_hello(hello: Hello) -> Welcome:
            try:
                commands.forget(agent_id)
                return await links.welcome(agent_id, hello)
            except Unauthenticated as error:
                raise LinkRefused(CLOSE_REMOVED, error.message) from error

        end = await self._core.hub.serve(
            connection,
            agent_id,
            on_hello,
            lambda message: links.take(agent_id, message),
            lambda events: links.take_events(agent_id, events),
            on_ready=lambda: commands.deliver([agent_id]),
        )
        links.left(agent_id, end.epoch)
        log.info("agent %s disconnected: %d %s", agent_id, end.code, end.reason)

    async def stream(self, websocket: WebSocket) -> None:
        """An agent dials back to serve a byte stream."""
        connection = await self._accept(websocket, STREAM_SUBPROTOCOL)
        agent_id = await self._agent(websocket, connection)
        if agent_id is None:
            return
        try:
            await self._core.hub.attach_stream(websocket.path_params["token"], agent_id, connection)
        except StreamRefused as refused:
            log.warning("agent %s: %s", agent_id, refused)

    async def terminal(self, websocket: WebSocket) -> None:
        """A browser's terminal: bytes both ways, resizes as text frames, until either end closes."""
        connection = await self._accept(websocket, None, max_frame=_TERMINAL_FRAME)
        try:
            attachment = await terminals.attach(self._core, websocket.path_params["ticket"])
        except BerthError as error:
            code = CLOSE_TICKET if error.code == "UNAUTHENTICATED" else CLOSE_UNAVAILABLE
            with contextlib.suppress(ConnectionLost):
                await connection.send(json.dumps({"error": error.message, "code": error.code}))
                await connection.close(code, error.message[:120])
            return
        stream = attachment.stream

        def used() -> None:
            self._core.activity.note(attachment.session_id, self._core.now())

        tasks = [
            asyncio.create_task(_pump(connection, stream, used)),
            asyncio.create_task(_pump(stream, connection, used)),
            asyncio.create_task(self._until_revoked(attachment)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            revoked = tasks[2].done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await stream.close()
        with contextlib.suppress(ConnectionLost):
            await connection.close(*((CLOSE_REVOKED, "The login has ended") if revoked else (1000, "")))

    async def _until_revoked(self, attachment: terminals.Attachment) -> None:
        """Return when the login behind a terminal no longer stands; asked again even when the bus is silent."""
        async with self._core.bus.subscribe(Revoked) as hints:
            while await auth.still_stands(self._core, attachment.user_id, attachment.login_id):
                with contextlib.suppress(TimeoutError, Lagged):
                    async with asyncio.timeout(3):
                        await anext(hints)

    async def _accept(
        self, websocket: WebSocket, subprotocol: str | None, max_frame: int = MAX_FRAME
    ) -> WebSocketConnection:
        await websocket.accept(subprotocol=subprotocol)
        return WebSocketConnection(websocket, max_frame)

    async def _agent(self, websocket: WebSocket, connection: WebSocketConnection) -> str | None:
        """Whose credential it is; None: nobody's, and the connection was closed with what is wrong."""
        try:
            return await agents.authenticate(self._core, _credential(websocket))
        except Unauthenticated as error:
            with contextlib.suppress(ConnectionLost):
                await connection.close(CLOSE_BAD_CREDENTIAL, error.message[:120])
            return None


def _credential(websocket: WebSocket) -> str:
    scheme, _, credential = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("Send the agent's credential as Authorization: Bearer.")
    return credential.strip()


async def _pump(source: Any, sink: Any, used: Callable[[], None]) -> None:
    """Carry frames one way until either end is gone, and say of each that it came."""
    with contextlib.suppress(ConnectionLost):
        while True:
            frame = await source.receive()
            used()
            await sink.send(frame)


def _problem(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)
