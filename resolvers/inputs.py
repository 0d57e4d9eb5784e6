"""From inputs of the schema to what services take."""

from enum import Enum
from typing import Annotated, Any, TypeVar

import strawberry
from msgspec import UNSET, UnsetType

T = TypeVar("T")

GroupId = Annotated[strawberry.ID, strawberry.argument(description="One of your groups.")]
ResourceGroupId = Annotated[
    strawberry.ID, strawberry.argument(description="A resource group that was granted to you.")
]


def given(filter_input: Any) -> dict[str, Any]:
    """The conditions of a filter that were given, enums as their values."""
    if filter_input is None:
        return {}
    return {
        name: _plain(value)
        for name, value in strawberry.asdict(filter_input).items()
        if value is not None and value is not strawberry.UNSET
    }


def changed(value: "strawberry.Some[T] | None") -> T | UnsetType:
    """What a field that may be changed to nothing is to become; UNSET: it was left out."""
    return UNSET if value is None else value.value


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
