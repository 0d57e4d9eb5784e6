"""The package names are plain, so: each is ours, nobody else's, and the wheel has them and nothing besides."""

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("server", "resolvers", "schema", "services", "scheduler", "agents")


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_ours_and_not_shadowed(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")
    assert set(packages_distributions().get(name, ["berth"])) == {"berth"}


@pytest.mark.parametrize("name", PACKAGES)
def test_no_package_hides_a_module_of_the_standard_library(name: str) -> None:
    assert name not in sys.stdlib_module_names


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_has_our_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} - {"webui"} == set(PACKAGES)
    assert not [name for name in wheel.namelist() if "__pycache__" in name or name.startswith("webui/src")]


def test_the_wheel_has_every_module_of_the_clone(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30
    ).stdout.splitlines()
    missing = {name for name in listed if name.endswith(".py") and (ROOT / name).exists()} - set(
        wheel.namelist()
    )
    assert not missing


def test_the_wheel_names_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert "License-Expression: Apache-2.0" in wheel.read(metadata).decode()
    folder = metadata.rpartition("/")[0]
    assert "berth = server.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert b"Apache License" in wheel.read(f"{folder}/licenses/LICENSE")


@pytest.mark.parametrize("group", ["berth.sequencers", "berth.placers", "berth.runtimes"])
def test_the_plugins_of_our_own_can_be_loaded(group: str) -> None:
    ours = [
        point for point in entry_points(group=group) if point.dist is not None and point.dist.name == "berth"
    ]
    assert ours
    for point in ours:
        assert callable(point.load())


def test_every_dependency_is_pinned_with_hashes_and_without_an_index() -> None:
    for name in ("tools", "up", "agent", "test"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert "://" not in text
        assert "--index-url" not in text
        pins = re.findall(r"^([\w.-]+)==\S+(?: ;[^\\\n]*)? \\\n\s+--hash=sha256:", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) > 0


def test_what_is_wanted_is_pinned() -> None:
    wanted = PROJECT["project"]["dependencies"] + [
        one
        for extra in ("server", "sandbox", "console")
        for one in PROJECT["project"]["optional-dependencies"][extra]
    ]
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements/up.txt").read_text(), re.MULTILINE))
    for one in wanted:
        assert re.split(r"[\[<>=;! ]", one)[0].lower().replace("_", "-") in pinned
