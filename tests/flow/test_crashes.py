"""Kill what can be killed at each status of a session's life: it reaches its right state, with exactly one container."""

import subprocess
from pathlib import Path

import pytest

from tests.flow.cluster import TERMINATE, Client, Cluster, eventually
from tests.flow.conftest import gates
from tests.flow.holds import Hold
from tests.flow.test_life import launch, reaches, state, typed

#: Status in which the session is held → the gate that holds it there.
HELD = {"CREATING": "create", "TERMINATING": "stop"}


def close_gate(cluster: Cluster, name: str) -> Path:
    gate = gates(cluster.root) / name
    gate.touch()
    return gate


@pytest.mark.parametrize("victim", ["manager", "agent"])
@pytest.mark.parametrize("status", ["CREATING", "RUNNING", "TERMINATING"])
async def test_a_kill_in_any_status_loses_nothing(gated: Cluster, status: str, victim: str) -> None:
    client = await gated.client()
    gate = close_gate(gated, HELD[status]) if status == "CREATING" else None
    session_id = await launch(client)
    if status != "CREATING":
        await reaches(gated, client, session_id, "RUNNING")
    if status == "TERMINATING":
        gate = close_gate(gated, HELD[status])
        await client(TERMINATE, i={"ids": [session_id]})
    await reaches(gated, client, session_id, status)

    process = gated.manager if victim == "manager" else gated.agents[0]
    process.kill()
    if gate is not None:
        gate.unlink()
    if victim == "manager":
        await gated.start_manager()
        client = await gated.client()
    else:
        process.start()

    right = "TERMINATED" if status == "TERMINATING" else "RUNNING"
    await reaches(gated, client, session_id, right)
    if right == "RUNNING":
        await runs_once(gated, client, session_id)
        return
    kernel_id = (await state(client, session_id))["kernels"][0]["id"]
    await eventually(
        lambda: live_containers(gated, kernel_id) == 0,
        f"no live container of {kernel_id}",
        gated.manager,
        *gated.agents,
    )


#: Statuses that last a moment only: the database holds them. One pair of runtime and database for each is enough.
PAIRS = [("process", "sqlite"), ("docker", "postgres")]


@pytest.mark.parametrize(("runtime", "database_url"), PAIRS, indirect=True)
@pytest.mark.parametrize("victim", ["manager", "agent"])
@pytest.mark.parametrize("status", ["PENDING", "SCHEDULED", "PREPARING", "PULLING", "PREPARED"])
async def test_a_kill_in_a_status_that_passes_quickly_loses_nothing(
    gated: Cluster, status: str, victim: str
) -> None:
    client = await gated.client()
    hold = Hold(gated.database_url)
    await hold.close(status)
    session_id = await launch(client)
    await reaches(gated, client, session_id, status)

    process = gated.manager if victim == "manager" else gated.agents[0]
    process.kill()
    await hold.open()
    if victim == "manager":
        await gated.start_manager()
        client = await gated.client()
    else:
        process.start()
    await runs_once(gated, client, session_id)


@pytest.mark.parametrize(("runtime", "database_url"), PAIRS, indirect=True)
@pytest.mark.parametrize("victim", ["manager", "agent"])
async def test_a_kill_while_the_image_is_pulled_loses_nothing(gated: Cluster, victim: str) -> None:
    client = await gated.client()
    agent = gated.agents[0]
    agent.kill()
    gate = close_gate(gated, "pull")  # hides the images from the agent as well
    agent.start()
    await gated.agents_connected()
    session_id = await launch(client)
    await reaches(gated, client, session_id, "PULLING")
    await eventually(lambda: (gates(gated.root) / "pull.reached").exists(), "the pull is under way", agent)

    (gated.manager if victim == "manager" else agent).kill()
    gate.unlink()
    if victim == "manager":
        await gated.start_manager()
        client = await gated.client()
    else:
        agent.start()
    await runs_once(gated, client, session_id)


async def test_a_session_that_waits_for_a_frozen_agent_starts_when_the_agent_thaws(gated: Cluster) -> None:
    client = await gated.client()
    gated.agents[0].freeze()
    session_id = await launch(client)
    await reaches(gated, client, session_id, "SCHEDULED")
    gated.manager.kill()
    await gated.start_manager()
    client = await gated.client()
    assert (await state(client, session_id))["status"] == "SCHEDULED"
    gated.agents[0].thaw()
    await reaches(gated, client, session_id, "RUNNING")


async def test_a_queue_outlives_the_manager(gated: Cluster) -> None:
    client = await gated.client()
    gated.agents[0].kill()
    huge = [{"name": "cpu", "amount": "900"}, {"name": "mem", "amount": str(128 * 2**20)}]
    waiting = await launch(client, slots=huge)
    await eventually(lambda: _reason(client, waiting), "it says why it waits", gated.manager)
    gated.manager.kill()
    await gated.start_manager()
    client = await gated.client()
    assert (await state(client, waiting))["status"] == "PENDING"
    await client(TERMINATE, i={"ids": [waiting]})
    assert (await state(client, waiting))["status"] == "CANCELLED"


async def test_force_ends_what_a_frozen_agent_does_not(gated: Cluster) -> None:
    client = await gated.client()
    session_id = await launch(client)
    await reaches(gated, client, session_id, "RUNNING")
    kernel_id = (await state(client, session_id))["kernels"][0]["id"]
    gated.agents[0].freeze()
    await client(TERMINATE, i={"ids": [session_id], "force": True})
    assert (await state(client, session_id))["status"] == "TERMINATED"
    gated.agents[0].thaw()
    await eventually(
        lambda: live_containers(gated, kernel_id) == 0,
        "the container is gone too",
        *gated.agents,
        gated.manager,
    )


async def runs_once(cluster: Cluster, client: Client, session_id: str) -> None:
    """The session comes to run, in exactly one container, and its terminal answers."""
    await reaches(cluster, client, session_id, "RUNNING")
    kernel_id = (await state(client, session_id))["kernels"][0]["id"]
    await eventually(
        lambda: live_containers(cluster, kernel_id) == 1,
        f"one live container of {kernel_id}",
        cluster.manager,
        *cluster.agents,
    )
    await cluster.agents_connected()
    await typed(client, session_id, b"echo al''ive\n", b"alive")


async def _reason(client, session_id):  # type: ignore[no-untyped-def]
    return (await state(client, session_id))["pendingReason"]


def live_containers(cluster: Cluster, kernel_id: str) -> int:
    """Live containers (or sandboxes) of a kernel on this machine, counted from outside Berth."""
    if _runtime(cluster) == "docker":
        command = ["docker", "ps", "-q", "--filter", f"label=berth.kernel={kernel_id}"]
        return len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    return len({pid for pid in _pids() if _is_sandbox(pid, kernel_id)})


def _runtime(cluster: Cluster) -> str:
    log = cluster.agents[0].environ
    return log.get("BERTH_TEST_RUNTIME", log["BERTH_RUNTIME"])


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _is_sandbox(pid: int, kernel_id: str) -> bool:
    """A sandbox's outer process names the kernel's directory in its command line; only the outermost counts."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        above = Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False
    mark = f"/kernels/{kernel_id}-".encode()
    return b"bwrap" in command and mark in command and mark not in above
