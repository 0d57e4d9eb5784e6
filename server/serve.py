"""Runs the manager's application: the socket, TLS, proxies, limits of a websocket, an orderly end."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Final

import uvicorn
import uvloop
from alembic.util import CommandError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from agents.protocol import MAX_FRAME
from server.app import make_app
from server.config import Config
from server.listening import CannotServe, check_exposure, listen
from server.manager import Manager
from server.secretsfile import UnsafeSecrets
from services.errors import BerthError

#: Seconds that open requests have to end once the manager is asked to.
GRACE: Final = 5
#: Objects after which those that are new are collected, and how often of those times the older ones are.
_COLLECTED: Final = (10_000, 20, 20)
#: Bytes of one websocket message: an agent's longest frame; the application refuses a longer one in its own words.
_WS_MAX_SIZE: Final = MAX_FRAME + 64 * 1024
#: Seconds between pings, and that an answer may take: a proxy's idle time-out is seldom below a minute.
_WS_PING: Final = 20.0


def run(config: Config, on_ready: Callable[[Config, Manager], Awaitable[None]]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        on_ready: called once requests are answered, with the configuration as it came to be (its port, when 0 was asked).

    Raises:
        CannotServe: see `server/listening.py`; or what it needs is not there, or not as it must be.
    """
    check_exposure(config)
    with listen(config) as taken:
        # Database, its journal, whatever else is made: for the manager's user alone.
        os.umask(0o077)
        settled = config.model_copy(update={"port": taken.getsockname()[1]})
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settled, taken, on_ready))
        except (UnsafeSecrets, BerthError, CommandError) as error:
            raise CannotServe(str(error)) from error
        except (SQLAlchemyError, RedisError, OSError) as error:
            raise CannotServe(f"What the manager needs does not answer: {error}") from error


async def _serve(
    config: Config, taken: socket.socket, on_ready: Callable[[Config, Manager], Awaitable[None]]
) -> None:
    app = make_app(config)
    server = _Server(_uvicorn(config, app), lambda: on_ready(config, app.state.manager))
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        if server.started:
            # The second one does not wait for open requests.
            server.force_exit = server.should_exit
            server.should_exit = True
        elif task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        # Here and not by uvicorn, so that what fails at the start arrives as what it is.
        async with app.router.lifespan_context(app):
            await server.serve(sockets=[taken])


class _Server(uvicorn.Server):
    """Uvicorn, telling when it serves, and leaving signals to us: its own handling ends the process by the signal
    before the lifespan is closed.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            # What is here now stays: collections need not walk the schema, the mappers and the modules again and again.
            gc.freeze()
            # Each request makes thousands of objects that are gone by themselves when it is answered: looking for cycles
            # among them as often as Python does by default took a tenth of the processor.
            gc.set_threshold(*_COLLECTED)
            await self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _uvicorn(config: Config, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]  # an ASGI application by its shape
        lifespan="off",
        # Paths hold tickets, so no access log; ours is set up already.
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=config.trusted_proxies,
        ssl_certfile=config.tls_certificate,
        ssl_keyfile=config.tls_key,
        # The implementation on websockets' protocol layer: the older one builds on what websockets has deprecated.
        ws="websockets-sansio",
        ws_max_size=_WS_MAX_SIZE,
        # Compressing terminals and binary frames costs more than it saves, and memory for each connection.
        ws_per_message_deflate=False,
        ws_ping_interval=_WS_PING,
        ws_ping_timeout=_WS_PING,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=64 * 1024,
    )
