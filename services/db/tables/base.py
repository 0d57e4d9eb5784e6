"""What every table is made of."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, MetaData, String, UnaryExpression, inspect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.sql import operators

from services.db.types import Document, UtcDateTime

Slots = dict[str, int]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own form of declaration
        str: String(255),
        int: BigInteger,
        datetime: UtcDateTime,
        bytes: LargeBinary,
        Slots: Document,
        dict[str, str]: Document,
        dict[str, Any]: Document,
        list[str]: Document,
        list[Any]: Document,
    }


class NullsFirst(UnaryExpression[Any]):
    """A column of an index in the order of `services/paging.py`, where nulls are the smallest. So they are on SQLite by
    itself, which takes no word for it; PostgreSQL needs to be told."""

    inherit_cache = True

    def __init__(self, column: InstrumentedAttribute[Any]) -> None:
        super().__init__(inspect(column).expression, modifier=operators.nulls_first_op)


@compiles(NullsFirst, "sqlite")
def _as_it_is(element: NullsFirst, compiler: Any, **options: Any) -> str:  # pyright: ignore[reportUnusedFunction]
    return compiler.process(element.element, **options)


def index_nulls_first(column: InstrumentedAttribute[Any], then: InstrumentedAttribute[Any]) -> None:
    """An index for the order of a list by a column that may be null."""
    Index(f"ix_{column.class_.__tablename__}_{column.key}_{then.key}", NullsFirst(column), then)
