"""Making a plan true: one transaction, in which everything that the plan took for granted is looked at again.

    fence ─▶ agents ─▶ place the sessions that still wait as they did ─▶ limits ─▶ their kernels ─▶ count it up ─▶ timelines
                                                                                                        │ too much
    fence ─▶ choose, in the plan's order, under the locks of sessions and occupancies ─▶ the same ◀─────┘

A plan nearly always fits, so it is written first and judged by what the occupancies have become: if they exceed a cap,
nothing of it has been. Then, and only then, those that fit are looked for one after the other. What no longer holds stays
in the queue. Each step is one statement, however many sessions there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Text, bindparam, cast, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import leases, slots
from services.bus import AnyHint, Deliver
from services.core import Core
from services.db import bulk
from services.db.tables import Agent, Kernel, Session, Slots
from services.scheduling import gangs, limits, occupancy
from services.scheduling.limits import Counted
from services.scheduling.occupancy import Amounts, Caps, Ledger, Wants
from services.sessions import lifecycle


class Placement(NamedTuple):
    """Where a session shall go."""

    #: Of the session, when the plan was made.
    version: int
    #: One a kernel, by the kernels' ranks, or one for all.
    agents: tuple[str, ...]


class _TooMuch(Exception):
    """The plan does not fit as a whole: nothing of the transaction may be kept."""


class _Moved(NamedTuple):
    """A session that is SCHEDULED now."""

    session: Counted
    kernels: int


class _Done(NamedTuple):
    """What is to be told after the commit, and where each session goes, an agent a kernel."""

    hints: list[AnyHint]
    agents: dict[str, tuple[str, ...]]


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
    for choose in (False, True):
        try:
            done = await _commit(core, lease, fence, plan, choose=choose)
            break
        except _TooMuch:
            continue
    else:
        # A limit was lowered while it was looked for what fits: the next plan knows.
        return []
    if done is None:
        return None
    for hint in dict.fromkeys((*done.hints, *gangs.to_tell(networks, done.agents.values()))):
        await core.bus.publish(hint)
    return list(done.agents)


async def _commit(
    core: Core, lease: str, fence: int, plan: Mapping[str, Placement], *, choose: bool
) -> _Done | None:
    async with core.db.write() as db:
        if not await leases.holds(core, db, lease, fence):
            return None
        return await _place(core, db, await _fitting(db, plan) if choose else plan)


async def _place(core: Core, db: AsyncSession, plan: Mapping[str, Placement]) -> _Done:
    """Place what of a plan still waits as it did, and judge that.

    Raises:
        _TooMuch: not all of it may be placed.
    """
    capacity = await _capacity(db, plan)
    able = [one for one, placement in plan.items() if capacity.keys() >= {*placement.agents}]
    moved = await _move_sessions(core, db, {one: plan[one].version for one in able})
    if not moved:
        return _Done([], {})
    agents = {one: gangs.everywhere(plan[one].agents, moved[one].kernels) for one in able if one in moved}
    if any(len(each) != moved[one].kernels for one, each in agents.items()):
        raise _TooMuch
    alike: dict[tuple[tuple[str, ...], int], list[Counted]] = {}
    for session, kernels in moved.values():
        alike.setdefault((limits.scopes(session), kernels), []).append(session)
    most = await limits.of_sessions(db, [those[0] for those in alike.values()])
    if not all(limits.allows_kernels(those[0], most, kernels) for (_, kernels), those in alike.items()):
        raise _TooMuch
    if await _move_kernels(db, agents) != sum(map(len, agents.values())):
        raise _TooMuch
    taken = [
        (agent, gangs.share(moved[one].session.slots, len(each)))
        for one, each in agents.items()
        for agent in each
    ]
    used = await occupancy.add(db, _amounts(alike.values(), taken))
    caps = limits.caps(most)
    for (scope_id, slot), amount in used.items():
        # What an agent does not have at all it has nothing of.
        cap = capacity[scope_id].get(slot, 0) if scope_id in capacity else caps[scope_id].get(slot, amount)
        if amount > cap:
            raise _TooMuch
    hints = await lifecycle.record_all(db, list(agents), "SCHEDULED", at=core.now())
    await _connect(db, agents)
    hints += [Deliver(agent_id=agent) for agent in sorted({agent for agent, _ in taken})]
    return _Done(hints, agents)


async def _move_sessions(core: Core, db: AsyncSession, versions: Mapping[str, int]) -> dict[str, _Moved]:
    """Those that still wait.

    Raises:
        _TooMuch: one does, and is not what it was when the plan was made.
    """
    now = core.now()
    counted = [getattr(Session, name) for name in ("version", "cluster_size", "id", *limits.SCOPES)]
    rows: Any = await (await db.connection()).execute(
        update(Session)
        .where(bulk.among(db, Session.id, sorted(versions)), Session.status == "PENDING")
        .values(
            status="SCHEDULED",
            version=Session.version + 1,
            scheduled_at=now,
            pending_reason=None,
            reason_code="",
            reason_message="",
            phase_deadline=now + core.settings.phase_deadlines["SCHEDULED"],
        )
        .returning(*counted, cast(Session.slots, Text))
    )
    read = _reader()
    moved = {row[2]: row for row in rows.all()}
    if any(row[0] != versions[session] + 1 for session, row in moved.items()):
        raise _TooMuch
    return {one: _Moved(Counted._make((*row[2:8], read(row[8]))), row[1]) for one, row in moved.items()}


async def _move_kernels(db: AsyncSession, agents: Mapping[str, tuple[str, ...]]) -> int:
    """Give kernels their agents. Returns how many there were."""
    sessions = [session for session, each in agents.items() for _ in each]
    ranks = [rank for each in agents.values() for rank in range(len(each))]
    given = bulk.table(
        db,
        "given",
        {
            "session": (bulk.TEXT, sessions),
            "rank": (bulk.NUMBER, ranks),
            "agent": (bulk.TEXT, [agent for each in agents.values() for agent in each]),
        },
    )
    moved = await (await db.connection()).execute(
        update(Kernel)
        .where(Kernel.session_id == given.c.session, Kernel.rank == given.c.rank, Kernel.status == "PENDING")
        .values(status="SCHEDULED", agent_id=given.c.agent, generation=Kernel.generation + 1)
    )
    return moved.rowcount


async def _connect(db: AsyncSession, agents: Mapping[str, tuple[str, ...]]) -> None:
    """Name the networks of sessions on several nodes; one that a session had before is kept until its end."""
    between = [
        {"session": session, "between": name}
        for session, each in agents.items()
        if (name := gangs.network(session, each))
    ]
    if between:
        await (await db.connection()).execute(
            update(Session)
            .where(Session.id == bindparam("session"), Session.network == "")
            .values(network=bindparam("between")),
            between,
        )


def _amounts(alike: Iterable[Sequence[Counted]], taken: Wants) -> Amounts:
    """What all of them take.

    Args:
        alike: sessions, those together that count for the same scopes: they are added up first, for each has five.
        taken: of agents.
    """
    wants = list(taken)
    for those in alike:
        total = slots.total(session.slots for session in those)
        wants += limits.wanted(those[0], total, sessions=len(those))
    found: Amounts = {}
    for scope_id, amounts in wants:
        for slot, amount in amounts.items():
            found[scope_id, slot] = found.get((scope_id, slot), 0) + amount
    return found


async def _fitting(db: AsyncSession, plan: Mapping[str, Placement]) -> dict[str, Placement]:
    """What fits of a plan, one after the other in its order. What that depends on stays locked."""
    orders, caps = await _orders(db, plan)
    ledger = await Ledger.lock(db, [want for order in orders for want in order.wants()], caps)
    return {order.session.id: plan[order.session.id] for order in orders if ledger.take(order.wants())}


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


async def _orders(db: AsyncSession, plan: Mapping[str, Placement]) -> tuple[list[_Order], Caps]:
    """What is still to be placed, with what it would take; and the caps of that."""
    waiting = await _lock(db, plan)
    capacity = await _capacity(db, plan)
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
    read = _reader()
    found: dict[str, _Waiting] = {}
    for row in rows.all():
        session_id = row[1]
        if row[0] == plan[session_id].version:
            if session_id not in found:
                found[session_id] = Counted._make((*row[1:7], read(row[7]))), []
            found[session_id][1].append((row[8], read(row[9])))
    return found


async def _capacity(db: AsyncSession, plan: Mapping[str, Placement]) -> dict[str, Slots]:
    """Of its agents, those that take work now."""
    agents = {agent for placement in plan.values() for agent in placement.agents}
    rows = await db.execute(
        select(Agent.id, Agent.slots).where(
            bulk.among(db, Agent.id, sorted(agents)), Agent.status == "ALIVE", Agent.schedulable
        )
    )
    return {agent_id: amounts for agent_id, amounts in rows}  # noqa: C416


def _reader() -> Callable[[str], Slots]:
    """Most ask for one of a few amounts: each text is read once."""
    return cache(partial(msgspec.json.decode, type=Slots))
