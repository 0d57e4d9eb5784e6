"""Bridges of a Docker engine, one for each session that has a kernel on the node, some of them made ahead.

Making a bridge takes the engine some 60 ms, and it makes one at a time: of eight sessions at once the last would wait
half a second. So a few stand ready, and one that a session leaves behind is given to the next: nothing of a session stays
in a bridge. Subnets are chosen here, since an engine left to itself has room for some thirty bridges.
"""

import asyncio
import ipaddress
import logging
import random
import secrets
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final

import psutil

from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.engine import Engine

log = logging.getLogger(__name__)

#: Bridges that stand ready, and those that are kept when sessions leave them.
SPARE: Final = 4
KEPT: Final = 8
#: Where subnets are taken from. Each has room for a gateway and 61 kernels of one session.
DEFAULT_RANGE: Final = "10.213.0.0/16"
_PREFIX: Final = 26

Subnet = ipaddress.IPv4Network


class Networks:
    """The bridges of one agent.

    Args:
        labels: what marks a bridge as this agent's.
        within: the range of their subnets.
    """

    def __init__(self, engine: Engine, labels: Mapping[str, str], within: str = DEFAULT_RANGE) -> None:
        self._engine = engine
        self._api: Any = engine.docker.networks
        self._labels = dict(labels)
        self._subnets = list(Subnet(within).subnets(new_prefix=_PREFIX))
        self._next = random.randrange(len(self._subnets))  # noqa: S311  # two agents of one engine seldom meet
        self._free: list[str] = []
        self._of: dict[str, str] = {}
        self._kernels: dict[str, set[str]] = {}
        self._filling: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()
        self._recovered = False
        self._closing = False

    async def recover(self, used: Iterable[tuple[str, str, str]]) -> None:
        """Find what is there and make what is missing. Only the first call does: then it is known here.

        Args:
            used: (session, kernel, bridge) of each container of this agent's.

        Raises:
            RuntimeFailure: `ENGINE_UNREACHABLE`.
        """
        if self._recovered:
            return
        for session, kernel, name in used:
            self._of[session] = name
            self._kernels.setdefault(name, set()).add(kernel)
        marks = [f"{name}={value}" for name, value in self._labels.items()]
        listed = await self._call(self._api.list(filters={"label": marks}))
        self._free = []
        for name in sorted(network["Name"] for network in listed):
            if name not in self._kernels:
                await self._put_back(name)
        self._recovered = True
        self._refill()

    async def close(self) -> None:
        """Remove those that nobody is on."""
        self._closing = True
        if self._filling is not None:
            # Not cancelled: the engine would make the next one all the same.
            await asyncio.gather(self._filling, return_exceptions=True)
        free, self._free = self._free, []
        await asyncio.gather(*map(self._remove, free), return_exceptions=True)

    async def join(self, session: str, kernel: str) -> str:
        """The name of a session's bridge, for one more kernel of it. Raises `RuntimeFailure`."""
        name = self._of.get(session)
        if name is None:
            name = await self._take()
            # Another kernel of the session may have been faster.
            if (first := self._of.setdefault(session, name)) != name:
                await self._put_back(name)
                name = first
        self._kernels.setdefault(name, set()).add(kernel)
        self._refill()
        return name

    async def leave(self, session: str, kernel: str) -> None:
        """A kernel's container is gone. Raises `RuntimeFailure(ENGINE_UNREACHABLE)`."""
        name = self._of.get(session)
        if name is None:
            return
        kernels = self._kernels.setdefault(name, set())
        kernels.discard(kernel)
        if not kernels:
            del self._of[session], self._kernels[name]
            await self._put_back(name)

    async def _take(self) -> str:
        if name := await self._ready():
            return name
        # After the one that is being made ahead, which may be the last that there is room for.
        async with self._making:
            return await self._ready() or await self._make()

    async def _ready(self) -> str | None:
        while self._free:
            name = self._free.pop(0)
            # One that nobody is on is what `docker system prune` removes.
            if await self._exists(name):
                return name
        return None

    async def _put_back(self, name: str) -> None:
        if len(self._free) < KEPT and name.startswith("berth-net-"):
            self._free.append(name)
        else:
            await self._remove(name)

    async def _remove(self, name: str) -> None:
        try:
            await self._call((await self._call(self._api.get(name))).delete(), "REMOVE_FAILED")
        except RuntimeFailure as failure:
            if failure.code == "ENGINE_UNREACHABLE":
                raise

    async def _exists(self, name: str) -> bool:
        try:
            await self._call(self._api.get(name), "REMOVE_FAILED")
        except RuntimeFailure as failure:
            if failure.code == "ENGINE_UNREACHABLE":
                raise
            return False
        return True

    async def _make(self) -> str:
        used = _of_this_machine()
        for _ in range(len(self._subnets)):
            subnet = self._subnets[self._next]
            self._next = (self._next + 1) % len(self._subnets)
            if any(subnet.overlaps(other) for other in used):
                continue
            name = f"berth-net-{secrets.token_hex(5)}"
            config = {
                "Name": name,
                "Driver": "bridge",
                "IPAM": {"Config": [{"Subnet": str(subnet)}]},
                "Labels": self._labels,
            }
            try:
                await self._call(self._api.create(config), "CREATE_FAILED")
            except RuntimeFailure as failure:
                # Taken by a network whose interface is not up, or a moment ago by another agent of this engine.
                if "overlap" in failure.message.lower():
                    continue
                raise
            return name
        raise RuntimeFailure("CREATE_FAILED", "All networks that sessions of this node may have are in use.")

    def _refill(self) -> None:
        if len(self._free) < SPARE and (self._filling is None or self._filling.done()):
            self._filling = asyncio.create_task(self._fill())

    async def _fill(self) -> None:
        try:
            while len(self._free) < SPARE and not self._closing:
                async with self._making:
                    self._free.append(await self._make())
        except RuntimeFailure as failure:
            log.warning("no network could be made ahead: %s", failure.message)

    async def _call(self, work: Any, code: str = "ENGINE_UNREACHABLE") -> Any:
        return await self._engine.call(work, code, "The session's network")


def _of_this_machine() -> list[Subnet]:
    """The IPv4 networks that this machine is in, its engine's bridges among them."""
    return [
        Subnet(f"{address.address}/{address.netmask}", strict=False)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and address.netmask
    ]
