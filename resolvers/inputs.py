"""From inputs of the schema to what services take."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import strawberry

from schema.paging import Direction
from services.paging import Order


def given(filter_input: Any) -> dict[str, Any]:
    """The conditions of a filter that were given, enums as their values."""
    if filter_input is None:
        return {}
    return {
        name: _plain(value)
        for name, value in strawberry.asdict(filter_input).items()
        if value is not None and value is not strawberry.UNSET
    }


def orders(wanted: Sequence[Any] | None, columns: Mapping[str, Any], default: str) -> list[Order]:
    """An `orderBy` as columns; the newest first when nothing is asked for."""
    if not wanted:
        return [Order(columns[default], descending=True)]
    return [Order(columns[one.field.value], descending=one.direction is Direction.DESC) for one in wanted]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
