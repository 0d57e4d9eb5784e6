"""What a type may ask of the floor above: who asks, one thing by its key, a page of things within another.

Types know no database; a field that needs another row asks the context, which batches: all rows that one page needs of
a kind are fetched in one statement.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import strawberry

from services.core import Core
from services.db.tables import Base
from services.paging import Order, PageArgs
from services.permissions import Actor


class Context(Protocol):
    core: Core
    #: None: nobody is logged in.
    actor: Actor | None

    @property
    def viewer(self) -> Actor:
        """Who asks. Raises `Unauthenticated` when nobody is logged in."""
        ...

    async def load(self, key: str) -> Any:
        """The thing with this id (its prefix says of which type), batched.

        Raises:
            NotFound: the viewer may not see it, or it does not exist.
        """
        ...

    async def find(self, key: str | None) -> Any:
        """As `load`; None when there is no such thing for the viewer."""
        ...

    async def each(self, what: str, within: str) -> list[Any]:
        """The few things of a kind within another (kernels of a session), batched over all parents of a page."""
        ...

    async def used(self, scope_id: str) -> dict[str, int]:
        """What is occupied of a scope, batched."""
        ...

    async def actions(self, row: Base) -> list[str]:
        """Mutations that the viewer may perform on a row, batched over the rows of its table."""
        ...

    def page(self, what: str, args: PageArgs, *, order: Sequence[Order] = (), **where: Any) -> Any:
        """A connection of a noun's things that match; rows and count are read only when they are selected."""
        ...


Info = strawberry.Info[Context, None]
