"""Sessions share devices, wait for them, and keep them when the agent is killed: with a mock accelerator, on both runtimes."""

import json
import subprocess
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.cluster import TERMINATE, Client, Cluster, eventually
from tests.flow.conftest import ready
from tests.flow.test_life import launch, reaches, state, typed

AGENT = "{ agents(first: 1) { nodes { status slots { name capacity used } } } }"
DEVICES = """{ agents(first: 1) { nodes { hardware { devices { deviceId healthy reason slots { name used } } } } } }"""
LOAD = """query($id: ID!) { node(id: $id) { ... on Session {
  stats { devices { deviceId slot amount utilisation memoryLimit } } } } }"""


@pytest.fixture
async def accelerated(root: Path, runtime: str) -> AsyncGenerator[Cluster]:
    """A manager with one agent that has two mock devices, given as shares of GPUs."""
    cluster = Cluster(root, runtime, f"sqlite+aiosqlite:///{root / 'berth.db'}")
    await cluster.start_manager()
    try:
        cluster.add_agent(BERTH_ACCELERATORS="mock:devices=2,memory=8g,prefix=cuda")
        await ready(cluster)
        yield cluster
    finally:
        await cluster.close()


async def start(cluster: Cluster, client: Client, shares: str) -> str:
    session_id = await launch(client, slots=_slots(shares))
    await reaches(cluster, client, session_id, "RUNNING")
    return session_id


async def used(client: Client) -> dict[str, str]:
    (agent,) = (await client(AGENT))["agents"]["nodes"]
    return {slot["name"]: f"{slot['used']} of {slot['capacity']}" for slot in agent["slots"]}


async def test_halves_share_a_device_others_wait_and_a_killed_agent_forgets_nothing(
    accelerated: Cluster,
) -> None:
    client = await accelerated.client()
    first = await start(accelerated, client, "0.5")
    second = await start(accelerated, client, "0.5")
    for session_id in (first, second):
        echo = b'echo "<$MOCK_VISIBLE_DEVICES $MOCK_DEVICE_SHARES>"\n'
        assert await typed(client, session_id, echo, b"<MOCK-0 0.5>")
    third = await start(accelerated, client, "1")
    assert await typed(client, third, b'echo "<$MOCK_VISIBLE_DEVICES>"\n', b"<MOCK-1>")
    assert (await used(client))["cuda.shares"] == "2 of 2"

    waiting = await launch(client, slots=_slots("0.5"))

    async def reason() -> dict[str, Any] | None:
        return (await state(client, waiting))["pendingReason"]

    why = await eventually(reason, "a reason is given", accelerated.manager)
    assert "GPU" in why["message"]

    assert await devices(client) == {"MOCK-0": "1", "MOCK-1": "1"}

    async def load() -> list[dict[str, Any]] | None:
        stats = (await client(LOAD, id=first))["node"]["stats"]
        return stats and stats["devices"]

    (use,) = await eventually(load, "its load is told", accelerated.manager, *accelerated.agents)
    assert (use["deviceId"], use["slot"], use["amount"]) == ("MOCK-0", "cuda.shares", "0.5")
    assert use["utilisation"] is not None
    assert int(use["memoryLimit"]) == 4 * 2**30

    before = await on_labels(accelerated, [first, second, third], client)
    assert list(before.values()) == [{"MOCK-0": 500}, {"MOCK-0": 500}, {"MOCK-1": 1000}]
    (agent,) = accelerated.agents
    agent.kill()
    killed_at = time.time()
    agent.start()
    await accelerated.agents_connected()
    held = await eventually(lambda: _told(accelerated, killed_at), "the new agent tells its devices", agent)
    assert held == {"MOCK-0": 1000, "MOCK-1": 1000}
    assert await on_labels(accelerated, [first, second, third], client) == before
    assert (await used(client))["cuda.shares"] == "2 of 2"
    assert (await state(client, waiting))["status"] == "PENDING"

    assert await devices(client) == {"MOCK-0": "1", "MOCK-1": "1"}

    await client(TERMINATE, i={"ids": [second]})
    await reaches(accelerated, client, waiting, "RUNNING")
    assert await typed(client, waiting, b'echo "<$MOCK_VISIBLE_DEVICES>"\n', b"<MOCK-0>")


async def devices(client: Client) -> dict[str, str]:
    """Device → what sessions hold of it, as the API tells."""
    (agent,) = (await client(DEVICES))["agents"]["nodes"]
    return {one["deviceId"]: one["slots"][0]["used"] for one in agent["hardware"]["devices"]}


def _slots(shares: str) -> list[dict[str, str]]:
    return [
        {"name": "cpu", "amount": "0.1"},
        {"name": "mem", "amount": str(128 * 2**20)},
        {"name": "cuda.shares", "amount": shares},
    ]


async def on_labels(cluster: Cluster, session_ids: list[str], client: Client) -> dict[str, dict[str, int]]:
    """Kernel → devices, as written on what runs: read from outside Berth."""
    kernels = [(await state(client, session_id))["kernels"][0]["id"] for session_id in session_ids]
    return {kernel: _devices(cluster, kernel) for kernel in kernels}


def _devices(cluster: Cluster, kernel: str) -> dict[str, int]:
    if cluster.runtime == "docker":
        template = '{{ index .Config.Labels "berth.devices" }}'
        command = ["docker", "inspect", "--format", template, f"{kernel}-1"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return json.loads(text)["cuda.shares"]
    (record,) = (cluster.root / "agent1/runtime/kernels").glob(f"{kernel}-*/kernel.json")
    return json.loads(record.read_text())["spec"]["devices"]["cuda.shares"]


def _told(cluster: Cluster, since: float) -> dict[str, int] | None:
    """What an agent that was started since then holds of its devices, by its own status file."""
    status = json.loads((cluster.root / "agent1/status.json").read_text())
    if status["at"] < since or not status["connected"]:
        return None
    return {name: sum(held.values()) for name, held in status["devices"].items()}


async def test_a_device_that_fails_is_shown_its_session_goes_on_and_nothing_new_is_put_on_it(
    accelerated: Cluster,
) -> None:
    client = await accelerated.client()
    session_id = await start(accelerated, client, "0.3")
    broken = accelerated.root / "agent1/accelerators/mock/broken"
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("MOCK-0 MOCK-1")

    async def failed() -> bool:
        (agent,) = (await client(DEVICES))["agents"]["nodes"]
        return not any(device["healthy"] for device in agent["hardware"]["devices"])

    await eventually(failed, "the failure is told", accelerated.manager, *accelerated.agents)
    assert (await used(client))["cuda.shares"] == "0.3 of 0.3"
    assert await typed(client, session_id, b"echo al''ive\n", b"alive")
    waiting = await launch(client, slots=_slots("0.1"))

    async def reason() -> dict[str, Any] | None:
        return (await state(client, waiting))["pendingReason"]

    assert "GPU" in (await eventually(reason, "a reason is given", accelerated.manager))["message"]
    broken.unlink()
    await reaches(accelerated, client, waiting, "RUNNING")
