"""Containers of the sample images, run as hard as a session's: no capability, read-only root, an empty home."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Container:
    """A running container; `run` gives what a command in it printed."""

    def __init__(self, name: str, image: str) -> None:
        self.name, self.image = name, image

    def run(self, script: str, *, stdin: bytes = b"", seconds: float = 60) -> str:
        """Run a login shell's script in it. Raises AssertionError with what it printed when it fails."""
        done = docker("exec", "-i", self.name, "bash", "-lc", script, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{script}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode().strip()

    def fails(self, script: str) -> bool:
        return docker("exec", self.name, "bash", "-lc", script).returncode != 0


def docker(*arguments: str, stdin: bytes = b"", seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, timeout=seconds, check=False
    )


def build_images(
    *arguments: str, script: Path = ROOT / "docker/build-images", **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
        env={**os.environ, **environ},
    )


@pytest.fixture(scope="session")
def images() -> list[dict[str, Any]]:
    """The sample images, built where they are not there yet; what the script said of each."""
    done = build_images("--json")
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        line for line in said if line["state"] in ("present", "built") and "build-base" not in line["image"]
    ]


@pytest.fixture
def start(images: list[dict[str, Any]]) -> Iterator[Callable[..., Container]]:
    """Start a container of a sample image; it is gone after the test."""
    started: list[str] = []

    def _start(image: str, *options: str) -> Container:
        name = f"berth-test-{uuid.uuid4().hex[:12]}"
        started.append(name)
        hard = [
            "--user=1000:1000",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--read-only",
            "--init",
        ]
        hard += ["--pids-limit=256", "--memory=1g", "--tmpfs=/tmp:mode=1777"]
        hard += ["--tmpfs=/home/work:exec,uid=1000,gid=1000,mode=700"]
        done = docker("run", "-d", f"--name={name}", *hard, *options, image)
        assert done.returncode == 0, done.stderr.decode()
        return Container(name, image)

    yield _start
    for name in started:
        docker("rm", "-f", "-v", name)
