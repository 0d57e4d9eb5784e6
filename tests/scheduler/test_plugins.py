"""Plug-ins by name, with options that are checked."""

import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from scheduler.placers import Pack, PackOptions
from scheduler.plan import SchedulerFailed
from scheduler.plugins import BadOptions, BrokenPlugin, Registry, UnknownPlugin, placers, sequencers
from scheduler.protocols import Cycle, Placer, PluginOptions, Sequencer
from scheduler.sequencers import Fifo
from scheduler.snapshot import Request


class LifoOptions(PluginOptions, frozen=True, kw_only=True):
    depth: int = 10


class Lifo:
    Options = LifoOptions

    def __init__(self, options: LifoOptions, /) -> None:
        if options.depth == 0:
            raise RuntimeError("no depth")
        self.options = options

    def order(self, cycle: Cycle) -> Iterable[Request]:
        return sorted(cycle.requests, key=lambda request: request.queued, reverse=True)


class Orderless:
    Options = LifoOptions

    def __init__(self, options: LifoOptions, /) -> None:
        self.options = options


class Optionless(Lifo):
    Options = int  # type: ignore[assignment]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry[Sequencer]:
    module = ModuleType("third_party")
    for one in (Lifo, Orderless, Optionless):
        setattr(module, one.__name__, one)
    monkeypatch.setitem(sys.modules, "third_party", module)
    values = {
        "lifo": "third_party:Lifo",
        "orderless": "third_party:Orderless",
        "optionless": "third_party:Optionless",
        "function": "third_party:__name__",
        "missing": "third_party:Missing",
    }
    entries = [EntryPoint(name, value, "berth.sequencers") for name, value in values.items()]
    entries += [EntryPoint("twice", value, "berth.sequencers") for value in ("a:A", "b:B", "b:B")]
    entries.append(EntryPoint("lifo", "third_party:Lifo", "berth.sequencers"))
    return Registry("sequencer", Sequencer, lambda: entries)


def test_the_built_in_ones_are_installed_by_entry_points() -> None:
    assert isinstance(sequencers.load("fifo"), Fifo)
    placer = placers.load("pack", {"weights": {"cuda.device": 5}})
    assert isinstance(placer, Pack)
    assert placer.options == PackOptions(weights={"cuda.device": 5})
    assert isinstance(placer, Placer)


def test_someone_elses_is_loaded_with_its_options(registry: Registry[Sequencer]) -> None:
    made = registry.load("lifo", {"depth": 3})
    assert isinstance(made, Lifo)
    assert made.options == LifoOptions(depth=3)


def test_an_unknown_name_lists_what_is_installed(registry: Registry[Sequencer]) -> None:
    with pytest.raises(UnknownPlugin) as caught:
        registry.load("drf")
    assert (
        caught.value.message
        == "There is no sequencer 'drf'. Installed: function, lifo, missing, optionless, orderless, twice."
    )
    assert caught.value.reason == SchedulerFailed(plugin="sequencer drf", message=caught.value.message)


def test_where_nothing_is_installed_it_says_so() -> None:
    with pytest.raises(UnknownPlugin, match="Installed: none"):
        Registry("placer", Placer, list).load("pack")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pack", {"weight": {}}, "The options of the placer 'pack' are not valid: .*unknown field `weight`"),
        ("pack", {"weights": {"cpu": -1}}, r"`int` >= 0 - at `\$\.weights"),
        ("pack", {"weights": {"cpu": 1.5}}, r"Expected `int`, got `float` - at `\$\.weights"),
        (
            "pack",
            {"prefer_cached_images": "yes"},
            r"Expected `bool`, got `str` - at `\$\.prefer_cached_images`",
        ),
    ],
)
def test_options_are_checked_and_the_wrong_one_is_named(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BadOptions, match=message):
        placers.load(name, options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("missing", {}, "could not be imported: AttributeError"),
        ("twice", {}, "installed more than once: a:A and b:B"),
        ("function", {}, "must be a class with `Options`"),
        ("optionless", {}, "must be a class with `Options`"),
        ("orderless", {}, "lacks what a sequencer must have"),
        ("lifo", {"depth": 0}, "could not be started: RuntimeError: no depth"),
    ],
)
def test_a_plugin_that_is_not_one_is_named_with_its_fault(
    registry: Registry[Sequencer], name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BrokenPlugin, match=message):
        registry.load(name, options)


def test_options_have_a_json_schema_with_bounds_and_descriptions() -> None:
    schema = placers.options_schema("pack")
    properties = schema["$defs"]["PackOptions"]["properties"]
    assert properties["weights"]["additionalProperties"] == {"type": "integer", "minimum": 0, "maximum": 1000}
    assert properties["prefer_cached_images"]["default"] is True
    assert all(one["description"] for one in properties.values())
    assert schema["$defs"]["PackOptions"]["additionalProperties"] is False
