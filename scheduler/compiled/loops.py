"""The cycle of one resource group: turn, limits, place; all of it compiled.

Two loops, for the two ways in which the built-in sequencers choose: an order that is known before, and the one that
progressive filling finds as it goes.
"""

from typing import Final, NamedTuple

from scheduler.compiled.jit import Doubles, Ints, compiled
from scheduler.compiled.trees import Field, best, best_designated, fits_now, take


class Asks(NamedTuple):
    """What waits: columns of the queue, and tables to which they point. Sessions of all resource groups are in it."""

    #: Session → number of its shape, kernels, number of its image, number of its scopes.
    shape: Ints
    kernels: Ints
    image: Ints
    scopes: Ints
    #: Session → seconds after which it is ended, -1 where nobody knows.
    duration: Ints
    #: Shape → class.
    column: Ints
    #: Shape → where its segments are in `segments`, and its designated agents in `designated`; the next entry is the
    #: end. `named` is 1 where it has designated agents at all.
    segments_at: Ints
    segments: Ints
    designated_at: Ints
    designated: Ints
    named: Ints
    #: For sessions that are not brief, and that are × shape: so many kernels at once are known not to fit. In a cycle
    #: agents only fill up, so that holds to its end.
    hopeless: Ints
    #: One number: sessions that last no longer are brief, they end before the reserved one starts; -1: none is.
    horizon: Ints
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
    #: How much of `tried` and `agents` is filled; and whether to stop where the next session must wait for room.
    state: Ints


class Parties(NamedTuple):
    """Those among whom shares are made equal."""

    #: Session → party.
    party: Ints
    #: Parties × slots: what each has.
    held: Ints
    #: Slot → 1 / capacity.
    inverse: Doubles
    weights: Doubles
    #: Room for the loop: the size of the heap; each party's share and oldest session not tried yet, by its turn in the order; for each turn
    #: the next one of the same party; the heap.
    size: Ints
    share: Doubles
    head: Ints
    after: Ints
    heap: Ints


#: What became of a session.
REFUSED: Final = 0
PLACED: Final = 1
#: Refused, as the first of its like, for want of room.
NO_ROOM: Final = 2


@compiled
def decide_in_order(field: Field, asks: Asks, order: Ints, outcome: Outcome) -> int:
    """Go on with the order. Returns the session that must wait for room, or -1 when all have been decided."""
    while outcome.state[0] < order.size:
        session = int(order[outcome.state[0]])
        if decide(field, asks, session, outcome) == NO_ROOM and outcome.state[2]:
            return session
    return -1


@compiled
def decide(field: Field, asks: Asks, session: int, outcome: Outcome) -> int:
    """Place one session, all its kernels or none."""
    tried, filled = outcome.state[0], outcome.state[1]
    outcome.tried[tried] = session
    outcome.begin[tried] = -1
    outcome.state[0] = tried + 1
    shape = int(asks.shape[session])
    kernels = int(asks.kernels[session])
    brief = bool(0 <= asks.duration[session] <= asks.horizon[0])
    if kernels >= asks.hopeless[int(brief), shape] or not allowed(field, asks, session):
        return REFUSED
    if not place(
        field, asks, shape, kernels, int(asks.bit[asks.image[session]]), brief, outcome.agents[filled:]
    ):
        asks.hopeless[int(brief), shape] = kernels
        return NO_ROOM
    charge(field, asks, session, 1)
    outcome.begin[tried] = filled
    outcome.state[1] = filled + kernels
    return PLACED


@compiled
def place(field: Field, asks: Asks, shape: int, kernels: int, image: int, brief: bool, chosen: Ints) -> bool:
    """Take room for all kernels, one agent each, or change nothing.

    Kernels are alike, so taking the best agent for one after the other finds places for all where there are.
    """
    boards = field.boards
    column = int(asks.column[shape])
    segments = asks.segments[asks.segments_at[shape] : asks.segments_at[shape + 1]]
    designated = asks.designated[asks.designated_at[shape] : asks.designated_at[shape + 1]]
    for kernel in range(kernels):
        if asks.named[shape]:
            agent = best_designated(field, column, designated, image)
        else:
            agent = best(field, column, segments, image)
        if agent < 0 and brief:
            agent = in_shade(field, asks, shape, column, segments, designated)
        if agent < 0:
            for number in range(kernel - 1, -1, -1):
                taken = int(chosen[number])
                for device in range(boards.devices[taken]):
                    boards.on[taken, device] = boards.before[number, device]
                take(field, taken, column, -1, brief)
            return False
        for device in range(boards.devices[agent]):
            boards.before[kernel, device] = boards.on[agent, device]
        take(field, agent, column, 1, brief)
        chosen[kernel] = agent
    return True


@compiled
def in_shade(field: Field, asks: Asks, shape: int, column: int, segments: Ints, designated: Ints) -> int:
    """The first agent with room that is free now and reserved for later, or -1."""
    for number in range(1, field.shades[0] + 1):
        agent = int(field.shades[number])
        suits = False
        if asks.named[shape]:
            for one in designated:
                suits = suits or one == agent
        else:
            for segment in segments:
                suits = suits or segment == field.segment[agent]
        if suits and fits_now(field, agent, column):
            return agent
    return -1


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
def decide_by_shares(field: Field, asks: Asks, order: Ints, parties: Parties, outcome: Outcome) -> int:
    """Progressive filling (see `scheduler.sequencers.Drf`), from its beginning or from where it was stopped.

    Args:
        order: the sessions, oldest first, by which equal shares are decided.

    Returns:
        The session that must wait for room, or -1 when all have been decided.
    """
    share, head, heap = parties.share, parties.head, parties.heap
    if outcome.state[0] == 0:
        line_up(order, parties)
    while parties.size[0]:
        party = int(heap[0])
        session = int(order[head[party]])
        result = decide(field, asks, session, outcome)
        if result == PLACED:
            takes = field.takes[asks.column[asks.shape[session]]]
            for slot in range(parties.held.shape[1]):
                parties.held[party, slot] += takes[slot] * asks.kernels[session]
            share[party] = dominant(parties, party)
        head[party] = parties.after[head[party]]
        if head[party] < 0:
            parties.size[0] -= 1
            heap[0] = heap[parties.size[0]]
        sink(heap, parties.size[0], 0, share, head)
        if result == NO_ROOM and outcome.state[2]:
            return session
    return -1


@compiled
def line_up(order: Ints, parties: Parties) -> None:
    """Chain each party's sessions, oldest first, and make the heap of those that have any."""
    parties.head[:] = -1
    for turn in range(order.size - 1, -1, -1):
        party = parties.party[order[turn]]
        parties.after[turn] = parties.head[party]
        parties.head[party] = turn
    size = 0
    for party in range(parties.held.shape[0]):
        parties.share[party] = dominant(parties, party)
        if parties.head[party] >= 0:
            parties.heap[size] = party
            size += 1
    for at in range(size // 2 - 1, -1, -1):
        sink(parties.heap, size, at, parties.share, parties.head)
    parties.size[0] = size


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
