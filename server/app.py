"""The ASGI application: GraphQL, the agents' doors, terminals, health, the console."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from resolvers.context import RequestContext
from resolvers.root import make_schema
from server import links, manager, oidc
from server.config import Config
from server.console import Console
from server.graphql_http import GraphQLHTTP
from server.graphql_ws import GraphQLWebSocket
from server.health import Health
from server.listening import CannotServe
from server.manager import Manager
from server.metrics import MetricsPage
from server.observing import Observer
from server.security import Perimeter
from server.trusted import MANIFEST, TrustedDocuments
from services import auth, requests
from services.options import PASSWORD_RESET
from services.permissions import Actor
from services.ratelimits import Quota

CONSOLE: Final = Path(__file__).resolve().parent.parent / "webui" / "dist"


#: Beginning of a path → what its websockets are for.
_SOCKETS: Final = {
    "/graphql": "graphql",
    "/agents/link": "agents",
    "/agents/streams": "streams",
    "/terminals": "terminals",
}


def make_app(config: Config) -> Starlette:
    """Make the application; its lifespan opens and closes everything that it needs."""
    console = Console(CONSOLE)
    inner = Router()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with manager.running(config) as running:
            app.state.manager = running
            inner.routes[:] = _routes(config, running, console)
            yield

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await inner(scope, receive, send)
            return
        kind = next((name for path, name in _SOCKETS.items() if scope["path"].startswith(path)), "other")
        with app.state.manager.core.metrics.streams.labels(kind).track_inprogress():
            await inner(scope, receive, send)

    app = Starlette(
        lifespan=lifespan,
        middleware=[Middleware(Perimeter, url=config.url, allowed_hosts=config.allowed_hosts)],
    )
    app.router.default = serve
    return app


def _routes(config: Config, running: Manager, console: Console) -> list[BaseRoute]:
    schema = make_schema()
    gate = _Gate(config, running, _trusted(config))
    observer = Observer(schema._schema, running.core.metrics)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    over_http = GraphQLHTTP(
        schema, gate.http_context, observer, timeout=config.query_timeout, admit=gate.admit
    )
    over_websocket = GraphQLWebSocket(schema, gate, observer, timeout=config.query_timeout)
    health = Health(running.core)

    async def graphql(request: Request) -> Response:
        if _is_page_visit(request):
            page = console.page("graphiql.html") if config.graphiql != "off" else None
            return console.serve(request, page) if page else Response("Not found", 404)
        return await over_http(request)

    return [
        Route("/graphql", graphql, methods=["GET", "POST"]),
        WebSocketRoute("/graphql", over_websocket.__call__),
        *links.routes(running),
        *oidc.routes(running.core, secure=config.url.startswith("https:")),
        Route("/healthz", health.live),
        Route("/readyz", health.ready),
        Route("/health/live", health.live),
        Route("/health/ready", health.ready),
        Route("/metrics", MetricsPage(config, running.core).__call__),
        Route("/{path:path}", console.__call__, methods=["GET", "HEAD"]),
    ]


class _Gate:
    """Who asks, and the context that an operation of theirs runs in."""

    def __init__(self, config: Config, running: Manager, trusted: TrustedDocuments | None) -> None:
        self._config = config
        self._core = running.core
        self._links = running.links
        self._trusted = trusted

    async def http_context(self, request: Request, body: bytes) -> RequestContext:
        def tell(quota: Quota) -> None:
            request.state.quota = quota

        actor = await self._actor(request, body, tell)
        return self._context(request, actor)

    async def authenticate(self, websocket: WebSocket, payload: dict[str, Any]) -> Actor | None:
        token = payload.get("accessToken")
        if token is None:
            scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                return None
        token = str(token)
        if auth.is_signed_request(self._core, token):
            # As the request that opens the connection: it has no body.
            return await auth.authenticate_request(
                self._core, token, method="GET", path=_target(websocket), body=b""
            )
        return await auth.authenticate_bearer(self._core, token)

    async def count(self, actor: Actor | None) -> None:
        if actor is not None:
            await auth.count_operation(self._core, actor)

    def watch(self, actor: Actor) -> AbstractContextManager[asyncio.Event]:
        return self._core.standings.watch(actor.user_id)

    async def stands(self, actor: Actor) -> bool:
        return await auth.still_is(self._core, actor)

    def admit(self, connection: HTTPConnection, text: str) -> None:
        if self._trusted is not None:
            self._trusted.admit(connection, text)

    def context(self, websocket: WebSocket, actor: Actor | None) -> RequestContext:
        return self._context(websocket, actor)

    async def _actor(self, request: Request, body: bytes, tell: Callable[[Quota], None]) -> Actor | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        if auth.is_signed_request(self._core, token):
            return await auth.authenticate_request(
                self._core,
                token,
                method=request.method,
                path=_target(request),
                body=body,
                told=tell,
            )
        return await auth.authenticate_bearer(self._core, token, tell)

    def _offered(self, actor: Actor | None) -> frozenset[str]:
        playground = {"open": True, "signed-in": actor is not None, "off": False}[self._config.graphiql]
        free = self._trusted is None
        reset = self._core.options.value(PASSWORD_RESET)
        offers = {"PASSWORD_RESET": reset, "PLAYGROUND": playground and free, "BROWSER_OPERATIONS": free}
        return frozenset(name for name, offered in offers.items() if offered)

    def _introspection(self, actor: Actor | None) -> bool:
        return {"open": True, "signed-in": actor is not None, "off": False}[self._config.introspection]

    def _context(self, connection: Request | WebSocket, actor: Actor | None) -> RequestContext:
        return RequestContext(
            self._core,
            actor,
            address=connection.client.host if connection.client else "",
            user_agent=connection.headers.get("user-agent", "")[:500],
            cookies=connection.cookies,
            secure=self._config.url.startswith("https:"),
            introspection=self._introspection(actor),
            offered=self._offered(actor),
            request_id=current.id if (current := requests.current()) else requests.Request().id,
        )


def _target(connection: HTTPConnection) -> str:
    """The path with its query string, as it was sent."""
    query: str = connection.scope["query_string"].decode("latin-1")
    return f"{connection.scope['path']}?{query}" if query else connection.scope["path"]


def _trusted(config: Config) -> TrustedDocuments | None:
    if config.browser_operations == "any":
        return None
    try:
        return TrustedDocuments(CONSOLE / MANIFEST)
    except (OSError, ValueError) as error:
        raise CannotServe(
            f"browser_operations is console, and the console's operations cannot be read: {error}"
        ) from error


def _is_page_visit(request: Request) -> bool:
    return (
        request.method == "GET"
        and "query" not in request.query_params
        and "text/html" in request.headers.get("accept", "")
    )
