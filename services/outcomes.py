"""Doing the same to several things, each for itself: what one is refused holds up none of the others."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.errors import BerthError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Outcome(Generic[Row]):
    """What became of one of several: the row, or why not."""

    id: str
    row: Row | None = None
    error: BerthError | None = None


async def each(row_ids: Sequence[str], act: Callable[[str], Awaitable[Row]]) -> list[Outcome[Row]]:
    """Do something to each, in this order, and once to one that is named twice."""
    outcomes: list[Outcome[Row]] = []
    for row_id in dict.fromkeys(row_ids):
        try:
            outcomes.append(Outcome(row_id, row=await act(row_id)))
        except BerthError as error:
            outcomes.append(Outcome(row_id, error=error))
    return outcomes
