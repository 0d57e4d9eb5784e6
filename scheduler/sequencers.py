"""The built-in orders of a queue.

In each of them a higher priority goes first; a session that does not fit lets those behind it pass.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Annotated, Literal

import msgspec

from scheduler.protocols import Cycle, PluginOptions
from scheduler.snapshot import Request, Row

Weight = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class FifoOptions(PluginOptions, frozen=True, kw_only=True):
    """First in, first out has nothing to choose."""


class Fifo:
    """Who waits longest goes first."""

    Options = FifoOptions

    def __init__(self, options: FifoOptions, /) -> None:
        self.options = options

    def order(self, cycle: Cycle) -> Iterable[Request]:
        return sorted(cycle.requests, key=oldest_first)


class LifoOptions(PluginOptions, frozen=True, kw_only=True):
    """Last in, first out has nothing to choose."""


class Lifo:
    """Who came last goes first: for work whose worth decays, such as demonstrations and debugging.

    Those who came first may wait for ever in a cluster that is never idle.
    """

    Options = LifoOptions

    def __init__(self, options: LifoOptions, /) -> None:
        self.options = options

    def order(self, cycle: Cycle) -> Iterable[Request]:
        return sorted(cycle.requests, key=newest_first)


class DrfOptions(PluginOptions, frozen=True, kw_only=True):
    by: Annotated[
        Literal["user", "group"],
        msgspec.Meta(description="Whose shares are made equal: those of users or those of groups."),
    ] = "user"
    weights: Annotated[
        dict[str, Weight],
        msgspec.Meta(
            description="By the id of a user or group: how many times the share of others it is due; 1 where not given."
        ),
    ] = msgspec.field(default_factory=dict[str, Weight])


class Drf:
    """Dominant resource fairness by progressive filling (Ghodsi et al., NSDI 2011).

    Always the party with the least dominant share is next, with its oldest session of the highest priority. A dominant
    share is the largest part that a party has of any slot of the resource group's capacity, what it already runs there
    included, divided by its weight. A priority orders a party's own sessions, and parties of equal share; it buys no
    larger share.

    Sessions are indivisible, so what holds for divisible tasks (sharing incentive, no envy, nothing to be gained by
    asking for more than one needs) holds up to one session a party.
    """

    Options = DrfOptions

    def __init__(self, options: DrfOptions, /) -> None:
        self.options = options

    def order(self, cycle: Cycle) -> Iterator[Request]:
        shares = Shares(cycle, self.options)
        queues: dict[str, list[Request]] = {}
        for request in sorted(cycle.requests, key=oldest_first, reverse=True):
            queues.setdefault(shares.party(request), []).append(request)
        heap = [_entry(shares, party, queue) for party, queue in queues.items()]
        heapify(heap)
        while heap:
            *_, party = heappop(heap)
            queue = queues[party]
            request = queue.pop()
            yield request
            if cycle.placed(request.session_id):
                shares.add(party, request)
            if queue:
                heappush(heap, _entry(shares, party, queue))


class Shares:
    """Dominant shares as a cycle changes them. A share is a double, made by the same operations in both engines."""

    def __init__(self, cycle: Cycle, options: DrfOptions) -> None:
        self._by_user = options.by == "user"
        self._weights: Mapping[str, int] = options.weights
        self._inverse = inverse_capacity(
            map(sum, zip(*[agent.capacity for agent in cycle.agents], strict=True))
        )
        self._held: dict[str, list[int]] = {}
        for kernel in cycle.running:
            self._add(kernel.user if self._by_user else kernel.group, kernel.held, 1)

    def party(self, request: Request) -> str:
        return request.user if self._by_user else request.group

    def add(self, party: str, request: Request) -> None:
        self._add(party, request.shape.needs, request.kernels)

    def of(self, party: str) -> float:
        share = 0.0
        for amount, inverse in zip(self._held.get(party, ()), self._inverse, strict=False):
            share = max(share, amount * inverse)
        return share / self._weights.get(party, 1)

    def _add(self, party: str, row: Row, times: int) -> None:
        held = self._held.setdefault(party, [0] * len(row))
        for column, amount in enumerate(row):
            held[column] += amount * times


def inverse_capacity(totals: Iterable[int]) -> list[float]:
    """One divided by the total of each slot; 0 for a slot of which there is none."""
    return [1 / total if total else 0.0 for total in totals]


def oldest_first(request: Request) -> tuple[int, int, str]:
    return -request.priority, request.queued, request.session_id


def newest_first(request: Request) -> tuple[int, int, str]:
    return -request.priority, -request.queued, request.session_id


def _entry(shares: Shares, party: str, queue: list[Request]) -> tuple[float, tuple[int, int, str], str]:
    return shares.of(party), oldest_first(queue[-1]), party
