"""What the lists of all governed nouns have in common: a page, a total, many by id, one, one to be changed."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids, paging, permissions, subjects
from services.core import Core
from services.db.tables import Base
from services.errors import NotFound
from services.paging import Order, Page, PageArgs, Total
from services.permissions import Actor

Row = TypeVar("Row", bound=Base)
Filter = TypeVar("Filter")


class Noun(Generic[Row, Filter]):
    """Reading one noun, scoped by `permissions.visible`.

    Args:
        prefix: of its ids (`services.ids.KINDS`).
        conditions: its filter as SQL; all hold together.
    """

    def __init__(
        self, table: type[Row], prefix: str, conditions: Callable[[Filter], list[ColumnElement[bool]]]
    ) -> None:
        self._table = table
        self._prefix = prefix
        self._conditions = conditions

    async def page(
        self, core: Core, actor: Actor, where: Filter, order: Sequence[Order], args: PageArgs
    ) -> Page[Row]:
        """One page of what the actor may see and the filter lets through.

        Raises:
            BadInput: a size is out of bounds, or a cursor is not of this list.
        """
        async with core.db.read() as db:
            return await paging.fetch(db, self._query(actor, where), self._table, order, args)

    async def total(self, core: Core, actor: Actor, where: Filter) -> Total:
        async with core.db.read() as db:
            return await paging.count(db, self._query(actor, where))

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

    async def get(self, core: Core, actor: Actor, row_id: str, *, path: str = "") -> Row:
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

    def _query(self, actor: Actor, where: Filter) -> Select[Row]:
        return select(self._table).where(permissions.visible(actor, self._table), *self._conditions(where))

    def _well_formed(self, row_ids: Sequence[str]) -> list[str]:
        return [row_id for row_id in dict.fromkeys(row_ids) if ids.kind(row_id) == self._prefix]

    @property
    def _id(self) -> ColumnElement[str]:
        return self._table.id  # pyright: ignore

    def _missing(self, path: str) -> NotFound:
        return NotFound(
            f"There is no such {ids.KINDS[self._prefix]}, or it is not yours to see.", path=path or None
        )
