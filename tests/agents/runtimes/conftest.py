"""The process runtime, with a folder of its own; tests of another runtime have a fixture of their own."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agents.runtimes.process import ProcessRuntime


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncGenerator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path, {})
    await runtime.open()
    yield runtime
    for report in await runtime.recover():
        await runtime.remove(report.kernel, report.generation)
