"""What a node can suffer: its engine stops, its disk is full. It is said, nothing is lost, and it mends itself."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.cluster import TERMINATE, Cluster, eventually
from tests.flow.conftest import ready
from tests.flow.engines import Disk, OwnEngine
from tests.flow.test_life import launch, reaches, state, typed


@pytest.fixture
def engine(root: Path) -> Generator[OwnEngine]:
    engine = OwnEngine(root)
    yield engine
    engine.close()


@pytest.fixture
async def cluster(root: Path, engine: OwnEngine) -> AsyncGenerator[Cluster]:
    """A manager and an agent on an engine of its own."""
    cluster = Cluster(root, "docker", f"sqlite+aiosqlite:///{root / 'berth.db'}")
    await cluster.start_manager()
    try:
        cluster.add_agent(DOCKER_HOST=engine.host)
        await ready(cluster)
        yield cluster
    finally:
        await cluster.close()


WITHOUT_RETRIES = (
    "mutation($i: UpdateResourceGroupInput!) { updateResourceGroup(input: $i) { resourceGroup { id } } }"
)


async def fails_at_once(client: Any) -> None:
    """What is seen here is the failure of one start: no second one follows it."""
    groups = (await client("{ resourceGroups { nodes { id } } }"))["resourceGroups"]["nodes"]
    for group in groups:
        await client(WITHOUT_RETRIES, i={"id": group["id"], "startRetries": 0})


async def kernel_of(client: Any, session_id: str) -> str:
    return (await state(client, session_id))["kernels"][0]["id"]


async def test_an_engine_that_is_killed_takes_no_session_with_it(cluster: Cluster, engine: OwnEngine) -> None:
    client = await cluster.client()
    await fails_at_once(client)
    survivor = await launch(client)
    await reaches(cluster, client, survivor, "RUNNING")
    kernel_id = await kernel_of(client, survivor)

    engine.kill()
    unlucky = await launch(client)
    ending = await reaches(cluster, client, unlucky, "TERMINATING")
    assert ending["statusReason"]["code"] == "ENGINE_UNREACHABLE"
    assert "does not answer" in ending["statusReason"]["message"]
    assert (await state(client, survivor))["status"] == "RUNNING"

    engine.start()
    ended = await reaches(cluster, client, unlucky, "ERROR")
    assert ended["statusReason"] == ending["statusReason"]
    assert engine.live(kernel_id) == 1
    await typed(client, survivor, b"echo al''ive\n", b"alive")
    await client(TERMINATE, i={"ids": [survivor]})
    await reaches(cluster, client, survivor, "TERMINATED")
    await eventually(lambda: engine.live(kernel_id) == 0, "its container is gone", *cluster.agents)
    again = await launch(client)
    await reaches(cluster, client, again, "RUNNING")


async def test_an_end_that_is_asked_for_while_the_engine_is_away_comes_when_it_is_back(
    cluster: Cluster, engine: OwnEngine
) -> None:
    client = await cluster.client()
    session_id = await launch(client)
    await reaches(cluster, client, session_id, "RUNNING")
    kernel_id = await kernel_of(client, session_id)
    engine.kill()
    await client(TERMINATE, i={"ids": [session_id]})
    await reaches(cluster, client, session_id, "TERMINATING")
    engine.start()
    await reaches(cluster, client, session_id, "TERMINATED")
    assert engine.live(kernel_id) == 0


async def test_a_frozen_engine_only_takes_longer(cluster: Cluster, engine: OwnEngine) -> None:
    client = await cluster.client()
    engine.freeze()
    session_id = await launch(client)
    await reaches(cluster, client, session_id, "CREATING")
    engine.thaw()
    await reaches(cluster, client, session_id, "RUNNING")
    assert engine.live(await kernel_of(client, session_id)) == 1


async def test_a_full_disk_under_the_engine_is_said_and_spares_what_runs(
    cluster: Cluster, engine: OwnEngine
) -> None:
    client = await cluster.client()
    await fails_at_once(client)
    survivor = await launch(client)
    await reaches(cluster, client, survivor, "RUNNING")
    engine.disk.fill()
    unlucky = await launch(client)
    ended = await reaches(cluster, client, unlucky, "ERROR")
    assert ended["statusReason"]["code"] == "NO_SPACE"
    assert "disk is full" in ended["statusReason"]["message"]
    assert (await state(client, survivor))["status"] == "RUNNING"
    engine.disk.empty()
    again = await launch(client)
    await reaches(cluster, client, again, "RUNNING")


async def test_a_full_disk_under_the_agent_is_said_and_spares_what_runs(root: Path) -> None:
    disk = Disk(root / "small", megabytes=64)
    cluster = Cluster(root, "process", f"sqlite+aiosqlite:///{root / 'berth.db'}")
    await cluster.start_manager()
    try:
        cluster.add_agent(BERTH_STATE_DIR=str(disk.path / "agent"))
        await ready(cluster)
        client = await cluster.client()
        await fails_at_once(client)
        survivor = await launch(client)
        await reaches(cluster, client, survivor, "RUNNING")
        disk.fill()
        unlucky = await launch(client)
        ended = await reaches(cluster, client, unlucky, "ERROR")
        assert ended["statusReason"]["code"] == "NO_SPACE"
        assert (await state(client, survivor))["status"] == "RUNNING"
        await typed(client, survivor, b"echo al''ive\n", b"alive")
        # Ending a session is what makes room: it must not need any.
        await client(TERMINATE, i={"ids": [survivor]})
        await reaches(cluster, client, survivor, "TERMINATED")
        disk.empty()
        again = await launch(client)
        await reaches(cluster, client, again, "RUNNING")
    finally:
        await cluster.close()
        disk.close()
