"""The same flows on both runtimes and both databases."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.flow.cluster import Cluster, eventually
from tests.flow.databases import Templates

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(params=["process", "docker"])
def runtime(request: pytest.FixtureRequest) -> str:
    require("sandbox" if request.param == "process" else "engine")
    return request.param


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Generator[Templates]:
    made = Templates(tmp_path_factory.mktemp("templates"))
    yield made
    asyncio.run(made.close())


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(
    request: pytest.FixtureRequest, root: Path, templates: Templates
) -> AsyncGenerator[str]:
    """A database with all tables and no rows."""
    if request.param == "sqlite":
        yield await templates.sqlite(root)
        return
    require("postgres")
    async with templates.postgres() as url:
        yield url


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
