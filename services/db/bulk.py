"""Many rows in one statement: values of a plan travel as one parameter a column, whatever their number.

`executemany` asks the database once a row, and `IN` with a thousand parameters is a new statement for each number of
them, to be compiled and planned anew. PostgreSQL unfolds arrays (`unnest`), SQLite a JSON text (`json_each`). Arrays go
to PostgreSQL as the text of one: its driver asks of each element whether it is an array itself, which takes longer than all
the rest.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Text,
    bindparam,
    cast,
    column,
    func,
    inspect,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine

from services.db.tables import Base

TEXT: Final[TypeEngine[str]] = Text()
NUMBER: Final[TypeEngine[int]] = BigInteger()

Row = TypeVar("Row", bound=Base)


def on_postgres(db: AsyncSession) -> bool:
    return db.get_bind().dialect.name == "postgresql"


def table(
    db: AsyncSession, name: str, columns: dict[str, tuple[TypeEngine[Any], Sequence[Any]]]
) -> FromClause:
    """A table of these columns, to be joined or updated from.

    Args:
        columns: name → type, and its values; all of one length.
    """
    if on_postgres(db):
        arrays = [_array(kind, values) for kind, values in columns.values()]
        names = [column(one, kind) for one, (kind, _) in columns.items()]
        return func.unnest(*arrays).table_valued(*names, name=name).render_derived()
    rows = list(zip(*(values for _, values in columns.values()), strict=True))
    each = func.json_each(msgspec.json.encode(rows).decode()).table_valued("value", name=f"{name}_rows")
    picked = [
        func.json_extract(each.c.value, f"$[{place}]", type_=kind).label(one)
        for place, (one, (kind, _)) in enumerate(columns.items())
    ]
    return select(*picked).subquery(name)


def among(
    db: AsyncSession, attribute: InstrumentedAttribute[str], values: Sequence[str]
) -> ColumnElement[bool]:
    """As `attribute.in_(values)`, for many."""
    if on_postgres(db):
        return attribute == func.any(
            cast(bindparam(None, list(values), ARRAY(Text, dimensions=1)), ARRAY(Text, dimensions=1))
        )
    each = func.json_each(msgspec.json.encode(list(values)).decode()).table_valued("value")
    return attribute.in_(select(each.c.value))


def _array(kind: TypeEngine[Any], values: Sequence[Any]) -> ColumnElement[Any]:
    """To be unfolded; as an operand it would be read anew for each row."""
    return cast(cast(bindparam(None, _array_text(values), Text), Text), ARRAY(kind, dimensions=1))


def _array_text(values: Sequence[Any]) -> str:
    """As PostgreSQL reads an array: each value in quotes, in which a backslash takes its own meaning from these two."""
    texts = [str(value) for value in values]
    if not {"\\", '"'}.isdisjoint("".join(texts)):
        texts = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return '{"' + '","'.join(texts) + '"}' if texts else "{}"


def new(table: type[Row], **given: Any) -> Row:
    """A row to be inserted with others by its `values`, not by the ORM: that would note each column as a change, which
    takes longer than all checks of a session. What is not given becomes what it is by default.
    """
    row = table()
    made = {name: default.arg(None) for name, default in _made(table) if name not in given}
    vars(row).update({**_blank(table), **made, **given})
    return row


def values(row: Base) -> dict[str, Any]:
    """All columns of a `new` row."""
    kept = vars(row)
    return {name: kept[name] for name in _blank(type(row))}


@cache
def _blank(table: type[Base]) -> dict[str, Any]:
    """Column → what it is by default, where that is no matter of the moment."""
    columns = [(one.key, one.columns[0].default) for one in inspect(table).column_attrs]
    return {
        name: default.arg if default is not None and default.is_scalar else None for name, default in columns
    }


@cache
def _made(table: type[Base]) -> list[tuple[str, Any]]:
    """Defaults that are made anew for each row."""
    columns = [(one.key, one.columns[0].default) for one in inspect(table).column_attrs]
    return [(name, default) for name, default in columns if default is not None and default.is_callable]
