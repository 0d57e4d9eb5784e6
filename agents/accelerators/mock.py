"""Accelerators that are not there: for tests, demos, and trying out quotas and placement without hardware.

They are given out, counted and sampled like real ones. One works as hard as the processors of the kernels that hold it,
so an idle session shows an idle device and a busy one a busy device.

Options: `devices` (how many; 1), `memory` (of each; 16g), `model`, `mode` (`shares`: fractions; `device`: whole ones),
`prefix` (of the slots' names: `mock` gives `mock.shares`; `cuda` lets it stand in for GPUs), `numa` (nodes that they are
spread over; 1). The ids of devices that a file `broken` in its directory names are reported as failed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from agents.accelerators import options as read
from agents.accelerators.contract import (
    WHOLE,
    Allocation,
    BadOption,
    Holder,
    Sample,
    state_directory,
)
from agents.protocol import Device, DeviceStats, DeviceUse, Grant, SlotKind

_OPTIONS: Final = ("devices", "memory", "model", "mode", "prefix", "numa")
_AMBIENT: Final = 30.0
_BUSY: Final = 75.0


class MockAccelerator:
    """See the module."""

    name = "mock"
    automatic = False

    def __init__(self, state_dir: Path, options: Mapping[str, str]) -> None:
        read.known(options, _OPTIONS)
        self._directory = state_dir / self.name
        self._state_dir = state_dir
        self._count = read.number(options, "devices", 1, most=64)
        self._memory = read.size(options, "memory", "16g")
        self._model = options.get("model", "Mock Accelerator")
        self._numa = read.number(options, "numa", 1, least=1, most=64)
        prefix = options.get("prefix", self.name)
        if not prefix.isidentifier():
            raise BadOption(f"prefix must be a name such as mock, not {prefix!r}")
        shared = read.one_of(options, "mode", ("shares", "device")) == "shares"
        self._slot = f"{prefix}.shares" if shared else f"{prefix}.device"
        self.kinds: Sequence[SlotKind] = (
            SlotKind(
                self._slot,
                "count" if shared else "unique",
                "device",
                "Mock devices",
                "Fractions of a mock device." if shared else "Whole mock devices.",
                step=10 if shared else WHOLE,
            ),
        )

    @property
    def broken(self) -> Path:
        """The file that names failed devices, one a line."""
        return state_directory(self._state_dir, self.name) / "broken"

    def detect(self) -> Sequence[Device]:
        failed = self._failed()
        return [
            Device(
                id=name,
                plugin=self.name,
                model=self._model,
                memory=self._memory,
                numa_node=number % self._numa,
                healthy=name not in failed,
                reason="It is said to be broken." if name in failed else "",
                capacity={self._slot: WHOLE},
            )
            for number, name in enumerate(self._names())
        ]

    def grant(self, kernel: str, devices: Allocation) -> Grant:
        if not (mine := devices.get(self._slot, {})):
            return Grant()
        shares = ",".join(f"{amount / WHOLE:g}" for amount in mine.values())
        return Grant(environ={"MOCK_VISIBLE_DEVICES": ",".join(mine), "MOCK_DEVICE_SHARES": shares})

    def sample(self, holders: Sequence[Holder]) -> Sample:
        kernels: dict[str, tuple[DeviceUse, ...]] = {}
        load, used = dict.fromkeys(self._names(), 0.0), dict.fromkeys(self._names(), 0)
        for holder in holders:
            uses: list[DeviceUse] = []
            for name, amount in holder.devices.get(self._slot, {}).items():
                busy = min(holder.cpu_percent, 100.0)
                limit = self._memory * amount // WHOLE
                memory = min(holder.memory_bytes, limit)
                uses.append(DeviceUse(name, self._slot, amount, round(busy, 1), memory, limit))
                load[name] = load.get(name, 0.0) + busy * amount / WHOLE
                used[name] = used.get(name, 0) + memory
            if uses:
                kernels[holder.kernel] = tuple(uses)
        return Sample(
            tuple(
                DeviceStats(
                    name,
                    round(min(load[name], 100.0), 1),
                    min(used[name], self._memory),
                    self._memory,
                    temperature=round(_AMBIENT + (_BUSY - _AMBIENT) * min(load[name], 100.0) / 100, 1),
                )
                for name in self._names()
            ),
            kernels,
        )

    def close(self, in_use: bool) -> None:
        """Nothing to let go of."""

    def _names(self) -> list[str]:
        return [f"MOCK-{number}" for number in range(self._count)]

    def _failed(self) -> set[str]:
        try:
            return set((self._directory / "broken").read_text().split())
        except OSError:
            return set()
