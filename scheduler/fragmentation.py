"""Fragmentation gradient descent: place where the least of the devices becomes unusable (Weng et al., ATC 2023).

What an agent's devices have free is lost for a kind of request that does not fit there; for one that fits, what lies on
devices with too little for it is lost. Weighted by how often the mix has each kind, that is the agent's expected loss. A
session goes where it makes that grow least.

Other than published, a kind that is bound to some architectures counts on their agents as often as it is asked of *them*:
there the published weights, which are of the whole cluster, use up what is rare for those who could have run elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from scheduler import devices
from scheduler.devices import WHOLE
from scheduler.placers import Scale, largest_of
from scheduler.protocols import Cycle, PluginOptions, Rank, Ranking
from scheduler.snapshot import AgentView, Row, Running, Shape

#: Losses nearer than that, in milli-devices, are as good: then the fuller agent is taken. The exact gradient follows noise
#: of the mix and does worse (the published scheduler compares integer scores from 0 to 100).
STEP: Final = 140
#: How much what is free of the devices' slot counts against what is free of any other, where losses are as good.
WEIGHT: Final = 16
#: A weight of the mix is counted in parts of it; and what is bound to a rare architecture weighs at most so much more.
UNIT: Final = 16
MOST: Final = 64
#: Ranks of fullness are below it.
_FULLNESS: Final = 2**20


class FragmentationOptions(PluginOptions, frozen=True, kw_only=True):
    prefer_cached_images: Annotated[
        bool, msgspec.Meta(description="Among agents that are as good, take one that has the image.")
    ] = True


class Kind(NamedTuple):
    """A kind of request, and how often the mix has it."""

    needs: Row
    architectures: frozenset[str]
    weight: int

    def presses(self, architecture: str, capacity: Mapping[str, int]) -> int:
        """How often it is asked of what agents of an architecture have, in parts of `UNIT`; 0: it may not run there.

        What may run on some architectures only is asked of these all the more, the less of all capacity they are.

        Args:
            capacity: what the agents of each architecture have of the devices' slot.
        """
        if not self.architectures:
            return self.weight * UNIT
        if architecture not in self.architectures:
            return 0
        there = sum(capacity.get(one, 0) for one in self.architectures)
        return self.weight * min(UNIT * sum(capacity.values()) // max(there, 1), UNIT * MOST)


class Fragmentation:
    """Keep what is free of devices usable for what is usually asked for.

    The mix is what waits and what runs. Where the snapshot does not tell of devices, an agent's free amount is taken as
    on whole devices and at most one begun.
    """

    Options = FragmentationOptions

    def __init__(self, options: FragmentationOptions, /) -> None:
        self.options = options

    def prepare(self, cycle: Cycle) -> Ranking:
        mix = mix_of([(one.shape, one.kernels) for one in cycle.requests], cycle.running)
        return _FragmentationRanking(cycle, mix, prefer_cached_images=self.options.prefer_cached_images)


def mix_of(waiting: Iterable[tuple[Shape, int]], running: Iterable[Running]) -> list[Kind]:
    """The kinds of request that wait in a resource group or run there, in one order whatever that of the rows.

    Args:
        waiting: shapes, each with a number of kernels.
    """
    counts: dict[tuple[Row, tuple[str, ...]], int] = {}
    for shape, kernels in waiting:
        key = shape.needs, tuple(sorted(shape.architectures))
        counts[key] = counts.get(key, 0) + kernels
    for kernel in running:
        counts[kernel.held, ()] = counts.get((kernel.held, ()), 0) + 1
    return [Kind(needs, frozenset(accepted), count) for (needs, accepted), count in sorted(counts.items())]


def capacity_of(agents: Iterable[AgentView], column: int) -> dict[str, int]:
    """What the agents of each architecture have of a slot; none of it where the column is -1."""
    found: dict[str, int] = {}
    for agent in agents:
        amount = agent.capacity[column] if column >= 0 else 0
        found[agent.architecture] = found.get(agent.architecture, 0) + amount
    return found


class _FragmentationRanking:
    def __init__(self, cycle: Cycle, mix: Sequence[Kind], *, prefer_cached_images: bool) -> None:
        self.prefer_cached_images = prefer_cached_images
        self._cycle = cycle
        self._scale = Scale.of(cycle.slots, largest_of(cycle), {cycle.device_slot: WEIGHT})
        self._column = cycle.slots.index(cycle.device_slot) if cycle.device_slot in cycle.slots else -1
        capacity = capacity_of(cycle.agents, self._column)
        self._kinds = {
            architecture: [(one, weight) for one in mix if (weight := one.presses(architecture, capacity))]
            for architecture in capacity
        }
        self._weight = sum(kind.weight for kind in mix) * UNIT or 1
        #: Agent → its row and devices when they were last looked at, and the loss there.
        self._losses: dict[int, tuple[tuple[int, ...], tuple[int, ...], int]] = {}

    def of(self, shape: Shape) -> Rank:
        def rank(agent: int, free: Sequence[int]) -> int:
            fullness = self._scale.left(agent, free) + _FULLNESS // 2
            return self._growth(agent, free, shape.needs) * _FULLNESS + fullness

        return rank

    def _growth(self, agent: int, free: Sequence[int], needs: Row) -> int:
        """In steps."""
        if self._column < 0:
            return 0
        on = self._devices(agent, free)
        if not any(on):
            return 0
        before = self._loss_of(agent, tuple(free), tuple(on))
        devices.allot(on, needs[self._column])
        after = self._loss(agent, [have - amount for have, amount in zip(free, needs, strict=True)], on)
        step = STEP * self._weight
        return (after - before + step // 2) // step

    def _devices(self, agent: int, free: Sequence[int]) -> list[int]:
        on = self._cycle.devices(agent)
        if on:
            return list(on)
        amount = max(free[self._column], 0)
        return [WHOLE] * (amount // WHOLE) + [amount % WHOLE]

    def _loss_of(self, agent: int, free: tuple[int, ...], on: tuple[int, ...]) -> int:
        known = self._losses.get(agent)
        if known is None or known[0] != free or known[1] != on:
            known = self._losses[agent] = free, on, self._loss(agent, free, on)
        return known[2]

    def _loss(self, agent: int, free: Sequence[int], on: Sequence[int]) -> int:
        """Expected loss in milli-devices, times the weight of the mix."""
        column, total = self._column, sum(on)
        loss = total * self._weight
        room = devices.columns(on)
        for kind, weight in self._kinds[self._cycle.agents[agent].architecture]:
            amount = kind.needs[column]
            if amount and _fits(kind.needs, free) and _fits(devices.needs(amount), room):
                least = min(amount, WHOLE)
                loss -= weight * sum([one for one in on if one >= least])
        return loss


def _fits(needs: Sequence[int], row: Sequence[int]) -> bool:
    return all(have >= amount for amount, have in zip(needs, row, strict=True) if amount)
