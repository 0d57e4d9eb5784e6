"""Sequencers and placers by name, the built-in ones by the same entry points as anyone's."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

import msgspec

from scheduler.plan import SchedulerFailed
from scheduler.protocols import Placer, Plugin, PluginOptions, Sequencer
from scheduler.reservations import EASY, BackfillOptions

P = TypeVar("P", bound=Plugin)


class PluginError(Exception):
    """A plug-in cannot be used; the message says what to change.

    PluginError
    ├── UnknownPlugin   no such name; the message lists those that are installed
    ├── BadOptions      options of the wrong names, types or values; the message gives the path of the first
    └── BrokenPlugin    it is installed, but cannot be imported or is not what its entry point promises
    """

    def __init__(self, kind: str, name: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name
        self.message = message

    @property
    def reason(self) -> SchedulerFailed:
        """For `engine.plan`: why all sessions of the resource group wait."""
        return SchedulerFailed(plugin=f"{self.kind} {self.name}", message=self.message)


class UnknownPlugin(PluginError):
    pass


class BadOptions(PluginError):
    pass


class BrokenPlugin(PluginError):
    pass


class Registry(Generic[P]):
    """All plug-ins of one kind that are installed. Nothing is imported before it is asked for.

    Args:
        kind: as in messages: `sequencer`.
        protocol: what an instance must be.
        found: gives the entry points; asked once, at first use.
    """

    def __init__(self, kind: str, protocol: type[object], found: Callable[[], Iterable[EntryPoint]]) -> None:
        self._kind = kind
        self._protocol = protocol
        self._found = found
        self._entries: dict[str, list[EntryPoint]] | None = None
        self._classes: dict[str, type[P]] = {}

    def built_in(self, name: str) -> bool:
        """Is it of this distribution, and so known to keep to the contract? Nothing is imported to find out."""
        entries = self._installed().get(name, ())
        return bool(entries) and all(entry.value.startswith("scheduler.") for entry in entries)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._installed()))

    def load(self, name: str, options: Mapping[str, object] | None = None) -> P:
        """Make one.

        Args:
            options: as stored, such as from JSON; what is left out has its default.

        Raises:
            UnknownPlugin, BadOptions, BrokenPlugin
        """
        chosen = self._class(name)
        try:
            settings = msgspec.convert(dict(options or {}), chosen.Options)
        except msgspec.ValidationError as error:
            problem = f"The options of the {self._kind} {name!r} are not valid: {error}."
            raise BadOptions(self._kind, name, problem) from error
        try:
            made = chosen(settings)
        except Exception as error:
            problem = f"The {self._kind} {name!r} could not be started: {type(error).__name__}: {error}"
            raise BrokenPlugin(self._kind, name, problem) from error
        if not isinstance(made, self._protocol):
            problem = (
                f"The {self._kind} {name!r} lacks what a {self._kind} must have (see scheduler.protocols)."
            )
            raise BrokenPlugin(self._kind, name, problem)
        return made

    def options_schema(self, name: str) -> dict[str, Any]:
        """The JSON schema (2020-12) of a plug-in's options, for forms and documentation.

        Raises:
            UnknownPlugin, BrokenPlugin
        """
        return msgspec.json.schema(self._class(name).Options)

    def _installed(self) -> dict[str, list[EntryPoint]]:
        if self._entries is None:
            self._entries = {}
            for entry in self._found():
                same = self._entries.setdefault(entry.name, [])
                # An editable and a plain installation of one distribution can both be on the path.
                if all(entry.value != other.value for other in same):
                    same.append(entry)
        return self._entries

    def _class(self, name: str) -> type[P]:
        known = self._classes.get(name)
        if known is not None:
            return known
        entries = self._installed().get(name)
        if not entries:
            installed = ", ".join(self.names()) or "none"
            problem = f"There is no {self._kind} {name!r}. Installed: {installed}."
            raise UnknownPlugin(self._kind, name, problem)
        if len(entries) > 1:
            values = " and ".join(sorted(entry.value for entry in entries))
            problem = f"The {self._kind} {name!r} is installed more than once: {values}. Remove all but one."
            raise BrokenPlugin(self._kind, name, problem)
        try:
            found: object = entries[0].load()
        except Exception as error:
            problem = f"The {self._kind} {name!r} could not be imported: {type(error).__name__}: {error}"
            raise BrokenPlugin(self._kind, name, problem) from error
        options = getattr(found, "Options", None)
        if (
            not isinstance(found, type)
            or not isinstance(options, type)
            or not issubclass(options, PluginOptions)
        ):
            problem = (
                f"The {self._kind} {name!r} must be a class with `Options`, a subclass of PluginOptions."
            )
            raise BrokenPlugin(self._kind, name, problem)
        known = self._classes[name] = cast("type[P]", found)
        return known


def backfill_options(options: Mapping[str, object]) -> BackfillOptions:
    """Read what a resource group has.

    Raises:
        BadOptions
    """
    try:
        return msgspec.convert(dict(options), BackfillOptions)
    except msgspec.ValidationError as error:
        problem = f"The options of the backfill {EASY!r} are not valid: {error}."
        raise BadOptions("backfill", EASY, problem) from error


sequencers: Registry[Sequencer] = Registry(
    "sequencer", Sequencer, lambda: entry_points(group="berth.sequencers")
)
placers: Registry[Placer] = Registry("placer", Placer, lambda: entry_points(group="berth.placers"))
