"""Scheduler plug-ins for Berth: shortest first, and onto favourite agents."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from scheduler.protocols import Cycle, PluginOptions, Rank
from scheduler.snapshot import Request, Shape


class ShortestOptions(PluginOptions, frozen=True, kw_only=True):
    unknown: Annotated[
        int,
        msgspec.Meta(ge=1, description="Seconds that a session without a maximum duration is taken to last."),
    ] = 10**9


class Shortest:
    """Who ends soonest goes first; among equals, who waits longest."""

    Options = ShortestOptions

    def __init__(self, options: ShortestOptions, /) -> None:
        self.options = options

    def order(self, cycle: Cycle) -> Iterable[Request]:
        return sorted(cycle.requests, key=self._turn)

    def _turn(self, request: Request) -> tuple[int, int, int, str]:
        lasts = self.options.unknown if request.max_duration is None else request.max_duration
        return -request.priority, lasts, request.queued, request.session_id


class FavouritesOptions(PluginOptions, frozen=True, kw_only=True):
    prefixes: Annotated[
        list[str], msgspec.Meta(description="Beginnings of agents' ids, the most favoured first.")
    ] = msgspec.field(default_factory=list[str])


class Favourites:
    """Agents of the first prefix are taken first, then those of the second, then all others."""

    Options = FavouritesOptions

    def __init__(self, options: FavouritesOptions, /) -> None:
        self.options = options

    def prepare(self, cycle: Cycle) -> "FavouritesRanking":
        return FavouritesRanking([self._rank(agent.id) for agent in cycle.agents])

    def _rank(self, agent_id: str) -> int:
        prefixes = self.options.prefixes
        return next(
            (number for number, one in enumerate(prefixes) if agent_id.startswith(one)), len(prefixes)
        )


class FavouritesRanking:
    """It depends on the agent alone, not on what is free there."""

    prefer_cached_images = True

    def __init__(self, ranks: Sequence[int]) -> None:
        self._ranks = ranks

    def of(self, shape: Shape) -> Rank:
        return self._of_agent

    def _of_agent(self, agent: int, free: Sequence[int]) -> int:
        return self._ranks[agent]
