"""The built-in choices among agents that fit."""

from collections.abc import Mapping, Sequence
from operator import mul, rshift
from typing import Annotated, Final, NamedTuple

import msgspec

from scheduler.protocols import Cycle, PluginOptions, Rank, Ranking
from scheduler.snapshot import Shape

Weight = Annotated[int, msgspec.Meta(ge=0, le=1000)]

#: Ranks count what is left in parts of the largest agent's capacity: agents nearer than that are as good.
PARTS: Final = 1024
#: Amounts are cut to so many bits, and their factors scaled up by so many, that 100 slots stay within 63 bits.
_BITS: Final = 31
SHIFT: Final = 36


class _Options(PluginOptions, frozen=True, kw_only=True):
    weights: Annotated[
        dict[str, Weight],
        msgspec.Meta(
            description="How much a slot that would be left over counts, by its name; 1 where not given, 0 to ignore it."
        ),
    ] = msgspec.field(default_factory=dict[str, Weight])
    prefer_cached_images: Annotated[
        bool, msgspec.Meta(description="Among agents that are as full, take one that has the image.")
    ] = True


class PackOptions(_Options, frozen=True, kw_only=True):
    pass


class SpreadOptions(_Options, frozen=True, kw_only=True):
    pass


class Pack:
    """Fill up the agent with the least left, so that whole agents stay free for large sessions.

    Best fit: the sum over the slots of what is free, each as a part of the largest capacity in the resource group.
    The request itself would be the same subtrahend for all agents and is left out, so all shapes share one rank.
    An agent whose GPUs are free has much left: sessions without a GPU keep away from it.
    """

    Options = PackOptions

    def __init__(self, options: PackOptions, /) -> None:
        self.options = options

    def prepare(self, cycle: Cycle) -> Ranking:
        scale = Scale.of(cycle.slots, largest_of(cycle), self.options.weights)
        return _SharedRanking(scale.left, prefer_cached_images=self.options.prefer_cached_images)


class Spread:
    """Take the agent with the most left, so that sessions get in each other's way as little as can be."""

    Options = SpreadOptions

    def __init__(self, options: SpreadOptions, /) -> None:
        self.options = options

    def prepare(self, cycle: Cycle) -> Ranking:
        scale = Scale.of(cycle.slots, largest_of(cycle), self.options.weights)
        return _SharedRanking(scale.taken, prefer_cached_images=self.options.prefer_cached_images)


def largest_of(cycle: Cycle) -> Sequence[int]:
    """The largest capacity of any agent, a slot."""
    return list(map(max, zip(*[agent.capacity for agent in cycle.agents], strict=True))) or [0] * len(
        cycle.slots
    )


class Scale(NamedTuple):
    """How amounts of different slots are added up: `sum((amount >> shift) * factor) >> SHIFT`, in `PARTS`."""

    shifts: tuple[int, ...]
    factors: tuple[int, ...]

    @classmethod
    def of(cls, slots: Sequence[str], largest: Sequence[int], weights: Mapping[str, int]) -> "Scale":
        """`largest` is the largest capacity of any agent, a slot."""
        shifts = [max(0, amount.bit_length() - _BITS) for amount in largest]
        factors = [
            (weights.get(slot, 1) * PARTS << SHIFT) // (amount >> shift) if amount > 0 else 0
            for slot, amount, shift in zip(slots, largest, shifts, strict=True)
        ]
        return cls(tuple(shifts), tuple(factors))

    def left(self, _agent: int, free: Sequence[int]) -> int:
        return sum(map(mul, map(rshift, free, self.shifts), self.factors)) >> SHIFT

    def taken(self, _agent: int, free: Sequence[int]) -> int:
        return -(sum(map(mul, map(rshift, free, self.shifts), self.factors)) >> SHIFT)


class _SharedRanking:
    """One rank for all shapes."""

    def __init__(self, rank: Rank, *, prefer_cached_images: bool) -> None:
        self.prefer_cached_images = prefer_cached_images
        self._rank = rank

    def of(self, shape: Shape) -> Rank:
        return self._rank
