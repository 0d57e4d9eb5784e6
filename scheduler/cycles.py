"""The cycle of one resource group in plain Python, with any plug-ins."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from scheduler import explanations
from scheduler.candidates import Candidates, Index, Pool, used_of
from scheduler.explanations import Survey
from scheduler.faults import PluginFault
from scheduler.limits import Charge, Ledger
from scheduler.plan import Reason, SchedulerFailed, Waiting
from scheduler.protocols import Placer, Sequencer
from scheduler.reservations import Ends, Reservation, fits_when_empty, reserve
from scheduler.sequencers import oldest_first
from scheduler.snapshot import AgentView, Request, Row, Running, Shape


class _Kind:
    """Requests of the same shape, number of kernels and scopes: what holds for one of them holds for all."""

    __slots__ = ("candidates", "charges", "refused")

    def __init__(self, candidates: Candidates, charges: list[Charge]) -> None:
        self.candidates = candidates
        self.charges = charges
        self.refused = False


#: The last: whether it ends before any reservation begins.
_KindKey = tuple[Shape, int, tuple[str, ...], bool]


class Members(NamedTuple):
    """The agents of one resource group."""

    #: Those that take work, in order of architecture and id.
    at_work: tuple[AgentView, ...]
    #: How many there are, those included that take none.
    members: int
    #: What runs on those that take work.
    running: tuple[Running, ...]


class GroupCycle:
    """One resource group in one cycle; it is the `Cycle` that plug-ins read."""

    def __init__(
        self,
        resource_group: str,
        slots: tuple[str, ...],
        members: Members,
        requests: Sequence[Request],
        ledger: Ledger,
        *,
        device_slot: str,
        backfill: bool,
    ) -> None:
        self.resource_group = resource_group
        self.slots = slots
        self.requests: Sequence[Request] = requests
        self.agents: Sequence[AgentView] = members.at_work
        self.running: Sequence[Running] = members.running
        self._members = members.members
        self._placements: dict[str, tuple[str, ...]] = {}
        self._ledger = ledger
        self.device_slot = device_slot
        self._pool = Pool(self.agents, slots, device_slot)
        self._kinds: dict[_KindKey, _Kind] = {}
        self._queue: list[Request] = []
        self._reasons: dict[tuple[Shape, int, tuple[str, ...]], Reason] = {}
        self._places: dict[tuple[Shape, int], Reason] = {}
        self._failure: SchedulerFailed | None = None
        self._backfill = backfill
        self._reservation: Reservation | None = None
        #: No session has had to wait for room yet.
        self._open = True
        #: Of what this cycle has placed until then: seconds, agent, what a kernel holds.
        self._ends: list[tuple[int, int, Row]] = []

    def devices(self, agent: int) -> Sequence[int]:
        return self._pool.devices[agent]

    def placed(self, session_id: str) -> bool:
        return session_id in self._placements

    def used(self, scope: str, slot: str) -> int:
        return self._ledger.used_of(scope, slot)

    def run(self, sequencer: Sequencer, placer: Placer) -> None:
        """Place what can be placed. Where a plug-in fails, nothing of this group is, and limits are as before."""
        try:
            index = _prepare(placer, self, self._pool)
            for request in _turns(sequencer, self):
                if not self._decide(request, index):
                    self._queue.append(request)
        except PluginFault as fault:
            self.fail(SchedulerFailed(plugin=fault.plugin, message=fault.message))

    def fail(self, failure: SchedulerFailed) -> None:
        """Take everything back: all its sessions wait, oldest first, for the same reason."""
        for request in self.requests:
            if request.session_id in self._placements:
                self._ledger.add(self._charges(request), sign=-1)
        self._placements = {}
        self._failure = failure
        self._queue = sorted(self.requests, key=oldest_first)

    def placements(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return iter(self._placements.items())

    def placed_requests(self) -> Iterator[tuple[Request, tuple[str, ...]]]:
        for request in self.requests if self._placements else ():
            agents = self._placements.get(request.session_id)
            if agents is not None:
                yield request, agents

    @property
    def left(self) -> int:
        return len(self._queue)

    def waiting(self, first: int = 0, last: int | None = None) -> Iterator[tuple[str, Waiting]]:
        for position, request in enumerate(self._queue[first:last], first + 1):
            yield request.session_id, self._waiting(position, request)

    def among(self, session_ids: Collection[str]) -> Iterator[tuple[str, Waiting]]:
        for position, request in enumerate(self._queue, 1):
            if request.session_id in session_ids:
                yield request.session_id, self._waiting(position, request)

    def heads(self, count: int) -> Iterator[tuple[Request, Waiting]]:
        for position, request in enumerate(self._queue[:count], 1):
            yield request, self._waiting(position, request)

    def _waiting(self, position: int, request: Request) -> Waiting:
        if self._failure:
            return Waiting(position, self._failure)
        key = (request.shape, request.kernels, request.scopes)
        reason = self._reasons.get(key)
        if reason is None:
            reason = self._reasons[key] = self._reason(request)
        return Waiting(position, reason, self._starts_in(request))

    def _decide(self, request: Request, index: Index) -> bool:
        brief = self._reservation is not None and self._reservation.outlives(request)
        key = (request.shape, request.kernels, request.scopes, brief)
        kind = self._kinds.get(key)
        if kind is None:
            candidates = index.of(request.shape)
            kind = self._kinds[key] = _Kind(candidates, self._charges(request))
        if kind.refused:
            return False
        candidates = kind.candidates
        kernels = request.kernels
        if kernels >= candidates.hopeless[brief] or self._ledger.shortage(kind.charges):
            kind.refused = True
            return False
        chosen = candidates.place(kernels, index.having(request.image_id), brief=brief)
        if chosen is None:
            kind.refused = True
            if self._open and self._backfill:
                self._reserve(request)
            return False
        self._ledger.add(kind.charges)
        agents = self.agents
        self._placements[request.session_id] = tuple([agents[agent].id for agent in chosen])
        if self._open and request.max_duration is not None:
            self._ends += [(request.max_duration, agent, request.shape.needs) for agent in chosen]
        return True

    def _reserve(self, request: Request) -> None:
        """Keep room for the first session that must wait for it, if it ever fits."""
        pool = self._pool
        eligible = pool.eligible(request.shape)
        needs, capacities = request.shape.needs, [self.agents[agent].capacity for agent in eligible]
        if not fits_when_empty(needs, request.kernels, capacities):
            return
        self._open = False
        position = {agent.id: place for place, agent in enumerate(self.agents)}
        for kernel in self.running:
            if kernel.remaining is not None:
                self._ends.append((kernel.remaining, position[kernel.agent], kernel.held))
        self._reservation = reserve(request, map(pool.plain, pool.rows), eligible, Ends.of(self._ends))
        if self._reservation:
            pool.reserve(self._reservation.later)

    def _starts_in(self, request: Request) -> int | None:
        reserved = self._reservation
        return reserved.starts_in if reserved and reserved.session_id == request.session_id else None

    def _charges(self, request: Request) -> list[Charge]:
        return self._ledger.charges(request.scopes, request.shape.needs, request.kernels)

    def _reason(self, request: Request) -> Reason:
        shape, kernels = request.shape, request.kernels
        limit = self._ledger.shortage(self._charges(request))
        if limit is not None:
            return self._ledger.reason(limit)
        place = self._places.get((shape, kernels))
        if place is None:
            place = self._places[shape, kernels] = self._no_place(shape, kernels)
        return place

    def _no_place(self, shape: Shape, kernels: int) -> Reason:
        pool = self._pool
        eligible = pool.eligible(shape)

        def survey() -> Survey:
            free = [pool.now(agent) for agent in eligible]
            capacity = [pool.capacity(agent) for agent in eligible]
            return explanations.survey(used_of(pool.needs(shape)), free, capacity, kernels)

        return explanations.why_no_place(
            pool.agents,
            eligible,
            self._members,
            pool.slots,
            self.resource_group,
            shape,
            pool.needs(shape),
            kernels,
            self._reservation,
            survey,
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
