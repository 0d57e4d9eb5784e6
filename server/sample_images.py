"""Builds the sample images on the local engine with the clone's own script, showing its progress."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from server.commands.progress import Phase, Progress

SCRIPT: Final = Path(__file__).resolve().parent.parent / "docker" / "build-images"
#: Smallest first: with it a session can be launched while the others are built.
_ORDER: Final = ("minimal", "python")


async def build(progress: Progress, log: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Build what the engine lacks, the smallest first; a failure is shown and does not raise. True when all are there."""
    if not SCRIPT.exists():
        progress.warn(
            "No sample images: they are built from a clone of the repository (docker/build-images)."
        )
        return False
    done = True
    for name in _ORDER:
        with progress.phase(f"Sample image {name}") as phase:
            problem = await _build(name, phase, log, environment)
            if problem:
                phase.result = "not built"
        if problem:
            progress.warn(f"{problem} The output is in {log}; again: {SCRIPT} --only {name}")
            done = False
    return done


async def _build(name: str, phase: Phase, log: Path, environment: Mapping[str, str]) -> str:
    """Empty, or what went wrong."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--json", "--only", name),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None  # noqa: PT018, S101  # both are pipes
    complaint = asyncio.create_task(process.stderr.read())
    try:
        with log.open("a") as kept:
            async for line in process.stdout:
                kept.write(line.decode(errors="replace"))
                if step := _step(line):
                    phase.detail(f"{step['step']}/{step['of']} {step['message']}")
                    if step.get("state") in ("present", "built"):
                        phase.result = step["message"]
            said = (await complaint).decode(errors="replace").strip()
            kept.write(said + "\n" if said else "")
        status = await process.wait()
    finally:
        complaint.cancel()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
    return "" if status == 0 else f"{said.splitlines()[0] if said else f'It ended with status {status}'}."


def _step(line: bytes) -> dict[str, Any] | None:
    try:
        step = json.loads(line)
    except ValueError:
        return None
    return step if isinstance(step, dict) and {"step", "of", "message"} <= set(step) else None
