"""What all governed nouns have in common: how one is listed, found, made, changed and deleted.

`Noun` reads and locks rows within what the actor may see; `Named` also writes rows that go by a name, which is taken
once. A noun's module adds what is its own: `services/presets.py` is a short one to begin the next from.
"""

import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, True_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services import idempotency, ids, inputs, paging, permissions, searches, subjects
from services.core import Core
from services.db.tables import Base
from services.errors import Conflict, NotFound
from services.filters import Conditions
from services.paging import Order, Page, PageArgs, Total
from services.permissions import Actor
from services.searches import Found, Search

Row = TypeVar("Row", bound=Base)
Filter = TypeVar("Filter")


def amend(row: Base, changes: Any, *fields: str) -> None:
    """Give a row these fields of a dataclass; a field at its default was not asked for, and stays as it is."""
    defaults = {field.name: field.default for field in dataclasses.fields(changes)}
    for field in fields:
        value = getattr(changes, field)
        if value is not defaults[field]:
            setattr(row, field, value)


class Noun(Generic[Row, Filter]):
    """Reading one noun, scoped by `permissions.visible`.

    Args:
        prefix: of its ids (`services.ids.KINDS`).
        conditions: its filter as SQL.
        search: how the filter's `search` is answered, which is then not among the conditions; None: they have it.
    """

    def __init__(
        self,
        table: type[Row],
        prefix: str,
        conditions: Callable[[Filter], Conditions],
        *,
        search: Search | None = None,
    ) -> None:
        self._table = table
        self._prefix = prefix
        self._conditions = conditions
        self._search = search

    async def find(self, core: Core, where: Filter) -> Found | None:
        """What the filter's search finds in a long table, for a page and its total to ask for it once."""
        async with core.db.read() as db:
            return await self._find(db, where)

    async def page(
        self,
        core: Core,
        actor: Actor,
        where: Filter,
        order: Sequence[Order],
        args: PageArgs,
        *,
        found: Found | None = None,
    ) -> Page[Row]:
        """One page of what the actor may see and the filter lets through.

        Args:
            found: by `find`; None: it is asked now.

        Raises:
            BadInput: a size is out of bounds, or a cursor is not of this list.
        """
        async with core.db.read() as db:
            query, found = self._query(actor, where), found or await self._find(db, where)
            if found is not None:
                query = query.where(found.holds(db, self._id))
            return await paging.fetch(db, query, self._table, order, args)

    async def total(self, core: Core, actor: Actor, where: Filter, *, found: Found | None = None) -> Total:
        """How many there are of what the actor may see and the filter lets through; of a search through long tables no
        more than `searches.FEW` are counted."""
        async with core.db.read() as db:
            query, found = self._query(actor, where), found or await self._find(db, where)
            if found is None:
                return await paging.count(db, query)
            if not self._narrows(actor, where):
                most = searches.FEW
                return Total(most, exact=False) if found.ids is None else Total(len(found.ids), exact=True)
            return await paging.count(db, query.where(found.holds(db, self._id)), searches.FEW)

    async def many(self, core: Core, actor: Actor, row_ids: Sequence[str]) -> dict[str, Row]:
        """Rows by id; what does not exist or is not the actor's to see is left out."""
        known = self._well_formed(row_ids)
        if not known:
            return {}
        async with core.db.read() as db:
            rows = await db.scalars(
                select(self._table).where(self._id.in_(known), permissions.visible(actor, self._table))
            )
            return {row.id: row for row in rows}  # pyright: ignore

    async def get(self, core: Core, actor: Actor, row_id: str, *, path: str | None = None) -> Row:
        """One row.

        Args:
            path: of the input that names it.

        Raises:
            NotFound: it does not exist or is not the actor's to see.
        """
        found = await self.many(core, actor, [row_id])
        if row_id not in found:
            raise self._missing(path)
        return found[row_id]

    async def take(
        self, db: AsyncSession, actor: Actor, row_id: str, action: str, *, path: str = "input.id"
    ) -> Row:
        """Lock one row for an action.

        Raises:
            NotFound: it does not exist or is not the actor's to see.
            Forbidden: the actor may not do this to it.
        """
        row = None
        if self._well_formed([row_id]):
            row = await db.scalar(
                select(self._table)
                .where(self._id == row_id, permissions.visible(actor, self._table))
                .with_for_update()
            )
        if row is None:
            permissions.require_role(actor, action)
            raise self._missing(path)
        permissions.require(actor, action, await subjects.one(db, actor, row))
        return row

    async def delete(
        self,
        core: Core,
        actor: Actor,
        row_id: str,
        action: str,
        *,
        first: Callable[[AsyncSession, Row], Awaitable[None]] | None = None,
    ) -> Row:
        """Delete one row. Returns what it was.

        Args:
            first: deletes what goes with the row; raises Conflict when it is in use.

        Raises:
            NotFound, Forbidden, Conflict.
        """
        try:
            async with core.db.write() as db:
                row = await self.take(db, actor, row_id, action)
                if first is not None:
                    await first(db, row)
                await db.delete(row)
        except IntegrityError as error:
            raise Conflict(f"The {self._kind} has come into use just now. Read it again.") from error
        return row

    def _query(self, actor: Actor, where: Filter) -> Select[Row]:
        return select(self._table).where(permissions.visible(actor, self._table), *self._conditions(where))

    async def _find(self, db: AsyncSession, where: Filter) -> Found | None:
        text: str = (self._search and where.search) or ""  # pyright: ignore
        return await self._search.find(db, text) if self._search and text.strip() else None

    def _narrows(self, actor: Actor, where: Filter) -> bool:
        """Does anything but the search narrow the list?"""
        seen = permissions.visible(actor, self._table)
        return not isinstance(seen, True_) or bool(self._conditions(where))

    def _well_formed(self, row_ids: Sequence[str]) -> list[str]:
        return [row_id for row_id in dict.fromkeys(row_ids) if ids.kind(row_id) == self._prefix]

    @property
    def _id(self) -> InstrumentedAttribute[str]:
        return self._table.id  # pyright: ignore

    @property
    def _kind(self) -> str:
        return ids.KINDS[self._prefix]

    def _missing(self, path: str | None) -> NotFound:
        return NotFound(f"There is no such {self._kind}, or it is not yours to see.", path=path)


class Named(Noun[Row, Filter]):
    """A noun whose rows have a description, and a name that no other has.

    Args:
        within: names are taken once in each of these, such as in a domain; None: once in all.
    """

    def __init__(
        self,
        table: type[Row],
        prefix: str,
        conditions: Callable[[Filter], Conditions],
        *,
        within: InstrumentedAttribute[str] | None = None,
        search: Search | None = None,
    ) -> None:
        super().__init__(table, prefix, conditions, search=search)
        self._within = within

    async def create(
        self,
        core: Core,
        actor: Actor,
        mutation: str,
        spec: Any,
        make: Callable[[AsyncSession], Awaitable[Row]],
    ) -> Row:
        """Write a new row, once for each idempotency key of `spec`.

        Args:
            make: checks what the row refers to, and returns it.

        Raises:
            Conflict: the name is taken, or the key stands for another request.
        """

        async def add(db: AsyncSession) -> Row:
            row = await make(db)
            await self._check_free(db, row, spec.name)
            db.add(row)
            return row

        taken = self._taken(spec.name)
        row, _ = await idempotency.once(core, actor, mutation, spec, self._table, add, taken=taken)
        return row

    @asynccontextmanager
    async def change(
        self,
        core: Core,
        actor: Actor,
        row_id: str,
        mutation: str,
        changes: inputs.Titled,
        *,
        first: Callable[[AsyncSession], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[Row]:
        """Lock a row, and rename and describe it as asked; what the block does to it is committed with that.

        Args:
            first: takes locks that come before that of the row.

        Raises:
            NotFound, Forbidden, Conflict: the name is taken.
        """
        try:
            async with core.db.write() as db:
                if first is not None:
                    await first(db)
                row = await self.take(db, actor, row_id, mutation)
                if changes.name is not None and changes.name != row.name:  # pyright: ignore
                    await self._check_free(db, row, changes.name)
                amend(row, changes, "name", "description")
                yield row
        except IntegrityError as error:
            raise idempotency.clash(error, self._taken(changes.name or "")) from error

    async def _check_free(self, db: AsyncSession, row: Row, name: str) -> None:
        same = [self._table.name == name]  # pyright: ignore
        if self._within is not None:
            same.append(self._within == getattr(row, self._within.key))
        if await db.scalar(select(self._id).where(*same)) is not None:
            raise self._taken(name)

    def _taken(self, name: str) -> Conflict:
        return Conflict(
            f"There is a {self._kind} named {name!r} already. Choose another name.", path="input.name"
        )
