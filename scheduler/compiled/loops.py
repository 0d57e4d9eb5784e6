"""The cycle of one resource group: turn, limits, place; all of it compiled.

Two loops, for the two ways in which the built-in sequencers choose: an order that is known before, and the one that
progressive filling finds as it goes.
"""

from typing import NamedTuple

from scheduler.compiled.jit import Doubles, Ints, compiled
from scheduler.compiled.trees import Field, best, best_designated, take


class Asks(NamedTuple):
    """What waits: columns of the queue, and tables to which they point. Sessions of all resource groups are in it."""

    #: Session → number of its shape, kernels, number of its image, number of its scopes.
    shape: Ints
    kernels: Ints
    image: Ints
    scopes: Ints
    #: Shape → class.
    column: Ints
    #: Shape → where its segments are in `segments`, and its designated agents in `designated`; the next entry is the
    #: end. `named` is 1 where it has designated agents at all.
    segments_at: Ints
    segments: Ints
    designated_at: Ints
    designated: Ints
    named: Ints
    #: Shape → so many kernels at once are known not to fit. In a cycle agents only fill up, so that holds to its end.
    hopeless: Ints
    #: Image → bit in `Field.images`, -1 where it makes no difference.
    bit: Ints
    #: Scopes → where their cells are; a cell has a slot's number (-1 for sessions) and a place in the ledger.
    cells_at: Ints
    cell_slot: Ints
    cell: Ints
    #: The ledger, shared by all resource groups.
    used: Ints
    caps: Ints


class Outcome(NamedTuple):
    """What was decided, filled in by the loops."""

    #: Sessions in the order in which they were tried.
    tried: Ints
    #: For each of `tried`: where its agents begin in `agents`, or -1 if it waits.
    begin: Ints
    agents: Ints
    #: How much of `tried` and `agents` is filled.
    filled: Ints


class Parties(NamedTuple):
    """Those among whom shares are made equal."""

    #: Session → party.
    party: Ints
    #: Parties × slots: what each has.
    held: Ints
    #: Slot → 1 / capacity.
    inverse: Doubles
    weights: Doubles
    #: Room for the loop: each party's share and oldest session not tried yet, by its turn in the order; for each turn
    #: the next one of the same party; the heap.
    share: Doubles
    head: Ints
    after: Ints
    heap: Ints


@compiled
def decide_in_order(field: Field, asks: Asks, order: Ints, outcome: Outcome) -> None:
    for session in order:
        decide(field, asks, session, outcome)


@compiled
def decide(field: Field, asks: Asks, session: int, outcome: Outcome) -> bool:
    """Place one session, all its kernels or none."""
    tried, filled = outcome.filled
    outcome.tried[tried] = session
    outcome.begin[tried] = -1
    outcome.filled[0] = tried + 1
    shape = int(asks.shape[session])
    kernels = int(asks.kernels[session])
    if kernels >= asks.hopeless[shape] or not allowed(field, asks, session):
        return False
    if not place(field, asks, shape, kernels, int(asks.bit[asks.image[session]]), outcome.agents[filled:]):
        asks.hopeless[shape] = kernels
        return False
    charge(field, asks, session, 1)
    outcome.begin[tried] = filled
    outcome.filled[1] = filled + kernels
    return True


@compiled
def place(field: Field, asks: Asks, shape: int, kernels: int, image: int, chosen: Ints) -> bool:
    """Take room for all kernels, one agent each, or change nothing.

    Kernels are alike, so taking the best agent for one after the other finds places for all where there are.
    """
    column = asks.column[shape]
    segments = asks.segments[asks.segments_at[shape] : asks.segments_at[shape + 1]]
    designated = asks.designated[asks.designated_at[shape] : asks.designated_at[shape + 1]]
    for kernel in range(kernels):
        if asks.named[shape]:
            agent = best_designated(field, column, designated, image)
        else:
            agent = best(field, column, segments, image)
        if agent < 0:
            for taken in chosen[:kernel]:
                take(field, taken, column, -1)
            return False
        take(field, agent, column, 1)
        chosen[kernel] = agent
    return True


@compiled
def allowed(field: Field, asks: Asks, session: int) -> bool:
    """Have all limits room for it? A slot of which it needs nothing cannot be what stands in the way."""
    takes = field.takes[asks.column[asks.shape[session]]]
    scopes = asks.scopes[session]
    for at in range(asks.cells_at[scopes], asks.cells_at[scopes + 1]):
        slot, cell = asks.cell_slot[at], asks.cell[at]
        amount = 1 if slot < 0 else takes[slot] * asks.kernels[session]
        if amount > 0 and asks.used[cell] + amount > asks.caps[cell]:
            return False
    return True


@compiled
def charge(field: Field, asks: Asks, session: int, sign: int) -> None:
    """Count it against its limits, or no longer."""
    takes = field.takes[asks.column[asks.shape[session]]]
    scopes = asks.scopes[session]
    for at in range(asks.cells_at[scopes], asks.cells_at[scopes + 1]):
        slot = asks.cell_slot[at]
        asks.used[asks.cell[at]] += sign if slot < 0 else sign * takes[slot] * asks.kernels[session]


@compiled
def decide_by_shares(field: Field, asks: Asks, order: Ints, parties: Parties, outcome: Outcome) -> None:
    """Progressive filling: see `scheduler.sequencers.Drf`.

    Args:
        order: the sessions, oldest first, by which equal shares are decided.
    """
    count = parties.held.shape[0]
    share, head, after, heap = parties.share, parties.head, parties.after, parties.heap
    head[:] = -1
    for turn in range(order.size - 1, -1, -1):
        party = parties.party[order[turn]]
        after[turn] = head[party]
        head[party] = turn
    size = 0
    for party in range(count):
        share[party] = dominant(parties, party)
        if head[party] >= 0:
            heap[size] = party
            size += 1
    for at in range(size // 2 - 1, -1, -1):
        sink(heap, size, at, share, head)
    while size:
        party = heap[0]
        session = int(order[head[party]])
        if decide(field, asks, session, outcome):
            takes = field.takes[asks.column[asks.shape[session]]]
            for slot in range(takes.size):
                parties.held[party, slot] += takes[slot] * asks.kernels[session]
            share[party] = dominant(parties, party)
        head[party] = after[head[party]]
        if head[party] < 0:
            size -= 1
            heap[0] = heap[size]
        sink(heap, size, 0, share, head)


@compiled
def dominant(parties: Parties, party: int) -> float:
    """The same operations in the same order as `scheduler.sequencers.Shares.of`, so that doubles are equal bit by bit."""
    share = 0.0
    for slot in range(parties.inverse.size):
        share = max(share, parties.held[party, slot] * parties.inverse[slot])
    return share / parties.weights[party]


@compiled
def sink(heap: Ints, size: int, at: int, share: Doubles, head: Ints) -> None:
    """Restore the heap below a party that may now come later."""
    while True:
        least = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < size and before(heap[child], heap[least], share, head):
                least = child
        if least == at:
            return
        heap[at], heap[least] = heap[least], heap[at]
        at = least


@compiled
def before(one: int, other: int, share: Doubles, head: Ints) -> bool:
    return share[one] < share[other] or (share[one] == share[other] and head[one] < head[other])
