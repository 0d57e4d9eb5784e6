"""Sessions of several containers: they find each other by name, and end together."""

from typing import Any

import pytest

from tests.flow.cluster import Client, Cluster, eventually, free_port
from tests.flow.test_life import LOGS, launch, reaches

IMAGES = "{ images(first: 50) { nodes { id reference } } }"
RESULT = """query($id: ID!) { node(id: $id) { ... on Session {
  result exitCode kernels { hostname role rank status agent { name } } } } }"""

#: Runs in each container: the sub answers who connects with its name.
SERVE = """
[ "$BERTH_CLUSTER_ROLE" = sub ] && exec python3 -c '
import os, socket
server = socket.create_server(("", int(os.environ["TEST_PORT"])))
while True:
    other, _ = server.accept()
    other.sendall(b"hello from " + os.environ["BERTH_CLUSTER_HOST"].encode())
    other.close()
'
"""
#: Runs in main1.
ASK = """
set -e
getent hosts main1 sub1
python3 - <<'END'
import os, socket, time
while True:
    try:
        with socket.create_connection(("sub1", int(os.environ["TEST_PORT"])), timeout=5) as other:
            print(other.makefile().read())
            break
    except OSError:
        time.sleep(0.1)
for name in ("SIZE", "HOSTS", "ROLE", "HOST", "RANK", "LOCAL_RANK"):
    print(name, "=", os.environ["BERTH_CLUSTER_" + name], sep="")
print(*(os.environ["PET_" + name] for name in ("NNODES", "NODE_RANK", "MASTER_ADDR")))
END
"""
#: As `mpirun` does, with the hosts of its file.
SSH = """
while read -r host slots; do
    ssh "$host" 'echo "$(hostname) is $BERTH_CLUSTER_HOST of rank $BERTH_CLUSTER_RANK"' </dev/null
done < "$BERTH_CLUSTER_HOSTFILE"
"""


async def python(client: Client) -> str:
    images = (await client(IMAGES))["images"]["nodes"]
    return next(image["id"] for image in images if "python" in image["reference"])


async def run(
    cluster: Cluster, client: Client, command: str, **more: Any
) -> tuple[list[str], dict[str, Any]]:
    """A batch gang to its end: the lines that main1 wrote, and what became of it."""
    session_id = await launch(
        client,
        imageId=await python(client),
        type="BATCH",
        environ=[{"name": "TEST_PORT", "value": str(free_port())}],
        bootstrapScript=SERVE,
        startupCommand=command,
        clusterSize=2,
        **more,
    )
    await reaches(cluster, client, session_id, "TERMINATED", "ERROR", "CANCELLED")

    async def logged() -> list[str]:
        return (await client(LOGS, id=session_id))["node"]["logs"]["text"].splitlines()

    lines = await eventually(logged, "the log is kept", cluster.manager, *cluster.agents)
    return lines, (await client(RESULT, id=session_id))["node"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_on_one_node_main1_reaches_sub1_by_its_name_and_its_end_ends_both(
    cluster: Cluster, runtime: str
) -> None:
    client = await cluster.client()
    lines, ended = await run(cluster, client, ASK + (SSH if runtime == "docker" else ""))
    assert ended["result"] == "SUCCESS", lines
    assert [(one["hostname"], one["role"], one["rank"]) for one in ended["kernels"]] == [
        ("main1", "MAIN", 0),
        ("sub1", "SUB", 1),
    ]
    for expected in (
        "hello from sub1",
        "SIZE=2",
        "HOSTS=main1,sub1",
        "ROLE=main",
        "HOST=main1",
        "RANK=0",
        "LOCAL_RANK=0",
        "2 0 main1",
    ):
        assert expected in lines
    if runtime == "docker":
        assert "main1 is main1 of rank 0" in lines
        assert "sub1 is sub1 of rank 1" in lines
