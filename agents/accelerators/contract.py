"""What an accelerator plug-in must do: the contract between the agent and whatever knows about a kind of device.

    detect ─▶ Device …      which devices there are, how each is, and what a whole one gives of each slot
    choose                  which devices a request gets (optional: `choices.choose` is fragmentation aware)
    grant                   an allocation becomes environment, mounts and device requests of a container
    sample                  how busy each device is, and each kernel's part in that

A plug-in keeps no account of who holds what. The agent has that: from the labels of what runs, so that it is the same
after a restart, however the agent ended. Methods are called one at a time, from a thread of the plug-in's own and with a
deadline: one that raises or hangs stops its own devices from being given out, and nothing else on the node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from agents.protocol import Device, DeviceStats, DeviceUse, Grant, SlotKind

#: Device id → slot name → amount: what is held of each device, or free on it.
Amounts = Mapping[str, Mapping[str, int]]
#: Slot name → device id → amount: what one kernel has.
Allocation = Mapping[str, Mapping[str, int]]

#: A whole device, or one of anything that is counted.
WHOLE = 1000


class AcceleratorFailure(Exception):
    """A plug-in cannot do what it was asked; the message is a sentence for the node's admin."""


class BadOption(ValueError):
    """An option of a plug-in is unknown or has a value that makes no sense; the message says which are right."""


@dataclass(frozen=True)
class Holder:
    """A kernel that runs and holds devices, as `sample` gets it."""

    kernel: str
    #: As the runtime names it; it is part of the name of the control group that holds the kernel's processes.
    container: str
    devices: Allocation
    #: Processor load in percent of one core, and main memory in bytes.
    cpu_percent: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Sample:
    devices: tuple[DeviceStats, ...] = ()
    #: Kernel → its part in each device's load.
    kernels: Mapping[str, tuple[DeviceUse, ...]] = field(default_factory=dict[str, tuple[DeviceUse, ...]])


class Accelerator(Protocol):
    """Registered by the entry point `berth.accelerators`.

    The class is called with (`state_dir`: Path, `options`: dict[str, str]) and raises `BadOption` for options that it
    does not know. It must not look for devices then: an agent that is only asked for its help text makes none.
    """

    name: str
    #: Whether a node looks for it without being told to. False for what is only there on request.
    automatic: bool
    #: What it can give; fixed from its making on.
    kinds: Sequence[SlotKind]

    def detect(self) -> Sequence[Device]:
        """All devices, healthy or not, in a stable order. Called at the start, then each few seconds.

        Without a driver there are none, and finding that out takes no time. Whatever the devices need beside
        themselves (a daemon) is looked after here as well.

        Raises:
            AcceleratorFailure: there may be devices, but nothing can be said about them now.
        """
        ...

    def grant(self, kernel: str, devices: Allocation) -> Grant:
        """How a kernel gets at its devices. Called before each start of a container while there are devices.

        Args:
            devices: what it was given of this plug-in's slots; empty for a kernel that has none, and that may have to
                be kept from seeing any.

        Raises:
            AcceleratorFailure: it cannot be started with them.
        """
        ...

    def sample(self, holders: Sequence[Holder]) -> Sample:
        """One sample of all devices, and of each kernel's part where the hardware tells."""
        ...

    def close(self, in_use: bool) -> None:
        """The agent stops. `in_use`: kernels go on that hold its devices, so what they need must go on as well."""
        ...


@dataclass(frozen=True)
class Request:
    """What is asked of one plug-in for one kernel."""

    #: Slot name → amount; never empty, never 0.
    wanted: Mapping[str, int]
    #: Only devices on which something may be put now.
    free: Amounts
    devices: Mapping[str, Device]
    kinds: Mapping[str, SlotKind]
    #: Slots of which a fraction may be put together from several devices.
    spanning: frozenset[str] = frozenset()


@runtime_checkable
class Chooser(Protocol):
    """Implemented by a plug-in that knows better than `choices.choose` where a request is best put."""

    def choose(self, request: Request) -> Allocation | None:
        """The devices for a request, None when it does not fit. Pure and quick: it is called in the agent's loop.

        The amounts must add up to what is wanted and be free; else the request is refused.
        """
        ...


Factory = type[Accelerator]


def state_directory(state_dir: Path, name: str) -> Path:
    """Where a plug-in may keep things: made when it is first needed, for the agent's user only."""
    directory = state_dir / name
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory
