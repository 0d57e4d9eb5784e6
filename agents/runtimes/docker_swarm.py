"""Networks between engines that are in one Docker Swarm: overlays, made and removed by an engine that manages it.

Others of the swarm know an overlay as soon as a container of theirs is attached to it. One that has containers cannot be
removed, on whichever node they are.
"""

from typing import Any, Final

from aiodocker.exceptions import DockerError

from agents.protocol import Swarm
from agents.runtimes.engine import Engine, is_missing

#: Not those of the agent's bridges, which it gives from one session to the next.
_LABELS: Final = {"berth.overlay": "1"}


def of_info(info: dict[str, Any]) -> Swarm | None:
    """What an engine's `info` says of its swarm."""
    swarm: dict[str, Any] = info.get("Swarm") or {}
    managers = tuple(str(one["NodeID"]) for one in swarm.get("RemoteManagers") or () if one.get("NodeID"))
    if swarm.get("LocalNodeState") != "active" or not managers:
        return None
    return Swarm(managers, control=bool(swarm.get("ControlAvailable")))


async def make(engine: Engine, name: str) -> None:
    """Make an overlay; one that is there is success. Raises `RuntimeFailure`."""
    config = {
        "Name": name,
        "Driver": "overlay",
        "Attachable": True,
        "CheckDuplicate": True,
        "Labels": _LABELS,
    }
    networks: Any = engine.docker.networks

    async def create() -> None:
        try:
            await networks.create(config)
        except DockerError as error:
            if "already exists" not in str(error.message):
                raise

    await engine.call(create(), "NETWORK_FAILED", "Making the network between the nodes")


async def remove(engine: Engine, name: str) -> None:
    """Remove an overlay; absent is success.

    Raises:
        RuntimeFailure: `REMOVE_FAILED` while a container is attached to it.
    """
    networks: Any = engine.docker.networks

    async def delete() -> None:
        try:
            await (await networks.get(name)).delete()
        except DockerError as error:
            if not is_missing(error):
                raise

    await engine.call(delete(), "REMOVE_FAILED", "Removing the network between the nodes")
