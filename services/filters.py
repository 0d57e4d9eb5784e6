"""The conditions that filters are made of. A field that was not given asks for nothing: each of these is then empty."""

from collections.abc import Collection
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, SQLColumnExpression, or_, select

from services import inputs

#: All hold together.
Conditions: TypeAlias = list[ColumnElement[bool]]


def equal(column: SQLColumnExpression[Any], value: object) -> Conditions:
    """The column has this value."""
    return [] if value is None else [column == _storable(value)]


def among(column: SQLColumnExpression[Any], values: Collection[object] | None) -> Conditions:
    """The column has one of these values."""
    return [] if values is None else [column.in_(values)]


def linked(
    column: SQLColumnExpression[Any],
    through: SQLColumnExpression[Any],
    other: SQLColumnExpression[Any],
    value: str | None,
) -> Conditions:
    """The column is in a row of the table between two nouns, beside this id of the other one."""
    if value is None:
        return []
    return [column.in_(select(through).where(other == _storable(value)))]


def searched(
    text: str | None, row_id: SQLColumnExpression[str], *texts: SQLColumnExpression[str]
) -> Conditions:
    """The text, with no wildcards in it, is part of one of `texts` in any case, or the beginning of the id."""
    if not text:
        return []
    text = inputs.searchable(text)
    inside = [column.icontains(text, autoescape=True) for column in texts]
    return [or_(*inside, row_id.startswith(text.lower(), autoescape=True))]


def _storable(value: object) -> object:
    return inputs.searchable(value) if isinstance(value, str) else value
