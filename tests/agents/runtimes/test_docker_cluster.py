"""What containers of one session get to reach each other, and where the node reaches them."""

import io
import tarfile

from agents.protocol import Cluster, KernelSpec, Swarm
from agents.runtimes import docker_cluster, docker_swarm
from agents.runtimes.docker_containers import address, config

SPEC = KernelSpec(
    session="ses_1",
    session_name="gang",
    image="i",
    architecture="x86_64",
    slots={"cpu": 2500},
    hostname="sub1",
    cluster=Cluster(("main1", "sub1"), "berth-ses_1", "PRIVATE\n", "ssh-ed25519 PUBLIC"),
)


def unpacked(variables: dict[str, str]) -> dict[str, tuple[tarfile.TarInfo, str]]:
    found: dict[str, tuple[tarfile.TarInfo, str]] = {}
    with tarfile.open(fileobj=io.BytesIO(docker_cluster.archive(SPEC, variables))) as tar:
        for entry in tar:
            content = tar.extractfile(entry)
            found[entry.name] = entry, content.read().decode() if content else ""
    return found


def test_the_key_is_the_users_alone_and_hosts_have_as_many_slots_as_cores() -> None:
    files = unpacked({})
    key, text = files["etc/berth/cluster/key"]
    assert (key.uid, key.mode, text) == (1000, 0o600, "PRIVATE\n")
    assert files["etc/berth/cluster/hostfile"][1] == "main1 slots=2\nsub1 slots=2\n"
    assert files["etc/berth/cluster/known_hosts"][1] == "berth-cluster ssh-ed25519 PUBLIC\n"


def test_shells_get_the_containers_variables_but_those_that_the_server_cannot_write() -> None:
    given = {"A": "1 2", "HOME": "/x", "QUOTED": 'say "x"', "LINES": "a\nPermitRootLogin yes", "B": "2"}
    (line,) = [
        line
        for line in unpacked(given)["etc/berth/cluster/sshd_config"][1].splitlines()
        if line.startswith("SetEnv")
    ]
    assert line == 'SetEnv "A=1 2" "B=2"'


def test_its_name_is_told_on_the_network_that_all_of_its_session_are_on() -> None:
    made = config("knl_1", 1, SPEC, "berth-net-1", {})
    assert made["HostConfig"]["NetworkMode"] == "berth-ses_1"
    assert made["NetworkingConfig"]["EndpointsConfig"]["berth-ses_1"]["Aliases"] == ["sub1"]
    assert "OMPI_MCA_orte_default_hostfile=/etc/berth/cluster/hostfile" in made["Env"]


def test_the_node_reaches_it_by_the_bridge_whatever_other_networks_it_is_on() -> None:
    networks = {"a-first": {"IPAddress": "10.0.1.2"}, "berth-net-1": {"IPAddress": "10.213.0.2"}}
    container = {
        "NetworkSettings": {"Networks": networks},
        "Config": {"Labels": {"berth.network": "berth-net-1"}},
    }
    assert address(container) == "10.213.0.2"


def test_a_swarm_is_told_while_the_engine_is_in_it() -> None:
    managers = [{"NodeID": "n1", "Addr": "10.0.0.1:2377"}]
    active = {"LocalNodeState": "active", "RemoteManagers": managers, "ControlAvailable": False}
    assert docker_swarm.of_info({"Swarm": active}) == Swarm(("n1",))
    assert docker_swarm.of_info({"Swarm": {**active, "ControlAvailable": True}}) == Swarm(
        ("n1",), control=True
    )
    for state in ("inactive", "pending", "error", "locked"):
        assert docker_swarm.of_info({"Swarm": {**active, "LocalNodeState": state}}) is None
    assert docker_swarm.of_info({}) is None
