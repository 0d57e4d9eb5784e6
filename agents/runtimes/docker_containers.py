"""What the engine is asked for, for one kernel: a container with everything closed that a session does not need."""

import json
import resource
from collections.abc import Mapping
from typing import Any, Final

from agents.protocol import KernelSpec
from agents.runtimes import docker_cluster
from agents.runtimes.contract import RuntimeFailure

_PROCESSES: Final = 4096
#: Open files of one process; an engine cannot give more than it has itself.
_FILES: Final = min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "1"}}


def container_name(kernel: str, generation: int) -> str:
    return f"{kernel}-{generation}"


def volume_name(kernel: str, generation: int) -> str:
    return f"berth-{kernel}-{generation}"


def config(
    kernel: str, generation: int, spec: KernelSpec, network: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """What the engine is asked for.

    Args:
        network: the bridge of its session on this node.
        labels: those that mark all of the agent's.
    """
    memory = spec.slots.get("mem", 0)
    marks = {
        "berth.kernel": kernel,
        "berth.generation": str(generation),
        "berth.session": spec.session,
        "berth.network": network,
        "berth.slots": json.dumps(spec.slots),
        "berth.devices": json.dumps(spec.devices),
        **labels,
    }
    first = spec.cluster.network or network if spec.cluster else network
    binds = [f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}" for mount in spec.mounts]
    return {
        "Image": spec.image,
        "Hostname": spec.hostname,
        "User": "1000:1000",
        "WorkingDir": "/home/work",
        "Entrypoint": [],
        "Cmd": _main_process(spec),
        "Env": [f"{name}={value}" for name, value in environ(spec).items()],
        "Labels": marks,
        "StopSignal": "SIGTERM",
        # Its own name as well: the engine tells it to the others only where it is given as an alias.
        "NetworkingConfig": {"EndpointsConfig": {first: {"Aliases": [spec.hostname]}}},
        "HostConfig": {
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": spec.slots.get("cpu", 0) * 1_000_000,
            "PidsLimit": _PROCESSES,
            "ShmSize": spec.shared_memory,
            "NetworkMode": first,
            "Mounts": [{"Type": "volume", "Source": volume_name(kernel, generation), "Target": "/home/work"}],
            "Binds": binds,
            "DeviceRequests": [
                {"Driver": one.driver, "DeviceIDs": one.ids, "Capabilities": [one.capabilities]}
                for one in spec.grant.requests
            ],
            "Devices": [
                {"PathOnHost": node, "PathInContainer": node, "CgroupPermissions": "rwm"}
                for node in spec.grant.nodes
            ],
            "Ulimits": [
                {"Name": "nofile", "Soft": _FILES, "Hard": _FILES},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "LogConfig": _LOG,
            "RestartPolicy": {"Name": "no"},
        },
    }


def environ(spec: KernelSpec) -> dict[str, str]:
    """The variables that it has beside those of its image."""
    return {**docker_cluster.environ(spec), **spec.environ, "HOME": "/home/work", "USER": "work"}


def address(container: dict[str, Any]) -> str:
    """Where the node reaches it: on its session's bridge, not in a network between nodes."""
    networks: dict[str, Any] = container["NetworkSettings"]["Networks"]
    bridge = container["Config"]["Labels"].get("berth.network", "")
    for network in (networks.get(bridge, {}), *networks.values()):
        if network.get("IPAddress"):
            return str(network["IPAddress"])
    raise RuntimeFailure("NOT_RUNNING", "The session has no address on its node yet.")


def _main_process(spec: KernelSpec) -> list[str]:
    """Stays until it is told to end, or runs the command; the bootstrap script runs beside it."""
    last = 'exec sh -c "$1"' if spec.command is not None else "exec sleep infinity"
    servers = docker_cluster.START if spec.cluster else ""
    script = f'{servers}[ -z "$0" ] || sh -c "$0" & {last}'
    return ["/bin/sh", "-c", script, spec.bootstrap or "", spec.command or ""]
