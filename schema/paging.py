"""Relay connections over keyset pages: what is not selected is not read."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Annotated, Generic, TypeVar

import strawberry

from schema.fields import said
from services.paging import Page, PageArgs, Total

T = TypeVar("T")

First = Annotated[
    int | None, strawberry.argument(description="How many, from the front; at most 100, by default 20.")
]
After = Annotated[str | None, strawberry.argument(description="Only what follows this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many, from the end; at most 100.")]
Before = Annotated[str | None, strawberry.argument(description="Only what precedes this cursor.")]


@strawberry.enum(description="Which way an order runs.")
class Direction(Enum):
    ASC = strawberry.enum_value("ASC", description="Smallest, oldest or first in the alphabet first.")
    DESC = strawberry.enum_value("DESC", description="Largest, newest or last in the alphabet first.")


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = said("Is there more after this page?")
    has_previous_page: bool = said("Is there more before this page?")
    start_cursor: str | None = said("Cursor of the first row; null on an empty page.")
    end_cursor: str | None = said("Cursor of the last row; null on an empty page.")


@strawberry.type(description="A row of a list and its place in it.")
class Edge(Generic[T]):
    cursor: str = said("The row's place, for `after` and `before`.")
    node: T = said("The row.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    read: strawberry.Private[Callable[[], Awaitable[tuple[Page, list]]]]  # pyright: ignore
    total: strawberry.Private[Callable[[], Awaitable[Total]]]

    @strawberry.field(description="The rows, each with its cursor.")
    async def edges(self) -> list[Edge[T]]:
        page, nodes = await self.read()
        return [Edge(cursor=cursor, node=node) for cursor, node in zip(page.cursors, nodes, strict=True)]

    @strawberry.field(description="The rows.")
    async def nodes(self) -> list[T]:
        _, nodes = await self.read()
        return nodes

    @strawberry.field(description="Where this page stands in the list.")
    async def page_info(self) -> PageInfo:
        page, _ = await self.read()
        return PageInfo(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=page.cursors[0] if page.cursors else None,
            end_cursor=page.cursors[-1] if page.cursors else None,
        )

    @strawberry.field(
        description="How many rows the whole list has, counted up to 10,000; a search through a long list up to 2,000, a list within another up to 1,000."
    )
    async def total_count(self) -> int:
        return (await self.total()).count

    @strawberry.field(description="False when there are more than `totalCount` says.")
    async def total_count_is_exact(self) -> bool:
        return (await self.total()).exact


def page_args(first: int | None, after: str | None, last: int | None, before: str | None) -> PageArgs:
    return PageArgs(first=first, after=after, last=last, before=before)
