"""All accelerators of a node: its plug-ins, each for itself, and what they have found.

A plug-in that raises or hangs is at fault: its devices stay known and are not given out until it answers again, kernels
that hold them go on, and other plug-ins are none the worse for it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from agents.accelerators.contract import (
    Accelerator,
    AcceleratorFailure,
    Allocation,
    BadOption,
    Chooser,
    Holder,
    Sample,
)
from agents.accelerators.options import NONE, Wanted
from agents.accelerators.pools import Pool
from agents.accelerators.workers import Hung, Worker
from agents.protocol import Device, DeviceStats, DeviceUse, Grant, KernelSpec, Mount, SlotKind
from agents.runtimes.contract import RuntimeFailure

log = logging.getLogger(__name__)

GROUP: Final = "berth.accelerators"
#: Seconds that a plug-in has for each call; bringing up a daemon of its own is part of `detect` and `grant`.
DETECT_SECONDS: Final = 20.0
GRANT_SECONDS: Final = 20.0
SAMPLE_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 10.0

T = TypeVar("T")


def installed() -> dict[str, Callable[[], Any]]:
    """Loaders of the plug-ins that are installed, by name."""
    return {point.name: point.load for point in entry_points(group=GROUP)}


def make(
    wanted: Iterable[Wanted], state_dir: Path, points: Iterable[EntryPoint] | None = None
) -> list[Accelerator]:
    """The plug-ins that are asked for; where none is named, those that look for devices by themselves.

    Raises:
        BadOption: an unknown name or option.
    """
    found = {p.name: p for p in (entry_points(group=GROUP) if points is None else points)}
    named = list(wanted)
    if any(one.name == NONE for one in named):
        return []
    for one in named:
        if one.name not in found:
            names = ", ".join(sorted(found)) or "none"
            raise BadOption(f"no accelerator plug-in is named {one.name!r}; installed are: {names}")
    return _without_rivals(
        [_load(found[one.name], state_dir, one.options) for one in named]
        if named
        else _automatic(found.values(), state_dir)
    )


def _automatic(points: Iterable[EntryPoint], state_dir: Path) -> list[Accelerator]:
    plugins: list[Accelerator] = []
    for point in points:
        # Not asked for by name: a broken one is no reason for the node not to start.
        try:
            plugin = _load(point, state_dir, {})
        except Exception:
            log.exception("the accelerator plug-in %s cannot be loaded", point.name)
            continue
        if plugin.automatic:
            plugins.append(plugin)
    return plugins


def _load(point: EntryPoint, state_dir: Path, options: Mapping[str, str]) -> Accelerator:
    try:
        return cast("Accelerator", point.load()(state_dir, dict(options)))
    except BadOption as error:
        raise BadOption(f"accelerator {point.name}: {error}") from error


def _without_rivals(plugins: Sequence[Accelerator]) -> list[Accelerator]:
    owners: dict[str, str] = {}
    for plugin in plugins:
        for kind in plugin.kinds:
            if kind.name in owners:
                raise BadOption(f"both {owners[kind.name]} and {plugin.name} give the slot {kind.name}")
            owners[kind.name] = plugin.name
    return list(plugins)


@dataclass
class _Plugin:
    accelerator: Accelerator
    worker: Worker
    devices: tuple[Device, ...] = ()
    #: Why it cannot be relied on now; "" when it can.
    fault: str = ""
    #: Its samples fail and that was logged: once is enough until one succeeds.
    quiet: bool = False
    slots: frozenset[str] = field(default_factory=frozenset[str])


class Inventory:
    """See the module."""

    def __init__(self, plugins: Sequence[Accelerator] = ()) -> None:
        self._plugins = [
            _Plugin(p, Worker(p.name), slots=frozenset(kind.name for kind in p.kinds)) for p in plugins
        ]

    @property
    def empty(self) -> bool:
        """Whether the node has no plug-ins at all."""
        return not self._plugins

    @property
    def faults(self) -> dict[str, str]:
        """Plug-in → why it cannot be relied on now."""
        return {one.accelerator.name: one.fault for one in self._plugins if one.fault}

    async def detect(self) -> Pool:
        """Ask all plug-ins for their devices. Never raises; as slow as the slowest of them."""
        await asyncio.gather(*map(self._detect, self._plugins))
        kinds: dict[str, SlotKind] = {}
        devices: dict[str, Device] = {}
        choosers: dict[str, Chooser] = {}
        for one in self._plugins:
            if one.devices:  # a node without GPUs does not say that it has none of them
                kinds |= {kind.name: kind for kind in one.accelerator.kinds}
            if isinstance(one.accelerator, Chooser):
                choosers[one.accelerator.name] = one.accelerator
            for device in one.devices:
                devices.setdefault(device.id, device)
        return Pool(kinds, devices, choosers)

    async def grant(self, kernel: str, spec: KernelSpec) -> KernelSpec:
        """The spec with all that the kernel needs to use its devices: `spec.devices` are those it was given.

        Raises:
            RuntimeFailure: ACCELERATOR_FAILED, with the plug-in's sentence.
        """
        total = Grant()
        for one in self._plugins:
            mine = {slot: dict(held) for slot, held in spec.devices.items() if slot in one.slots and held}
            if mine or one.devices:
                total = _joined(total, await self._grant(one, kernel, mine))
        return msgspec.structs.replace(
            spec,
            environ={**spec.environ, **total.environ},
            mounts=(*spec.mounts, *total.mounts),
            grant=total,
        )

    async def sample(
        self, holders: Sequence[Holder]
    ) -> tuple[tuple[DeviceStats, ...], dict[str, tuple[DeviceUse, ...]]]:
        """The devices' load, and each kernel's part in it. A plug-in that fails is left out."""
        devices: list[DeviceStats] = []
        kernels: dict[str, tuple[DeviceUse, ...]] = {}
        for sample in await asyncio.gather(*(self._sample(one, holders) for one in self._plugins)):
            devices += sample.devices
            for kernel, uses in sample.kernels.items():
                kernels[kernel] = (*kernels.get(kernel, ()), *uses)
        return tuple(devices), kernels

    async def close(self, held: Iterable[str]) -> None:
        """The agent stops. `held`: the slots of which kernels that go on hold something."""
        slots = frozenset(held)

        async def close(one: _Plugin) -> None:
            try:
                await one.worker.call(lambda: one.accelerator.close(bool(one.slots & slots)), CLOSE_SECONDS)
            except Exception as error:
                log.warning("the accelerator plug-in %s did not close: %s", one.accelerator.name, error)

        await asyncio.gather(*map(close, self._plugins))

    async def _detect(self, one: _Plugin) -> None:
        try:
            found = await one.worker.call(lambda: tuple(one.accelerator.detect()), DETECT_SECONDS)
            one.devices, fault = _sound(one, found), ""
        except (AcceleratorFailure, Hung, TimeoutError) as error:
            fault = str(error) or "it did not answer in time"
        except Exception as error:
            log.exception("the accelerator plug-in %s failed", one.accelerator.name)
            fault = f"the plug-in {one.accelerator.name} failed: {error}"
        if fault and fault != one.fault:
            log.warning("accelerators of %s are not given out: %s", one.accelerator.name, fault)
        if fault:
            one.devices = tuple(
                msgspec.structs.replace(device, healthy=False, reason=fault) for device in one.devices
            )
        one.fault = fault

    async def _grant(self, one: _Plugin, kernel: str, devices: Allocation) -> Grant:
        name = one.accelerator.name
        try:
            return await one.worker.call(lambda: one.accelerator.grant(kernel, devices), GRANT_SECONDS)
        except (AcceleratorFailure, Hung, TimeoutError) as error:
            raise RuntimeFailure("ACCELERATOR_FAILED", f"{name}: {error or 'no answer in time'}") from error
        except Exception as error:
            log.exception("the accelerator plug-in %s failed", name)
            raise RuntimeFailure("ACCELERATOR_FAILED", f"The plug-in {name} failed: {error}") from error

    async def _sample(self, one: _Plugin, holders: Sequence[Holder]) -> Sample:
        if not one.devices:
            return Sample()
        mine = [holder for holder in holders if one.slots & holder.devices.keys()]
        try:
            sample = await one.worker.call(lambda: one.accelerator.sample(mine), SAMPLE_SECONDS)
        except Exception as error:
            if not one.quiet:
                log.warning("accelerators of %s were not sampled: %s", one.accelerator.name, error)
            one.quiet = True
            return Sample()
        one.quiet = False
        return sample


def _sound(one: _Plugin, devices: Sequence[Device]) -> tuple[Device, ...]:
    """What a plug-in says, looked at: its own name on each device, ids given once, slots that it has declared."""
    ids = [device.id for device in devices]
    strange = {slot for device in devices for slot in device.capacity} - one.slots
    if len(set(ids)) != len(ids) or not all(ids):
        raise AcceleratorFailure(f"{one.accelerator.name} names devices twice or not at all: {ids}")
    if strange:
        raise AcceleratorFailure(f"{one.accelerator.name} gives slots that it has not declared: {strange}")
    return tuple(msgspec.structs.replace(device, plugin=one.accelerator.name) for device in devices)


def _joined(one: Grant, other: Grant) -> Grant:
    mounts: dict[str, Mount] = {mount.target: mount for mount in (*one.mounts, *other.mounts)}
    return Grant(
        environ={**one.environ, **other.environ},
        mounts=tuple(mounts.values()),
        requests=(*one.requests, *other.requests),
        nodes=tuple(dict.fromkeys((*one.nodes, *other.nodes))),
    )
