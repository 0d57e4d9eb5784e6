"""Lists within many parents at once: the groups of each user of a page, in one statement and not in one for each user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, select
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
    #: Joins the table between the two; None: there is none.
    link: ColumnElement[bool] | None = None
    #: Which rows count at all.
    where: ColumnElement[bool] | None = None


#: (list, its filter by which it is within a parent)
LISTS: Final[Mapping[tuple[str, str], Nested[Any]]] = {
    ("groups", "domain_id"): Nested(Group, Group.domain_id),
    ("groups", "user_id"): Nested(Group, GroupMember.user_id, GroupMember.group_id == Group.id),
    ("users", "domain_id"): Nested(User, User.domain_id),
    ("users", "group_id"): Nested(User, GroupMember.group_id, GroupMember.user_id == User.id),
    ("keypairs", "user_id"): Nested(Keypair, Keypair.user_id),
    ("sessions", "user_id"): Nested(Session, Session.user_id),
    ("agents", "resource_group_id"): Nested(Agent, Agent.resource_group_id),
    ("agents", "image_id"): Nested(Agent, AgentImage.image_id, AgentImage.agent_id == Agent.id),
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
        return await paging.fetch_each(db, query, nested.table, nested.parent, parent_ids, order, args)


async def totals(
    core: Core, actor: Actor, nested: Nested[Row], parent_ids: Sequence[str]
) -> dict[str, Total]:
    """Parent → how many rows the actor may see within it."""
    async with core.db.read() as db:
        return await paging.count_each(db, _query(actor, nested), nested.parent, parent_ids)


def _query(actor: Actor, nested: Nested[Row]) -> Select[Row]:
    query = select(nested.table).where(permissions.visible(actor, nested.table))
    if nested.link is not None:
        query = query.join(nested.parent.class_, nested.link)
    return query if nested.where is None else query.where(nested.where)
