"""What the dispatcher knows of the cluster, kept between its cycles: what has changed is read, nothing else.

    marks: who has changed? ─▶ read those, and what is taken of their scopes and agents ─▶ the scheduler's snapshot

It is a hint and no more. What is read replaces what was known, so nothing is ever counted twice, and whoever commits a
plan looks at everything again (`services.scheduling.commits`). Everything is read anew when the duty is taken over, when something
has changed that leaves no row in a timeline, on any doubt, and after a while in any case.
"""

import asyncio
import heapq
import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from scheduler.kept import KeptSnapshot
from scheduler.plugins import backfill_options
from scheduler.snapshot import Snapshot
from services.bus import Wake
from services.core import Core
from services.db.tables import Agent, ResourceGroup, Slots
from services.scheduling import gangs, limits, occupancy, readings
from services.scheduling.limits import Counted, Limit
from services.scheduling.marks import Marks
from services.scheduling.pieces import Pieces
from services.scheduling.readings import Pending, Placed, scopes
from services.sessions.reasons import Away

#: Everything is read anew after so long, whatever the marks say;
_LIFE: Final = timedelta(seconds=30)
#: after longer where that takes so long that it would be more than this part of the time.
_PART: Final = 1 / 20
#: Sessions that are known at most; of more those of the highest priority, and the oldest.
MOST: Final = 100_000
#: With more changed sessions than these it is cheaper to read everything.
_MOST_CHANGED: Final = 5000
#: Sessions entered before others have their turn.
_TURN: Final = 1000
#: Sequencers that do not ask whose is what runs, placers that do not ask what it is.
_NO_SHARES: Final = ("fifo", "lifo")
_NO_MIX: Final = ("pack", "spread")


class Kept:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._marks = Marks()
        self._known = False
        self._until = core.now()
        #: Those that depend on a session which has ended since this was last emptied; None: any may.
        self.dependents: set[str] | None = None
        self._clear()

    def _clear(self) -> None:
        #: To be read again, whether or not they have changed.
        self._doubted = (set[str](), set[str]())
        self.groups: dict[str, ResourceGroup] = {}
        #: All that wait, those included that something holds back.
        self.waiting: dict[str, Pending] = {}
        #: Session → why it waits, as it is stored.
        self._reasons: dict[str, str | dict[str, Any] | None] = {}
        #: Sessions that could go to several nodes, had these a network between them.
        self.unconnected: set[str] = set()
        self.networks: list[gangs.Network] = []
        #: Sessions that began to wait, or came again, since this was last emptied.
        self.fresh: set[str] = set()
        #: Where there are more than were read, the last one that was.
        self._last: tuple[int, str] | None = None
        self._agents: dict[str, Agent] = {}
        self._images: dict[str, frozenset[str]] = {}
        self._used: dict[str, Slots] = {}
        self._limits: dict[str, Limit] = {}
        self._sizes = Pieces((), ())
        self._needs: dict[tuple[tuple[str, int], ...], Slots] = {}
        #: What sessions ask for of each kernel, and how many do.
        self._asked: Counter[tuple[tuple[str, int], ...]] = Counter()
        #: Nodes that take work: resource group → agent → what is free of it.
        self._nodes: dict[str, dict[str, gangs.Node]] = {}
        #: What those ask for that depends on what nodes have free.
        self._asks: dict[str, gangs.Ask] = {}
        #: (when a session is no longer held back, which).
        self._moments: list[tuple[datetime, str]] = []
        #: Session → seconds that what it runs runs at most, since when; None: not yet.
        self._ends: dict[str, tuple[int, datetime | None]] = {}
        self._assumed: dict[str, int] = {}
        #: Resource group → its agents that take no work.
        self.away: dict[str, Away] = {}
        self._plain: set[str] = set()
        self._snapshot = KeptSnapshot()

    def drop(self) -> None:
        """Forget everything."""
        self._known = False

    def doubt(self, session_id: str, agents: Iterable[str]) -> None:
        """A session could not be placed on agents as it was planned: all that has to do with it is read again."""
        if (one := self.waiting.get(session_id)) is not None:
            for scope_id in scopes(one):
                self._limits.pop(scope_id, None)
        self._doubted[0].add(session_id)
        self._doubted[1].update(agents)

    async def look(self, hints: Collection[Wake]) -> bool:
        """Bring it up to date. Returns whether there was something new, or a moment has come that was waited for."""
        known, self._known = self._known, False
        now = self._core.now()
        anew = not known or now >= self._until or any(hint.anew for hint in hints)
        changed = None if anew else await self._marks.read(self._core)
        if changed is None:
            await self._read_all()
            self._known = True
            return True
        doubted, self._doubted = self._doubted, (set(), set())
        sessions = changed.sessions | {hint.session_id for hint in hints if hint.session_id} | doubted[0]
        agents = changed.agents | {hint.agent_id for hint in hints if hint.agent_id} | doubted[1]
        news = bool(sessions or agents)
        due = bool(self._moments and self._moments[0][0] <= now)
        sound = not news or await self._read_some(sessions, agents, changed.ended)
        if not (sound and self._pass_moments(now)):
            await self._read_all()
        self._known = True
        return news or due

    def reason(self, session_id: str) -> dict[str, Any] | None:
        """Why a session waits, as it is stored."""
        found = self._reasons.get(session_id)
        if isinstance(found, str):
            found = self._reasons[session_id] = msgspec.json.decode(found)
        return found

    def told(self, session_id: str, document: dict[str, Any]) -> None:
        """It is stored so now."""
        if session_id in self.waiting:
            self._reasons[session_id] = document

    def build(self, *, most: int | None = None) -> Snapshot:
        """What there is to be planned now. `most`: sessions."""
        now = self._core.now()
        for session_id, before in list(self._asks.items()):
            if self._ask(self.waiting[session_id]) != before:
                self._request(self.waiting[session_id])
        remaining: dict[str, int] = {}
        for session_id, (longest, since) in self._ends.items():
            ran = (now - since).total_seconds() if since else 0
            remaining[session_id] = max(0, math.ceil(longest - ran))
        return self._snapshot.build(remaining, most=most)

    async def _read_all(self) -> None:
        core, began = self._core, time.perf_counter()
        await self._marks.begin(core)
        self._clear()
        self.dependents = None
        async with core.db.read() as db:
            self.groups = await readings.groups(db)
            self._sort_groups()
            agents = await readings.agents(db)
            self._images = await readings.images(db)
            placed = [one async for part in readings.kernels(db, plain=sorted(self._plain)) for one in part]
            async for part in readings.waiting(db, most=MOST):
                for one in part:
                    self.waiting[one.id] = one
            scoped = {scopes(one): one for one in self.waiting.values()}
            self._limits = await limits.of_sessions(db, map(_counted, scoped.values()))
            self._used = await occupancy.of(db, [*self._limits, *(agent.id for agent in agents)])
        if len(self.waiting) == MOST:
            self._last = max(map(_rank, self.waiting.values()))
        now = core.now()
        for one in self.waiting.values():
            if not _held_back(one, now):
                self._asked[_asks_for(one)] += 1
        self._agents = {agent.id: agent for agent in agents}
        self._sizes = self._pieces()
        self._survey()
        for agent in agents:
            self._enter_agent(agent)
        self._hold(placed)
        for scope_id in self._limits:
            self._enter_scope(scope_id)
        self._asked.clear()
        for number, one in enumerate(self.waiting.values()):
            self._reasons[one.id] = one.pending_reason
            self._enter(one, now)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        self.fresh.clear()
        took = timedelta(seconds=time.perf_counter() - began)
        self._until = now + max(_LIFE, took / _PART)

    def _sort_groups(self) -> None:
        """What is asked of each resource group's sequencer and placer says what must be known of what runs there."""
        for group in self.groups.values():
            if group.backfill and group.backfill_options:
                seconds = backfill_options(group.backfill_options).assumed_duration_seconds
                if seconds:
                    self._assumed[group.id] = seconds
            if group.sequencer in _NO_SHARES and group.placer in _NO_MIX and group.id not in self._assumed:
                self._plain.add(group.id)

    async def _read_some(self, sessions: set[str], agents: set[str], ended: set[str]) -> bool:
        """Read what has changed. False: everything must be read anew."""
        if len(sessions) > _MOST_CHANGED:
            return False
        async with self._core.db.read() as db:
            if ended:
                dependents = set(await readings.dependents(db, ended))
                sessions = sessions | dependents
                if self.dependents is not None:
                    self.dependents |= dependents
            waiting = (
                [one async for part in readings.waiting(db, ids=sessions) for one in part] if sessions else []
            )
            kernels = (
                [one async for part in readings.kernels(db, sessions=sessions) for one in part]
                if sessions
                else []
            )
            unknown = {scopes(one): one for one in waiting if not self._limits.keys() >= set(scopes(one))}
            found = await limits.of_sessions(db, map(_counted, unknown.values()))
            self._limits |= found
            rows = await readings.agents(db, agents) if agents else []
            if agents:
                self._images = {**self._images, **dict.fromkeys(agents, frozenset[str]())}
                self._images |= await readings.images(db, agents)
            touched = {scope for one in kernels for scope in scopes(one)} & self._limits.keys()
            touched |= found.keys()
            nodes = agents | {one.agent_id for one in kernels if one.agent_id}
            if any(one.agent_id is None and one.generation for one in kernels):
                # It was placed before, and nothing says where.
                nodes |= self._agents.keys()
            used = await occupancy.of(db, touched | nodes)
        if not {one.resource_group_id for one in waiting} <= self.groups.keys():
            return False
        self._used |= {scope_id: used.get(scope_id, {}) for scope_id in touched | nodes}
        for scope_id in touched:
            self._enter_scope(scope_id)
        return self._apply(sessions, waiting, kernels, agents, rows, nodes)

    def _apply(
        self,
        sessions: set[str],
        waiting: Sequence[Pending],
        kernels: Sequence[Placed],
        agents: set[str],
        rows: Sequence[Agent],
        nodes: Collection[str],
    ) -> bool:
        """Take in what was read. False: slots must be cut into other pieces, so that everything is entered anew."""
        asked, now = set(self._asked), self._core.now()
        for agent_id in agents:
            self._agents.pop(agent_id, None)
        self._agents |= {agent.id: agent for agent in rows}
        for session_id in sessions:
            self._leave(session_id)
        for one in waiting:
            if self._last and _rank(one) > self._last:
                continue
            self.waiting[one.id] = one
            self._reasons[one.id] = one.pending_reason
            self._enter(one, now)
        if self._last and len(self.waiting) < MOST // 2:
            return False
        if (agents or asked != set(self._asked)) and self._pieces().sizes != self._sizes.sizes:
            return False
        if agents:
            self._survey()
        for agent_id in nodes:
            if agent_id in self._agents:
                self._enter_agent(self._agents[agent_id])
            else:
                self._remove_agent(agent_id)
        for session_id in sessions:
            self._snapshot.hold(session_id, (), slots={})
            self._ends.pop(session_id, None)
        self._hold(one for one in kernels if one.holds)
        return True

    def _enter(self, one: Pending, now: datetime) -> None:
        """Let it be planned, now or when its moment comes."""
        self.fresh.add(one.id)
        if one.waits:
            return
        if later := [moment for moment in (one.starts_at, one.retry_at) if moment and moment > now]:
            heapq.heappush(self._moments, (max(later), one.id))
            return
        self._asked[_asks_for(one)] += 1
        self._request(one)

    def _leave(self, session_id: str) -> None:
        one = self.waiting.pop(session_id, None)
        if one is None:
            return
        if session_id in self._snapshot:
            self._snapshot.withdraw(session_id)
            asked = _asks_for(one)
            self._asked[asked] -= 1
            if not self._asked[asked]:
                del self._asked[asked]
        self._reasons.pop(session_id, None)
        self._asks.pop(session_id, None)
        self.unconnected.discard(session_id)
        self.fresh.discard(session_id)

    def _pass_moments(self, now: datetime) -> bool:
        """Let those be planned whose moment has come. False: as in `_apply`."""
        asked = len(self._asked)
        while self._moments and self._moments[0][0] <= now:
            _, session_id = heapq.heappop(self._moments)
            one = self.waiting.get(session_id)
            if one is not None and session_id not in self._snapshot:
                self._enter(one, now)
        return asked == len(self._asked) or self._pieces().sizes == self._sizes.sizes

    def _request(self, one: Pending) -> None:
        ask = self._ask(one)
        if gangs.depends_on_room(one):
            self._asks[one.id] = ask
        if ask.unconnected:
            self.unconnected.add(one.id)
        else:
            self.unconnected.discard(one.id)
        self._snapshot.request(
            one.id,
            resource_group=one.resource_group_id,
            slots=ask.slots,
            kernels=ask.kernels,
            architectures=(one.architecture,),
            image_id=one.image_id,
            designated=ask.designated,
            scopes=scopes(one),
            queued=int(max(one.created_at, one.starts_at or one.created_at).timestamp() * 1e6),
            priority=one.priority,
            user=one.user_id,
            group=one.group_id,
            max_duration=one.longest,
        )

    def _ask(self, one: Pending) -> gangs.Ask:
        asked = _asks_for(one)
        needs = self._needs.get(asked)
        if needs is None:
            needs = self._needs[asked] = self._sizes.needs(gangs.each(one))
        nodes = self._nodes.get(one.resource_group_id, {}) if gangs.depends_on_room(one) else {}
        return gangs.ask(one, needs, list(nodes.values()), one.architecture, self.networks)

    def _pieces(self) -> Pieces:
        alive = [agent for agent in self._agents.values() if agent.status == "ALIVE"]
        return Pieces(map(dict, self._asked), alive)

    def _enter_agent(self, agent: Agent) -> None:
        """As it is now; one that is not connected is left out."""
        self._remove_agent(agent.id)
        if agent.status != "ALIVE":
            return
        capacity, taken = self._sizes.of(agent, self._used.get(agent.id, {}))
        if agent.schedulable:
            left = {slot: amount - taken.get(slot, 0) for slot, amount in capacity.items()}
            nodes = self._nodes.setdefault(agent.resource_group_id, {})
            nodes[agent.id] = agent.id, agent.architecture, left
        self._snapshot.agent(
            agent.id,
            resource_group=agent.resource_group_id,
            architecture=agent.architecture,
            capacity=capacity,
            used=taken,
            schedulable=agent.schedulable,
            images=self._images.get(agent.id, frozenset()),
        )

    def _survey(self) -> None:
        """What is said of all agents together."""
        self.networks = gangs.networks(agent for agent in self._agents.values() if agent.status == "ALIVE")
        found: dict[str, list[int]] = {}
        for agent in self._agents.values():
            counts = found.setdefault(agent.resource_group_id, [0, 0])
            counts[0] += agent.status == "ALIVE" and not agent.schedulable
            counts[1] += agent.status == "LOST"
        self.away = {group_id: Away(*counts) for group_id, counts in found.items()}

    def _remove_agent(self, agent_id: str) -> None:
        for nodes in self._nodes.values():
            nodes.pop(agent_id, None)
        self._snapshot.remove_agent(agent_id)

    def _enter_scope(self, scope_id: str) -> None:
        used = self._used.get(scope_id, {})
        for slot, cap in self._limits[scope_id].slots.items():
            self._snapshot.limit(scope_id, slot, used=used.get(slot, 0), cap=cap)

    def _hold(self, placed: Iterable[Placed]) -> None:
        """What sessions hold of their agents, and for how long at most.

        Where whose it is makes no difference, only what is known to end, or taken to.
        """
        sessions: dict[str, list[Placed]] = {}
        for one in placed:
            sessions.setdefault(one.session_id, []).append(one)
        for session_id, kernels in sessions.items():
            one = kernels[0]
            if one.longest is not None:
                self._ends[session_id] = one.longest, one.started_at
            elif one.resource_group_id in self._assumed:
                self._ends[session_id] = self._assumed[one.resource_group_id], None
            elif one.resource_group_id in self._plain:
                continue
            self._snapshot.hold(
                session_id,
                [kernel.agent_id for kernel in kernels if kernel.agent_id],
                slots=self._sizes.needs(one.slots),
                user=one.user_id,
                group=one.group_id,
            )


def _held_back(one: Pending, now: datetime) -> bool:
    return one.waits or any(moment and moment > now for moment in (one.starts_at, one.retry_at))


def _asks_for(one: Pending) -> tuple[tuple[str, int], ...]:
    """Of one kernel."""
    return tuple(sorted(gangs.each(one).items()))


def _rank(one: Pending) -> tuple[int, str]:
    return -one.priority, one.id


def _counted(one: Pending) -> Counted:
    return Counted(one.id, *scopes(one), one.slots)
