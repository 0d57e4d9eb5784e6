"""The load of the whole node, from /proc by psutil."""

from pathlib import Path

import psutil

from agents.protocol import NodeStats


def sample(disk: Path) -> NodeStats:
    """One sample. CPU is since the previous call (the first one: 0), in percent of one core.

    Args:
        disk: the file system that counts: the one under the agent's state.
    """
    memory = psutil.virtual_memory()
    usage = psutil.disk_usage(str(disk))
    return NodeStats(
        cpu_percent=psutil.cpu_percent() * (psutil.cpu_count() or 1),
        memory_used=memory.total - memory.available,
        memory_total=memory.total,
        disk_used=usage.used,
        disk_total=usage.total,
    )
