"""The same flows on both runtimes and both databases."""

import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.conftest import require
from tests.flow.cluster import Cluster, eventually

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(params=["process", "docker"])
def runtime(request: pytest.FixtureRequest) -> str:
    require("sandbox" if request.param == "process" else "engine")
    return request.param


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(request: pytest.FixtureRequest, root: Path) -> AsyncGenerator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{root / 'berth.db'}"
        return
    require("postgres")
    server = os.environ["BERTH_TEST_DATABASE_URL"]
    name = f"flow_{uuid.uuid4().hex[:12]}"
    plain = server.replace("postgresql+asyncpg://", "postgresql://")
    connection = await asyncpg.connect(plain)
    await connection.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(server)._replace(scheme="postgresql+asyncpg", path=f"/{name}"))
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
def root() -> Generator[Path]:
    """A short path: sockets in it have at most 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="berth-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def cluster(root: Path, runtime: str, database_url: str) -> AsyncGenerator[Cluster]:
    """A manager with one agent, both up."""
    cluster = Cluster(root, runtime, database_url)
    await cluster.start_manager()
    try:
        cluster.add_agent()
        await ready(cluster)
        yield cluster
    finally:
        await cluster.close()


@pytest.fixture
async def gated(root: Path, runtime: str, database_url: str) -> AsyncGenerator[Cluster]:
    """As `cluster`, with gates in its agent: see `plugin/gated.py`."""
    gates(root).mkdir()
    cluster = Cluster(root, "gated", database_url)
    await cluster.start_manager()
    try:
        cluster.add_agent(
            BERTH_TEST_RUNTIME=runtime,
            BERTH_TEST_GATES=str(gates(root)),
            PYTHONPATH=str(PLUGIN),
        )
        await ready(cluster)
        yield cluster
    finally:
        for gate in gates(root).iterdir():
            gate.unlink()
        await cluster.close()


def gates(root: Path) -> Path:
    return root / "gates"


async def ready(cluster: Cluster) -> None:
    """Wait until the agent is there and has an image to start from."""
    client = await cluster.client()

    async def there() -> bool:
        answer = await client("{ images(first: 1) { nodes { id } } agents(first: 10) { nodes { status } } }")
        return bool(answer["images"]["nodes"]) and answer["agents"]["nodes"][0]["status"] == "ALIVE"

    await eventually(there, "an agent with images is connected", cluster.manager, *cluster.agents)
