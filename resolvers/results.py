"""What became of each of several things, as payloads tell it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import strawberry

from schema.errors import Problem
from services.outcomes import Outcome

Result = TypeVar("Result")


def results(
    outcomes: Sequence[Outcome[Any]], result: Callable[..., Result], noun: str, shown: Any
) -> list[Result]:
    """One for each id.

    Args:
        result: a type with `id`, the noun and `error`.
        shown: the noun's own type.
    """
    return [
        result(
            id=strawberry.ID(one.id),
            error=Problem.of(one.error) if one.error else None,
            **{noun: shown.of(one.row) if one.row else None},
        )
        for one in outcomes
    ]
