"""Snapshots as the arrays that the compiled loops read."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Final

import numpy as np

from scheduler.compiled.boards import boards_of, with_devices, with_needs
from scheduler.compiled.jit import NOTHING, TOO_MUCH, Ints, Words
from scheduler.compiled.trees import ARITY, Field
from scheduler.devices import COLUMNS
from scheduler.fragmentation import WEIGHT, Fragmentation, Kind
from scheduler.placers import SHIFT, Pack, Scale, Spread
from scheduler.queues import Shape
from scheduler.snapshot import AgentView, Row

#: Columns of a tree come in such numbers that a row is whole vectors.
_VECTOR: Final = 16
_WORD: Final = 64
#: Sums and products of amounts stay below it, so that 64 bits are enough for all that is done with them.
LARGEST: Final = 2**61


def view(column: "array[int]") -> Ints:
    """The column itself, not a copy."""
    return np.frombuffer(column, np.int64) if len(column) else np.empty(0, np.int64)


def ragged(lists: Iterable[Sequence[int]]) -> tuple[Ints, Ints]:
    """Lists one after the other: (where each begins, and the end; all of them)."""
    begins, flat = [0], list[int]()
    for one in lists:
        flat.extend(one)
        begins.append(len(flat))
    return np.array(begins, np.int64), np.array(flat, np.int64)


def turns(
    priority: Ints, queued: Ints, session_ids: Sequence[str], sessions: Ints, *, newest_first: bool = False
) -> Ints:
    """Sessions by priority, then age, then id."""
    priority, queued = priority[sessions], queued[sessions]
    age = -queued if newest_first else queued
    # A stable sort takes next to no time where nearly all are in turn already, as those of one priority mostly are.
    alone = not priority.size or bool((priority == priority[0]).all())
    order = np.argsort(age, kind="stable") if alone else np.lexsort((age, -priority))
    priority, queued, sessions = priority[order], queued[order], sessions[order]
    alike = (priority[1:] == priority[:-1]) & (queued[1:] == queued[:-1])
    if alike.any():
        edges = np.flatnonzero(np.diff(np.concatenate(([0], alike.astype(np.int8), [0]))))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            tied = sessions[first : last + 1].tolist()
            sessions[first : last + 1] = sorted(tied, key=session_ids.__getitem__)
    return sessions


class Classes:
    """The distinct needs among shapes, and on which agents each shape may run."""

    def __init__(
        self, shapes: Sequence[Shape], agents: Sequence[AgentView], slots: int, device_column: int = -1
    ) -> None:
        self.architectures, self.starts = _segments(agents)
        # An administrator's choice is rare: agents are looked up by id only then.
        chosen = {one for shape in shapes for one in shape.designated or ()}
        position = (
            {agent.id: place for place, agent in enumerate(agents) if agent.id in chosen} if chosen else {}
        )
        self._agents, self._slots = agents, slots
        rows: dict[Row, int] = {}
        self.column = np.array([rows.setdefault(shape.needs, len(rows)) for shape in shapes], np.int64)
        #: Classes × columns: what must be there, and what is taken.
        self.wants = np.array([with_needs(row, device_column) for row in rows], np.int64).reshape(
            len(rows), slots + (COLUMNS if device_column >= 0 else 0)
        )
        self.takes = self.wants.copy()
        self.takes[:, slots:] = 0
        self.named = np.array([shape.designated is not None for shape in shapes], np.int64)
        self.segments: list[list[int]] = []
        self.designated: list[list[int]] = []
        for shape in shapes:
            segments = self._segments_of(shape)
            self.segments.append(segments)
            places = [position[one] for one in shape.designated or () if one in position]
            self.designated.append(sorted(place for place in places if self._segment(place) in segments))

    def meet(self, shapes: Sequence[Shape]) -> "Classes":
        """The same with more shapes at the end; the numbers of those before stay."""
        return Classes(shapes, self._agents, self._slots)

    def _segments_of(self, shape: Shape) -> list[int]:
        return [
            segment
            for segment, architecture in enumerate(self.architectures)
            if not shape.architectures or architecture in shape.architectures
        ]

    def _segment(self, place: int) -> int:
        return int(np.searchsorted(self.starts, place, "right")) - 1

    def eligible(self, shape: int) -> Ints:
        """Positions of the agents on which a kernel of this shape may run at all."""
        if self.named[shape]:
            return np.array(self.designated[shape], np.int64)
        parts = [np.arange(self.starts[one], self.starts[one + 1]) for one in self.segments[shape]]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def needs(self) -> Ints:
        """Slots × columns, the padding included."""
        count, slots = self.wants.shape
        columns = max(-(-count // _VECTOR), 1) * _VECTOR
        needs = np.full((slots, columns), TOO_MUCH, np.int64)
        # An overdrawn slot that a class does not use must not keep it out.
        needs[:, :count] = np.where(self.wants > 0, self.wants, NOTHING).T
        return needs


def _segments(agents: Sequence[AgentView]) -> tuple[list[str], Ints]:
    """The architectures of agents that are sorted by them, and where each begins, and the end."""
    architectures: list[str] = []
    starts: list[int] = []
    for place, agent in enumerate(agents):
        if not architectures or agent.architecture != architectures[-1]:
            architectures.append(agent.architecture)
            starts.append(place)
    return architectures, np.array([*starts, len(agents)], np.int64)


def capacity_of(agents: Sequence[AgentView], slots: int) -> Ints:
    """Agents × slots.

    Raises:
        OverflowError: amounts are too large for 64 bits.
    """
    capacity = np.array([agent.capacity for agent in agents], np.int64).reshape(len(agents), slots)
    if capacity.max(initial=0) >= LARGEST // max(len(agents), 1):
        raise OverflowError
    return capacity


def field_of(
    agents: Sequence[AgentView],
    classes: Classes,
    slots: Sequence[str],
    capacity: Ints,
    images: Words,
    placer: Pack | Spread | Fragmentation,
    *,
    device_column: int = -1,
    kernels: int = 1,
    mix: Sequence[Kind] = (),
) -> Field:
    """The agents with an empty tree over them: `trees.build` fills it.

    Raises:
        OverflowError: amounts are too large for 64 bits.
    """
    free = np.array([agent.free for agent in agents], np.int64).reshape(capacity.shape)
    if np.abs(free).max(initial=0) >= LARGEST // max(len(agents), 1):
        raise OverflowError
    sign = -1 if isinstance(placer, Spread) else 1
    if isinstance(placer, Fragmentation):
        weights = {slots[device_column]: WEIGHT} if device_column >= 0 else {}
    else:
        weights = placer.options.weights
    scale = Scale.of(slots, capacity.max(axis=0, initial=0).tolist(), weights)
    levels, roots, rows = _levels(classes.starts)
    needs = classes.needs()
    least, most = _range(free, scale, sign)
    bits = max(len(agents) - 1, 1).bit_length()
    ranks = most - least + 1
    boards = boards_of(agents, device_column, kernels, mix, classes.architectures, ranks)
    small = ranks * (1 - 2 * boards.mix.offset if mix else 1) << bits < np.iinfo(np.int32).max
    free = with_devices(free, device_column, (agent.devices or () for agent in agents))
    behind = free.shape[1] - len(slots)
    return Field(
        free=free,
        takes=classes.takes,
        needs=needs,
        shifts=np.array([*scale.shifts, *[0] * behind], np.int64),
        factors=np.array([*scale.factors, *[0] * behind], np.int64),
        sign=sign,
        least=least,
        bits=bits,
        tree=np.empty((rows, needs.shape[1]), np.int32 if small else np.int64),
        levels=levels,
        roots=roots,
        starts=classes.starts,
        segment=np.repeat(np.arange(len(roots)), np.diff(classes.starts)),
        images=images,
        shades=np.zeros(len(agents) + 1, np.int64),
        shaded=np.zeros(len(agents), np.int64),
        now=np.empty_like(free),
        later=np.empty_like(free),
        boards=boards,
        stack=np.empty(2 * ARITY * (levels.shape[1] + 1), np.int64),
    )


def _levels(starts: Ints) -> tuple[Ints, Ints, int]:
    """(row where each level of each segment begins, level of each root, number of rows)."""
    levels: list[list[int]] = []
    rows = 0
    for size in np.diff(starts).tolist():
        begins, count = [rows], size
        rows += -(-count // ARITY) * ARITY
        while count > 1:
            begins.append(rows)
            count = -(-count // ARITY)
            rows += -(-count // ARITY) * ARITY
        levels.append(begins)
    roots = [len(begins) - 1 for begins in levels]
    deepest = max(roots, default=0) + 1
    padded = [begins + [0] * (deepest - len(begins)) for begins in levels]
    return np.array(padded, np.int64).reshape(len(levels), deepest), np.array(roots, np.int64), rows


def _range(free: Ints, scale: Scale, sign: int) -> tuple[int, int]:
    """The least and the greatest rank that agents can have while they fill up, and are given back what was taken."""
    if not len(free):
        return 0, 0
    ends: list[int] = []
    for row in (np.minimum(free.min(axis=0), 0).tolist(), free.max(axis=0).tolist()):
        parts = [(amount >> s) * f for amount, s, f in zip(row, scale.shifts, scale.factors, strict=True)]
        ends.append((sum(parts) >> SHIFT) * sign)
    return min(ends), max(ends)


def image_words(agents: Sequence[AgentView], wanted: Iterable[str]) -> tuple[Words, list[int]]:
    """Agents × words with a bit for each image, and for each wanted image its bit: -1 where it makes no difference."""
    bits = {image: 1 << bit for bit, image in enumerate(wanted)}
    count = max(-(-len(bits) // _WORD), 1)
    bit_of = bits.get
    masks = [sum(map(bit_of, agent.images, repeat(0))) for agent in agents]
    packed = b"".join([mask.to_bytes(count * _WORD // 8, "little") for mask in masks])
    words = np.frombuffer(packed, np.uint64).reshape(len(agents), count)
    some, each = 0, -1
    for mask in masks:
        some |= mask
        each &= mask
    return words, [bit if value & some & ~each else -1 for bit, value in enumerate(bits.values())]


def cells_of(scopes: Iterable[tuple[str, ...]], cells: Mapping[str, list[int]]) -> tuple[Ints, Ints, Ints]:
    """For each combination of scopes where its cells begin, their slots and their places in the ledger."""
    begins, flat = [0], list[int]()
    for combination in scopes:
        for scope in combination:
            flat += cells.get(scope, ())
        begins.append(len(flat) // 2)
    pairs = np.array(flat, np.int64)
    return np.array(begins, np.int64), pairs[::2].copy(), pairs[1::2].copy()
