"""The node's accelerators beside its state machine: looked at now and then, told when they change, sampled with kernels."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from agents.accelerators.contract import Holder
from agents.accelerators.inventories import Inventory
from agents.accelerators.pools import Pool
from agents.attempts import Attempts, Step
from agents.protocol import DeviceUse, Hello, KernelSpec, KernelStats, Resources, Stats

log = logging.getLogger(__name__)

#: Seconds between two looks at how devices are.
LOOK_SECONDS = 15.0
#: Looks after which the manager is told again, in case that it could not take what it was told.
AGAIN = 20


class Devices:
    """See the module.

    Args:
        offer: sends a message now or never.
        connected: whether there is somebody to send it to.
    """

    def __init__(
        self, inventory: Inventory, offer: Callable[[Resources], None], connected: Callable[[], bool]
    ) -> None:
        self._inventory = inventory
        self._offer = offer
        self._connected = connected
        self._told: Resources | None = None

    async def detect(self) -> Pool:
        """What there is now."""
        return await self._inventory.detect()

    async def grant(self, kernel: str, spec: KernelSpec) -> KernelSpec:
        """The spec with what the kernel needs to use its devices. Raises `RuntimeFailure`."""
        return await self._inventory.grant(kernel, spec)

    async def watch(self, attempts: Attempts) -> None:
        """Look again and again, for ever."""
        if self._inventory.empty:
            await asyncio.Event().wait()
        looks = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            attempts.pool = await self._inventory.detect()
            looks += 1
            if looks % AGAIN == 0:
                self._told = None
            self.tell(attempts)

    def fill(self, hello: Hello, attempts: Attempts) -> Hello:
        """A greeting with all that the node has."""
        self._told = self._resources(attempts)
        for slot, amount in attempts.used().items():
            if amount > self._told.slots.get(slot, 0):
                log.warning(
                    "%s: kernels hold %d and the node has %d; they go on, and nothing new is taken until it fits",
                    slot,
                    amount,
                    self._told.slots.get(slot, 0),
                )
        return msgspec.structs.replace(
            hello,
            slots=self._told.slots,
            devices=self._told.devices,
            faults=self._told.faults,
            slot_kinds=tuple(attempts.pool.kinds.values()),
        )

    def tell(self, attempts: Attempts) -> None:
        """Say what the node has, where that is not what was said last. While offline nothing is said, nor taken as said:
        what changes between a greeting and its answer is told after that."""
        if self._inventory.empty or not self._connected():
            return
        now = self._resources(attempts)
        if now != self._told:
            self._told = now
            self._offer(now)

    async def sampled(self, stats: Stats, attempts: Attempts) -> Stats:
        """A sample of kernels and node, with their accelerators."""
        if self._inventory.empty:
            return stats
        loads = {kernel.kernel: kernel for kernel in stats.kernels}
        devices, uses = await self._inventory.sample(_holders(attempts, loads))
        return msgspec.structs.replace(
            stats,
            node=msgspec.structs.replace(stats.node, devices=devices),
            kernels=tuple(
                msgspec.structs.replace(
                    kernel,
                    devices=uses[kernel.kernel],
                    accelerators=_by_slot(uses[kernel.kernel]),
                )
                if kernel.kernel in uses
                else kernel
                for kernel in stats.kernels
            ),
        )

    async def close(self, attempts: Attempts | None) -> None:
        """The agent stops; what its kernels need goes on."""
        held = attempts.held() if attempts is not None else {}
        await self._inventory.close({slot for amounts in held.values() for slot in amounts})

    def _resources(self, attempts: Attempts) -> Resources:
        held = attempts.held()
        return Resources(attempts.all_slots(held), attempts.pool.listed(held), dict(self._inventory.faults))


def _holders(attempts: Attempts, loads: Mapping[str, KernelStats]) -> list[Holder]:
    nothing = KernelStats("")
    holders: list[Holder] = []
    for attempt in attempts:
        if attempt.devices and attempt.step in (Step.WATCH, Step.STOP):
            kernel, load = attempt.ref[0], loads.get(attempt.ref[0], nothing)
            holders.append(
                Holder(kernel, attempt.container, attempt.devices, load.cpu_percent, load.memory_bytes)
            )
    return holders


def _by_slot(uses: Sequence[DeviceUse]) -> dict[str, float]:
    """Slot → utilisation over all of a kernel's devices, weighed by what it has of each; none that is not known."""
    busy: dict[str, float] = {}
    amounts: dict[str, int] = {}
    unknown = {use.slot for use in uses if use.utilisation is None}
    for use in uses:
        busy[use.slot] = busy.get(use.slot, 0.0) + (use.utilisation or 0.0) * use.amount
        amounts[use.slot] = amounts.get(use.slot, 0) + use.amount
    return {slot: round(busy[slot] / amounts[slot], 1) for slot in busy if slot not in unknown}
