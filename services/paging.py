"""Keyset pages: forwards and backwards over any order, in one statement a page, however deep."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, FromClause, Select, and_, func, literal, or_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services.db import bulk
from services.db.tables import Base
from services.db.types import UtcDateTime
from services.errors import BadInput

MAX_PAGE = 100
DEFAULT_PAGE = 20
#: Above so many rows a total is no longer counted exactly.
COUNT_LIMIT = 10_000
#: The same for each total of many: those of the lists within the rows of a page.
COUNT_LIMIT_WITHIN = 1_000

#: What no database keeps in a text.
_UNSTORABLE = "\0"

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True)
class PageArgs:
    """Relay's four: `first`/`after` forwards, `last`/`before` backwards."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None


@dataclass(frozen=True)
class Order:
    """One column of an order. The primary key is always appended, so that every order is total."""

    column: InstrumentedAttribute[Any]
    descending: bool = False


@dataclass(frozen=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    #: One for each row.
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True)
class Total:
    count: int
    #: False: there are more than were counted, and `count` is how many that was.
    exact: bool


async def fetch(
    db: AsyncSession, query: Select[Row], table: type[Row], order: Sequence[Order], args: PageArgs
) -> Page[Row]:
    """Run `query` (all filters applied, no order) and return one page of it.

    Raises:
        BadInput: a size is out of bounds, both directions are asked for, or a cursor is not of this order.
    """
    size, backwards = _size(args)
    keys = _keys(table, order)
    query = query.where(*_bounds(keys, args))
    directions = [_direction(key, backwards) for key in keys]
    rows = list((await db.scalars(query.order_by(*directions).limit(size + 1))).all())
    return _page(rows, keys, size, backwards, args)


async def fetch_each(
    db: AsyncSession,
    query: Select[Row],
    table: type[Row],
    parent: InstrumentedAttribute[Any],
    parent_ids: Sequence[str],
    order: Sequence[Order],
    args: PageArgs,
    *,
    child: InstrumentedAttribute[Any] | None = None,
) -> dict[str, Page[Row]]:
    """As `fetch`, for each value of `parent` by itself: all pages in one statement, in which no parent's other rows are
    read where an index gives the order.

    Args:
        child: the row's id beside `parent` in the table that links them: in this order its index has them.
    """
    size, backwards = _size(args)
    keys = _keys(table, order)
    directions = [_direction(key, backwards) for key in keys]
    identity: Any = keys[-1].column
    linked = [replace(key, column=child) if child and key.column is identity else key for key in keys]
    parents = _parents(db, parent_ids)
    within = (
        query.where(*_within(parent, parents, child), *_bounds(linked, args))
        .with_only_columns(identity.label("row_id"))
        .order_by(*(_direction(key, backwards) for key in linked))
        .limit(size + 1)
        .correlate(parents)
    )
    if bulk.on_postgres(db):
        picked = within.lateral("picked")
        pages = (
            select(parents.c.id, table)
            .select_from(parents)
            .join(picked, true())
            .join(table, identity == picked.c.row_id)
        )
    else:
        pages = (
            select(parents.c.id, table)
            .select_from(parents)
            .join(table, identity.in_(within.scalar_subquery()))
        )
    found = await db.execute(pages.order_by(parents.c.id, *directions))
    rows: dict[str, list[Row]] = {parent_id: [] for parent_id in parent_ids}
    for parent_id, row in found:
        rows[parent_id].append(row)
    return {parent_id: _page(within, keys, size, backwards, args) for parent_id, within in rows.items()}


async def count_each(
    db: AsyncSession,
    query: Select[Any],
    parent: InstrumentedAttribute[Any],
    parent_ids: Sequence[str],
    *,
    child: InstrumentedAttribute[Any] | None = None,
) -> dict[str, Total]:
    """As `count`, for each value of `parent` by itself, up to `COUNT_LIMIT_WITHIN`: all in one statement."""
    parents = _parents(db, parent_ids)
    ones = query.where(*_within(parent, parents, child))
    ones = ones.with_only_columns(literal(1), maintain_column_froms=True)
    limited = ones.order_by(None).limit(COUNT_LIMIT_WITHIN + 1).correlate(parents).subquery()
    number = select(func.count()).select_from(limited).correlate(parents).scalar_subquery()
    found = await db.execute(select(parents.c.id, number))
    most = COUNT_LIMIT_WITHIN
    return {parent_id: Total(min(number, most), number <= most) for parent_id, number in found}


def _within(
    parent: InstrumentedAttribute[Any], parents: FromClause, child: InstrumentedAttribute[Any] | None
) -> list[ColumnElement[bool]]:
    """The row is of a parent. Where parents are very unlike in size, PostgreSQL takes the largest for typical, and would
    read all rows in the order of their ids until there are enough of a small one: hence the second condition, which says
    nothing more, but has only the index of the pair to begin with."""
    same: list[ColumnElement[bool]] = [parent == parents.c.id]
    return same if child is None else [*same, tuple_(parent, child) >= tuple_(parents.c.id, literal(""))]


def _parents(db: AsyncSession, parent_ids: Sequence[str]) -> FromClause:
    return bulk.table(db, "parents", {"id": (bulk.TEXT, list(dict.fromkeys(parent_ids)))})


def _keys(table: type[Row], order: Sequence[Order]) -> list[Order]:
    identity: Any = table.id  # pyright: ignore[reportAttributeAccessIssue]  # of every table that has lists
    return [*order, Order(identity, descending=order[0].descending if order else True)]


def _page(rows: list[Row], keys: Sequence[Order], size: int, backwards: bool, args: PageArgs) -> Page[Row]:
    """A page of the rows that were read, one more than it holds."""
    more = len(rows) > size
    rows = rows[:size]
    if backwards:
        rows.reverse()
    return Page(
        rows=rows,
        cursors=[_cursor(keys, row) for row in rows],
        has_next=bool(args.before) if backwards else more,
        has_previous=more if backwards else bool(args.after),
    )


async def count(db: AsyncSession, query: Select[Row], most: int | None = None) -> Total:
    """Count a query's rows, up to `most` (by default `COUNT_LIMIT`)."""
    most = COUNT_LIMIT if most is None else most
    # The tables are kept although no column of theirs is asked for: without a condition on one they would be gone.
    ones = query.with_only_columns(literal(1), maintain_column_froms=True)
    limited = ones.order_by(None).limit(most + 1).subquery()
    number = (await db.scalar(select(func.count()).select_from(limited))) or 0
    return Total(min(number, most), number <= most)


def _size(args: PageArgs) -> tuple[int, bool]:
    if args.first is not None and args.last is not None:
        raise BadInput("Give `first` or `last`, not both.", path="last")
    name, value = ("last", args.last) if args.last is not None else ("first", args.first)
    value = DEFAULT_PAGE if value is None else value
    if not 0 <= value <= MAX_PAGE:
        raise BadInput(f"`{name}` must be between 0 and {MAX_PAGE}.", path=name)
    return value, name == "last"


def _direction(key: Order, backwards: bool) -> ColumnElement[Any]:
    """Nulls are the smallest, on every database. Said only where there can be some: it would keep an index out."""
    descending = key.descending != backwards
    ordered = key.column.desc() if descending else key.column.asc()
    if not _nullable(key):
        return ordered
    return ordered.nulls_last() if descending else ordered.nulls_first()


def _nullable(key: Order) -> bool:
    return bool(key.column.property.columns[0].nullable)


def _bounds(keys: Sequence[Order], args: PageArgs) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    for cursor, name in ((args.after, "after"), (args.before, "before")):
        if cursor:
            values = _read_cursor(keys, cursor, name)
            if len(keys) > 1:
                bounds += _not_behind(keys[0], values[0], after=name == "after")
            bounds.append(_beyond(keys, values, after=name == "after"))
    return bounds


def _not_behind(key: Order, value: Any, *, after: bool) -> list[ColumnElement[bool]]:
    """What `_beyond` says of the first column alone: from it a database knows where in an index to begin. None where
    nulls may follow, for of these it would have to look in two places."""
    if value is None:
        return []
    if key.descending == after:
        return [] if _nullable(key) else [key.column <= value]
    return [key.column >= value]


def _beyond(keys: Sequence[Order], values: Sequence[Any], *, after: bool) -> ColumnElement[bool]:
    """(a, b) beyond (x, y), spelt out, as columns may run in different directions and be null (smallest)."""
    alternatives: list[ColumnElement[bool]] = []
    for position, key in enumerate(keys):
        equal = [
            k.column.is_(None) if value is None else k.column == value
            for k, value in zip(keys[:position], values[:position], strict=True)
        ]
        column, value = key.column, values[position]
        if key.descending == after:
            if value is None:
                continue
            step = or_(column < value, column.is_(None)) if _nullable(key) else column < value
        else:
            step = column.is_not(None) if value is None else column > value
        alternatives.append(and_(*equal, step))
    return or_(*alternatives)


def _cursor(keys: Sequence[Order], row: Base) -> str:
    values = [getattr(row, str(key.column.key)) for key in keys]
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def _read_cursor(keys: Sequence[Order], cursor: str, name: str) -> list[Any]:
    try:
        values = msgspec.json.decode(
            base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=list[Any]
        )
        return [_typed(key, value) for key, value in zip(keys, values, strict=True)]
    except (
        binascii.Error,
        msgspec.DecodeError,
        UnicodeError,
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise BadInput(
            f"`{name}` is not a cursor of this list in this order; start again without it.", path=name
        ) from error


def _typed(key: Order, value: Any) -> Any:
    """A value that the column can be compared with: a cursor comes from outside, whatever it looks like."""
    if value is None and _nullable(key):
        return None
    if isinstance(key.column.type, UtcDateTime):
        if not isinstance(value, str):
            raise TypeError
        return datetime.fromisoformat(value).astimezone(UTC)
    expected = key.column.type.python_type
    if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
        raise TypeError
    if isinstance(value, str) and not set(value).isdisjoint(_UNSTORABLE):
        raise TypeError
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise TypeError
    return value
