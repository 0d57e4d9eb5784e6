"""Accelerators of this machine, as the agent's plug-ins see them."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agents.accelerators import inventories
from agents.accelerators.contract import Accelerator
from agents.accelerators.inventories import Inventory
from agents.protocol import Device
from server.doctor.checks import Finding, failure, note, ok, warning

CHECK: Final = "gpu"
_GIB: Final = 1024**3


async def gpu() -> list[Finding]:
    """Devices of the plug-ins that look by themselves, and what else sessions need to get at them."""
    with tempfile.TemporaryDirectory() as directory:
        # Not the agent's own: the plug-ins are made as for a node that has nothing yet, and leave its devices alone.
        return await look(inventories.make([], Path(directory)))


async def look(plugins: Iterable[Accelerator], dev: Path = Path("/dev")) -> list[Finding]:
    """What these plug-ins find."""
    plugins = list(plugins)
    inventory = Inventory(plugins)
    try:
        pool = await inventory.detect()
    finally:
        await inventory.close({kind.name for plugin in plugins for kind in plugin.kinds})
    findings = [
        finding
        for name, fault in inventory.faults.items()
        for finding in failure(
            CHECK, f"{name}: {fault}", "Mend the driver; sessions cannot be given devices."
        )
    ]
    healthy = [device for device in pool.devices.values() if device.healthy]
    if healthy:
        findings += ok(CHECK, ", ".join(_counted(healthy)))
    for device in pool.devices.values():
        if not device.healthy:
            findings += warning(CHECK, f"{device.id} is not given out: {device.reason}", "Do what it says.")
    if any(device.plugin == "cuda" for device in healthy):
        findings += _needs_of_cuda()
    if findings:
        return findings
    return _none(dev)


def _none(dev: Path) -> list[Finding]:
    if lonely := sorted(dev.glob("nvidia[0-9]*")):
        return failure(CHECK, f"{len(lonely)} devices and no driver", "Install the NVIDIA driver.")
    return note(CHECK, "none")


def _counted(devices: Iterable[Device]) -> list[str]:
    kinds = Counter((device.model, device.memory) for device in devices)
    return [f"{count} × {model}, {memory / _GIB:.0f} GiB" for (model, memory), count in kinds.items()]


def _needs_of_cuda() -> list[Finding]:
    findings: list[Finding] = []
    if not any(shutil.which(name) for name in ("nvidia-container-runtime-hook", "nvidia-ctk")):
        findings += warning(
            CHECK,
            "the engine cannot give GPUs to containers",
            "Install nvidia-container-toolkit and restart the engine.",
        )
    if shutil.which("nvidia-cuda-mps-control") is None:
        findings += note(
            CHECK,
            "no shares of GPUs within limits: the MPS control daemon is not installed",
            "Install it (Debian, Ubuntu: nvidia-compute-utils), or use the mode time-sliced.",
        )
    return findings
