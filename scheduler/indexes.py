"""One resource group kept between cycles: told what changes, it decides about what that may have changed.

A plan looks at everything. Who is told of each session that comes and ends, as a dispatcher or a simulator is, need not:
while nothing ends, only new sessions can be placed. An index decides each time as a plan would on the same moment.
"""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from scheduler.cycles import Members
from scheduler.devices import allot
from scheduler.engine import Scheduler, members_of, plan
from scheduler.fast import Fast
from scheduler.queues import Queue, Request
from scheduler.snapshot import AgentView, Running, Snapshot

Placed = tuple[str, tuple[str, ...]]


class Index(Protocol):
    """Made of a snapshot: its agents that take work, limits, waiting sessions and what runs at second 0.

    Agents that come, go or change want a new index. Of what ran before only the end is known by itself.
    """

    def enqueue(self, request: Request) -> None:
        """A session begins to wait. Its slots are those of the snapshot."""
        ...

    def withdraw(self, session_id: str) -> None:
        """A waiting session waits no more."""
        ...

    def release(self, session_id: str) -> None:
        """A session that was placed here has ended: its agents and limits have their room back."""
        ...

    def decide(self, now: int) -> list[Placed]:
        """(session, agents) of those that are placed at a second, in the order of decisions."""
        ...


def open_index(
    snapshot: Snapshot, resource_group: str, scheduler: Scheduler, fast: Fast | None = None
) -> Index:
    """The compiled index where there is one for these plug-ins, else one that plans anew each time."""
    index = None
    if fast:
        index = fast.open_index(
            snapshot,
            members_of(snapshot).get(resource_group, Members((), 0, ())),
            snapshot.requests_of(resource_group),
            scheduler.sequencer,
            scheduler.placer,
            backfill=scheduler.backfill,
        )
    return index or PlainIndex(snapshot, resource_group, scheduler, fast)


class PlainIndex:
    """The obvious index, with any plug-ins: a snapshot and a plan each time."""

    def __init__(
        self, snapshot: Snapshot, resource_group: str, scheduler: Scheduler, fast: Fast | None = None
    ) -> None:
        self._snapshot = snapshot
        self._resource_group = resource_group
        self._scheduler = scheduler
        self._fast = fast
        self._waiting = {one.session_id: one for one in snapshot.requests_of(resource_group)}
        self._placed: dict[str, tuple[Request, tuple[str, ...], int | None]] = {}
        self._devices = {agent.id: list(agent.devices or ()) for agent in snapshot.agents}
        #: Session → for each kernel what each device gave.
        self._given: dict[str, list[list[int]]] = {}
        self._used = {(limit.scope, limit.slot): limit.used for limit in snapshot.limits}
        self._free = {agent.id: list(agent.free) for agent in snapshot.agents}

    def enqueue(self, request: Request) -> None:
        self._waiting[request.session_id] = request

    def withdraw(self, session_id: str) -> None:
        del self._waiting[session_id]

    def release(self, session_id: str) -> None:
        request, agents, _ = self._placed.pop(session_id)
        for agent, given in zip(agents, self._given.pop(session_id), strict=True):
            self._devices[agent] = [a + b for a, b in zip(self._devices[agent], given, strict=True)]
        self._count(request, agents, -1)

    def decide(self, now: int) -> list[Placed]:
        made = plan(self._now(now), {self._resource_group: self._scheduler}, self._fast)
        for session_id, agents in made.placements.items():
            request = self._waiting.pop(session_id)
            end = None if request.max_duration is None else now + request.max_duration
            self._placed[session_id] = request, agents, end
            self._given[session_id] = [self._give(request, agent) for agent in agents]
            self._count(request, agents, 1)
        return list(made.placements.items())

    def _give(self, request: Request, agent: str) -> list[int]:
        before, slot = list(self._devices[agent]), self._snapshot.device_slot
        if before and slot in self._snapshot.slots:
            allot(self._devices[agent], request.shape.needs[self._snapshot.slots.index(slot)])
        return [a - b for a, b in zip(before, self._devices[agent], strict=True)]

    def _count(self, request: Request, agents: tuple[str, ...], sign: int) -> None:
        needs = dict(zip(self._snapshot.slots, request.shape.needs, strict=True))
        for agent in agents:
            free = self._free[agent]
            free[:] = [have - sign * amount for have, amount in zip(free, request.shape.needs, strict=True)]
        for scope in request.scopes:
            for known, slot in self._used:
                if known == scope:
                    self._used[scope, slot] += sign * needs.get(slot, 0) * request.kernels
            if (scope, "sessions") in self._used:
                self._used[scope, "sessions"] += sign

    def _now(self, now: int) -> Snapshot:
        old = self._snapshot
        return Snapshot(
            slots=old.slots,
            agents=tuple(
                [
                    msgspec.structs.replace(
                        agent,
                        free=tuple(self._free[agent.id]),
                        devices=tuple(self._devices[agent.id]) if agent.devices else agent.devices,
                    )
                    for agent in self._members()
                ]
            ),
            queue=Queue.of(self._waiting.values()),
            limits=tuple(
                [
                    msgspec.structs.replace(limit, used=self._used[limit.scope, limit.slot])
                    for limit in old.limits
                ]
            ),
            running=tuple(self._running(now)),
            device_slot=old.device_slot,
        )

    def _members(self) -> list[AgentView]:
        return [agent for agent in self._snapshot.agents if agent.resource_group == self._resource_group]

    def _running(self, now: int) -> Iterator[Running]:
        members = {agent.id for agent in self._members()}
        for kernel in self._snapshot.running:
            if kernel.agent in members:
                remaining = None if kernel.remaining is None else kernel.remaining - now
                yield msgspec.structs.replace(kernel, remaining=remaining)
        for request, agents, end in self._placed.values():
            for agent in agents:
                yield Running(
                    agent=agent,
                    held=request.shape.needs,
                    user=request.user,
                    group=request.group,
                    remaining=None if end is None else end - now,
                )
