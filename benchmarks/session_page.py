"""A page of 100 sessions over HTTP GraphQL, over the same rows as JSON from a bare route with the same statement.

    PYTHONPATH=. .venv/bin/python benchmarks/session_page.py [--requests 200]

Both are served by the same process over SQLite; one client, one request at a time. Statements a page are counted too.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import msgspec
import uvicorn
from sqlalchemy import event, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.app import make_app
from server.config import Config
from services import auth
from services.db.tables import Image, ResourceGroup, Session
from services.sessions import SessionSpec, create
from tests.flow.cluster import free_port

PAGE = """{ sessions(first: 100) { nodes { id name status createdAt startedAt elapsedSeconds
  slots { name amount } user { id name } group { id name } image { id language version } } pageInfo { endCursor } } }"""
COLUMNS = (Session.id, Session.name, Session.status, Session.created_at, Session.started_at, Session.slots)


async def timed(http: httpx.AsyncClient, count: int, *, query: str | None) -> float:
    """Median milliseconds of a request."""
    took: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        response = await (
            http.get("/bare") if query is None else http.post("/graphql", json={"query": query})
        )
        took.append(time.perf_counter() - began)
        assert response.status_code == 200, response.text
        assert b"errors" not in response.content[:40]
    return statistics.median(took) * 1000


async def main(count: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="berth-"))
    config = Config(
        data_dir=root, port=free_port(), admin_email="a@example.org", admin_password="correct-horse-9"
    )
    app = make_app(config)

    async def bare(request: Request) -> Response:
        async with request.app.state.manager.core.db.read() as db:
            rows = await db.execute(select(*COLUMNS).order_by(Session.id.desc()).limit(100))
            return Response(msgspec.json.encode([tuple(row) for row in rows]), media_type="application/json")

    app.router.routes.insert(0, Route("/bare", bare))
    server = uvicorn.Server(uvicorn.Config(app, port=config.port, log_level="error", access_log=False))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    try:
        await measure(app.state.manager, config, count)
    finally:
        server.should_exit = True
        await serving
        shutil.rmtree(root, ignore_errors=True)


async def measure(manager, config: Config, count: int) -> None:  # type: ignore[no-untyped-def]
    core, first = manager.core, manager.first_run
    async with httpx.AsyncClient(base_url=config.url, timeout=30) as http:
        login = (
            'mutation { login(input: {email: "a@example.org", password: "correct-horse-9"}) { accessToken } }'
        )
        token = (await http.post("/graphql", json={"query": login})).json()["data"]["login"]["accessToken"]
        http.headers["authorization"] = f"Bearer {token}"
        await fill(core, first, token)
        statements: list[str] = []
        note = lambda *arguments: statements.append(arguments[2])  # noqa: E731
        event.listen(core.db.engine.sync_engine, "before_cursor_execute", note)
        await timed(http, 1, query=PAGE)
        event.remove(core.db.engine.sync_engine, "before_cursor_execute", note)
        ours, base = await timed(http, count, query=PAGE), await timed(http, count, query=None)
    print(
        f"100 sessions: GraphQL with users, groups and images {ours:.1f} ms, bare JSON route {base:.1f} ms: "
        f"ratio {ours / base:.1f}; {len(statements)} statements a page"
    )


async def fill(core, first, token: str) -> None:  # type: ignore[no-untyped-def]
    actor = await auth.authenticate_bearer(core, token)
    async with core.db.write() as db:
        db.add(
            Image(
                id="img_" + "0" * 26,
                reference="x/y:1",
                architecture="none",
                name="y",
                language="Y",
                version="1",
            )
        )
        group = (await db.scalars(select(ResourceGroup.id))).first()
    for _ in range(120):
        slots = [("cpu", "1"), ("mem", str(2**28))]
        await create(core, actor, SessionSpec(first.group_id, group, "img_" + "0" * 26, slots))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100, help="of each kind, one at a time")
    asyncio.run(main(parser.parse_args().requests))
