"""What the scheduler sees: the agents, the waiting requests and the limits of one moment, all of it immutable.

Amounts are integers and never negative where they are asked for or allowed: milli-units for what is counted, bytes
for memory. The scheduler never looks at the unit. Amounts of an agent or a shape stand in one row, in the order of
`Snapshot.slots`, so that all agents together are an integer matrix.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

import msgspec

from scheduler.queues import Queue, Request, Row, Shape

#: The pseudo-slot by which a limit counts sessions; it is never part of a row.
SESSIONS: Final = "sessions"


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """A node. `capacity` and `free` have one amount a slot.

    `free` is capacity less what is taken; it is negative where an agent reports less than what it already runs.
    """

    id: str
    resource_group: str
    architecture: str
    #: False while it is drained, lost or switched off: it takes no new work.
    schedulable: bool = True
    capacity: Row
    free: Row
    images: frozenset[str] = frozenset()
    #: What each device has free of `Snapshot.device_slot`; None: not told.
    devices: Row | None = None


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a live kernel holds of its agent; the agent's `free` is already less by it.

    Optional: without it fair shares count only what a cycle places itself, and nothing is known of when room comes.
    """

    agent: str
    held: Row
    user: str = ""
    group: str = ""
    #: Seconds until it is ended; None: nobody knows.
    remaining: int | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a slot, or how many `sessions`, a scope may have at once. `cap` None: unlimited."""

    scope: str
    slot: str
    used: int = 0
    cap: int | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything that a plan is made from. Two equal snapshots give equal plans.

    Raises:
        ValueError: an id is there twice, a row has another length than `slots`, an amount that is asked for is
            negative, a request has no kernel, or a kernel runs on an unknown agent. Each would otherwise turn up as
            an oversold agent.
    """

    slots: tuple[str, ...]
    agents: tuple[AgentView, ...] = ()
    #: What waits, in no particular order.
    queue: Queue = msgspec.field(default_factory=Queue)
    limits: tuple[Limit, ...] = ()
    running: tuple[Running, ...] = ()
    #: The slot that devices give in fractions, of which agents may tell by device. See `scheduler.devices`.
    device_slot: str = ""
    #: Who made it has looked at each part when it came, so that it need not be done for all of them each time.
    sound: bool = False

    def __post_init__(self) -> None:
        if not self.sound:
            self._check()

    def _check(self) -> None:
        _unique("slot", self.slots)
        _unique("agent", [agent.id for agent in self.agents])
        _unique("limit", [(limit.scope, limit.slot) for limit in self.limits])
        width = len(self.slots)
        for agent in self.agents:
            if len(agent.capacity) != width or len(agent.free) != width:
                raise ValueError(f"agent {agent.id!r}: its rows must have {width} amounts")
        for shape in self.queue.shapes:
            if len(shape.needs) != width or min(shape.needs, default=0) < 0:
                raise ValueError(f"a shape must have {width} amounts, none negative: {shape.needs}")
        self._check_queue()
        known = {agent.id for agent in self.agents} if self.running else set[str]()
        for kernel in self.running:
            if len(kernel.held) != width or kernel.agent not in known:
                raise ValueError(f"what runs on {kernel.agent!r} must have {width} amounts and a known agent")

    def _check_queue(self) -> None:
        queue = self.queue
        _unique("session", queue.session_ids)
        if min(queue.kernels, default=1) < 1:
            session_id = next(
                one for one, kernels in zip(queue.session_ids, queue.kernels, strict=True) if kernels < 1
            )
            raise ValueError(f"session {session_id!r} has no kernel")

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """The queue as objects, made when first asked for."""
        return self.queue.requests()

    def requests_of(self, resource_group: str) -> tuple[Request, ...]:
        return self._requests_by_group.get(resource_group, ())

    @cached_property
    def _requests_by_group(self) -> dict[str, tuple[Request, ...]]:
        groups: dict[str, list[Request]] = {}
        for request in self.requests:
            groups.setdefault(request.resource_group, []).append(request)
        return {name: tuple(requests) for name, requests in groups.items()}


class SnapshotBuilder:
    """Makes a snapshot from rows whose amounts are dictionaries, as they are stored.

    The slots of the snapshot are all names that occur with an agent or a request, so that a slot which no agent has
    is simply one of which there is none. Equal shapes become one object. Cost: about two microseconds a request.
    """

    def __init__(self, device_slot: str = "") -> None:
        self._device_slot = device_slot
        self._slots: set[str] = set()
        self._agents: list[tuple[AgentView, Mapping[str, int], Mapping[str, int]]] = []
        #: Its shapes are missing until the names of all slots are known.
        self._queue = Queue()
        self._shapes: dict[tuple[object, ...], int] = {}
        self._drafts: list[tuple[Mapping[str, int], frozenset[str], frozenset[str] | None]] = []
        self._limits: list[Limit] = []
        self._running: list[tuple[Running, Mapping[str, int]]] = []

    def agent(
        self,
        agent_id: str,
        *,
        resource_group: str,
        architecture: str,
        capacity: Mapping[str, int],
        used: Mapping[str, int],
        schedulable: bool = True,
        images: Iterable[str] = (),
        devices: Iterable[int] | None = None,
    ) -> None:
        """Add a node; `used` is what live kernels have of it (its occupancy), `devices` what each device has free."""
        self._slots.update(capacity)
        view = AgentView(
            id=agent_id,
            resource_group=resource_group,
            architecture=architecture,
            schedulable=schedulable,
            capacity=(),
            free=(),
            images=frozenset(images),
            devices=None if devices is None else tuple(devices),
        )
        self._agents.append((view, capacity, used))

    def request(
        self,
        session_id: str,
        *,
        resource_group: str,
        slots: Mapping[str, int],
        kernels: int = 1,
        architectures: Iterable[str] = (),
        image_id: str = "",
        designated: Iterable[str] | None = None,
        scopes: Iterable[str] = (),
        queued: int = 0,
        priority: int = 0,
        user: str = "",
        group: str = "",
        max_duration: int | None = None,
    ) -> None:
        """Add a waiting session; `slots` is what one kernel needs, `max_duration` is in seconds."""
        if isinstance(architectures, str) or isinstance(designated, str) or isinstance(scopes, str):
            raise TypeError("architectures, designated and scopes are collections of strings")
        accepted = frozenset(architectures)
        chosen = None if designated is None else frozenset(designated)
        key = (tuple(slots.items()), accepted, chosen)
        shape = self._shapes.setdefault(key, len(self._drafts))
        if shape == len(self._drafts):
            self._slots.update(slots)
            self._drafts.append((slots, accepted, chosen))
        self._queue.add(
            session_id,
            resource_group,
            shape,
            kernels,
            image_id,
            tuple(scopes),
            queued,
            priority,
            user,
            group,
            max_duration,
        )

    def running(
        self,
        agent_id: str,
        *,
        slots: Mapping[str, int],
        user: str = "",
        group: str = "",
        remaining: int | None = None,
    ) -> None:
        """Add a live kernel of an agent that has been added; `remaining` is in seconds."""
        self._slots.update(slots)
        kernel = Running(agent=agent_id, held=(), user=user, group=group, remaining=remaining)
        self._running.append((kernel, slots))

    def limit(self, scope: str, slot: str, *, used: int, cap: int | None) -> None:
        """Add what a scope has of a slot (or of `SESSIONS`) and may have at most."""
        self._limits.append(Limit(scope=scope, slot=slot, used=used, cap=cap))

    def build(self) -> Snapshot:
        names = tuple(sorted(self._slots))
        self._queue.shapes = [
            Shape(row_of(names, amounts), architectures, designated)
            for amounts, architectures, designated in self._drafts
        ]
        return Snapshot(
            slots=names,
            device_slot=self._device_slot,
            agents=tuple([with_rows(names, *entry) for entry in self._agents]),
            queue=self._queue,
            limits=tuple(self._limits),
            running=tuple(
                [
                    msgspec.structs.replace(kernel, held=row_of(names, slots))
                    for kernel, slots in self._running
                ]
            ),
        )


def row_of(names: Sequence[str], amounts: Mapping[str, int]) -> Row:
    return tuple([amounts.get(name, 0) for name in names])


def with_rows(
    names: Sequence[str], view: AgentView, capacity: Mapping[str, int], used: Mapping[str, int]
) -> AgentView:
    row = row_of(names, capacity)
    free = tuple([most - taken for most, taken in zip(row, row_of(names, used), strict=True)])
    return msgspec.structs.replace(view, capacity=row, free=free)


def _unique(what: str, ids: Sequence[Hashable]) -> None:
    if len(set(ids)) != len(ids):
        seen: set[Hashable] = set()
        twice = next(one for one in ids if one in seen or seen.add(one))
        raise ValueError(f"{what} {twice!r} is there twice")
