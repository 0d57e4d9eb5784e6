"""Root fields that are a list of one noun: pages, a filter, an order."""

from collections.abc import Mapping, Sequence
from typing import Any

import strawberry

from resolvers.inputs import given
from schema.context import Info
from schema.paging import After, Before, Connection, Direction, First, Last, page_args
from services.paging import Order


def listing(
    noun: str, columns: Mapping[str, Any], *, of: Any, filter: Any, order: Any, description: str
) -> Any:
    """The field of a noun's list; the newest first when no order is asked for.

    Args:
        noun: its name among the context's lists.
        columns: what it may be ordered by, by the names of the order's fields.
        of, filter, order: its type in the schema, and the inputs that narrow and order it.
    """

    # The types are this function's arguments: strawberry reads them, type checkers cannot.
    def resolve(  # pyright: ignore
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: filter | None = None,  # pyright: ignore
        order_by: list[order] | None = None,  # pyright: ignore
    ) -> Connection[of]:  # pyright: ignore
        args = page_args(first, after, last, before)
        return info.context.search(noun, args, order=_orders(order_by, columns), where=given(filter))

    return strawberry.field(resolve, description=description)


def _orders(wanted: Sequence[Any] | None, columns: Mapping[str, Any]) -> list[Order]:
    if not wanted:
        return [Order(columns["CREATED_AT"], descending=True)]
    return [Order(columns[one.field.value], descending=one.direction is Direction.DESC) for one in wanted]
