"""The dispatcher: one manager at a time turns what waits into placements.

    woken ─▶ lease ─▶ what has changed ─▶ scheduler.plan ─▶ commit (fenced; limits checked again under locks) ─▶ commands
                        (`services.scheduling.kept`)        └─▶ reasons of those left waiting

Planning reads without locks and may be overtaken; committing takes the rows' locks, checks versions and limits, and
leaves what no longer holds in the queue for the next cycle. So limits hold at every committed state, whatever else runs.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import bindparam, update

from scheduler import fast
from scheduler.fast import Fast
from scheduler.plan import Plan, SchedulerFailed, Waiting
from services import leases
from services.bus import Lagged, Queue, SessionChanged, Wake
from services.core import Core
from services.db.tables import ResourceGroup, Session
from services.scheduling.commits import Placement, commit
from services.scheduling.kept import Kept
from services.scheduling.planning import Planned, Planner, as_stored, built_in
from services.sessions.batches import cancel_hopeless
from services.sessions.reasons import Turns, Writer

log = logging.getLogger(__name__)

LEASE: Final = "dispatch"
_LEASE_LIFE: Final = timedelta(seconds=10)
_RENEW_EVERY: Final = 3.0
#: A busy dispatcher need not renew it for each cycle; whether it still has it is asked in each commit.
_RENEW_AFTER: Final = timedelta(seconds=1)
#: Seconds from the beginning of one cycle to that of the next at least, of a dispatcher that is woken all the time: many
#: sessions in one cycle cost little more than one does.
_PACE: Final = 0.03
#: Sessions looked at in one cycle, oldest first, where a sequencer or a placer takes its time for each.
_BATCH: Final = 10_000
#: Sessions committed in one transaction.
_COMMIT: Final = 1000
#: Sessions that are asked in a cycle whether their reason has changed, and of how many it is written; the same of a cycle
#: that has nothing else to do.
_ASKED: Final = 200
_REASONS: Final = 100
_ASKED_AT_REST: Final = 5000
_REASONS_AT_REST: Final = 1000
#: Of the head of each queue so many are asked in each.
_HEADS: Final = 50


class Dispatcher:
    """Runs cycles while this manager has the duty."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._fast: Fast | None = None
        self._fence: int | None = None
        self._renewed = core.now()
        self._kept = Kept(core)
        self._turns = Turns()
        #: So many of those that wait have not been asked yet whether their reason has changed; where to go on.
        self._unasked = 0
        self._place = 0
        self._planner = Planner(core)

    async def run(self) -> None:
        """Dispatch for ever: at once when woken, and now and then in case that a hint was lost.

        The compiled scheduler is warmed beside the first cycles, which plain Python decides the same way.
        """
        warming = asyncio.create_task(self.warm())
        try:
            async with self._core.bus.subscribe(Wake) as hints:
                woken: list[Wake] | None = None
                while True:
                    after = time.monotonic() + _PACE
                    if await self.take_duty():
                        while await self.cycle(woken):
                            woken = []
                    woken = await _woken(hints, after)
        finally:
            warming.cancel()
            await asyncio.wait([warming])

    async def warm(self) -> None:
        """Have the compiled scheduler, where there is one; until then plain Python decides the same."""
        if fast.needs_compiling():
            try:
                await _compile()
            except OSError as error:
                log.warning("the scheduler is compiled in the manager's own process: %s", error)
        self._fast = await asyncio.to_thread(fast.load)

    async def take_duty(self) -> bool:
        """Take the duty, or renew it where that is due. False while another manager has it."""
        now = self._core.now()
        if self._fence is not None and now < self._renewed + _RENEW_AFTER:
            return True
        before, self._fence = self._fence, await leases.acquire(self._core, LEASE, _LEASE_LIFE)
        self._renewed = now
        if self._fence != before:
            self._kept.drop()
        self._core.metrics.dispatching.set(self._fence is not None)
        return self._fence is not None

    async def close(self) -> None:
        """Give the duty up, so that another manager can take it at once."""
        if self._fence is not None:
            await leases.release(self._core, LEASE)

    async def cycle(self, hints: Collection[Wake] | None = None) -> bool:
        """Plan and commit once. Returns whether another cycle may place more right away.

        Args:
            hints: what woke it; without any the timelines say whether something has changed, which costs the same
                however many wait. None: anything may have changed.
        """
        if self._fence is None:
            return False
        kept = self._kept
        if hints is None:
            kept.drop()
        news = await kept.look(hints or ())
        dependents, kept.dependents = kept.dependents, set()
        if await cancel_hopeless(self._core, dependents):
            # There may be more of them than one call looks at.
            kept.dependents = None
            return True
        if not (news or self._unasked):
            return False
        began = time.perf_counter()
        snapshot = kept.build(most=None if self._quick() else _BATCH)
        if not len(snapshot.queue):
            self._unasked = 0
            return False
        planned = await self._planner.plan(snapshot, kept.groups, self._fast)
        made = planned.plan
        await self._note_faults(planned.faults)
        committed = await self._commit(made)
        if committed is None:
            self._fence = None
            return False
        await self._tell(planned, news=news, moving=committed > 0)
        overtaken = len(made.placements) - committed
        metrics = self._core.metrics
        metrics.cycles.observe(time.perf_counter() - began)
        for decision, number in (("PLACED", committed), ("OVERTAKEN", overtaken), ("WAITING", made.left)):
            metrics.decisions.labels(decision).inc(number)
        # What was planned and not committed was overtaken: plan it again on what is true now.
        return overtaken > 0 and committed > 0

    def _quick(self) -> bool:
        """Is a long queue no burden for any of its sequencers and placers?"""
        return self._fast is not None and all(map(built_in, self._kept.groups.values()))

    async def _commit(self, made: Plan) -> int | None:
        """How many sessions were placed; None: the duty is another manager's."""
        core, kept, fence = self._core, self._kept, self._fence
        placements = list(made.placements.items())
        committed = 0
        for start in range(0, len(placements), _COMMIT):
            part = placements[start : start + _COMMIT]
            ordered = {one: Placement(kept.waiting[one].version, agents) for one, agents in part}
            done = None if fence is None else await commit(core, LEASE, fence, ordered, kept.networks)
            if done is None:
                return None
            committed += len(done)
            for session_id in ordered.keys() - set(done):
                kept.doubt(session_id, ordered[session_id].agents)
        return committed

    async def _note_faults(self, faults: Mapping[str, SchedulerFailed | None]) -> None:
        """Keep with each resource group what is wrong with its scheduler, where that has changed."""
        core, changed = self._core, list[dict[str, Any]]()
        for group_id, fault in faults.items():
            group = self._kept.groups[group_id]
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
        for one in changed:
            self._kept.groups[one["group"]].scheduler_fault = one["fault"]

    async def _tell(self, planned: Planned, *, news: bool, moving: bool) -> None:
        """Tell those left waiting why, where that is news; in one statement.

        Not everybody is asked in each cycle: those at the heads of queues, those that have just come, and of the others
        as many as can be, one part after the other. At rest it is more of them.
        """
        core, kept = self._core, self._kept
        most, written = (_ASKED, _REASONS) if news else (_ASKED_AT_REST, _REASONS_AT_REST)
        asked = self._asked(planned, most=most, news=news)
        stored = {session_id: kept.reason(session_id) for session_id in asked}
        queues = {session_id: kept.waiting[session_id].resource_group_id for session_id in asked}
        writer = Writer(core.now(), kept.away, queues, kept.unconnected)
        reasons = writer.news(asked.items(), stored)
        moving |= news and planned.plan.left > most
        chosen = self._turns.choose(reasons, kept.waiting, moving=moving, most=written)
        if self._turns.left:
            # The others are told by the next cycle, also if nothing changes until then.
            self._unasked = planned.plan.left
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
            kept.told(one.session_id, one.document)
            await core.bus.publish(SessionChanged(session_id=one.session_id))

    def _asked(self, planned: Planned, *, most: int, news: bool) -> dict[str, Waiting]:
        """Those that are asked in this cycle whether their reason has changed."""
        made, fresh = planned.plan, self._kept.fresh
        if news:
            self._unasked = made.left
        if made.left <= most:
            found = made.waiting
            self._unasked = 0
        else:
            if self._place >= made.left:
                self._place = 0
            found = dict(made.between(self._place, self._place + most))
            self._place += most
            self._unasked = max(self._unasked - len(found), 0)
            found |= {request.session_id: one for request, one in made.heads(_HEADS)}
            if fresh:
                found |= made.among(set(islice(fresh, most)))
        fresh.difference_update(found)
        return found | planned.estimates


async def _compile() -> None:
    """In a process of its own: nothing stops a thread that compiles, and a manager that is to end would wait for it."""
    compiling = await asyncio.create_subprocess_exec(sys.executable, "-P", "-m", fast.__name__)
    try:
        await compiling.wait()
    finally:
        if compiling.returncode is None:
            compiling.kill()
            await compiling.wait()


async def _woken(hints: Queue[Wake], after: float) -> list[Wake] | None:
    """Wait for hints, or until it is time to look. Returns them; None: some may have been lost.

    Args:
        after: not before this moment (monotonic), so that those that come soon are taken together.
    """
    try:
        async with asyncio.timeout(_RENEW_EVERY):
            first = await anext(hints)
    except TimeoutError:
        return []
    except Lagged:
        return None
    await asyncio.sleep(after - time.monotonic())
    return [first, *hints.drain()]
