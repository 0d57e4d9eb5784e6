"""One manager for the whole suite, and somebody of each role."""

import asyncio
import math
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services import stats
from services.core import Core
from tests.api import worlds
from tests.api.clients import serving
from tests.api.served import Matrix
from tests.factories import Clock, Factories
from tests.flow.cluster import Client, Cluster
from tests.services.conftest import (  # noqa: F401  # the same databases
    clock,
    core,
    count_statements,
    database_url,
    make,
    postgres_template,
    sqlite_template,
    template,
)

PASSWORD = "pass-word-1"
ROLES = ("SUPERADMIN", "DOMAIN_ADMIN", "USER")


@dataclass
class Api:
    """A running manager; a bearer token by role."""

    url: str
    tokens: dict[str, str]


@pytest.fixture(scope="session")
def api() -> Generator[Api]:
    root = Path(tempfile.mkdtemp(prefix="berth-"))
    cluster = Cluster(
        root, "process", f"sqlite+aiosqlite:///{root / 'berth.db'}", environ={"BERTH_INTROSPECTION": "open"}
    )
    try:
        yield asyncio.run(_start(cluster))
    finally:
        cluster.manager.stop()
        shutil.rmtree(root, ignore_errors=True)


async def _start(cluster: Cluster) -> Api:
    await cluster.start_manager()
    owner = await cluster.client()
    viewer = (await owner("{ viewer { domain { id } groups { id } keypair { id } } }"))["viewer"]
    await _raise_limit(owner, viewer["keypair"]["id"])
    tokens = {}
    for role in ROLES:
        email = f"{role.lower().replace('_', '-')}@example.org"
        made = await owner(
            "mutation($i: CreateUserInput!) { createUser(input: $i) { user { mainKeypair { id } } } }",
            i={
                "domainId": viewer["domain"]["id"],
                "email": email,
                "name": role.lower(),
                "password": PASSWORD,
                "role": role,
                "groupIds": [viewer["groups"][0]["id"]],
            },
        )
        await _raise_limit(owner, made["createUser"]["user"]["mainKeypair"]["id"])
        tokens[role] = (await Client(cluster.url).login(email, PASSWORD)).token
    return Api(cluster.url, tokens)


async def _raise_limit(owner: Client, keypair_id: str) -> None:
    """What is tested here is not how many requests one may make."""
    update = "mutation($i: UpdateKeypairInput!) { updateKeypair(input: $i) { keypair { rateLimit } } }"
    await owner(update, i={"id": keypair_id, "rateLimit": 1_000_000})


@pytest.fixture
async def built(
    core: Core,  # noqa: F811
    make: Factories,  # noqa: F811
    clock: Clock,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[Matrix]:
    """Two domains behind the application; see `tests/api/worlds.py`."""
    # However long a walk takes on a busy machine, a sample is as good at its end as at its beginning.
    monkeypatch.setattr(stats, "STALE", math.inf)
    world = await worlds.build(make)
    async with serving(core, tmp_path, monkeypatch) as app:
        yield Matrix(world, app)
