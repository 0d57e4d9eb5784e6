"""Making a plan true: one transaction, in which everything that the plan took for granted is looked at again.

    fence ─▶ lock the sessions that still wait as they did ─▶ agents, limits ─▶ lock occupancies ─▶ take, in the plan's order ─▶ write

What no longer holds stays in the queue. Each step is one statement, however many sessions there are.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

import msgspec
from sqlalchemy import Text, bindparam, cast, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import gangs, leases, limits
from services.bus import AnyHint, Deliver
from services.core import Core
from services.db import bulk
from services.db.tables import Agent, Kernel, Session, Slots
from services.limits import Counted
from services.occupancy import Caps, Ledger, Wants
from services.sessions import lifecycle


class Placement(NamedTuple):
    """Where a session shall go."""

    #: Of the session, when the plan was made.
    version: int
    #: One a kernel, by the kernels' ranks, or one for all.
    agents: tuple[str, ...]


class _Order(NamedTuple):
    """A session that may be placed, if there is room."""

    session: Counted
    #: (kernel, what it takes).
    kernels: list[tuple[str, Slots]]
    #: One a kernel.
    agents: tuple[str, ...]

    def wants(self) -> Wants:
        return limits.wanted(self.session, self.session.slots) + [
            (agent, amounts) for agent, (_, amounts) in zip(self.agents, self.kernels, strict=True)
        ]


#: A locked session, and (kernel, what it takes) of its kernels.
_Waiting = tuple[Counted, list[tuple[str, Slots]]]


async def commit(
    core: Core,
    lease: str,
    fence: int,
    plan: Mapping[str, Placement],
    networks: Sequence[gangs.Network] = (),
) -> list[str] | None:
    """Place what still can be placed, in the order of the plan, and tell it.

    Args:
        plan: session → where it shall go.
        networks: those that there are between agents.

    Returns:
        The sessions that were placed; None: the duty is another manager's.
    """
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        if not await leases.holds(core, db, lease, fence):
            return None
        orders, caps = await _orders(db, plan)
        together = _together(orders)
        ledger = await Ledger.lock(db, together, caps)
        # All at once where all fit, as nearly always; else one after the other, in the plan's order.
        fitting = orders if ledger.take(together) else [one for one in orders if ledger.take(one.wants())]
        if fitting:
            await ledger.write(db)
            hints = await _write(core, db, fitting)
            hints += gangs.to_tell(networks, [order.agents for order in fitting])
    for hint in dict.fromkeys(hints):
        await core.bus.publish(hint)
    return [order.session.id for order in fitting]


async def _orders(db: AsyncSession, plan: Mapping[str, Placement]) -> tuple[list[_Order], Caps]:
    """What is still to be placed, with what it would take; and the caps of that."""
    waiting = await _lock(db, plan)
    capacity = await _capacity(db, {agent for placement in plan.values() for agent in placement.agents})
    most = await limits.of_sessions(db, [session for session, _ in waiting.values()])
    orders: list[_Order] = []
    for session_id, (_, agents) in plan.items():
        if session_id not in waiting or not capacity.keys() >= set(agents):
            continue
        session, kernels = waiting[session_id]
        agents = gangs.everywhere(agents, len(kernels))
        if len(kernels) == len(agents) and limits.allows_kernels(session, most, len(kernels)):
            orders.append(_Order(session, kernels, agents))
    for order in orders:
        for agent, (_, amounts) in zip(order.agents, order.kernels, strict=True):
            for slot in amounts:
                # What an agent does not have at all it has nothing of.
                capacity[agent].setdefault(slot, 0)
    return orders, capacity | limits.caps(most)


def _together(orders: list[_Order]) -> Wants:
    """What all of them take. Those that count for the same scopes are added up first, for each has five."""
    alike: dict[tuple[str, ...], tuple[Counted, list[Slots]]] = {}
    on: dict[str, list[Slots]] = {}
    for session, kernels, agents in orders:
        alike.setdefault(limits.scopes(session), (session, []))[1].append(session.slots)
        for agent, (_, amounts) in zip(agents, kernels, strict=True):
            on.setdefault(agent, []).append(amounts)
    wants = [(agent, _sum(amounts)) for agent, amounts in on.items()]
    for session, amounts in alike.values():
        wants += limits.wanted(session, _sum(amounts), sessions=len(amounts))
    return wants


def _sum(amounts: list[Slots]) -> Slots:
    total: Slots = {}
    for one in amounts:
        for slot, amount in one.items():
            total[slot] = total.get(slot, 0) + amount
    return total


async def _lock(db: AsyncSession, plan: Mapping[str, Placement]) -> dict[str, _Waiting]:
    """The planned sessions that still wait as they were when the plan was made, each with its kernels."""
    scopes = [getattr(Session, name) for name in limits.SCOPES]
    rows = await db.execute(
        select(
            Session.version,
            Session.id,
            *scopes,
            cast(Session.slots, Text).label("total"),
            Kernel.id,
            cast(Kernel.slots, Text).label("takes"),
        )
        .join(Kernel, Kernel.session_id == Session.id)
        .where(bulk.among(db, Session.id, list(plan)), Session.status == "PENDING")
        .order_by(Session.id, Kernel.rank)
        .with_for_update(of=Session)
    )
    # Most ask for one of a few amounts: each text is read once.
    amounts = cache(partial(msgspec.json.decode, type=Slots))
    found: dict[str, _Waiting] = {}
    for row in rows:
        session_id = row[1]
        if row[0] == plan[session_id].version:
            if session_id not in found:
                found[session_id] = Counted._make((*row[1:7], amounts(row[7]))), []
            found[session_id][1].append((row[8], amounts(row[9])))
    return found


async def _capacity(db: AsyncSession, agents: set[str]) -> dict[str, Slots]:
    """Of those that take work now."""
    rows = await db.execute(
        select(Agent.id, Agent.slots).where(
            bulk.among(db, Agent.id, sorted(agents)), Agent.status == "ALIVE", Agent.schedulable
        )
    )
    return {agent_id: amounts for agent_id, amounts in rows}  # noqa: C416


async def _write(core: Core, db: AsyncSession, orders: list[_Order]) -> list[AnyHint]:
    now = core.now()
    connection = await db.connection()
    ids = [order.session.id for order in orders]
    hints = await lifecycle.record_all(db, ids, "SCHEDULED", at=now)
    await connection.execute(
        update(Session)
        .where(bulk.among(db, Session.id, ids), Session.status == "PENDING")
        .values(
            status="SCHEDULED",
            version=Session.version + 1,
            scheduled_at=now,
            pending_reason=None,
            reason_code="",
            reason_message="",
            phase_deadline=now + core.settings.phase_deadlines["SCHEDULED"],
        )
    )
    kernels = [kernel for order in orders for kernel, _ in order.kernels]
    agents = [agent for order in orders for agent in order.agents]
    given = bulk.table(db, "given", {"kernel": (bulk.TEXT, kernels), "agent": (bulk.TEXT, agents)})
    await connection.execute(
        update(Kernel)
        .where(Kernel.id == given.c.kernel, Kernel.status == "PENDING")
        .values(status="SCHEDULED", agent_id=given.c.agent, generation=Kernel.generation + 1)
    )
    between = [
        {"session": order.session.id, "between": name}
        for order in orders
        if (name := gangs.network(order.session.id, order.agents))
    ]
    if between:
        # One that it had before is kept until its end.
        await connection.execute(
            update(Session)
            .where(Session.id == bindparam("session"), Session.network == "")
            .values(network=bindparam("between")),
            between,
        )
    return hints + [Deliver(agent_id=agent) for agent in sorted(set(agents))]
