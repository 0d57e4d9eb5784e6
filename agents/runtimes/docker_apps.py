"""Apps of a session (Jupyter, SSH, …): found in its image, started when somebody first connects, reached by its bridge."""

import asyncio
import time
from typing import Any, Final

from agents.runtimes import apps
from agents.runtimes.contract import Duplex, RuntimeFailure
from agents.runtimes.docker_containers import address
from agents.runtimes.docker_streams import ExecPipe, run
from agents.runtimes.engine import Engine
from agents.runtimes.pipes import Pipe

_CONNECT_SECONDS: Final = 10.0


class Apps:
    """All apps of the sessions on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._starting: dict[tuple[str, str], asyncio.Lock] = {}

    async def connect(self, container: dict[str, Any], port: int, service: str) -> Duplex:
        """Connect to a port, or to an app, which is started when nothing answers. `container`: as inspected."""
        identity = container["Id"]
        app = (await self._known(identity)).get(service) if service else None
        if app is not None and app.protocol == "stdio":
            return await self._run(identity, app)
        host = address(container)
        if app is not None:
            async with self._starting.setdefault((identity, service), asyncio.Lock()):
                if not await _answers(host, port):
                    await self._start(identity, app, host, port)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            raise RuntimeFailure(
                "CONNECT_FAILED", f"Nothing answers on port {port} of the session."
            ) from error
        return Pipe(reader, writer)

    async def _known(self, identity: str) -> dict[str, apps.App]:
        container = self._engine.docker.containers.container(identity)
        code, document = await run(self._engine, container, ["cat", apps.PATH])
        return apps.read(document) if code == 0 else {}

    async def _start(self, identity: str, app: apps.App, host: str, port: int) -> None:
        engine = self._engine
        container = engine.docker.containers.container(identity)
        for step in app.prestart:
            code, _ = await run(engine, container, app.filled(step), environ=app.environ)
            if code:
                raise RuntimeFailure(
                    "START_FAILED", f"Preparing the app failed: {step[0]} ended with exit code {code}."
                )
        execution = await engine.call(
            container.exec(
                app.filled(app.command), user="1000:1000", workdir="/home/work", environment=app.environ
            ),
            "START_FAILED",
            "Starting the app",
        )
        await engine.call(execution.start(detach=True), "START_FAILED", "Starting the app")
        until = time.monotonic() + app.start_timeout
        while not await _answers(host, port):
            if time.monotonic() > until:
                raise RuntimeFailure(
                    "START_FAILED", f"The app did not answer within {app.start_timeout:g} seconds."
                )
            await asyncio.sleep(0.1)

    async def _run(self, identity: str, app: apps.App) -> Duplex:
        engine = self._engine
        container = engine.docker.containers.container(identity)
        execution = await engine.call(
            container.exec(
                app.filled(app.command),
                stdin=True,
                user="1000:1000",
                workdir="/home/work",
                environment=app.environ,
            ),
            "START_FAILED",
            "Starting the app",
        )
        stream = execution.start(detach=False)
        await engine.call(stream._init(), "START_FAILED", "Starting the app")  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  # else the first read does
        return ExecPipe(stream)


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
