"""What a sequencer and a placer must do, for those who write their own.

Both are classes named by an entry point (`berth.sequencers`, `berth.placers`), made anew for a cycle or kept over
many, with their options as the only argument. They must be functions of what they are given: no clock, no I/O, no
chance, so that a replayed snapshot gives the same plan. One that raises takes only its own resource group with it:
none of the group's sessions is placed in that cycle and all of them say why.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec

from scheduler.snapshot import AgentView, Request, Running, Shape


class PluginOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a plug-in's options: fields with types, bounds (`msgspec.Meta`), descriptions and defaults.

    What an admin sets is validated against it, unknown names included; its JSON schema is shown to clients.
    """


class Cycle(Protocol):
    """One resource group in one cycle. It may be read at any time while the cycle lasts; what is placed shows."""

    @property
    def resource_group(self) -> str: ...

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of a row's columns."""
        ...

    @property
    def agents(self) -> Sequence[AgentView]:
        """The agents that take work, by architecture and id, as they were when the cycle began."""
        ...

    @property
    def requests(self) -> Sequence[Request]:
        """What waits, in no particular order."""
        ...

    @property
    def running(self) -> Sequence[Running]:
        """The live kernels on its agents when the cycle began, as far as the snapshot has them."""
        ...

    @property
    def device_slot(self) -> str:
        """The slot that devices give in fractions; empty: there is none."""
        ...

    def devices(self, agent: int) -> Sequence[int]:
        """What each device of an agent (by its index in `agents`) has free now; empty where that is not told."""
        ...

    def placed(self, session_id: str) -> bool:
        """Has the session got its agents in this cycle?"""
        ...

    def used(self, scope: str, slot: str) -> int:
        """What a scope has of a slot now, this cycle's placements in all resource groups included.

        Counted where the snapshot has a `Limit`, though it be unlimited; 0 elsewhere.
        """
        ...


class Plugin(Protocol):
    """What every plug-in has."""

    Options: ClassVar[type[PluginOptions]]

    def __init__(self, options: Any, /) -> None:
        """`options` is an instance of `Options`. Called when a resource group's settings are read."""
        ...


@runtime_checkable
class Sequencer(Plugin, Protocol):
    """Says whose turn it is."""

    def order(self, cycle: Cycle) -> Iterable[Request]:
        """Give each of `cycle.requests` once, in the order in which they are tried.

        Called once a resource group and cycle. The next request is asked for only when the one before has been
        decided, so a generator may look at `cycle.placed` and `cycle.used` and choose anew each time, as progressive
        filling does. A request that does not fit keeps nobody behind it from being tried. One that is left out, or
        given twice, is a fault.
        """
        ...


#: (index of the agent in `cycle.agents`, its free row now) → how well it suits; the lowest wins, ties by image, then by the index.
Rank = Callable[[int, Sequence[int]], int]


@runtime_checkable
class Ranking(Protocol):
    """A placer at work on one resource group in one cycle."""

    @property
    def prefer_cached_images(self) -> bool:
        """Among the first agents of equal rank, is one that has the request's image taken rather than by id?"""
        ...

    def of(self, shape: Shape) -> Rank:
        """How agents are compared for a kernel of this shape. Called once a shape, at its first request.

        A rank is asked about any agent, also where the shape does not fit, and its answers are kept: they must be
        integers that depend on its two arguments alone. It is called once for each change of an agent, so it should
        take about a microsecond. Shapes that are given the same function object share those calls.
        """
        ...


@runtime_checkable
class Placer(Plugin, Protocol):
    """Says which of the agents that fit is best.

    What fits is not its business: capacity, architecture, designated agents and limits are looked after before.
    """

    def prepare(self, cycle: Cycle) -> Ranking:
        """Called once a resource group and cycle, before anything is placed."""
        ...
