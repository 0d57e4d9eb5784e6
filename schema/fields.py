"""Small words for declaring types."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final

import strawberry

from schema.context import Context, Info, Need
from services.errors import NotFound

#: Under which a field's metadata says what it will ask (`Asked`).
ASKED: Final = "asked"


@dataclass(frozen=True)
class Asked:
    """What a field asks for each object, and how its value comes from the answer."""

    need: Need
    #: (object, answer, context) → value; None: the answer is the value.
    then: Callable[[Any, Any, Context], Any] | None

    @property
    def answer_is_value(self) -> bool:
        return self.then is None or self.then is _found


def said(description: str, **more: Any) -> Any:
    """A field with its description."""
    return strawberry.field(description=description, **more)


def refers(attribute: str, description: str, *, always: bool = False) -> Any:
    """A field for the thing whose id is in this attribute of the row.

    Args:
        always: whoever sees the row sees that thing too; else the field is null when they do not.
    """
    return _asking(
        Need("id", lambda thing: getattr(thing.row, attribute)), description, _found if always else None
    )


def asked(need: Need, description: str) -> Any:
    """A field whose value is the answer to a question."""
    return _asking(need, description, None)


def belongs(what: str, description: str) -> Any:
    """A field for the few things of a kind within this one."""
    return _asking(Need("each", _own_id, what), description, None)


def permitted_actions(description: str) -> Any:
    """A field for the mutations that the viewer may perform on the row."""
    return _asking(Need("actions", _own_row), description, None)


def answered(need: Need, description: str) -> Callable[[Callable[..., Any]], Any]:
    """Declares a field whose method is given the answer to a question: `def stats(self, kernels, context)`."""

    def declare(then: Callable[[Any, Any, Context], Any]) -> Any:
        return _asking(need, description, then)

    return declare


def each(what: str) -> Need:
    """The few things of a kind within this one."""
    return Need("each", _own_id, what)


def one(attribute: str) -> Need:
    """The thing whose id is in this attribute of the row."""
    return Need("id", lambda thing: getattr(thing.row, attribute))


#: What is occupied of the thing itself.
USED: Final = Need("used", lambda thing: thing.row.id)
#: Mutations that the viewer may perform on the thing's row.
ACTIONS: Final = Need("actions", lambda thing: thing.row)


def _own_id(thing: Any) -> str:
    return thing.row.id


def _own_row(thing: Any) -> Any:
    return thing.row


def _found(_thing: Any, found: Any, _context: Context) -> Any:
    if found is None:
        raise NotFound("There is no such object, or it is not yours to see.")
    return found


def _asking(need: Need, description: str, then: Callable[[Any, Any, Context], Any] | None) -> Any:
    """A field that answers at once when the answer is at hand; a coroutine for each row of a page would cost more than
    everything else about the row."""

    def resolve(root: Any, info: Info) -> Any:
        context = info.context
        answer = context.ask(need, root)
        if isawaitable(answer):
            return _later(answer, root, context, then)
        return answer if then is None else then(root, answer, context)

    if then is None or "return" not in then.__annotations__ or then is _found:
        del resolve.__annotations__["return"]
    else:
        resolve.__annotations__["return"] = then.__annotations__["return"]
        resolve.__module__, resolve.__name__ = then.__module__, then.__name__
    return strawberry.field(resolver=resolve, description=description, metadata={ASKED: Asked(need, then)})


async def _later(
    answer: Awaitable[Any], root: Any, context: Context, then: Callable[[Any, Any, Context], Any] | None
) -> Any:
    found = await answer
    return found if then is None else then(root, found, context)
