"""A runtime with gates: a real one that stops before a step for as long as a file of that step's name is there.

So a test can hold a session in a status, kill something, and let it go on. `BERTH_TEST_RUNTIME` names the real runtime,
`BERTH_TEST_GATES` the directory of the gates. A step that was reached leaves `STEP.reached` behind.
"""

import asyncio
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

GATES = Path(os.environ.get("BERTH_TEST_GATES", "/nonexistent"))
STEPS = ("pull", "create", "start", "stop")


class GatedRuntime:
    """Delegates everything; waits at the gates of `STEPS`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        (entry,) = entry_points(group="berth.runtimes", name=os.environ["BERTH_TEST_RUNTIME"])
        self._real = entry.load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in STEPS:
            return real

        async def gated(*args: Any, **kwargs: Any) -> Any:
            (GATES / f"{name}.reached").touch()
            while (GATES / name).exists():
                await asyncio.sleep(0.02)
            return await real(*args, **kwargs)

        return gated
