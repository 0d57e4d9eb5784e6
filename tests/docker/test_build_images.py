"""docker/build-images: what it builds, what it leaves alone, and what it says when it cannot."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, build_images, docker

pytestmark = [pytest.mark.timeout(1200), pytest.mark.xdist_group("docker")]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A copy of docker/ with one tiny image of its own; its image is gone after the test."""
    shutil.copytree(
        ROOT / "docker", tmp_path / "docker", ignore=shutil.ignore_patterns("images", "__pycache__")
    )
    folder = tmp_path / "docker/images/tiny"
    folder.mkdir(parents=True)
    reference = f"berth/test-{uuid.uuid4().hex[:8]}:1"
    (folder / "Dockerfile").write_text(
        f'ARG BASE\nFROM berth/minimal:12\nCOPY greeting /etc/greeting\nLABEL berth.image.reference="{reference}"\n'
    )
    (folder / "greeting").write_text("one\n")
    yield tmp_path / "docker"
    docker("rmi", "-f", reference)


def states(output: str) -> list[tuple[str, str]]:
    said: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    assert all(line.keys() == {"image", "step", "of", "message", "state"} for line in said)
    assert all(0 <= line["step"] <= line["of"] for line in said)
    return [(line["image"], line["state"]) for line in said if line["state"] != "working"]


@pytest.mark.engine
@pytest.mark.usefixtures("images")
def test_a_second_run_leaves_everything_alone() -> None:
    # As sets: the engine lists images of the same second in any order.
    before = set(docker("image", "ls", "-q", "--no-trunc").stdout.split())
    done = build_images("--json")
    assert done.returncode == 0, done.stderr
    assert states(done.stdout) == [("berth/minimal:12", "present"), ("berth/python:3.11-debian12", "present")]
    assert set(docker("image", "ls", "-q", "--no-trunc").stdout.split()) == before


@pytest.mark.engine
@pytest.mark.usefixtures("images")
def test_a_changed_file_builds_anew_and_progress_counts_up(own: Path) -> None:
    first = build_images("--json", script=own / "build-images")
    assert first.returncode == 0, first.stderr
    [(reference, state)] = states(first.stdout)
    assert state == "built"
    steps = [
        line["step"] for line in map(json.loads, first.stdout.splitlines()) if line["state"] == "working"
    ]
    assert steps == sorted(steps)
    assert states(build_images("--json", script=own / "build-images").stdout) == [(reference, "present")]

    (own / "images/tiny/greeting").write_text("two\n")
    assert states(build_images("--json", script=own / "build-images").stdout) == [(reference, "built")]
    assert docker("run", "--rm", reference, "cat", "/etc/greeting").stdout == b"two\n"


@pytest.mark.engine
@pytest.mark.usefixtures("images")
def test_a_build_that_fails_says_where(own: Path) -> None:
    (own / "images/tiny/Dockerfile").write_text(
        'FROM berth/minimal:12\nRUN echo the reason is here; exit 3\nLABEL berth.image.reference="berth/test-none:1"\n'
    )
    done = build_images(script=own / "build-images")
    assert done.returncode == 1
    assert "the reason is here" in done.stderr
    assert "returned a non-zero code: 3" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_engine_it_says_so_plainly(tmp_path: Path) -> None:
    done = build_images(DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 3
    assert done.stderr.startswith("build-images: No engine answers at DOCKER_HOST=")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_image_is_wrong_use() -> None:
    done = build_images("--only", "fortran")
    assert done.returncode == 2
    assert done.stderr == "build-images: There is no image fortran: choose from minimal, python.\n"
