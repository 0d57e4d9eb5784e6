"""What a node says of itself, whatever its sessions run in."""

import contextlib
import platform
from pathlib import Path


def cpu_model() -> str:
    """What a person calls the processor; some architectures do not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()
