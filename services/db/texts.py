"""Parts of texts, in any case and without wildcards, told alike by both databases."""

import string
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, SQLColumnExpression, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class _Contains(FunctionElement[bool]):
    inherit_cache = True
    type = Boolean()


class _ContainsAscii(_Contains):
    inherit_cache = True


def contains(text: SQLColumnExpression[str], needle: str) -> ColumnElement[bool]:
    """The needle is part of the text; letters of any script are the same in either case."""
    return _Contains(text, bindparam(None, f"%{_escaped(needle)}%"))


def contains_ascii(
    text: SQLColumnExpression[str], needle: str, *, begins: bool = False
) -> ColumnElement[bool]:
    """The same where the letters A to Z alone have two cases, which is several times faster.

    Args:
        begins: the needle is the text's beginning.
    """
    pattern = _escaped(needle.translate(_LOWER))
    return _ContainsAscii(text, bindparam(None, f"{pattern}%" if begins else f"%{pattern}%"))


def fold(text: str | None) -> str | None:
    """A text in which letters of either case are the same: on SQLite a function of that name, `folded`."""
    return None if text is None else text.lower()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@compiles(_Contains, "postgresql")
def _ilike(element: _Contains, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(one, **options) for one in element.clauses)
    return f"({text}) ILIKE {pattern}"


@compiles(_Contains, "sqlite")
def _folded_like(element: _Contains, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(one, **options) for one in element.clauses)
    return f"folded({text}) LIKE folded({pattern}) ESCAPE '\\'"


@compiles(_ContainsAscii, "postgresql")
def _lower_like(element: _ContainsAscii, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(one, **options) for one in element.clauses)
    return f'lower(({text}) COLLATE "C") LIKE {pattern}'


@compiles(_ContainsAscii, "sqlite")
def _like(element: _ContainsAscii, compiler: Any, **options: Any) -> str:
    # Its LIKE knows no cases but those.
    text, pattern = (compiler.process(one, **options) for one in element.clauses)
    return f"({text}) LIKE {pattern} ESCAPE '\\'"
