"""The dispatcher: one manager at a time turns what waits into placements.

    woken ─▶ lease ─▶ snapshot ─▶ scheduler.plan ─▶ commit (fenced; limits checked again under locks) ─▶ commands
                                        └─▶ reasons of those left waiting

Planning reads without locks and may be overtaken; committing takes the rows' locks, checks versions and limits, and
leaves what no longer holds in the queue for the next cycle. So limits hold at every committed state, whatever else runs.
"""

import asyncio
import logging
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from scheduler import fast
from scheduler.fast import Fast
from scheduler.plan import SchedulerFailed, Waiting
from scheduler.plugins import backfill_options
from scheduler.snapshot import Snapshot, SnapshotBuilder
from services import gangs, leases, limits, marks, occupancy
from services.bus import Lagged, Queue, SessionChanged, Wake
from services.commits import Placement, commit
from services.core import Core
from services.db.tables import (
    Agent,
    AgentImage,
    Image,
    Kernel,
    ResourceGroup,
    Session,
    Slots,
    in_status,
)
from services.pieces import Pieces
from services.planning import Planner, as_stored
from services.sessions import gates, terms
from services.sessions.batches import cancel_hopeless
from services.sessions.lifecycle import PLACED
from services.sessions.reasons import Away, Turns, Writer

log = logging.getLogger(__name__)

LEASE: Final = "dispatch"
_LEASE_LIFE: Final = timedelta(seconds=10)
_RENEW_EVERY: Final = 3.0
#: Sessions looked at in one cycle, oldest first.
_BATCH: Final = 10_000
#: Sequencers that do not ask whose is what runs, placers that do not ask what it is.
_NO_SHARES: Final = ("fifo", "lifo")
_NO_MIX: Final = ("pack", "spread")
#: Sessions committed in one transaction.
_COMMIT: Final = 1000
#: Reasons written in one cycle.
_REASONS: Final = 500


@dataclass
class _View:
    """What a cycle read, beside the scheduler's own snapshot."""

    snapshot: Snapshot
    versions: dict[str, int] = field(default_factory=dict[str, int])
    reasons: dict[str, dict[str, Any] | None] = field(default_factory=dict[str, dict[str, Any] | None])
    groups: dict[str, ResourceGroup] = field(default_factory=dict[str, ResourceGroup])
    #: Resource group → agents that take work: id, architecture, what is free of them.
    free: dict[str, list[tuple[str, str, Slots]]] = field(
        default_factory=dict[str, list[tuple[str, str, Slots]]]
    )
    networks: list[gangs.Network] = field(default_factory=list[gangs.Network])
    #: Sessions that could go to several nodes, had these a network between them.
    unconnected: set[str] = field(default_factory=set[str])
    #: Session → its resource group.
    queues: dict[str, str] = field(default_factory=dict[str, str])
    #: Resource group → its agents that take no work.
    away: dict[str, Away] = field(default_factory=dict[str, Away])


class Dispatcher:
    """Runs cycles while this manager has the duty."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._fast: Fast | None = None
        self._fence: int | None = None
        self._marks = marks.NOTHING
        self._turns = Turns(_REASONS)
        self._planner = Planner(core)

    async def run(self) -> None:
        """Dispatch for ever: at once when woken, and now and then in case that a hint was lost.

        The compiled scheduler is warmed beside the first cycles, which plain Python decides the same way.
        """
        warming = asyncio.create_task(self._warm())
        try:
            async with self._core.bus.subscribe(Wake) as hints:
                woken = True
                while True:
                    if await self.take_duty():
                        while await self.cycle(woken=woken):
                            pass
                    woken = await _woken(hints)
        finally:
            warming.cancel()
            await asyncio.wait([warming])

    async def _warm(self) -> None:
        if fast.needs_compiling():
            try:
                await _compile()
            except OSError as error:
                log.warning("the scheduler is compiled in the manager's own process: %s", error)
        self._fast = await asyncio.to_thread(fast.load)

    async def take_duty(self) -> bool:
        """Take or renew the duty. False while another manager has it."""
        self._fence = await leases.acquire(self._core, LEASE, _LEASE_LIFE)
        self._core.metrics.dispatching.set(self._fence is not None)
        return self._fence is not None

    async def close(self) -> None:
        """Give the duty up, so that another manager can take it at once."""
        if self._fence is not None:
            await leases.release(self._core, LEASE)

    async def cycle(self, *, woken: bool = True) -> bool:
        """Plan and commit once. Returns whether another cycle may place more right away.

        Args:
            woken: something is known to have changed. Else that is looked up first, which costs the same however many wait.
        """
        if self._fence is None:
            return False
        now = await marks.read(self._core, self._marks)
        if not woken and now == self._marks and not self._marks.outdated(self._core.now()):
            return False
        if await cancel_hopeless(self._core):
            return True
        self._marks = await marks.keep(self._core, now)
        began = time.perf_counter()
        view = await _read(self._core)
        if not view.versions:
            return False
        planned = await self._planner.plan(view.snapshot, view.groups, self._fast)
        made = planned.plan
        await self._note_faults(view, planned.faults)
        committed = 0
        placements = list(made.placements.items())
        for start in range(0, len(placements), _COMMIT):
            part = placements[start : start + _COMMIT]
            ordered = {one: Placement(view.versions[one], agents) for one, agents in part}
            done = await commit(self._core, LEASE, self._fence, ordered, view.networks)
            if done is None:
                self._fence = None
                return False
            committed += len(done)
        await self._tell(view, made.waiting | planned.estimates, moving=committed > 0)
        metrics = self._core.metrics
        metrics.cycles.observe(time.perf_counter() - began)
        for decision, number in (
            ("PLACED", committed),
            ("OVERTAKEN", len(placements) - committed),
            ("WAITING", made.left),
        ):
            metrics.decisions.labels(decision).inc(number)
        # What was planned and not committed was overtaken: plan it again on what is true now.
        return committed < len(placements) and committed > 0

    async def _note_faults(self, view: _View, faults: Mapping[str, SchedulerFailed | None]) -> None:
        """Keep with each resource group what is wrong with its scheduler, where that has changed."""
        core, changed = self._core, list[dict[str, Any]]()
        for group_id, fault in faults.items():
            group = view.groups[group_id]
            stored = as_stored(fault, group.scheduler_fault, core.now())
            if stored == group.scheduler_fault:
                continue
            changed.append({"group": group_id, "fault": stored})
            if fault is None:
                log.info("the resource group %s is scheduled again", group.name)
            else:
                log.warning(
                    "the resource group %s: the %s failed: %s", group.name, fault.plugin, fault.message
                )
        if changed:
            async with core.db.write() as db:
                await (await db.connection()).execute(
                    update(ResourceGroup)
                    .where(ResourceGroup.id == bindparam("group"))
                    .values(scheduler_fault=bindparam("fault")),
                    changed,
                )

    async def _tell(self, view: _View, waiting: Mapping[str, Waiting], *, moving: bool) -> None:
        """Tell those left waiting why, where that is news; in one statement."""
        core, writer = self._core, Writer(self._core.now(), view.away, view.queues, view.unconnected)
        news = writer.news(waiting.items(), view.reasons)
        chosen = self._turns.choose(news, waiting, moving=moving)
        if self._turns.left:
            # The others are told by the next cycle, also if nothing changes until then.
            self._marks = marks.NOTHING
        if not chosen:
            return
        async with core.db.write() as db:
            await (await db.connection()).execute(
                update(Session)
                .where(Session.id == bindparam("session"), Session.status == "PENDING")
                .values(pending_reason=bindparam("reason")),
                [{"session": one.session_id, "reason": one.document} for one in chosen],
            )
        for one in chosen:
            await core.bus.publish(SessionChanged(session_id=one.session_id))


async def _compile() -> None:
    """In a process of its own: nothing stops a thread that compiles, and a manager that is to end would wait for it."""
    compiling = await asyncio.create_subprocess_exec(sys.executable, "-P", "-m", fast.__name__)
    try:
        await compiling.wait()
    finally:
        if compiling.returncode is None:
            compiling.kill()
            await compiling.wait()


async def _woken(hints: Queue[Wake]) -> bool:
    """Wait for a hint, or until it is time to look. Returns whether there was one, or may have been."""
    try:
        async with asyncio.timeout(_RENEW_EVERY):
            await anext(hints)
        hints.drain()
    except TimeoutError:
        return False
    except Lagged:
        return True
    return True


async def _read(core: Core) -> _View:
    """Read all that a plan depends on."""
    build = SnapshotBuilder()
    view, now = _View(Snapshot(slots=())), core.now()
    async with core.db.read() as db:
        waiting: Sequence[Any] = (
            await db.execute(
                terms.joined(select(Session, Image.architecture, *terms.LIFETIME))
                .join(Image, Image.id == Session.image_id)
                .where(in_status(["PENDING"]), gates.passed(now))
                .order_by(Session.priority.desc(), Session.id)
                .limit(_BATCH)
            )
        ).all()
        if not waiting:
            return view
        view.groups = {group.id: group for group in await db.scalars(select(ResourceGroup))}
        sizes = await _read_agents(db, build, view, [gangs.each(session) for session, *_ in waiting])
        asked = {session.resource_group_id for session, *_ in waiting}
        await _read_running(db, build, sizes, [view.groups[one] for one in sorted(asked)], now)
        await _read_limits(db, build, view, [session for session, *_ in waiting])
    for session, architecture, *lifetimes in waiting:
        view.versions[session.id] = session.version
        view.reasons[session.id] = session.pending_reason
        free = view.free.get(session.resource_group_id, ())
        ask = gangs.ask(session, sizes.needs(gangs.each(session)), free, architecture, view.networks)
        if ask.unconnected:
            view.unconnected.add(session.id)
        view.queues[session.id] = session.resource_group_id
        build.request(
            session.id,
            resource_group=session.resource_group_id,
            slots=ask.slots,
            kernels=ask.kernels,
            architectures=[architecture],
            image_id=session.image_id,
            designated=ask.designated,
            scopes=limits.scopes(session),
            queued=int(max(session.created_at, session.starts_at or session.created_at).timestamp() * 1e6),
            priority=session.priority,
            user=session.user_id,
            group=session.group_id,
            max_duration=_longest(session.max_duration_seconds, session.idle_exempt, lifetimes),
        )
    view.snapshot = build.build()
    return view


async def _read_agents(
    db: AsyncSession, build: SnapshotBuilder, view: _View, asked: Sequence[Slots]
) -> Pieces:
    known = (await db.scalars(select(Agent).where(Agent.status != "TERMINATED"))).all()
    view.away = _away(known)
    agents = [agent for agent in known if agent.status == "ALIVE"]
    used = await occupancy.of(db, [agent.id for agent in agents])
    images: dict[str, list[str]] = {}
    for agent_id, image_id in await db.execute(select(AgentImage.agent_id, AgentImage.image_id)):
        images.setdefault(agent_id, []).append(image_id)
    sizes = Pieces(asked, agents)
    view.networks = gangs.networks(agents)
    for agent in agents:
        capacity, taken = sizes.of(agent, used.get(agent.id, {}))
        if agent.schedulable:
            left = {slot: amount - taken.get(slot, 0) for slot, amount in capacity.items()}
            view.free.setdefault(agent.resource_group_id, []).append((agent.id, agent.architecture, left))
        build.agent(
            agent.id,
            resource_group=agent.resource_group_id,
            architecture=agent.architecture,
            capacity=capacity,
            used=taken,
            schedulable=agent.schedulable,
            images=images.get(agent.id, ()),
        )
    return sizes


def _away(agents: Iterable[Agent]) -> dict[str, Away]:
    found: dict[str, list[int]] = {}
    for agent in agents:
        counts = found.setdefault(agent.resource_group_id, [0, 0])
        counts[0] += agent.status == "ALIVE" and not agent.schedulable
        counts[1] += agent.status == "LOST"
    return {group_id: Away(*counts) for group_id, counts in found.items()}


def _assumed(groups: Iterable[ResourceGroup]) -> dict[str, int]:
    """Resource group → seconds for which what has no known end is taken to run on."""
    found = {
        group.id: backfill_options(group.backfill_options).assumed_duration_seconds
        for group in groups
        if group.backfill and group.backfill_options
    }
    return {group_id: seconds for group_id, seconds in found.items() if seconds}


async def _read_running(
    db: AsyncSession, build: SnapshotBuilder, sizes: Pieces, groups: Sequence[ResourceGroup], now: datetime
) -> None:
    """What each user and group has of the agents of these resource groups, and for how long at most.

    Where whose it is makes no difference, only what is known to end (by its own maximum duration or by the longest that
    sessions may run), or taken to.
    """
    assumed = _assumed(groups)
    plain = [
        one.id
        for one in groups
        if one.sequencer in _NO_SHARES and one.placer in _NO_MIX and one.id not in assumed
    ]
    ends = or_(Session.max_duration_seconds.is_not(None), *(seconds > 0 for seconds in terms.LIFETIME))
    rows: Any = await db.execute(
        terms.joined(
            select(
                Agent.id,
                Agent.resource_group_id,
                Kernel.slots,
                Session.user_id,
                Session.group_id,
                Session.started_at,
                Session.max_duration_seconds,
                Session.idle_exempt,
                *terms.LIFETIME,
            )
            .join(Session, Session.id == Kernel.session_id)
            .join(Agent, Agent.id == Kernel.agent_id)
        ).where(
            Kernel.status.in_(PLACED),
            Agent.status == "ALIVE",
            Agent.resource_group_id.in_([one.id for one in groups]),
            or_(Agent.resource_group_id.not_in(plain), ends),
        )
    )
    for agent_id, nodes, held, user_id, group_id, started_at, duration, exempt, *lifetimes in rows:
        longest = _longest(duration, exempt, lifetimes)
        if longest is None:
            remaining = assumed.get(nodes)
        else:
            ran = (now - started_at).total_seconds() if started_at else 0
            remaining = max(0, math.ceil(longest - ran))
        build.running(agent_id, slots=sizes.needs(held), user=user_id, group=group_id, remaining=remaining)


def _longest(duration: int | None, exempt: bool, lifetimes: Sequence[int]) -> int | None:
    """Seconds that a session runs at most, as things stand."""
    lifetime = None if exempt else terms.lifetime(lifetimes)
    return min((one for one in (duration, lifetime) if one is not None), default=None)


async def _read_limits(
    db: AsyncSession, build: SnapshotBuilder, view: _View, sessions: Sequence[Session]
) -> None:
    found = await limits.of_sessions(db, sessions)
    used = await occupancy.of(db, found)
    for scope_id, limit in found.items():
        for slot, cap in limit.slots.items():
            build.limit(scope_id, slot, used=used.get(scope_id, {}).get(slot, 0), cap=cap)
