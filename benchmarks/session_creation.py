"""Sessions a second from `createSession` over HTTP to SCHEDULED committed, and from a bare route that inserts a row.

    BERTH_TEST_DATABASE_URL=postgresql://… .venv/bin/python -m benchmarks.session_creation

The manager is a process of its own, with its dispatcher, as `berth manager` runs it; PostgreSQL, manager and this load
generator share two processor cores. Every request is authenticated by a login's access token, counted against its
keypair's rate, and held to limits of keypair, user, group, domain and resource group, none of which is reached. The agents
are rows: nothing is started. The baseline is a route of the same application that inserts the request's body by the bare
driver, a row and a transaction each. The two take turns; then everything is waited for to be SCHEDULED.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.engine import make_url
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.crowd import SHAPES, Crowd, databases, gather, open_core
from server import secretsfile, serve
from server.app import make_app
from server.config import Config
from services import ids, tokens
from services.db.tables import Login, Session
from services.tokens import AccessClaims
from tests.flow.cluster import free_port

CREATE = """mutation Create($input: CreateSessionInput!) {
  createSession(input: $input) { session { id name status } raised { name amount } } }"""


def app_with_baseline(config: Config) -> Starlette:
    """The manager's application, and `/bare`."""
    app = make_app(config)
    url = make_url(config.database).set(drivername="postgresql").render_as_string(hide_password=False)
    pools: list[asyncpg.Pool] = []

    async def bare(request: Request) -> Response:
        if not pools:
            pools.append(await asyncpg.create_pool(url, min_size=1, max_size=20))
        body = msgspec.json.decode(await request.body())
        row = ids.new("ses")
        await pools[0].execute(
            "INSERT INTO bare (id, body) VALUES ($1, $2)",
            row,
            msgspec.json.encode(body["variables"]).decode(),
        )
        return Response(msgspec.json.encode({"id": row}), media_type="application/json")

    app.router.routes.insert(0, Route("/bare", bare, methods=["POST"]))
    return app


def serve_here(data_dir: str, database: str, port: int) -> None:
    """The manager's process."""

    async def ready(_config: Config, _manager: object) -> None:
        print("ready", flush=True)

    serve.make_app = app_with_baseline
    serve.run(Config(data_dir=Path(data_dir), database_url=database, port=port), ready)


@dataclass
class Load:
    """What came back."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    wrong: bytes = b""


class Connection(asyncio.Protocol):
    """One HTTP connection that sends the next request when the last one is answered."""

    def __init__(self, requests: list[bytes], load: Load, until: float) -> None:
        self._requests, self._load, self._until = requests, load, until
        self._buffer, self._began = b"", 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._load.latencies.append(time.perf_counter() - self._began)
        if not head.startswith(b"HTTP/1.1 200") or b'"errors"' in body:
            self._load.wrong = self._load.wrong or head + body
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        if time.perf_counter() >= self._until:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(self._requests[random.randrange(len(self._requests))])


async def press(port: int, requests: list[bytes], connections: int, seconds: float) -> Load:
    load, loop, began = Load(), asyncio.get_running_loop(), time.perf_counter()
    made = await asyncio.gather(
        *(
            loop.create_connection(lambda: Connection(requests, load, began + seconds), "127.0.0.1", port)
            for _ in range(connections)
        )
    )
    await asyncio.gather(*(protocol.done for _, protocol in made))
    load.seconds = time.perf_counter() - began
    if load.wrong:
        raise SystemExit(load.wrong.decode())
    return load


def requests_for(crowd: Crowd, path: str, bearers: list[str]) -> list[bytes]:
    """One of each user and shape, as they go over the wire."""
    made: list[bytes] = []
    for actor, bearer in zip(crowd.actors, bearers, strict=True):
        for shape in SHAPES:
            variables = {
                "input": {
                    "groupId": min(actor.group_ids),
                    "resourceGroupId": crowd.resource_group,
                    "imageId": crowd.image,
                    "slots": [
                        {"name": "cpu", "amount": f"{shape['cpu'] / 1000:g}"},
                        {"name": "mem", "amount": str(shape["mem"])},
                    ],
                }
            }
            body = msgspec.json.encode({"query": CREATE, "variables": variables})
            head = (
                f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
                f"accept: application/graphql-response+json\r\nauthorization: Bearer {bearer}\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            made.append(head.encode() + body)
    return made


async def log_in(crowd: Crowd, data_dir: Path) -> list[str]:
    """Access tokens, each of a login of its own."""
    keys, core = secretsfile.load(data_dir / "secrets.json"), crowd.core
    now, bearers, rows = core.now(), list[str](), list[dict[str, object]]()
    for number, actor in enumerate(crowd.actors):
        login = ids.new("lgn")
        rows.append(
            {
                "id": login,
                "user_id": actor.user_id,
                "epoch": 0,
                "token_hash": number.to_bytes(32, "big"),
                "expires_at": now + timedelta(days=1),
            }
        )
        claims = AccessClaims(actor.user_id, login, 0)
        bearers.append(tokens.issue_access(keys, claims, now, timedelta(hours=1))[0])
    async with core.db.write() as db:
        await db.execute(insert(Login), rows)
    return bearers


def processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(what: str, load: Load, spent: float) -> None:
    spread = sorted(load.latencies)
    print(
        f"{what:>14} {len(spread) / load.seconds:>8,.0f} /s  p50 {spread[len(spread) // 2] * 1e3:>6.1f} ms  "
        f"p99 {spread[len(spread) * 99 // 100] * 1e3:>6.1f} ms  manager {spent / len(spread) * 1e6:>6.0f} us of processor each",
        flush=True,
    )


async def scheduled(crowd: Crowd, since: object) -> tuple[int, int, float, list[float]]:
    """(sessions that were made, those that are SCHEDULED, seconds from first made to last scheduled, waits)."""
    async with crowd.core.db.read() as db:
        made = await db.scalar(select(func.count()).select_from(Session).where(Session.created_at >= since))
        rows = (
            await db.execute(
                select(Session.created_at, Session.scheduled_at).where(
                    Session.created_at >= since, Session.scheduled_at.is_not(None)
                )
            )
        ).all()
    if not rows:
        return made or 0, 0, 0.0, []
    span = max(row[1] for row in rows) - min(row[0] for row in rows)
    return made or 0, len(rows), span.total_seconds(), sorted((b - a).total_seconds() for a, b in rows)


async def measure(options: argparse.Namespace, url: str, folder: Path) -> None:
    secretsfile.load(folder / "secrets.json")
    core, port = open_core(url), free_port()
    crowd = await gather(core, users=options.users, agents=options.agents)
    async with core.db.engine.begin() as connection:
        await connection.exec_driver_sql("CREATE TABLE bare (id text PRIMARY KEY, body text)")
        await connection.exec_driver_sql("ANALYZE")
    bearers = await log_in(crowd, folder)
    command = [sys.executable, "-m", "benchmarks.session_creation", "--serve", str(folder), url, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as manager:
        try:
            assert manager.stdout is not None
            line = await asyncio.to_thread(manager.stdout.readline)
            assert line.strip() == "ready", line
            graphql, bare = (requests_for(crowd, path, bearers) for path in ("/graphql", "/bare"))
            for requests in (graphql, bare):
                await press(port, requests, 8, 2.0)
            for _ in range(options.rounds):
                for what, requests in (("bare", bare), ("createSession", graphql)):
                    began, since = processor_seconds(manager.pid), core.now()
                    load = await press(port, requests, options.connections, options.seconds)
                    count, done = len(load.latencies), 0
                    while what == "createSession" and done < count:
                        await asyncio.sleep(0.1)
                        _, done, span, waits = await scheduled(crowd, since)
                    show(what, load, processor_seconds(manager.pid) - began)
                    if what == "createSession":
                        print(
                            f"{'to SCHEDULED':>14} {done / span:>8,.0f} /s  p50 {waits[done // 2] * 1e3:>6.1f} ms  "
                            f"p99 {waits[done * 99 // 100] * 1e3:>6.1f} ms",
                            flush=True,
                        )
        finally:
            manager.terminate()
            await asyncio.to_thread(manager.wait)
    await core.db.close()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory(prefix="berth-") as folder:
        async with databases(["postgres"]) as urls:
            await measure(options, urls["postgres"], Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve_here(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        asyncio.run(main())
