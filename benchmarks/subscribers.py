"""Two thousand subscribers of one session's stats: each sample is executed and encoded once for all of them.

    PYTHONPATH=. .venv/bin/python benchmarks/subscribers.py [--subscribers 2000] [--samples 20]

Baseline: the same bytes broadcast to as many plain Starlette websockets by the same process. Server and clients share the
machine; the figure is the server's CPU for each message that arrived.
"""

import argparse
import asyncio
import json
import multiprocessing
import shutil
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from sqlalchemy import select, update
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect

from agents.protocol import KernelStats, NodeStats, Stats
from server.app import make_app
from server.config import Config
from services import auth
from services.db.tables import Image, Kernel, Keypair, ResourceGroup
from services.sessions import SessionSpec, create
from tests.flow.cluster import free_port

SUBSCRIPTION = (
    "subscription($id: ID!) { sessionStats(sessionId: $id) { at cpuPercent memoryBytes networkSentBytes } }"
)


def clients(pipe: Connection, url: str, token: str, session_id: str, count: int, kind: str) -> None:
    """In a process of its own: connect, then count what arrives."""

    async def one(received: list[int], gate: asyncio.Semaphore) -> None:
        async with gate:
            path, protocols = ("/graphql", ["graphql-transport-ws"]) if kind == "graphql" else ("/bare", None)
            socket = await connect(f"{url}{path}", subprotocols=protocols, max_queue=64)  # pyright: ignore
            if kind == "graphql":
                await socket.send(json.dumps({"type": "connection_init", "payload": {"accessToken": token}}))
                await socket.recv()
                operation = {"query": SUBSCRIPTION, "variables": {"id": session_id}}
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": operation}))
        async for _ in socket:
            received[0] += 1

    async def run() -> None:
        received, gate = [0], asyncio.Semaphore(50)
        tasks = [asyncio.create_task(one(received, gate)) for _ in range(count)]
        while True:
            await asyncio.sleep(0.2)
            pipe.send(received[0])
            if pipe.poll():
                break
        for task in tasks:
            task.cancel()

    asyncio.run(run())


async def main(count: int, samples: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="berth-"))
    config = Config(
        data_dir=root, port=free_port(), admin_email="a@example.org", admin_password="correct-horse-9"
    )
    app = make_app(config)
    plain: set[WebSocket] = set()

    async def bare(websocket: WebSocket) -> None:
        await websocket.accept()
        plain.add(websocket)
        try:
            await websocket.receive()
        except WebSocketDisconnect:
            pass
        finally:
            plain.discard(websocket)

    app.router.routes.insert(0, WebSocketRoute("/bare", bare))
    settings = uvicorn.Config(
        app, port=config.port, log_level="error", ws="websockets-sansio", ws_per_message_deflate=False
    )
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    core, first = app.state.manager.core, app.state.manager.first_run
    result = await auth.login(core, "a@example.org", "correct-horse-9", address="")
    async with core.db.write() as db:
        await db.execute(update(Keypair).values(rate_limit=1_000_000))  # all watch as one user
        db.add(Image(id="img_" + "0" * 26, reference="x/y:1", architecture="none", name="y"))
        group = (await db.scalars(select(ResourceGroup.id))).one()
    spec = SessionSpec(first.group_id, group, "img_" + "0" * 26, [("cpu", "1"), ("mem", str(2**28))])
    session = await create(core, result.actor, spec)
    async with core.db.read() as db:
        kernel_id = (await db.scalars(select(Kernel.id))).one()

    async def sample(number: int) -> None:
        stats = KernelStats(
            kernel=kernel_id, cpu_percent=number, memory_bytes=2**27, network_sent_bytes=number
        )
        await core.stats.report("agt_bench", Stats(time.time(), NodeStats(), (stats,)))

    async def broadcast(number: int) -> None:
        text = json.dumps(
            {
                "id": "1",
                "type": "next",
                "payload": {
                    "data": {
                        "sessionStats": {
                            "at": "2026-11-24T08:00:00Z",
                            "cpuPercent": number,
                            "memoryBytes": str(2**27),
                            "networkSentBytes": str(number),
                        }
                    }
                },
            }
        )
        for websocket in list(plain):
            await websocket.send_text(text)

    figures: dict[str, float] = {}
    for kind, push in (("bare", broadcast), ("graphql", sample)):
        figures[kind] = await measure(
            config, result.access_token, session.id, count, samples, kind, push, plain
        )
    print(
        f"{count} subscribers: {figures['graphql'] / figures['bare']:.2f} times the CPU a message of a bare broadcast (above)"
    )
    server.should_exit = True
    await serving
    shutil.rmtree(root, ignore_errors=True)


async def measure(
    config: Config,
    token: str,
    session_id: str,
    count: int,
    samples: int,
    kind: str,
    push: Any,
    plain: set[WebSocket],
) -> float:
    """Microseconds of the server's CPU for each message that arrived."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    arguments = (theirs, config.url.replace("http", "ws", 1), token, session_id, count, kind)
    process = multiprocessing.get_context("spawn").Process(target=clients, args=arguments)
    process.start()
    received = await settled(ours, push, count, kind, plain)
    me = psutil.Process()
    before, began = me.cpu_times(), time.perf_counter()
    for number in range(samples):
        await push(number)
        received = await arrived(ours, received + count, received)
    after, took = me.cpu_times(), time.perf_counter() - began
    total = samples * count
    spent = (after.user + after.system - before.user - before.system) / total * 1e6
    print(f"{kind}: {total / took:.0f} messages/s, {spent:.1f} µs of CPU each")
    ours.send("stop")
    while process.is_alive():
        await asyncio.sleep(0.1)
        while ours.poll():
            ours.recv()
    return spent


async def settled(pipe: Connection, push: Any, count: int, kind: str, plain: set[WebSocket]) -> int:
    """Until all are connected and one sample has reached each. Returns what has arrived so far."""
    while kind == "bare" and len(plain) < count:
        await asyncio.sleep(0.1)
    seen = 0
    while True:
        before = seen
        await push(0)
        await asyncio.sleep(3)
        while pipe.poll():
            seen = pipe.recv()
        if seen - before == count:
            return seen


async def arrived(pipe: Connection, wanted: int, seen: int) -> int:
    while seen < wanted:
        await asyncio.sleep(0.005)
        while pipe.poll():
            seen = pipe.recv()
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subscribers", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=20)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.subscribers, chosen.samples))
