"""From a registry with a password to a session: made known, looked through, allowed, pulled, run."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.flow.cluster import Client, Cluster, GraphQLFailed
from tests.flow.conftest import ready
from tests.flow.test_life import choices, launch, reaches
from tests.services.registries.served import PASSWORD, USER, Registry, registry

pytestmark = [pytest.mark.engine, pytest.mark.registry]

CREATE = "mutation($i: CreateRegistryInput!) { createRegistry(input: $i) { registry { id hasPassword } } }"
RESCAN = "mutation($i: RescanRegistriesInput!) { rescanRegistries(input: $i) { task { id } } }"
INSTALL = "mutation($i: ImagesOnAgentsInput!) { installImages(input: $i) { task { id } } }"
REMOVE = "mutation($i: ImagesOnAgentsInput!) { removeImages(input: $i) { results { error { message } } } }"
GRANT = "mutation($i: RegistryGrantInput!) { grantRegistry(input: $i) { registry { id } } }"
ALIAS = "mutation($i: UpdateImageInput!) { updateImage(input: $i) { image { aliases } } }"
PROGRESS = """subscription($id: ID!) { taskProgress(taskId: $id) {
  status error { message } summary { name value } lines { outcome subject message } } }"""
IMAGES = "query($f: ImageFilter) { images(first: 5, filter: $f) { nodes { id reference installed } } }"


async def docker(folder: Path, *arguments: str, stdin: str = "") -> None:
    """The engine's own client, with its logins in the folder."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["docker", *arguments],
        input=stdin.encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "DOCKER_CONFIG": str(folder)},
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncGenerator[Registry]:
    """A registry with a password, that has an image which no node has."""
    async with registry(tmp_path, password=True) as served:
        reference = f"{served.host}/berth/far:12"
        await docker(tmp_path, "login", "-u", USER, "--password-stdin", served.host, stdin=PASSWORD)
        await docker(tmp_path, "tag", "berth/minimal:12", reference)
        await docker(tmp_path, "push", "-q", reference)
        await docker(tmp_path, "rmi", reference)
        await served.push("other/plain", "1", {"maintainer": "somebody"})
        yield served
        with suppress(AssertionError):  # it may not have come so far
            await docker(tmp_path, "rmi", "-f", reference)


@pytest.fixture
async def cluster(root: Path) -> AsyncGenerator[Cluster]:
    cluster = Cluster(root, "docker", f"sqlite+aiosqlite:///{root / 'berth.db'}")
    await cluster.start_manager()
    try:
        cluster.add_agent()
        await ready(cluster)
        yield cluster
    finally:
        await cluster.close()


async def outcome(client: Client, task_id: str) -> tuple[str, dict[str, str]]:
    """Follow a task to its end: how it ended, and what became of each thing."""
    async with client.subscribe(PROGRESS, id=task_id) as events:
        while True:
            now = (await events.next())["taskProgress"]
            if now["status"] not in ("PENDING", "RUNNING"):
                return now["status"], {line["subject"]: line["outcome"] for line in now["lines"]}


async def test_an_image_behind_a_password_becomes_a_session(cluster: Cluster, served: Registry) -> None:
    client = await cluster.client()
    given = {"hostname": served.host, "url": served.url, "username": USER, "password": PASSWORD}
    made = (await client(CREATE, i=given))["createRegistry"]["registry"]
    assert made["hasPassword"]
    task = (await client(RESCAN, i={"ids": [made["id"]]}))["rescanRegistries"]["task"]["id"]
    far = f"{served.host}/berth/far:12"
    assert await outcome(client, task) == (
        "SUCCEEDED", {far: "ADDED", f"{served.host}/other/plain:1": "SKIPPED"},
    )  # fmt: skip
    (image,) = (await client(IMAGES, f={"search": far}))["images"]["nodes"]
    assert (image["reference"], image["installed"]) == (far, False)
    await client(ALIAS, i={"id": image["id"], "aliases": ["far"]})

    # Nobody may use it yet.
    with pytest.raises(GraphQLFailed) as refused:
        await launch(client, imageId=image["id"])
    assert refused.value.code == "NOT_FOUND"
    await client(GRANT, i={"id": made["id"], "tenantId": (await choices(client))["groupId"]})
    session = await launch(client, imageId=None, imageAlias="far", name="far")
    await reaches(cluster, client, session, "RUNNING")
    (image,) = (await client(IMAGES, f={"alias": "far"}))["images"]["nodes"]
    assert image["installed"]
    terminate = "mutation($i: TerminateSessionsInput!) { terminateSessions(input: $i) { results { id } } }"
    await client(terminate, i={"ids": [session]})
    await reaches(cluster, client, session, "TERMINATED")

    # Taken from the node, and brought there for its own sake.
    agents = await client("{ agents(first: 1) { nodes { id } } }")
    where = {"imageIds": [image["id"]], "agentIds": [agents["agents"]["nodes"][0]["id"]]}
    assert (await client(REMOVE, i=where))["removeImages"]["results"] == [{"error": None}]
    task = (await client(INSTALL, i=where))["installImages"]["task"]["id"]
    assert await outcome(client, task) == ("SUCCEEDED", {f"{far} on node1": "DONE"})
    (image,) = (await client(IMAGES, f={"alias": "far"}))["images"]["nodes"]
    assert image["installed"]
    assert (await client(REMOVE, i=where))["removeImages"]["results"] == [{"error": None}]
    assert PASSWORD not in cluster.manager.tail(10**7)
    assert PASSWORD not in cluster.agents[0].tail(10**7)
