"""Networks between the nodes of a cluster session: made before its kernels, removed after the last of them.

A session's row says which it has (`network`) and who made it (`network_agent_id`); it forgets the network when a node has
said that it is gone. So whatever is lost on the way is done at the next occasion, and both commands are idempotent. A
network with kernels on it cannot be removed: those that a node still has to give up go first.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.bus import Deliver
from services.core import Core
from services.db.tables import FINAL, Agent, Kernel, Session, in_status
from services.scheduling import gangs
from services.sessions.lifecycle import PLACED


@dataclass(frozen=True)
class Work:
    """A network that an agent has to make, or to remove."""

    session_id: str
    network: str
    agent_id: str
    remove: bool


async def due(db: AsyncSession, mine: Collection[str]) -> list[Work]:
    """What the agents `mine` have to make and remove now: of those that could do it the first one does."""
    rows = (
        await db.execute(
            select(Session.id, Session.network, Session.status).where(
                Session.network != "",
                or_(
                    in_status(FINAL),
                    Session.network_agent_id.is_(None) & Session.status.in_(PLACED),
                ),
            )
        )
    ).all()
    if not rows:
        return []
    known = gangs.networks(await db.scalars(select(Agent).where(Agent.status == "ALIVE")))
    of: dict[str, set[str]] = {}
    for session_id, agent_id in await db.execute(
        select(Kernel.session_id, Kernel.agent_id).where(Kernel.session_id.in_([row.id for row in rows]))
    ):
        of.setdefault(session_id, set()).add(agent_id or "")
    found: list[Work] = []
    for session_id, network, status in rows:
        makers = {maker for one in known if one.members & of.get(session_id, set()) for maker in one.makers}
        first = min(makers, default="")
        if first in mine:
            found.append(Work(session_id, network, first, remove=status in FINAL))
    return found


async def made(core: Core, work: Work) -> bool:
    """An agent has made it. Returns False when nobody wants it any more: it is to be removed at once."""
    async with core.db.write() as db:
        known = await db.scalar(
            update(Session)
            .where(Session.id == work.session_id, Session.network == work.network)
            .values(network_agent_id=work.agent_id)
            .returning(Session.id)
        )
        agents = (await db.scalars(select(Kernel.agent_id).where(Kernel.session_id == work.session_id))).all()
    for agent_id in sorted({agent_id for agent_id in agents if agent_id}):
        await core.bus.publish(Deliver(agent_id=agent_id))
    return known is not None


async def removed(core: Core, work: Work) -> None:
    """An agent has removed it."""
    async with core.db.write() as db:
        await db.execute(
            update(Session)
            .where(Session.id == work.session_id, Session.status.in_(FINAL))
            .values(network="", network_agent_id=None)
        )
