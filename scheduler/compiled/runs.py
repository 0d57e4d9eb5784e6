"""A run over waiting sessions: the loops, and the reservation at which they stop once."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from scheduler import reservations
from scheduler.compiled.jit import Ints, compiled
from scheduler.compiled.loops import Asks, Outcome, Parties, decide_by_shares, decide_in_order
from scheduler.compiled.tables import Classes, ragged
from scheduler.compiled.trees import Field, build, free_up, keep
from scheduler.explanations import Survey
from scheduler.queues import Row, Shape

#: The place in `Outcome.state` of: is a session that must wait for room to be told?
_WATCH: Final = 2

earliest: Any = compiled(reservations.earliest)


class Ends(NamedTuple):
    """Kernels that will end: after how many seconds, on which agent, what they hold."""

    remaining: Ints
    agents: Ints
    held: Ints

    @classmethod
    def of(cls, ends: Sequence[tuple[int, int, Row]], slots: int) -> "Ends":
        return cls(
            np.array([end[0] for end in ends], np.int64),
            np.array([end[1] for end in ends], np.int64),
            np.array([end[2] for end in ends], np.int64).reshape(len(ends), slots),
        )


class Head(NamedTuple):
    """The session with a reservation."""

    session: int
    #: The second.
    starts_at: int


class Ground:
    """The agents of a resource group and what waits for them."""

    def __init__(self, field: Field, asks: Asks, classes: Classes, capacity: Ints, slots: int) -> None:
        self.slots = slots
        self.field = field
        self.asks = asks
        self.classes = classes
        self.capacity = capacity
        self.head: Head | None = None
        #: The first session that must wait for room, whether or not it got a reservation; -1 while none must.
        self.judged = -1

    def run(
        self,
        order: Ints,
        parties: Parties | None,
        ends: Callable[[], Ends],
        *,
        backfill: bool,
        now: int = 0,
    ) -> Outcome:
        """Decide about sessions.

        Args:
            parties: for progressive filling; None: in order.
            ends: of what runs, asked for where a reservation is made.
            now: the second.
        """
        kernels = self.asks.kernels
        outcome = Outcome(
            tried=np.empty(order.size, np.int64),
            begin=np.empty(order.size, np.int64),
            # One session alone is what an index is mostly asked for.
            agents=np.empty(kernels[order[0]] if order.size == 1 else kernels[order].sum(), np.int64),
            state=np.zeros(3, np.int64),
        )
        outcome.state[_WATCH] = backfill and self.judged < 0
        if self.head:
            self.asks.horizon[0] = self.head.starts_at - now
        while True:
            if parties is None:
                session = decide_in_order(self.field, self.asks, order, outcome)
            else:
                session = decide_by_shares(self.field, self.asks, order, parties, outcome)
            if session < 0:
                return outcome
            self._judge(session, outcome, ends, now)

    def open(self) -> None:
        """Forget what was refused, and the reservation: room has come."""
        self.asks.hopeless[:] = np.iinfo(np.int64).max
        self.asks.horizon[0] = -1
        self.head, self.judged = None, -1
        free_up(self.field)

    def meet(self, shapes: Sequence[Shape]) -> None:
        """There are more shapes now, at the end of those before."""
        classes = self.classes = self.classes.meet(shapes)
        segments_at, segments = ragged(classes.segments)
        designated_at, designated = ragged(classes.designated)
        hopeless = np.full((2, len(shapes)), np.iinfo(np.int64).max)
        hopeless[:, : self.asks.hopeless.shape[1]] = self.asks.hopeless
        self.asks = self.asks._replace(
            column=classes.column,
            segments_at=segments_at,
            segments=segments,
            designated_at=designated_at,
            designated=designated,
            named=classes.named,
            hopeless=hopeless,
        )
        if len(classes.takes) > len(self.field.takes):
            needs = classes.needs()
            rows = self.field.tree.shape[0]
            tree = np.empty((rows, needs.shape[1]), self.field.tree.dtype)
            self.field = self.field._replace(takes=classes.takes, needs=needs, tree=tree)
            build(self.field)

    def survey(self, shape: int, kernels: int) -> Survey:
        """As `explanations.survey`, on matrices."""
        field, eligible = self.field, self.classes.eligible(shape)
        needs = self.classes.wants[self.classes.column[shape]]
        free = np.where(field.shaded[:, None], field.now, field.free)[eligible]
        capacity = self.capacity[eligible]
        fitting, at_most = _room(needs, free, kernels), _room(needs, capacity, kernels)
        if fitting:
            return Survey(fitting=fitting, at_most=at_most)
        used = np.flatnonzero(needs)
        rows = free if at_most else capacity
        lacks = (needs[used] - rows[:, used]) / needs[used]
        nearest = int(lacks.max(axis=1).argmin())
        column = int(used[lacks[nearest].argmax()])
        return Survey(
            fitting=0,
            at_most=at_most,
            column=column,
            free=int(free[nearest, column]),
            largest_free=int(free[:, column].max()),
            largest_capacity=int(capacity[:, column].max()),
        )

    def _judge(self, session: int, outcome: Outcome, ends: Callable[[], Ends], now: int) -> None:
        """Keep room for a session that must wait for it, if it ever fits. See `scheduler.reservations`."""
        field = self.field
        shape, kernels = int(self.asks.shape[session]), int(self.asks.kernels[session])
        needs, eligible = self._needs(shape), self.classes.eligible(shape)
        if _room(needs, self.capacity[eligible, : needs.size], kernels) < kernels:
            return
        self.judged = session
        outcome.state[_WATCH] = 0
        remaining, agents, held = self._in_time(ends(), outcome)
        suits, counts = np.zeros((2, len(field.free)), np.int64)
        suits[eligible] = 1
        later = field.free[:, : needs.size].copy()
        end = earliest(later, needs, kernels, suits, remaining, agents, held, counts)
        if end < 0:
            return
        self.head = Head(session, now + int(remaining[end]))
        self.asks.horizon[0] = remaining[end]
        # What stands behind rows is of now alone: ends do not tell which devices they free.
        field.later[:] = field.free
        field.later[:, : needs.size] = later - counts[:, None] * needs
        for agent in np.flatnonzero(counts).tolist():
            keep(field, agent)

    def _in_time(self, running: Ends, outcome: Outcome) -> Ends:
        """What will end, soonest first: of what runs, and of what this run has placed."""
        asks, tried = self.asks, outcome.state[0]
        placed = outcome.tried[:tried][outcome.begin[:tried] >= 0]
        sessions = np.repeat(placed, asks.kernels[placed])
        lasting = asks.duration[sessions] >= 0
        agents = outcome.agents[: outcome.state[1]][lasting]
        sessions = sessions[lasting]
        remaining = np.concatenate((running.remaining, asks.duration[sessions]))
        order = np.argsort(remaining, kind="stable")
        return Ends(
            remaining[order],
            np.concatenate((running.agents, agents))[order],
            np.concatenate((running.held, self.field.takes[asks.column[asks.shape[sessions]], : self.slots]))[
                order
            ],
        )

    def _needs(self, shape: int) -> Ints:
        """By one kernel, without what stands behind rows."""
        return self.classes.takes[self.classes.column[shape], : self.slots]


def _room(needs: Ints, rows: Ints, enough: int) -> int:
    """How many kernels fit on all rows together; `enough` is as good as more."""
    used = needs > 0
    return min(int((rows[:, used] // needs[used]).min(axis=1, initial=enough).clip(0).sum()), enough)
