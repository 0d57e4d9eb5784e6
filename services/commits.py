"""Making a plan true: one transaction, in which everything that the plan took for granted is looked at again.

    fence ─▶ lock the sessions that still wait as they did ─▶ agents, limits ─▶ lock occupancies ─▶ take, in the plan's order ─▶ write

What no longer holds stays in the queue. Each step is one statement, however many sessions there are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import gangs, leases, limits
from services.bus import AnyHint, Deliver, SessionChanged
from services.core import Core
from services.db import bulk
from services.db.tables import Agent, Kernel, Session, SessionEvent, Slots
from services.limits import Counted
from services.occupancy import Caps, Ledger, Wants


class Placement(NamedTuple):
    """Where a session shall go."""

    #: Of the session, when the plan was made.
    version: int
    #: One a kernel, by the kernels' ranks, or one for all.
    agents: tuple[str, ...]


class _Order(NamedTuple):
    """A session that may be placed, if there is room."""

    session_id: str
    #: (kernel, agent).
    kernels: list[tuple[str, str]]
    agents: tuple[str, ...]
    wants: Wants


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
        ledger = await Ledger.lock(db, [order.wants for order in orders], caps)
        fitting = [order for order in orders if ledger.take(order.wants)]
        if fitting:
            await ledger.write(db)
            hints = await _write(core, db, fitting)
            hints += gangs.to_tell(networks, [order.agents for order in fitting])
    for hint in dict.fromkeys(hints):
        await core.bus.publish(hint)
    return [order.session_id for order in fitting]


async def _orders(db: AsyncSession, plan: Mapping[str, Placement]) -> tuple[list[_Order], Caps]:
    """What is still to be placed, with what it would take; and the caps of that."""
    waiting = await _lock(db, plan)
    capacity = await _capacity(db, {agent for placement in plan.values() for agent in placement.agents})
    most = await limits.of_sessions(db, [session for session, _ in waiting.values()])
    orders: list[_Order] = []
    for session_id, (_, agents) in plan.items():
        if session_id not in waiting or any(agent not in capacity for agent in agents):
            continue
        session, kernels = waiting[session_id]
        agents = gangs.everywhere(agents, len(kernels))
        if not limits.allows_kernels(session, most, len(kernels)):
            continue
        wants = limits.wanted(session)
        placed: list[tuple[str, str]] = []
        for (kernel, amounts), agent in zip(kernels, agents, strict=True):
            placed.append((kernel, agent))
            wants.append((agent, amounts))
            for slot in amounts:
                # What an agent does not have at all it has nothing of.
                capacity[agent].setdefault(slot, 0)
        orders.append(_Order(session_id, placed, agents, wants))
    return orders, capacity | limits.caps(most)


async def _lock(db: AsyncSession, plan: Mapping[str, Placement]) -> dict[str, _Waiting]:
    """The planned sessions that still wait as they were when the plan was made, each with its kernels."""
    columns = [getattr(Session, name) for name in Counted._fields]
    rows = await db.execute(
        select(Session.version, Kernel.id, Kernel.slots, *columns)
        .join(Kernel, Kernel.session_id == Session.id)
        .where(bulk.among(db, Session.id, list(plan)), Session.status == "PENDING")
        .order_by(Session.id, Kernel.rank)
        .with_for_update(of=Session)
    )
    found: dict[str, _Waiting] = {}
    for version, kernel_id, amounts, *session in rows:
        counted = Counted(*session)
        if version == plan[counted.id].version:
            found.setdefault(counted.id, (counted, []))[1].append((kernel_id, amounts))
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
    ids = [order.session_id for order in orders]
    placed = bulk.table(db, "placed", {"id": (bulk.TEXT, ids)})
    said = {"at": now, "status": "SCHEDULED", "code": "", "message": ""}
    constants = [literal(value, getattr(SessionEvent, name).type) for name, value in said.items()]
    events = await connection.execute(
        insert(SessionEvent)
        .from_select(["session_id", *said], select(placed.c.id, *constants), include_defaults=False)
        .returning(SessionEvent.session_id, SessionEvent.id)
    )
    hints: list[AnyHint] = [SessionChanged(session_id=one, event_id=number) for one, number in events]
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
    pairs = [pair for order in orders for pair in order.kernels]
    given = bulk.table(
        db,
        "given",
        {
            "kernel": (bulk.TEXT, [kernel for kernel, _ in pairs]),
            "agent": (bulk.TEXT, [agent for _, agent in pairs]),
        },
    )
    await connection.execute(
        update(Kernel)
        .where(Kernel.id == given.c.kernel, Kernel.status == "PENDING")
        .values(status="SCHEDULED", agent_id=given.c.agent, generation=Kernel.generation + 1)
    )
    between = [
        {"session": order.session_id, "between": name}
        for order in orders
        if (name := gangs.network(order.session_id, order.agents))
    ]
    if between:
        # One that it had before is kept until its end.
        await connection.execute(
            update(Session)
            .where(Session.id == bindparam("session"), Session.network == "")
            .values(network=bindparam("between")),
            between,
        )
    return hints + [Deliver(agent_id=agent) for agent in sorted({agent for _, agent in pairs})]
