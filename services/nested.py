"""Lists within many parents at once: the groups of each user of a page, in one statement and not in one for each user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, True_, literal, select
from sqlalchemy.orm import InstrumentedAttribute

from services import paging, permissions
from services.core import Core
from services.db.tables import (
    FINAL,
    Agent,
    AgentImage,
    Base,
    Group,
    GroupMember,
    Kernel,
    Keypair,
    Session,
    User,
)
from services.paging import Order, Page, PageArgs, Total
from services.permissions import Actor

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True)
class Nested(Generic[Row]):
    """How the rows of a table belong to parents."""

    table: type[Row]
    #: The parent's id: a column of the table, or of one between the two.
    parent: InstrumentedAttribute[Any]
    #: The row's id in the table between the two; None: there is no such table.
    child: InstrumentedAttribute[Any] | None = None
    #: Which rows count at all.
    where: ColumnElement[bool] | None = None


#: (list, its filter by which it is within a parent)
LISTS: Final[Mapping[tuple[str, str], Nested[Any]]] = {
    ("groups", "domain_id"): Nested(Group, Group.domain_id),
    ("groups", "user_id"): Nested(Group, GroupMember.user_id, GroupMember.group_id),
    ("users", "domain_id"): Nested(User, User.domain_id),
    ("users", "group_id"): Nested(User, GroupMember.group_id, GroupMember.user_id),
    ("keypairs", "user_id"): Nested(Keypair, Keypair.user_id),
    ("sessions", "user_id"): Nested(Session, Session.user_id),
    ("agents", "resource_group_id"): Nested(Agent, Agent.resource_group_id),
    ("agents", "image_id"): Nested(Agent, AgentImage.image_id, AgentImage.agent_id),
    ("kernels", "agent_id"): Nested(Kernel, Kernel.agent_id, where=Kernel.status.not_in(FINAL)),
}


async def pages(
    core: Core,
    actor: Actor,
    nested: Nested[Row],
    parent_ids: Sequence[str],
    order: Sequence[Order],
    args: PageArgs,
) -> dict[str, Page[Row]]:
    """Parent → the page of what the actor may see within it.

    Raises:
        BadInput: a size is out of bounds, or a cursor is not of this list.
    """
    async with core.db.read() as db:
        query = _query(actor, nested)
        return await paging.fetch_each(
            db, query, nested.table, nested.parent, parent_ids, order, args, child=nested.child
        )


async def totals(
    core: Core, actor: Actor, nested: Nested[Row], parent_ids: Sequence[str]
) -> dict[str, Total]:
    """Parent → how many rows the actor may see within it; no more than `paging.COUNT_LIMIT_WITHIN` are counted."""
    async with core.db.read() as db:
        query = _query(actor, nested) if nested.child is None else _links(actor, nested, nested.child)
        return await paging.count_each(db, query, nested.parent, parent_ids, child=nested.child)


def _query(actor: Actor, nested: Nested[Row]) -> Select[Row]:
    query = select(nested.table).where(permissions.visible(actor, nested.table))
    if nested.child is not None:
        query = query.join(nested.parent.class_, nested.child == _id(nested))
    return query if nested.where is None else query.where(nested.where)


def _links(actor: Actor, nested: Nested[Any], child: InstrumentedAttribute[Any]) -> Select[Any]:
    """The rows between the two. Each is looked up in the table, where it matters, and never the table in them: joined,
    PostgreSQL would merge both from their beginnings."""
    links, visible = select(nested.parent.class_), permissions.visible(actor, nested.table)
    if isinstance(visible, True_):
        return links
    seen = select(literal(1)).where(_id(nested) == child, visible).correlate(nested.parent.class_)
    return links.where(seen.scalar_subquery().is_not(None))


def _id(nested: Nested[Any]) -> ColumnElement[str]:
    return nested.table.id  # pyright: ignore
