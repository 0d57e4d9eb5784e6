"""From `createSession` to RUNNING with the image on the node, over the engine alone.

    DOCKER_HOST=… PYTHONPATH=. .venv/bin/python benchmarks/session_start.py [--rounds 10]

Baseline: `docker create` and `docker start` of a container with the same settings by aiodocker, in the same run on the same
engine, as many at a time. The aim is a median of at most 1.25 times the baseline's plus 50 ms.
"""

import argparse
import asyncio
import secrets
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from agents.protocol import KernelSpec
from agents.runtimes.docker import DockerRuntime
from agents.runtimes.docker_containers import config
from tests.flow.cluster import TERMINATE, Client, Cluster, eventually
from tests.flow.conftest import ready
from tests.flow.test_life import CREATE, EVENTS, choices

IMAGE = "berth/minimal:12"
SLOTS = [{"name": "cpu", "amount": "0.1"}, {"name": "mem", "amount": str(64 * 2**20)}]


async def baseline(runtime: DockerRuntime) -> float:
    """Seconds that the engine takes for one container with the settings that a session's has."""
    kernel = f"knl_bench{secrets.token_hex(6)}"
    spec = KernelSpec(
        session=f"ses_bench{secrets.token_hex(4)}",
        session_name="bench",
        image=IMAGE,
        architecture="x86_64",
        slots={"cpu": 100, "mem": 64 * 2**20},
        shared_memory=2**25,
    )
    opened = runtime._opened
    network = await opened.networks.join(spec.session, kernel)
    settings = config(kernel, 1, spec, network, runtime._labels)
    began = time.perf_counter()
    container = await opened.engine.docker.containers.create(settings, name=f"{kernel}-1")
    await container.start()
    seconds = time.perf_counter() - began
    await runtime.remove(kernel, 1)
    return seconds


async def sessions(client: Client, given: dict[str, str], count: int) -> list[float]:
    """Seconds from the request to the event that says RUNNING, for sessions asked for at once."""
    took: dict[str, float] = {}
    async with client.subscribe(EVENTS) as events:
        began = time.perf_counter()
        made = await asyncio.gather(*(client(CREATE, i={**given, "slots": SLOTS}) for _ in range(count)))
        ids = {one["createSession"]["session"]["id"] for one in made}
        while len(took) < count:
            session = (await events.next())["sessionEvents"]["session"]
            if session["id"] in ids and session["status"] == "RUNNING":
                took.setdefault(session["id"], time.perf_counter() - began)
    await client(TERMINATE, i={"ids": list(ids)})

    async def gone() -> bool:
        query = "{ sessions(first: 100, filter: { statusIn: [RUNNING, TERMINATING] }) { totalCount } }"
        return (await client(query))["sessions"]["totalCount"] == 0

    await eventually(gone, "the sessions have ended")
    return list(took.values())


async def main(rounds: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="berth-"))
    cluster = Cluster(root, "docker", f"sqlite+aiosqlite:///{root / 'berth.db'}")
    runtime = DockerRuntime(root / "baseline", {})
    await runtime.open()
    try:
        await cluster.start_manager()
        cluster.add_agent()
        await ready(cluster)
        client = await cluster.client()
        given = await choices(client)
        await sessions(client, given, 1)
        for count in (1, 8):
            bare: list[float] = []
            ours: list[float] = []
            for _ in range(rounds if count == 1 else max(2, rounds // 4)):
                bare += await asyncio.gather(*(baseline(runtime) for _ in range(count)))
                ours += await sessions(client, given, count)
            mine, base = statistics.median(ours) * 1000, statistics.median(bare) * 1000
            aim = 1.25 * base + 50
            print(
                f"{count} at a time: createSession to RUNNING {mine:.0f} ms, create + start by aiodocker {base:.0f} ms: "
                f"ratio {mine / base:.2f} (aim: {aim:.0f} ms, {'met' if mine <= aim else 'missed'})"
            )
    finally:
        await cluster.close()
        await runtime.close()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=10, help="rounds of one at a time; a quarter of it with eight"
    )
    asyncio.run(main(parser.parse_args().rounds))
