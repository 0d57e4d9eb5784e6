"""The example of a scheduler in a package of its own: installed by its wheel, found by its entry points, and used."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from scheduler.engine import Scheduler, plan
from scheduler.plugins import BadOptions, Registry
from scheduler.protocols import Placer, Sequencer
from tests.scheduler.builders import GROUP, Cluster, Engine

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "deadlines"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=EXAMPLE,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As an installer leaves it: a pure wheel unpacked on the path."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("berth_deadlines", None)


@pytest.fixture
def sequencers(installed: None) -> Registry[Sequencer]:
    return Registry("sequencer", Sequencer, lambda: entry_points(group="berth.sequencers"))


@pytest.fixture
def placers(installed: None) -> Registry[Placer]:
    return Registry("placer", Placer, lambda: entry_points(group="berth.placers"))


def test_it_is_installed_beside_the_built_in_ones(
    sequencers: Registry[Sequencer], placers: Registry[Placer]
) -> None:
    assert {"fifo", "shortest"} <= set(sequencers.names())
    assert {"pack", "favourites"} <= set(placers.names())
    schema = sequencers.options_schema("shortest")["$defs"]["ShortestOptions"]
    assert schema["properties"]["unknown"]["minimum"] == 1
    with pytest.raises(BadOptions, match="prefixes"):
        placers.load("favourites", {"prefixes": "agt_a"})


def test_its_order_and_its_choice_are_followed(
    sequencers: Registry[Sequencer], placers: Registry[Placer], engine: Engine
) -> None:
    scheduler = Scheduler(
        sequencers.load("shortest", {"unknown": 100}),
        placers.load("favourites", {"prefixes": ["new", "old"]}),
    )
    cluster = (
        Cluster()
        .agent("a", cpu=1)
        .agent("new-1", cpu=1)
        .agent("old-1", cpu=1)
        .session("long", cpu=1, max_duration=200)
        .session("open", cpu=1)
        .session("short", cpu=1, max_duration=10)
    )
    made = plan(cluster.build(), {GROUP: scheduler}, engine)
    assert list(made.placements.items()) == [("short", ("new-1",)), ("open", ("old-1",)), ("long", ("a",))]
