"""Finding the rows of long tables by a part of their texts: by an index where few match, in the order of the list where
many do.

A database cannot know which it will be: PostgreSQL guesses, and reads a million rows where it guesses wrong; SQLite does
not even try. So it is asked first for the matches alone, up to `FEW` + 1. Few are then the only rows that a page looks at.
When there are more, the rows of the page are met soon where the list is read in its order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    column,
    literal_column,
    or_,
    select,
    table,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services import inputs
from services.db import bulk, searching
from services.db.tables import Base
from services.db.texts import contains
from services.filters import beginning_of_id

#: Matches that are looked at one by one, and counted.
FEW: Final = 2_000
_TRIGRAM: Final = 3


@dataclass(frozen=True)
class Asked:
    """A text that is looked for."""

    given: str

    @property
    def text(self) -> str:
        return inputs.searchable(self.given).strip()

    @property
    def needle(self) -> str:
        """As it is in `searching.expression`: of less than a trigram, only the beginning of a text is found."""
        return self.text if len(self.text) >= _TRIGRAM else f"  {self.text}"

    def beginning_of_id(self, prefix: str) -> str | None:
        beginning = beginning_of_id(self.text)
        return beginning if beginning is not None and beginning.startswith(f"{prefix}_") else None


@dataclass(frozen=True)
class Found:
    #: Those that match; None: more than `FEW` do.
    ids: Sequence[str] | None
    #: Whether one matches, where these are not known.
    condition: ColumnElement[bool]

    def holds(self, db: AsyncSession, row_id: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
        """Of rows that match."""
        return self.condition if self.ids is None else bulk.among(db, row_id, self.ids)


@dataclass(frozen=True)
class Search:
    """How the rows of a table are found: by its `searching.TEXTS`, and by the beginning of their ids.

    Args:
        reading: of a table without such texts: whether a row matches. All rows are read, once for a page and its total.
        owner: the column that refers to a row of another table, by whose texts they are found, too; and that one's search.
    """

    table: type[Base]
    prefix: str
    reading: Callable[[str], ColumnElement[bool]] | None = None
    owner: "tuple[InstrumentedAttribute[Any], Search] | None" = None

    async def find(self, db: AsyncSession, given: str) -> Found:
        """What matches a text: it is part of one of theirs, in any case; their beginning, where it has one or two
        letters; or the beginning of an id."""
        asked = Asked(given)
        matches = union_all(*_matches(self, db, asked)).subquery()
        ids = list(await db.scalars(select(matches.c.id).limit(FEW + 1)))
        return Found(None if len(ids) > FEW else list(dict.fromkeys(ids)), _condition(self, asked))


def _id(search: Search) -> InstrumentedAttribute[Any]:
    return search.table.id  # pyright: ignore


def _matches(search: Search, db: AsyncSession, asked: Asked) -> list[Select[Any]]:
    found = [_by_text(search, db, asked)]
    if (beginning := asked.beginning_of_id(search.prefix)) is not None:
        begins = (
            _id(search).startswith(beginning, autoescape=True)
            if bulk.on_postgres(db)
            else _id(search).between(beginning, f"{beginning}~")
        )
        found.append(select(_id(search).label("id")).where(begins))
    if search.owner is not None:
        by, owner = search.owner
        for owners in _matches(owner, db, asked):
            theirs = owners.subquery()
            if bulk.on_postgres(db):
                # An offset keeps it from reading all rows into a table of hashes, as if all owners were asked for.
                each = select(_id(search).label("id")).where(by == theirs.c.id).offset(0).lateral()
                found.append(select(each.c.id).select_from(theirs.join(each, true())))
            else:
                found.append(select(_id(search).label("id")).join(theirs, by == theirs.c.id))
    return found


def _by_text(search: Search, db: AsyncSession, asked: Asked) -> Select[Any]:
    name = search.table.__tablename__
    if search.reading is None and not bulk.on_postgres(db):
        index, numbers = f"{name}_search", table(f"{name}_search_numbers", column("number"), column("id"))
        phrase = '"{}"'.format(asked.needle.replace('"', '""'))
        rows = table(index, column("rowid"))
        return (
            select(numbers.c.id)
            .join(rows, rows.c.rowid == numbers.c.number)
            .where(literal_column(index).op("MATCH")(phrase))
        )
    matches = select(_id(search).label("id")).where(_by_reading(search, asked)).cte(f"{name}_found")
    # Planned to be read to its end: told of the limit, PostgreSQL takes it to be reached soon, and reads the table.
    return select(matches.prefix_with("MATERIALIZED", dialect="postgresql").c.id)


def _by_reading(search: Search, asked: Asked) -> ColumnElement[bool]:
    if search.reading is not None:
        return search.reading(asked.text)
    return contains(literal_column(searching.expression(search.table.__tablename__)), asked.needle)


def _condition(search: Search, asked: Asked) -> ColumnElement[bool]:
    """Whether a row matches, by looking at it."""
    found = [_by_reading(search, asked), *_begins(_id(search), asked, search.prefix)]
    if search.owner is not None:
        by, owner = search.owner
        # A row's own owner is looked at, and not all that match.
        seen = select(_by_reading(owner, asked)).where(_id(owner) == by).correlate(search.table)
        found += [seen.scalar_subquery(), *_begins(by, asked, owner.prefix)]
    return or_(*found)


def _begins(row_id: SQLColumnExpression[str], asked: Asked, prefix: str) -> list[ColumnElement[bool]]:
    beginning = asked.beginning_of_id(prefix)
    return [] if beginning is None else [row_id.startswith(beginning, autoescape=True)]
