"""The best agent for every class of requests at once: one tournament tree.

A class is a distinct row of needs. A leaf is an agent; it has one key for each class: the agent's rank and position in
one integer, or `NONE` where the class does not fit. An inner node has the smallest key of its children, for each class;
so the root says which agent is best for any class, and a placement changes one leaf and its ancestors.

    root      [k k k k]                 a row: one key a class, side by side, so that a row is one vector operation
    inner     [k k k k] [k k k k]       four children each: fewest bytes touched on the way up
    leaves    [k k k k] [k k k k] …     agents by position, padded to a multiple of four

Agents of one architecture have a tree of their own, a *segment* of the positions; all segments are in one array.
"""

from typing import NamedTuple

import numpy as np

from scheduler.candidates import TIES
from scheduler.compiled.boards import Boards, allot, columns, growth, loss
from scheduler.compiled.jit import Ints, Keys, Words, compiled
from scheduler.placers import SHIFT

ARITY = 4


class Field(NamedTuple):
    """The agents of one resource group, by position: in order of architecture and id."""

    #: Agents × slots: what any session may take. Where room is reserved that is less than what is free now.
    free: Ints
    #: Classes × slots: what a kernel takes.
    takes: Ints
    #: Slots × columns: what must be free. A column is a class, or padding into which nothing fits.
    needs: Ints
    #: Rank: (sum over the slots of (free >> shift) * factor) >> SHIFT, times sign, less the least that can be.
    shifts: Ints
    factors: Ints
    sign: int
    least: int
    #: A key is rank << bits | position.
    bits: int
    #: Rows × columns.
    tree: Keys
    #: Segments × levels: the row of the tree where a level begins, leaves first.
    levels: Ints
    #: Segments: the level of the root; the first position, and after the last segment the number of agents.
    roots: Ints
    starts: Ints
    #: Agent → segment.
    segment: Ints
    #: Agents × words: the images that it has.
    images: Words
    #: Where room is reserved (see `scheduler.reservations`): the agents and, first of all, how many they are; agent → 1
    #: for these; agents × slots, which count only there: what is free now, and when the reserved session starts, less
    #: what it takes.
    shades: Ints
    shaded: Ints
    now: Ints
    later: Ints
    #: What single devices have free, where agents tell; rows then have the columns of `scheduler.devices` behind them.
    boards: Boards
    #: Room for one walk down a tree: rows of nodes, and their levels.
    stack: Ints


@compiled
def refresh(field: Field, agent: int) -> None:
    """Bring the tree up to date after a change of what an agent has free."""
    tree, free, needs = field.tree, field.free, field.needs
    none = np.iinfo(tree.dtype).max
    left = 0
    for slot in range(free.shape[1]):
        left += (free[agent, slot] >> field.shifts[slot]) * field.factors[slot]
    fullness = (left >> SHIFT) * field.sign - field.least
    segment = int(field.segment[agent])
    node = agent - field.starts[segment]
    row = tree[field.levels[segment, 0] + node]
    if field.boards.mix.least.size:
        rank_by_growth(field, segment, agent, fullness, row)
    else:
        row[:] = tree.dtype.type((fullness << field.bits) | agent)
    for slot in range(free.shape[1]):
        have = free[agent, slot]
        need = needs[slot]
        for column in range(row.size):
            row[column] = none if need[column] > have else row[column]
    for level in range(1, field.roots[segment] + 1):
        node //= ARITY
        if not contest(
            field, field.levels[segment, level - 1] + node * ARITY, field.levels[segment, level] + node
        ):
            return


@compiled
def rank_by_growth(field: Field, segment: int, agent: int, fullness: int, row: Keys) -> None:
    """Keys by the growth of the expected loss of devices, then by fullness; of classes that fit, others do not matter."""
    boards, free = field.boards, field.free[agent]
    mix = boards.mix
    row[:] = np.iinfo(row.dtype).max
    before = loss(mix, segment, free, boards.on[agent, : boards.devices[agent]])
    for column in range(field.takes.shape[0]):
        fits = True
        for slot in range(free.size):
            fits &= field.needs[slot, column] <= free[slot]
        if fits:
            rank = growth(boards, segment, agent, free, field.takes[column], before) - mix.offset
            row[column] = row.dtype.type(((rank * mix.span + fullness) << field.bits) | agent)


@compiled
def contest(field: Field, child: int, parent: int) -> bool:
    """Write the smallest keys of four children into their parent. Returns whether that changed anything."""
    tree = field.tree
    first, second, third, fourth = tree[child], tree[child + 1], tree[child + 2], tree[child + 3]
    row = tree[parent]
    changed = row[0] ^ row[0]
    for column in range(row.size):
        key = min(min(first[column], second[column]), min(third[column], fourth[column]))
        changed |= key ^ row[column]
        row[column] = key
    return changed != 0


@compiled
def build(field: Field) -> None:
    """Make the whole tree."""
    field.tree[:] = np.iinfo(field.tree.dtype).max
    for agent in range(field.free.shape[0]):
        refresh(field, agent)


@compiled
def best(field: Field, column: int, segments: Ints, image: int) -> int:
    """The position of the agent that comes first for a class in some of the segments, -1 where it fits on none.

    Args:
        image: its number; among the first `TIES` agents of equal rank, one that has it is taken. -1: any.
    """
    tree = field.tree
    none = np.iinfo(tree.dtype).max
    key = none
    for segment in segments:
        root = tree[field.levels[segment, field.roots[segment]], column]
        key = min(key, root)
    if key == none:
        return -1
    agent = int(key & ((1 << field.bits) - 1))
    if image < 0 or has(field, agent, image):
        return agent
    seen = 0
    for segment in segments:
        seen, found = having(field, column, segment, int(key >> field.bits), image, seen)
        if found >= 0:
            return found
    return agent


@compiled
def having(field: Field, column: int, segment: int, rank: int, image: int, seen: int) -> tuple[int, int]:
    """Look through the agents of a rank, by position, for one with the image: (how many were seen, it or -1)."""
    tree, stack, start = field.tree, field.stack, field.starts[segment]
    stack[0] = 0
    stack[1] = field.roots[segment]
    top = 2
    while top and seen < TIES:
        top -= 2
        node, level = stack[top], stack[top + 1]
        row = field.levels[segment, level] + node
        if tree[row, column] >> field.bits != rank:
            continue
        if level == 0:
            seen += 1
            if has(field, start + node, image):
                return seen, start + node
            continue
        for child in range(ARITY - 1, -1, -1):
            stack[top] = node * ARITY + child
            stack[top + 1] = level - 1
            top += 2
    return seen, -1


@compiled
def best_designated(field: Field, column: int, agents: Ints, image: int) -> int:
    """As `best`, among agents by name, which are few: each is looked at."""
    none = np.iinfo(field.tree.dtype).max
    key = none
    for agent in agents:
        key = min(key, leaf(field, agent, column))
    if key == none:
        return -1
    if image >= 0:
        seen = 0
        for agent in agents:
            if leaf(field, agent, column) >> field.bits == key >> field.bits and seen < TIES:
                seen += 1
                if has(field, agent, image):
                    return agent
    return int(key & ((1 << field.bits) - 1))


@compiled
def leaf(field: Field, agent: int, column: int) -> int:
    """An agent's key for a class."""
    segment = field.segment[agent]
    return field.tree[field.levels[segment, 0] + agent - field.starts[segment], column]


@compiled
def has(field: Field, agent: int, image: int) -> bool:
    return (field.images[agent, image >> 6] >> np.uint64(image & 63)) & np.uint64(1) != 0


@compiled
def take(field: Field, agent: int, column: int, sign: int, brief: bool) -> None:
    """Let one kernel of a class have its room (`sign` 1), or give it back (-1), its devices being as before already.

    Args:
        brief: it ends before any reservation begins.
    """
    for slot in range(field.free.shape[1]):
        amount = sign * field.takes[column, slot]
        if field.shaded[agent]:
            field.now[agent, slot] -= amount
            if not brief:
                field.later[agent, slot] -= amount
            field.free[agent, slot] = min(field.now[agent, slot], field.later[agent, slot])
        else:
            field.free[agent, slot] -= amount
    if field.boards.devices[agent]:
        on = field.boards.on[agent, : field.boards.devices[agent]]
        if sign > 0:
            allot(on, field.takes[column, field.boards.column])
        behind = columns(on)
        for number in range(3):
            slot = field.free.shape[1] - 3 + number
            field.free[agent, slot] = behind[number]
            field.now[agent, slot] = behind[number]
            field.later[agent, slot] = behind[number]
    refresh(field, agent)


@compiled
def fits_now(field: Field, agent: int, column: int) -> bool:
    """Does a kernel fit into what is free now on an agent where room is reserved for later?"""
    for slot in range(field.now.shape[1]):  # noqa: SIM110  # compiled, a loop is as good and a generator is not
        if field.now[agent, slot] < field.needs[slot, column]:
            return False
    return True


@compiled
def keep(field: Field, agent: int) -> None:
    """Reserve room on an agent, of which `later` has been filled in."""
    field.shades[0] += 1
    field.shades[field.shades[0]] = agent
    field.shaded[agent] = 1
    for slot in range(field.free.shape[1]):
        field.now[agent, slot] = field.free[agent, slot]
        field.free[agent, slot] = min(field.now[agent, slot], field.later[agent, slot])
    refresh(field, agent)


@compiled
def free_up(field: Field) -> None:
    """Reserve nothing any more."""
    for number in range(1, field.shades[0] + 1):
        agent = int(field.shades[number])
        field.shaded[agent] = 0
        for slot in range(field.free.shape[1]):
            field.free[agent, slot] = field.now[agent, slot]
        refresh(field, agent)
    field.shades[0] = 0
