"""What the scheduler sees: the agents, the waiting requests and the limits of one moment, all of it immutable.

Amounts are integers and never negative where they are asked for or allowed: milli-units for what is counted, bytes
for memory. The scheduler never looks at the unit. Amounts of an agent or a shape stand in one row, in the order of
`Snapshot.slots`, so that all agents together are an integer matrix.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

#: The pseudo-slot by which a limit counts sessions; it is never part of a row.
SESSIONS: Final = "sessions"

Row = tuple[int, ...]


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


class Shape(msgspec.Struct, frozen=True, cache_hash=True):
    """What one kernel needs of the agent under it. Requests of the same shape share all the work of placing."""

    needs: Row
    #: Any of these will do; empty: every architecture.
    architectures: frozenset[str] = frozenset()
    #: Only these agents, chosen by an admin; None: every agent of the resource group.
    designated: frozenset[str] | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A session that waits: `kernels` kernels of one shape, placed all or none."""

    session_id: str
    resource_group: str
    shape: Shape
    kernels: int = 1
    #: Among agents that are as good, those that have it are taken first. Empty: it makes no difference.
    image_id: str = ""
    #: Whose limits it counts against, in the order in which they are checked and named: keypair, group, domain.
    scopes: tuple[str, ...] = ()
    #: Rises with the time since when it waits (such as microseconds); ties go by session id.
    queued: int = 0
    #: Higher goes first.
    priority: int = 0
    #: Whose fair share it counts against.
    user: str = ""
    group: str = ""
    #: It is ended after so many seconds; None: it may run for ever.
    max_duration: int | None = None


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


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a plan is made from. Two equal snapshots give equal plans.

    Raises:
        ValueError: an id is there twice, a row has another length than `slots`, an amount that is asked for is
            negative, a request has no kernel, or a kernel runs on an unknown agent. Each would otherwise turn up as
            an oversold agent.
    """

    slots: tuple[str, ...]
    agents: tuple[AgentView, ...] = ()
    requests: tuple[Request, ...] = ()
    limits: tuple[Limit, ...] = ()
    running: tuple[Running, ...] = ()

    def __post_init__(self) -> None:
        _unique("slot", self.slots)
        _unique("agent", [agent.id for agent in self.agents])
        _unique("session", [request.session_id for request in self.requests])
        _unique("limit", [f"{limit.scope} {limit.slot}" for limit in self.limits])
        width = len(self.slots)
        for agent in self.agents:
            if len(agent.capacity) != width or len(agent.free) != width:
                raise ValueError(f"agent {agent.id!r}: its rows must have {width} amounts")
        for shape in {request.shape for request in self.requests}:
            if len(shape.needs) != width or min(shape.needs, default=0) < 0:
                raise ValueError(f"a shape must have {width} amounts, none negative: {shape.needs}")
        known = {agent.id for agent in self.agents}
        for kernel in self.running:
            if len(kernel.held) != width or kernel.agent not in known:
                raise ValueError(f"what runs on {kernel.agent!r} must have {width} amounts and a known agent")
        for request in self.requests:
            if request.kernels < 1:
                raise ValueError(f"session {request.session_id!r} has no kernel")


class SnapshotBuilder:
    """Makes a snapshot from rows whose amounts are dictionaries, as they are stored.

    The slots of the snapshot are all names that occur with an agent or a request, so that a slot which no agent has
    is simply one of which there is none. Equal shapes become one object. Cost: about two microseconds a request.
    """

    def __init__(self) -> None:
        self._slots: set[str] = set()
        self._agents: list[tuple[AgentView, Mapping[str, int], Mapping[str, int]]] = []
        #: A request's shape is still its number in `_shapes` here: rows need all slot names.
        self._requests: list[
            tuple[int, str, str, int, str, tuple[str, ...], int, int, str, str, int | None]
        ] = []
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
    ) -> None:
        """Add a node; `used` is what live kernels have of it (its occupancy)."""
        self._slots.update(capacity)
        view = AgentView(
            id=agent_id,
            resource_group=resource_group,
            architecture=architecture,
            schedulable=schedulable,
            capacity=(),
            free=(),
            images=frozenset(images),
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
        self._requests.append(
            (
                shape,
                session_id,
                resource_group,
                kernels,
                image_id,
                tuple(scopes),
                queued,
                priority,
                user,
                group,
                max_duration,
            )
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
        shapes = [
            Shape(_row(names, amounts), architectures, designated)
            for amounts, architectures, designated in self._drafts
        ]
        return Snapshot(
            slots=names,
            agents=tuple([_with_rows(names, *entry) for entry in self._agents]),
            requests=tuple(
                [
                    Request(
                        session_id=session_id,
                        resource_group=resource_group,
                        shape=shapes[shape],
                        kernels=kernels,
                        image_id=image_id,
                        scopes=scopes,
                        queued=queued,
                        priority=priority,
                        user=user,
                        group=group,
                        max_duration=max_duration,
                    )
                    for (
                        shape,
                        session_id,
                        resource_group,
                        kernels,
                        image_id,
                        scopes,
                        queued,
                        priority,
                        user,
                        group,
                        max_duration,
                    ) in self._requests
                ]
            ),
            limits=tuple(self._limits),
            running=tuple(
                [msgspec.structs.replace(kernel, held=_row(names, slots)) for kernel, slots in self._running]
            ),
        )


def _row(names: Sequence[str], amounts: Mapping[str, int]) -> Row:
    return tuple([amounts.get(name, 0) for name in names])


def _with_rows(
    names: Sequence[str], view: AgentView, capacity: Mapping[str, int], used: Mapping[str, int]
) -> AgentView:
    row = _row(names, capacity)
    free = tuple([most - taken for most, taken in zip(row, _row(names, used), strict=True)])
    return msgspec.structs.replace(view, capacity=row, free=free)


def _unique(what: str, ids: Sequence[str]) -> None:
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(one for one in ids if one in seen or seen.add(one))
        raise ValueError(f"{what} {twice!r} is there twice")
