"""Sessions of several containers: they find each other by name, and end together."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.flow.cluster import Client, Cluster, eventually, free_port
from tests.flow.swarms import SwarmEngines
from tests.flow.test_life import LOGS, launch, reaches

JOIN = "mutation($i: CreateJoinTokenInput!) { createJoinToken(input: $i) { token } }"

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
#: In an image without Python. The sub answers who connects with its name …
ANSWER = """
[ "$BERTH_CLUSTER_ROLE" = sub ] && exec perl -MIO::Socket::INET -e '
my $server = IO::Socket::INET->new(LocalPort => 7000, Listen => 5) or die;
while (my $other = $server->accept) { print $other "hello from $ENV{BERTH_CLUSTER_HOST}\n"; close $other }
'
"""
#: … and main1 asks it until it does.
CALL = """exec perl -MIO::Socket::INET -e '
my $other;
until ($other = IO::Socket::INET->new(PeerAddr => "sub1:7000", Timeout => 5)) { select(undef, undef, undef, 0.1) }
print <$other>;
'"""


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


@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_over_two_nodes_it_has_a_network_of_its_own_that_goes_with_it(
    root: Path, runtime: str, database_url: str
) -> None:
    engines = SwarmEngines(root)
    cluster = Cluster(root, runtime, database_url)
    await cluster.start_manager()
    try:
        for number, host in enumerate(engines.hosts):
            if number:
                client = await cluster.client()
                group = (await client("{ viewer { resourceGroups { id } } }"))["viewer"]["resourceGroups"][0]
                made = await client(JOIN, i={"resourceGroupId": group["id"]})
                cluster.add_agent(made["createJoinToken"]["token"], DOCKER_HOST=host)
            else:
                cluster.add_agent(DOCKER_HOST=host)
            await cluster.agents_connected(number + 1)
        client = await cluster.client()
        # More than half of a node each, so that each has a node of its own.
        cpus = str((os.cpu_count() or 1) * 0.6)
        session_id = await launch(
            client,
            slots=[{"name": "cpu", "amount": cpus}, {"name": "mem", "amount": str(128 * 2**20)}],
            type="BATCH",
            bootstrapScript=ANSWER,
            startupCommand=CALL,
            clusterSize=2,
            clusterMode="MULTI_NODE",
        )
        ended = await reaches(cluster, client, session_id, "TERMINATED", "ERROR", "CANCELLED")
        log = (await client(LOGS, id=session_id))["node"]["logs"]["text"]
        assert (ended["status"], ended["exitCode"]) == ("TERMINATED", 0), (ended, log)
        assert "hello from sub1" in log
        kernels = (await client(RESULT, id=session_id))["node"]["kernels"]
        assert {one["agent"]["name"] for one in kernels} == {"node1", "node2"}
        await eventually(lambda: not engines.networks(), "the network is gone", cluster.manager)
    finally:
        await cluster.close()
        engines.close()
