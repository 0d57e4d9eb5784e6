"""The statements that the dispatcher's picture of the cluster is made from: narrow rows, thousands a statement."""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Text, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.db import bulk
from services.db.tables import (
    Agent,
    AgentImage,
    Image,
    Kernel,
    ResourceGroup,
    Session,
    SessionDependency,
    Slots,
    in_status,
)
from services.sessions import gates, terms
from services.sessions.lifecycle import PLACED

#: Rows that are taken before others have their turn.
_PART: Final = 1000


class Pending(NamedTuple):
    """A session that waits. Where a name is one of `Session`'s, so is the value."""

    id: str
    version: int
    resource_group_id: str
    user_id: str
    keypair_id: str
    group_id: str
    domain_id: str
    image_id: str
    slots: Slots
    cluster_size: int
    cluster_mode: str
    designated_agent_id: str | None
    failed_agent_ids: Sequence[str]
    priority: int
    created_at: datetime
    starts_at: datetime | None
    retry_at: datetime | None
    architecture: str
    #: Seconds that it runs at most, as things stand; None: nobody knows.
    longest: int | None
    #: For a session that it depends on.
    waits: bool
    #: As JSON.
    pending_reason: str | None


class Placed(NamedTuple):
    """What a kernel holds, or has held."""

    session_id: str
    user_id: str
    keypair_id: str
    group_id: str
    domain_id: str
    resource_group_id: str
    agent_id: str | None
    holds: bool
    generation: int
    slots: Slots
    started_at: datetime | None
    #: As in `Pending`.
    longest: int | None


# Most ask for one of a few amounts: each text is read once.
_amounts = lru_cache(4096)(partial(msgspec.json.decode, type=Slots))
_names = lru_cache(4096)(partial(msgspec.json.decode, type=tuple[str, ...]))


async def waiting(
    db: AsyncSession, *, ids: Collection[str] | None = None, most: int | None = None
) -> AsyncGenerator[list[Pending]]:
    """Those that wait, of higher priority and older ones first.

    Args:
        ids: of these alone.
        most: so many of all.
    """
    query = terms.joined(
        select(
            Session.id,
            Session.version,
            Session.resource_group_id,
            Session.user_id,
            Session.keypair_id,
            Session.group_id,
            Session.domain_id,
            Session.image_id,
            cast(Session.slots, Text).label("amounts"),
            Session.cluster_size,
            Session.cluster_mode,
            Session.designated_agent_id,
            cast(Session.failed_agent_ids, Text).label("failed"),
            Session.priority,
            Session.created_at,
            Session.starts_at,
            Session.retry_at,
            Image.architecture,
            gates.waits(),
            cast(Session.pending_reason, Text).label("reason"),
            Session.max_duration_seconds,
            Session.idle_exempt,
            *terms.LIFETIME,
        ).join(Image, Image.id == Session.image_id)
    ).where(in_status(["PENDING"]))
    if ids is not None:
        query = query.where(bulk.among(db, Session.id, list(ids)))
    if most is not None:
        query = query.order_by(Session.priority.desc(), Session.id).limit(most)
    async for part in _parts(db, query, many=ids is None):
        yield [
            Pending._make(
                (
                    *row[:8],
                    _amounts(row[8]),
                    *row[9:12],
                    _names(row[12]),
                    *row[13:18],
                    longest(row[20], row[21], row[22:]),
                    row[18],
                    row[19],
                )
            )
            for row in part
        ]


async def kernels(
    db: AsyncSession, *, sessions: Collection[str] | None = None, plain: Sequence[str] = ()
) -> AsyncGenerator[list[Placed]]:
    """The kernels of some sessions, whatever they hold; or all that hold something.

    Args:
        plain: of these resource groups only those whose end is known.
    """
    query = terms.joined(
        select(
            Kernel.session_id,
            Session.user_id,
            Session.keypair_id,
            Session.group_id,
            Session.domain_id,
            Session.resource_group_id,
            Kernel.agent_id,
            Kernel.status.in_(PLACED),
            Kernel.generation,
            cast(Kernel.slots, Text).label("amounts"),
            Session.started_at,
            Session.max_duration_seconds,
            Session.idle_exempt,
            *terms.LIFETIME,
        ).join(Session, Session.id == Kernel.session_id)
    )
    if sessions is not None:
        query = query.where(bulk.among(db, Kernel.session_id, list(sessions)))
    else:
        ends = or_(Session.max_duration_seconds.is_not(None), *(seconds > 0 for seconds in terms.LIFETIME))
        query = query.where(Kernel.status.in_(PLACED), or_(Session.resource_group_id.not_in(plain), ends))
    async for part in _parts(db, query, many=sessions is None):
        yield [
            Placed._make((*row[:9], _amounts(row[9]), row[10], longest(row[11], row[12], row[13:])))
            for row in part
        ]


async def agents(db: AsyncSession, ids: Collection[str] | None = None) -> Sequence[Agent]:
    query = select(Agent).where(Agent.status != "TERMINATED")
    if ids is not None:
        query = query.where(bulk.among(db, Agent.id, list(ids)))
    return (await db.scalars(query)).all()


async def images(db: AsyncSession, ids: Collection[str] | None = None) -> dict[str, frozenset[str]]:
    """Agent → the images that it has."""
    query = select(AgentImage.agent_id, AgentImage.image_id)
    if ids is not None:
        query = query.where(bulk.among(db, AgentImage.agent_id, list(ids)))
    found: dict[str, list[str]] = {}
    for agent_id, image_id in await db.execute(query):
        found.setdefault(agent_id, []).append(image_id)
    return {agent_id: frozenset(those) for agent_id, those in found.items()}


async def groups(db: AsyncSession) -> dict[str, ResourceGroup]:
    return {group.id: group for group in await db.scalars(select(ResourceGroup))}


async def dependents(db: AsyncSession, ids: Collection[str]) -> Sequence[str]:
    """Sessions that depend on some of these."""
    found = select(SessionDependency.session_id).where(
        bulk.among(db, SessionDependency.depends_on_id, list(ids))
    )
    return (await db.scalars(found)).all()


def longest(duration: int | None, exempt: bool, lifetimes: Iterable[int]) -> int | None:
    """Seconds that a session runs at most, as things stand."""
    lifetime = None if exempt else terms.lifetime(tuple(lifetimes))
    return min((one for one in (duration, lifetime) if one is not None), default=None)


async def _parts(db: AsyncSession, query: Any, *, many: bool) -> AsyncGenerator[Sequence[Any]]:
    if not many:
        yield (await db.execute(query)).all()
        return
    rows = await db.stream(query)
    async for part in rows.partitions(_PART):
        yield part


def scopes(one: Pending | Placed) -> tuple[str, str, str, str, str]:
    """As `limits.scopes`."""
    return one.keypair_id, one.user_id, one.group_id, one.domain_id, one.resource_group_id
