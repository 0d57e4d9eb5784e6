"""The scheduler written the slow and obvious way: no heaps, no memory of what was refused, every agent looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from scheduler.candidates import TIES
from scheduler.engine import Scheduler
from scheduler.plan import (
    DesignatedAgentsUnavailable,
    GangDoesNotFit,
    LimitReached,
    NoAgentFits,
    NoAgents,
    Reason,
    Reserved,
    Waiting,
    WrongArchitecture,
)
from scheduler.snapshot import SESSIONS, AgentView, Request, Snapshot


@dataclass
class ReferencePlan:
    placements: dict[str, tuple[str, ...]]
    waiting: dict[str, Waiting]


def reference_plan(snapshot: Snapshot, schedulers: Mapping[str, Scheduler]) -> ReferencePlan:
    used = {(limit.scope, limit.slot): limit.used for limit in snapshot.limits}
    made = ReferencePlan({}, {})
    queues: list[tuple[_Group, list[Request]]] = []
    for name in sorted({request.resource_group for request in snapshot.requests}):
        group = _Group(snapshot, name, used)
        queue: list[Request] = []
        for request in schedulers[name].sequencer.order(group):
            agents = group.place(request, schedulers[name])
            if agents is None:
                queue.append(request)
                if schedulers[name].backfill:
                    group.reserve(request)
            else:
                group.placements[request.session_id] = agents
        made.placements.update(group.placements)
        queues.append((group, queue))
    for group, queue in queues:
        for position, request in enumerate(queue, 1):
            starts_in = group.starts_in if request.session_id == group.head else None
            made.waiting[request.session_id] = Waiting(position, group.reason(request), starts_in)
    return made


class _Group:
    def __init__(self, snapshot: Snapshot, name: str, used: dict[tuple[str, str], int]) -> None:
        self.snapshot = snapshot
        self.resource_group = name
        self.slots = snapshot.slots
        self.members = [agent for agent in snapshot.agents if agent.resource_group == name]
        self.agents = sorted(
            (a for a in self.members if a.schedulable), key=lambda agent: (agent.architecture, agent.id)
        )
        at_work = {agent.id for agent in self.agents}
        self.running = [kernel for kernel in snapshot.running if kernel.agent in at_work]
        self.requests = [request for request in snapshot.requests if request.resource_group == name]
        self.free = {agent.id: list(agent.free) for agent in self.agents}
        self.placements: dict[str, tuple[str, ...]] = {}
        self._used = used
        self.device_slot = snapshot.device_slot
        self.column = -1
        self.on: dict[str, list[int]] = {agent.id: list(agent.devices or ()) for agent in self.agents}
        if self.device_slot in self.slots and any(self.on.values()):
            self.column = self.slots.index(self.device_slot)
        #: The session with a reservation, when it starts, and for each agent what is free then less what it takes.
        self.judged = False
        self.head = ""
        self.starts_in: int | None = None
        self.later: dict[str, list[int]] = {}

    def placed(self, session_id: str) -> bool:
        return session_id in self.placements

    def used(self, scope: str, slot: str) -> int:
        return self._used.get((scope, slot), 0)

    def devices(self, agent: int) -> list[int]:
        return self.on[self.agents[agent].id]

    def fits(self, request: Request, agent: str, row: Sequence[int]) -> bool:
        return _fits(request.shape.needs, row) and (
            self.column < 0
            or not self.on[agent]
            or _device_room(self.on[agent], request.shape.needs[self.column])
        )

    def place(self, request: Request, scheduler: Scheduler) -> tuple[str, ...] | None:
        if self.limit_in_the_way(request):
            return None
        ranking = scheduler.placer.prepare(self)
        rank = ranking.of(request.shape)
        before = {agent: list(row) for agent, row in self.free.items()}
        before_on = {agent: list(on) for agent, on in self.on.items()}
        before_later = {agent: list(row) for agent, row in self.later.items()}
        brief = (
            self.starts_in is not None
            and request.max_duration is not None
            and request.max_duration <= self.starts_in
        )
        chosen: list[str] = []
        for _ in range(request.kernels):
            needs = request.shape.needs
            fitting = [a for a in self.eligible(request) if self.fits(request, a.id, self.usable(a.id))]
            if not fitting and brief:
                fitting = [a for a in self.eligible(request) if self.fits(request, a.id, self.free[a.id])][:1]
            if not fitting:
                self.free, self.later, self.on = before, before_later, before_on
                return None
            ranks = {agent.id: rank(self.agents.index(agent), self.usable(agent.id)) for agent in fitting}
            best = [agent for agent in fitting if ranks[agent.id] == min(ranks.values())][:TIES]
            having = [agent for agent in best if request.image_id in agent.images]
            agent = (having if having and ranking.prefer_cached_images else best)[0]
            self.free[agent.id] = _less(self.free[agent.id], needs)
            if agent.id in self.later and not brief:
                self.later[agent.id] = _less(self.later[agent.id], needs)
            if self.on[agent.id] and self.column >= 0:
                _allot(self.on[agent.id], needs[self.column])
            chosen.append(agent.id)
        for scope, slot, amount in self.charges(request):
            self._used[scope, slot] += amount
        return tuple(chosen)

    def usable(self, agent: str) -> list[int]:
        """What a session may use that runs for long."""
        return [
            min(pair) for pair in zip(self.free[agent], self.later.get(agent, self.free[agent]), strict=True)
        ]

    def reserve(self, request: Request) -> None:
        """Look at every moment at which something ends, the first one first."""
        needs = request.shape.needs
        capacities = [agent.capacity for agent in self.eligible(request)]
        empty = sum(_kernels(needs, capacity) for capacity in capacities)
        if self.judged or self.limit_in_the_way(request) or empty < request.kernels:
            return
        self.judged = True
        ends = [(kernel.remaining, kernel.agent, kernel.held) for kernel in self.running]
        for placed in self.requests:
            agents = self.placements.get(placed.session_id, ())
            ends += [(placed.max_duration, agent, placed.shape.needs) for agent in agents]
        for moment in sorted({remaining for remaining, _, _ in ends if remaining is not None}):
            rows = {agent: list(row) for agent, row in self.free.items()}
            for remaining, agent, held in ends:
                if remaining is not None and remaining <= moment:
                    rows[agent] = [a + b for a, b in zip(rows[agent], held, strict=True)]
            room = {agent.id: _kernels(needs, rows[agent.id]) for agent in self.eligible(request)}
            if sum(room.values()) >= request.kernels:
                self.head, self.starts_in, left = request.session_id, moment, request.kernels
                for agent, count in room.items():
                    if min(count, left):
                        self.later[agent] = _less(
                            rows[agent], [min(count, left) * amount for amount in needs]
                        )
                        left -= min(count, left)
                return

    def eligible(self, request: Request) -> list[AgentView]:
        shape = request.shape
        return [
            agent
            for agent in self.agents
            if (agent.architecture in shape.architectures or not shape.architectures)
            and (shape.designated is None or agent.id in shape.designated)
        ]

    def charges(self, request: Request) -> list[tuple[str, str, int]]:
        result: list[tuple[str, str, int]] = []
        for scope in request.scopes:
            for limit in self.snapshot.limits:
                if limit.scope == scope:
                    amounts = dict(zip(self.slots, request.shape.needs, strict=True))
                    asked = 1 if limit.slot == SESSIONS else amounts.get(limit.slot, 0) * request.kernels
                    if asked > 0:
                        result.append((scope, limit.slot, asked))
        return result

    def with_devices(self, row: Sequence[int], on: Sequence[int] | None) -> tuple[int, ...]:
        """A row of an agent, or of needs (None), with what single devices have, where agents tell of them."""
        if self.column < 0:
            return tuple(row)
        if on is None:
            amount = row[self.column]
            return (
                *row,
                *((amount, 0, 0) if amount < 1000 else (0, 0, amount) if amount % 1000 else (0, amount, 0)),
            )
        if not on:
            return (*row, 2**60, 2**60, 2**60)
        whole = 1000 * sum(free >= 1000 for free in on)
        return (*row, max(on), whole, whole + max([free for free in on if free < 1000], default=0))

    def limit_in_the_way(self, request: Request) -> LimitReached | None:
        caps = {(limit.scope, limit.slot): limit.cap for limit in self.snapshot.limits}
        for scope, slot, asked in self.charges(request):
            cap = caps[scope, slot]
            used = self._used[scope, slot]
            if cap is not None and used + asked > cap:
                return LimitReached(scope=scope, slot=slot, asked=asked, used=used, cap=cap)
        return None

    def reason(self, request: Request) -> Reason:
        limit = self.limit_in_the_way(request)
        if limit:
            return limit
        if not self.agents:
            return NoAgents(resource_group=self.resource_group, agents=len(self.members))
        designated = request.shape.designated
        chosen = [agent for agent in self.agents if designated is None or agent.id in designated]
        if not chosen:
            return DesignatedAgentsUnavailable(
                resource_group=self.resource_group, agents=tuple(sorted(designated or ()))
            )
        eligible = self.eligible(request)
        if not eligible:
            return WrongArchitecture(
                accepted=tuple(sorted(request.shape.architectures)),
                available=tuple(sorted({agent.architecture for agent in chosen})),
            )
        needs = self.with_devices(request.shape.needs, None)
        free = {agent.id: self.with_devices(self.free[agent.id], self.on[agent.id]) for agent in eligible}
        capacity = {
            agent.id: self.with_devices(agent.capacity, [1000] * len(self.on[agent.id])) for agent in eligible
        }
        fitting = sum(_kernels(needs, free[agent.id]) for agent in eligible)
        at_most = sum(_kernels(needs, capacity[agent.id]) for agent in eligible)
        if fitting >= request.kernels:
            return Reserved(session=self.head, starts_in=self.starts_in or 0)
        if fitting:
            return GangDoesNotFit(
                kernels=request.kernels,
                fitting=fitting,
                at_most=min(at_most, request.kernels),
                never=at_most < request.kernels,
            )
        rows = capacity if at_most == 0 else free
        nearest = min(eligible, key=lambda agent: max(_lacks(needs, rows[agent.id])))
        lacks = _lacks(needs, rows[nearest.id])
        column = lacks.index(max(lacks))
        return NoAgentFits(
            slot=(*self.slots, *[self.device_slot] * 3)[column],
            asked=needs[column],
            free=free[nearest.id][column],
            largest_free=max(row[column] for row in free.values()),
            largest_capacity=max(row[column] for row in capacity.values()),
            never=at_most == 0,
        )


def _device_room(on: Sequence[int], amount: int) -> bool:
    """Whole devices for the whole part, and one more with the rest."""
    whole, rest = divmod(amount, 1000)
    empty = sum(free >= 1000 for free in on)
    return empty >= whole and (not rest or empty > whole or any(rest <= free < 1000 for free in on))


def _allot(on: list[int], amount: int) -> None:
    whole, rest = divmod(amount, 1000)
    if rest:
        partly = [device for device, free in enumerate(on) if rest <= free < 1000]
    for device, free in enumerate(on):
        if whole and free >= 1000:
            on[device], whole = 0, whole - 1
    if rest:
        empty = [device for device, free in enumerate(on) if free >= 1000]
        device = min(partly, key=lambda one: on[one]) if partly else empty[0]
        on[device] -= rest


def _fits(needs: Sequence[int], row: Sequence[int]) -> bool:
    return all(amount <= have for amount, have in zip(needs, row, strict=True) if amount)


def _less(row: Sequence[int], taken: Sequence[int]) -> list[int]:
    return [have - amount for have, amount in zip(row, taken, strict=True)]


def _kernels(needs: Sequence[int], row: Sequence[int]) -> int:
    rooms = [have // amount for amount, have in zip(needs, row, strict=True) if amount]
    return max(0, min(rooms, default=10**9))


def _lacks(needs: Sequence[int], row: Sequence[int]) -> list[Fraction]:
    """A part of what is asked, a slot; what is not asked for lacks least of all."""
    return [
        Fraction(amount - have, amount) if amount else Fraction(-(10**9))
        for amount, have in zip(needs, row, strict=True)
    ]
