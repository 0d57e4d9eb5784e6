"""What a type may ask of the floor above: who asks, one thing by its key, a page of things within another.

Types know no database; a field that needs another row asks the context, which batches: all rows that one page needs of
a kind are fetched in one statement. A field that says beforehand what it will ask (`Need`) is foreseen: the executor
has the answers fetched for a whole list before it begins with its items (`schema/execution.py`).
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import strawberry

from services.core import Core
from services.db.tables import Base
from services.paging import Order, PageArgs
from services.permissions import Actor


@dataclass(frozen=True)
class Need:
    """A question that a field asks for each thing: of which kind, and about what.

    id       the thing with this id, None when there is no such thing for the viewer
    each     the few things of the kind `what` within the thing with this id
    used     what is occupied of the scope with this id
    actions  mutations that the viewer may perform on this row
    """

    kind: Literal["id", "each", "used", "actions"]
    #: What the question is about; None: the answer is None.
    key: Callable[[Any], Any]
    what: str = ""


class Context(Protocol):
    core: Core
    #: None: nobody is logged in.
    actor: Actor | None

    @property
    def viewer(self) -> Actor:
        """Who asks. Raises `Unauthenticated` when nobody is logged in."""
        ...

    @property
    def features(self) -> frozenset[str]:
        """What the installation lets this client do: names of `ServerFeature`s."""
        ...

    def forget(self) -> None:
        """What was loaded may have changed: read it again."""
        ...

    def ask(self, need: Need, thing: Any) -> Any:
        """The answer if it is at hand, else something to await."""
        ...

    def known(self, need: Need, thing: Any) -> Any:
        """The answer, which must be at hand. Raises `KeyError` when it is not."""
        ...

    def foresee(self, need: Need, things: Sequence[Any]) -> Awaitable[object] | None:
        """Have the answers for all these things at hand; None when they are already."""
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

    async def each(self, what: str, within: Hashable) -> list[Any]:
        """The few things of a kind within another (kernels of a session), batched over all parents of a page."""
        ...

    async def used(self, scope_id: str) -> dict[str, int]:
        """What is occupied of a scope, batched."""
        ...

    async def actions(self, row: Base) -> list[str]:
        """Mutations that the viewer may perform on a row, batched over the rows of its table."""
        ...

    async def login_providers(self) -> list[Any]:
        """Identity providers that anybody may log in by."""
        ...

    def page(self, what: str, args: PageArgs, *, order: Sequence[Order] = (), **where: Any) -> Any:
        """A connection of a noun's things that match; rows and count are read only when they are selected."""
        ...

    def search(
        self, what: str, args: PageArgs, *, order: Sequence[Order] = (), where: Mapping[str, Any]
    ) -> Any:
        """As `page`, by conditions that a client has written: what does not exist for the viewer matches nothing."""
        ...

    async def sees(self, where: Mapping[str, Any]) -> bool:
        """Does everything that these conditions name by an id exist for the viewer?"""
        ...


Info = strawberry.Info[Context, None]
