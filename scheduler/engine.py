"""The cycle: a snapshot in, a plan out.

1. for each resource group, by id: its agents that take work, its waiting requests
2. the sequencer says whose turn it is
3. limits: would a scope have too much?                     ┐ what was refused once is refused
4. candidates: the placer's best agent for each kernel      ┘ to the end of the cycle, unasked
5. what is placed counts at once, against agents and limits
6. at the end, a reason for each request that waits, from the state that is left
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from scheduler import explanations, limits
from scheduler.candidates import Candidates, Index, Pool
from scheduler.faults import PluginFault
from scheduler.limits import Charge, Ledger
from scheduler.plan import Plan, Reason, SchedulerFailed, Waiting
from scheduler.protocols import Placer, Sequencer
from scheduler.snapshot import AgentView, Request, Running, Shape, Snapshot


class Scheduler(msgspec.Struct, frozen=True):
    """How one resource group is scheduled."""

    sequencer: Sequencer
    placer: Placer


def plan(snapshot: Snapshot, schedulers: Mapping[str, Scheduler | SchedulerFailed]) -> Plan:
    """Decide about every waiting session.

    Args:
        schedulers: for each resource group that has requests; a `SchedulerFailed` (such as of a plug-in that could
            not be loaded) is what all its sessions then wait for.

    Raises:
        ValueError: a resource group with requests has no scheduler.
    """
    ledger = Ledger(snapshot.slots, snapshot.limits)
    agents: dict[str, list[AgentView]] = {}
    for agent in snapshot.agents:
        agents.setdefault(agent.resource_group, []).append(agent)
    requests: dict[str, list[Request]] = {}
    for request in snapshot.requests:
        requests.setdefault(request.resource_group, []).append(request)
    group_of = {agent.id: agent.resource_group for agent in snapshot.agents}
    running: dict[str, list[Running]] = {}
    for kernel in snapshot.running:
        running.setdefault(group_of[kernel.agent], []).append(kernel)
    placements: dict[str, tuple[str, ...]] = {}
    waiting: dict[str, Waiting] = {}
    for name in sorted(requests):
        scheduler = schedulers.get(name)
        if scheduler is None:
            raise ValueError(f"no scheduler for the resource group {name!r}")
        cycle = GroupCycle(
            name, snapshot.slots, agents.get(name, []), requests[name], running.get(name, []), ledger
        )
        cycle.run(scheduler)
        placements.update(cycle.placements)
        waiting.update(cycle.explain())
    return Plan(placements=placements, waiting=waiting)


class _Kind:
    """Requests of the same shape, number of kernels and scopes: what holds for one of them holds for all."""

    __slots__ = ("candidates", "charges", "refused")

    def __init__(self, candidates: Candidates, charges: list[Charge]) -> None:
        self.candidates = candidates
        self.charges = charges
        self.refused = False


_KindKey = tuple[Shape, int, tuple[str, ...]]


class GroupCycle:
    """One resource group in one cycle; it is the `Cycle` that plug-ins read."""

    def __init__(
        self,
        resource_group: str,
        slots: tuple[str, ...],
        agents: Sequence[AgentView],
        requests: Sequence[Request],
        running: Sequence[Running],
        ledger: Ledger,
    ) -> None:
        self.resource_group = resource_group
        self.slots = slots
        self.requests: Sequence[Request] = tuple(requests)
        self.agents: Sequence[AgentView] = tuple(
            sorted((agent for agent in agents if agent.schedulable), key=lambda agent: agent.id)
        )
        self.running: Sequence[Running] = tuple(running)
        self.placements: dict[str, tuple[str, ...]] = {}
        self._all_agents = len(agents)
        self._ledger = ledger
        self._pool = Pool(self.agents)
        self._kinds: dict[_KindKey, _Kind] = {}
        self._queue: list[Request] = []
        self._failure: SchedulerFailed | None = None

    def placed(self, session_id: str) -> bool:
        return session_id in self.placements

    def used(self, scope: str, slot: str) -> int:
        return self._ledger.used(scope, slot)

    def run(self, scheduler: Scheduler | SchedulerFailed) -> None:
        """Place what can be placed. Where a plug-in fails, nothing of this group is, and limits are as before."""
        if isinstance(scheduler, SchedulerFailed):
            self._fail(scheduler)
            return
        try:
            index = _prepare(scheduler.placer, self, self._pool)
            for request in _turns(scheduler.sequencer, self):
                if not self._decide(request, index):
                    self._queue.append(request)
        except PluginFault as fault:
            self._fail(SchedulerFailed(plugin=fault.plugin, message=fault.message))

    def explain(self) -> Iterator[tuple[str, Waiting]]:
        """(session, why it waits) for each that was not placed, in its order."""
        reasons: dict[_KindKey, Reason] = {}
        places: dict[tuple[Shape, int], Reason] = {}
        for position, request in enumerate(self._queue, 1):
            if self._failure:
                yield request.session_id, Waiting(position, self._failure)
                continue
            key = (request.shape, request.kernels, request.scopes)
            reason = reasons.get(key)
            if reason is None:
                reason = reasons[key] = self._explain(request, places)
            yield request.session_id, Waiting(position, reason)

    def _decide(self, request: Request, index: Index) -> bool:
        key = (request.shape, request.kernels, request.scopes)
        kind = self._kinds.get(key)
        if kind is None:
            candidates = index.of(request.shape)
            kind = self._kinds[key] = _Kind(candidates, self._ledger.charges(request))
        if kind.refused:
            return False
        candidates = kind.candidates
        kernels = request.kernels
        hopeless = candidates.hopeless
        if (hopeless is not None and kernels >= hopeless) or limits.shortage(kind.charges):
            kind.refused = True
            return False
        chosen = candidates.place(kernels, index.having(request.image_id))
        if chosen is None:
            kind.refused = True
            return False
        limits.add(kind.charges)
        agents = self.agents
        self.placements[request.session_id] = tuple([agents[agent].id for agent in chosen])
        return True

    def _explain(self, request: Request, places: dict[tuple[Shape, int], Reason]) -> Reason:
        key = (request.shape, request.kernels, request.scopes)
        limit = limits.shortage(self._kinds[key].charges)
        if limit is not None:
            return limit
        place = places.get((request.shape, request.kernels))
        if place is None:
            place = places[request.shape, request.kernels] = explanations.why_no_place(
                self._pool, self.slots, self.resource_group, self._all_agents, request.shape, request.kernels
            )
        return place

    def _fail(self, failure: SchedulerFailed) -> None:
        for request in self.requests:
            if request.session_id in self.placements:
                limits.add(self._ledger.charges(request), sign=-1)
        self.placements = {}
        self._failure = failure
        self._queue = sorted(
            self.requests, key=lambda request: (-request.priority, request.queued, request.session_id)
        )


def _prepare(placer: Placer, cycle: GroupCycle, pool: Pool) -> Index:
    try:
        return Index(pool, placer.prepare(cycle), placer)
    except Exception as error:
        raise PluginFault.raised("placer", placer, error) from error


def _turns(sequencer: Sequencer, cycle: GroupCycle) -> Iterator[Request]:
    """The requests as the sequencer gives them, held to its contract: each once, none left out."""
    left = {request.session_id: request for request in cycle.requests}
    turns = _start(sequencer, cycle)
    while True:
        try:
            request = next(turns, None)
            known = request is None or left.pop(request.session_id, None) is request
        except Exception as error:
            raise PluginFault.raised("sequencer", sequencer, error) from error
        if request is None:
            break
        if not known:
            problem = f"it gave {request.session_id!r} twice, or made it up"
            raise PluginFault("sequencer", sequencer, problem)
        yield request
    if left:
        raise PluginFault("sequencer", sequencer, f"it left out {len(left)} sessions, such as {min(left)!r}")


def _start(sequencer: Sequencer, cycle: GroupCycle) -> Iterator[Request]:
    try:
        return iter(sequencer.order(cycle))
    except Exception as error:
        raise PluginFault.raised("sequencer", sequencer, error) from error
