"""The conditions that filters are made of. A field that was not given asks for nothing: each of these is then empty."""

import re
from collections.abc import Collection
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, SQLColumnExpression, or_, select

from services import inputs
from services.db.texts import contains

#: All hold together.
Conditions: TypeAlias = list[ColumnElement[bool]]
_ID: Final = re.compile(r"[a-z]{3}_[0-9a-z]*")


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
    if not text or not (text := inputs.searchable(text).strip()):
        return []
    inside = [contains(column, text) for column in texts]
    beginning = beginning_of_id(text)
    return [
        or_(*inside, *([] if beginning is None else [row_id.startswith(beginning, autoescape=True)])),
    ]


def beginning_of_id(text: str) -> str | None:
    """A text as it is in ids (lower case), if one may begin so. No shorter than what all of a kind begin with."""
    lower = text.lower()
    return lower if _ID.fullmatch(lower) else None


def _storable(value: object) -> object:
    return inputs.searchable(value) if isinstance(value, str) else value
