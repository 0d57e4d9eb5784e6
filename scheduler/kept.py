"""A snapshot that is made again and again, each time at the cost of what has changed since.

A dispatcher that is told of each session that comes and goes need not read all the others anew. The sessions stand in
columns as in every snapshot; a new one comes last, and where one goes the last takes its place. A snapshot gets copies
of the columns, so that it stays as it is: some two milliseconds for 100,000 sessions.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from scheduler.queues import Queue, Shape
from scheduler.snapshot import AgentView, Limit, Running, Snapshot, row_of, with_rows

Amounts = Mapping[str, int]

#: Shapes that no session has any more are kept until there are so many more of them than of the others.
_SLACK: Final = 64


class _Shapes:
    """The shapes of sessions, by number; rows are made when the slots are known."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[object, ...], int] = {}
        self.drafts: list[tuple[Amounts, frozenset[str], frozenset[str] | None]] = []
        self.sessions: list[int] = []
        self.made: list[Shape] = []

    def number(self, slots: Amounts, architectures: frozenset[str], designated: frozenset[str] | None) -> int:
        key = (tuple(slots.items()), architectures, designated)
        found = self.numbers.setdefault(key, len(self.drafts))
        if found == len(self.drafts):
            if min(slots.values(), default=0) < 0:
                raise ValueError(f"amounts must not be negative: {dict(slots)}")
            self.drafts.append((slots, architectures, designated))
            self.sessions.append(0)
        return found

    def rows(self, names: Sequence[str]) -> list[Shape]:
        for slots, architectures, designated in self.drafts[len(self.made) :]:
            self.made.append(Shape(row_of(names, slots), architectures, designated))
        return self.made

    def compact(self) -> dict[int, int] | None:
        """Forget those that no session has, where they are many: old number → new."""
        alive = [number for number, sessions in enumerate(self.sessions) if sessions]
        if len(self.drafts) - len(alive) <= len(alive) + _SLACK:
            return None
        moved = {old: new for new, old in enumerate(alive)}
        self.numbers = {key: moved[number] for key, number in self.numbers.items() if number in moved}
        self.drafts = [self.drafts[number] for number in alive]
        self.sessions = [self.sessions[number] for number in alive]
        self.made = []
        return moved


class KeptSnapshot:
    """As `SnapshotBuilder`, and what was added can be given anew or taken away."""

    def __init__(self, device_slot: str = "") -> None:
        self._device_slot = device_slot
        self._slots: set[str] = set()
        self._names: tuple[str, ...] = ()
        self._agents: dict[str, tuple[AgentView, Amounts, Amounts]] = {}
        #: With their rows.
        self._views: dict[str, AgentView] = {}
        self._queue = Queue()
        #: Session → its place in the columns.
        self._places: dict[str, int] = {}
        self._shapes = _Shapes()
        self._limits: dict[tuple[str, str], Limit] = {}
        #: Session → its kernels, and what each of them holds.
        self._held: dict[str, tuple[Amounts, tuple[Running, ...]]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._places)

    def __contains__(self, session_id: str) -> bool:
        """Does it wait?"""
        return session_id in self._places

    def agent(
        self,
        agent_id: str,
        *,
        resource_group: str,
        architecture: str,
        capacity: Amounts,
        used: Amounts,
        schedulable: bool = True,
        images: frozenset[str] = frozenset(),
        devices: Sequence[int] | None = None,
    ) -> None:
        """A node as it is now."""
        self._slots.update(capacity)
        view = AgentView(
            id=agent_id,
            resource_group=resource_group,
            architecture=architecture,
            schedulable=schedulable,
            capacity=(),
            free=(),
            images=images,
            devices=None if devices is None else tuple(devices),
        )
        self._agents[agent_id] = (view, capacity, used)
        self._views.pop(agent_id, None)

    def remove_agent(self, agent_id: str) -> None:
        """It is gone; what it runs is left out as long."""
        self._agents.pop(agent_id, None)
        self._views.pop(agent_id, None)

    def request(
        self,
        session_id: str,
        *,
        resource_group: str,
        slots: Amounts,
        kernels: int = 1,
        architectures: Iterable[str] = (),
        image_id: str = "",
        designated: Iterable[str] | None = None,
        scopes: tuple[str, ...] = (),
        queued: int = 0,
        priority: int = 0,
        user: str = "",
        group: str = "",
        max_duration: int | None = None,
    ) -> None:
        """A session that waits, as it is now. See `SnapshotBuilder.request`.

        Raises:
            ValueError: it has no kernel, or asks for a negative amount.
        """
        if kernels < 1:
            raise ValueError(f"session {session_id!r} has no kernel")
        self.withdraw(session_id)
        chosen = None if designated is None else frozenset(designated)
        shape = self._shapes.number(slots, frozenset(architectures), chosen)
        self._shapes.sessions[shape] += 1
        self._slots.update(slots)
        self._places[session_id] = len(self._queue)
        self._queue.add(
            session_id,
            resource_group,
            shape,
            kernels,
            image_id,
            scopes,
            queued,
            priority,
            user,
            group,
            max_duration,
        )

    def withdraw(self, session_id: str) -> None:
        """It waits no more, if it did."""
        place = self._places.pop(session_id, None)
        if place is None:
            return
        queue = self._queue
        self._shapes.sessions[queue.shape[place]] -= 1
        last = queue.session_ids[-1]
        queue.remove(place)
        if last != session_id:
            self._places[last] = place

    def hold(
        self, session_id: str, agents: Sequence[str], *, slots: Amounts, user: str = "", group: str = ""
    ) -> None:
        """What a session that runs holds: `slots` with each of its kernels; of no agents: nothing any more."""
        if not agents:
            self._held.pop(session_id, None)
            return
        self._slots.update(slots)
        kernels = tuple([Running(agent=agent, held=(), user=user, group=group) for agent in agents])
        self._held[session_id] = slots, self._with_rows(slots, kernels)

    def limit(self, scope: str, slot: str, *, used: int, cap: int | None) -> None:
        """What a scope has of a slot (or of `SESSIONS`) and may have at most."""
        self._limits[scope, slot] = Limit(scope=scope, slot=slot, used=used, cap=cap)

    def build(self, remaining: Mapping[str, int], *, most: int | None = None) -> Snapshot:
        """The snapshot of now.

        Args:
            remaining: session → seconds until what it runs is ended at the latest, where that is known.
            most: so many sessions at most: those of the highest priorities, and of these the first by id.
        """
        self._renew_rows()
        for agent_id, entry in self._agents.items():
            if agent_id not in self._views:
                self._views[agent_id] = with_rows(self._names, *entry)
        moved = self._shapes.compact()
        if moved:
            self._queue.shape = array("q", [moved[number] for number in self._queue.shape])
        self._queue.shapes = self._shapes.rows(self._names)
        return Snapshot(
            slots=self._names,
            device_slot=self._device_slot,
            agents=tuple(self._views.values()),
            queue=self._queue.copy() if most is None or len(self) <= most else self._first(most),
            limits=tuple(self._limits.values()),
            running=tuple(self._running(remaining)),
            sound=True,
        )

    def _renew_rows(self) -> None:
        """Where a slot has come, all rows are made anew."""
        if len(self._names) == len(self._slots):
            return
        self._names = tuple(sorted(self._slots))
        self._views, self._shapes.made = {}, []
        for session_id, (slots, kernels) in self._held.items():
            self._held[session_id] = slots, self._with_rows(slots, kernels)

    def _with_rows(self, slots: Amounts, kernels: Sequence[Running]) -> tuple[Running, ...]:
        row = row_of(self._names, slots)
        return tuple([msgspec.structs.replace(kernel, held=row) for kernel in kernels])

    def _running(self, remaining: Mapping[str, int]) -> Iterable[Running]:
        agents = self._agents
        for session_id, (_, kernels) in self._held.items():
            seconds = remaining.get(session_id)
            for kernel in kernels:
                if kernel.agent in agents:
                    yield kernel if seconds is None else msgspec.structs.replace(kernel, remaining=seconds)

    def _first(self, most: int) -> Queue:
        queue = self._queue.copy()
        keys = sorted(
            zip([-one for one in queue.priority], queue.session_ids, range(len(queue)), strict=True),
            key=itemgetter(0, 1),
        )
        made = Queue()
        made.shapes = queue.shapes[:]
        for _, session_id, place in keys[:most]:
            one = queue.request(place)
            made.add(
                session_id,
                one.resource_group,
                queue.shape[place],
                one.kernels,
                one.image_id,
                one.scopes,
                one.queued,
                one.priority,
                one.user,
                one.group,
                one.max_duration,
            )
        return made
