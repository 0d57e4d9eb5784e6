"""A thousand agents on one manager: what they cost, and what a person's query takes meanwhile.

    PYTHONPATH=. .venv/bin/python benchmarks/simulated_agents.py [--agents 1000] [--seconds 30]

Each agent speaks the real protocol from this process: a heartbeat each 10 s, stats of 20 kernels each 2 s. Baseline: the same
query on the same manager while nobody is connected. The aim is a p99 of at most three times the idle one.
"""

import argparse
import asyncio
import random
import secrets
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from websockets.asyncio.client import connect

from agents.protocol import (
    PROTOCOL,
    SUBPROTOCOL,
    Hardware,
    Heartbeat,
    Hello,
    KernelStats,
    NodeStats,
    Stats,
    Welcome,
    decode_to_agent,
    encode,
)
from services import ids
from services.keys import digest
from tests.flow.cluster import Client, Cluster

QUERY = "{ viewer { user { email } groups { name } } sessions(first: 20) { totalCount nodes { id name } } }"


class Agent:
    """One simulated node."""

    def __init__(self, url: str, number: int) -> None:
        self.id, self.secret = ids.new("agt"), secrets.token_urlsafe(16)
        self.kernels = tuple(
            KernelStats(
                kernel=ids.new("knl"), cpu_percent=12.5, memory_bytes=2**27, network_received_bytes=number
            )
            for _ in range(20)
        )
        self._url = f"{url.replace('http', 'ws', 1)}/agents/link"

    async def run(self, sent: list[int], ready: asyncio.Semaphore) -> None:
        headers = {"authorization": f"Bearer {self.id}.{self.secret}"}
        async with ready:
            socket = await connect(  # as agents do it
                self._url, subprotocols=[SUBPROTOCOL], additional_headers=headers, compression=None
            )
            hello = Hello(PROTOCOL, "bench", "b", "docker", "x86_64", {"cpu": 8000}, Hardware(), (), ())
            await socket.send(encode(hello))
            welcome = decode_to_agent(await socket.recv(decode=False))
            assert isinstance(welcome, Welcome)
        await asyncio.sleep(random.random() * welcome.stats_seconds)
        turn = 0
        async with socket:
            while True:
                await socket.send(encode(Stats(time.time(), NodeStats(50.0, 2**33, 2**35), self.kernels)))
                if turn % 5 == 0:
                    await socket.send(encode(Heartbeat(time.time())))
                sent[0] += 1
                turn += 1
                await asyncio.sleep(welcome.stats_seconds)


def register(database: Path, agents: list[Agent]) -> None:
    """Write the agents into the database, as joining a thousand times would."""
    with sqlite3.connect(database) as db:
        group = db.execute("select id from resource_groups").fetchone()[0]
        columns = [row[1] for row in db.execute("pragma table_info(agents)")]
        given = {
            "resource_group_id": group,
            "status": "LOST",
            "schedulable": 1,
            "epoch": 0,
            "isolated": 1,
            "hardware": "{}",
            "slots": "{}",
            "acknowledged": 0,
            "created_at": "2026-01-01 00:00:00.000000",
        }
        for agent in agents:
            row = {**given, "id": agent.id, "name": agent.id, "credential_hash": digest(agent.secret)}
            values = [row.get(c, None if c.endswith("_at") else "") for c in columns]
            marks = ",".join("?" * len(columns))
            db.execute(f"insert into agents ({','.join(columns)}) values ({marks})", values)


async def latencies(client: Client, seconds: float) -> list[float]:
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        await client(QUERY)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    return took


def spent(before: Any, after: Any) -> float:
    """Seconds of processor time between two looks."""
    return after.user + after.system - before.user - before.system


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


async def main(count: int, seconds: float) -> None:
    root = Path(tempfile.mkdtemp(prefix="berth-"))
    cluster = Cluster(root, "process", f"sqlite+aiosqlite:///{root / 'berth.db'}")
    try:
        await cluster.start_manager()
        client = await cluster.client()
        viewer = (await client("{ viewer { keypair { id } } }"))["viewer"]
        update = "mutation($i: UpdateKeypairInput!) { updateKeypair(input: $i) { keypair { id } } }"
        await client(update, i={"id": viewer["keypair"]["id"], "rateLimit": 1_000_000})
        idle = await latencies(client, seconds / 3)
        agents = [Agent(cluster.url, number) for number in range(count)]
        register(root / "berth.db", agents)
        sent, ready = [0], asyncio.Semaphore(20)
        manager = psutil.Process(cluster.manager.pid)
        before, began = manager.cpu_times(), time.monotonic()
        tasks = [asyncio.create_task(agent.run(sent, ready)) for agent in agents]
        while sent[0] < count:
            await asyncio.sleep(0.2)
        await asyncio.sleep(10)  # until what they brought has been looked at
        cpu = spent(before, manager.cpu_times())
        print(
            f"{count} agents connected after {time.monotonic() - began - 10:.0f} s; {cpu / count * 1e3:.0f} ms each"
        )
        before, began, first = manager.cpu_times(), time.monotonic(), sent[0]
        await asyncio.sleep(seconds)
        after, took, messages = manager.cpu_times(), time.monotonic() - began, sent[0] - first
        cpu = spent(before, after)
        print(
            f"{count} agents, {messages / took:.0f} stats messages/s of 20 kernels: {cpu / took:.0%} of a core, "
            f"{cpu / messages * 1e6:.0f} µs each, {manager.memory_info().rss / 2**20:.0f} MiB"
        )
        busy = await latencies(client, seconds)
        ratio = p99(busy) / p99(idle)
        print(f"query p99 {p99(busy):.0f} ms, idle {p99(idle):.0f} ms: ratio {ratio:.1f} (aim: 3)")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        cluster.manager.stop()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.agents, chosen.seconds))
