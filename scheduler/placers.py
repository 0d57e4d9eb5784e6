"""The built-in choices among agents that fit."""

from collections.abc import Sequence
from operator import mul
from typing import Annotated, Final

import msgspec

from scheduler.protocols import Cycle, PluginOptions, Rank, Ranking
from scheduler.snapshot import Shape

Weight = Annotated[int, msgspec.Meta(ge=0, le=1000)]

#: Ranks count what is left in parts of the largest agent's capacity: agents nearer than that are as good.
_PARTS: Final = 1024
_SHIFT: Final = 64


class PackOptions(PluginOptions, frozen=True, kw_only=True):
    weights: Annotated[
        dict[str, Weight],
        msgspec.Meta(
            description="How much a slot that would be left over counts, by its name; 1 where not given, 0 to ignore it."
        ),
    ] = msgspec.field(default_factory=dict[str, Weight])
    prefer_cached_images: Annotated[
        bool, msgspec.Meta(description="Among agents that are as full, take one that has the image.")
    ] = True


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
        weights: list[int] = []
        for column, slot in enumerate(cycle.slots):
            largest = max((agent.capacity[column] for agent in cycle.agents), default=0)
            weight = self.options.weights.get(slot, 1)
            weights.append((weight * _PARTS << _SHIFT) // largest if largest > 0 else 0)
        return _PackRanking(weights, prefer_cached_images=self.options.prefer_cached_images)


class _PackRanking:
    def __init__(self, weights: Sequence[int], *, prefer_cached_images: bool) -> None:
        self.prefer_cached_images = prefer_cached_images

        def left(_agent: int, free: Sequence[int]) -> int:
            return sum(map(mul, free, weights)) >> _SHIFT

        self._rank: Rank = left

    def of(self, shape: Shape) -> Rank:
        return self._rank
