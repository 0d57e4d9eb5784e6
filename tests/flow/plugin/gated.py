"""A runtime with gates: a real one that stops before a step for as long as a file of that step's name is there.

So a test can hold a session in a status, kill something, and let it go on. `BERTH_TEST_RUNTIME` names the real runtime,
`BERTH_TEST_GATES` the directory of the gates. A step that was reached leaves `STEP.reached` behind. While the gate `pull` is closed, the images
that are here are hidden, and come with its opening.
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

    async def images(self) -> Any:
        return [] if (GATES / "pull").exists() else await self._real.images()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in STEPS:
            return real

        async def gated(*args: Any, **kwargs: Any) -> Any:
            (GATES / f"{name}.reached").touch()
            while (GATES / name).exists():
                await asyncio.sleep(0.02)
            if name == "pull" and any(args[0] == image.reference for image in await self._real.images()):
                return None
            return await real(*args, **kwargs)

        return gated
