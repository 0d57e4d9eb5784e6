"""Which agent is next for a shape, without looking at all of them.

A `Pool` holds the free rows of a resource group's agents and a log of which changed. For each shape there is a heap
of the agents on which it fits, best first. Before a heap is used it catches up with the log: every agent that changed
since is entered anew, so the current entry of each agent that fits is always in the heap. Entries that have become
wrong are found out when they come to the top: they differ from the agent's present entry, or it no longer fits.

An entry is one integer, rank * number of agents + index of the agent: heaps of integers are fast, and equal ranks
are decided by agent id because agents are sorted by it. Image locality decides among equal ranks.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from operator import index
from typing import Final, NamedTuple

from scheduler import devices
from scheduler.faults import PluginFault
from scheduler.protocols import Placer, Rank, Ranking
from scheduler.snapshot import AgentView, Row, Shape

Needs = tuple[tuple[int, int], ...]

#: So many agents of equal rank are looked at for one that has the image: enough to find it where it is common, and a
#: decision still costs the same in a cluster of any size.
TIES: Final = 32

#: What stands behind the row of an agent that does not tell of its devices.
_UNTOLD: Final = (2**60,) * devices.COLUMNS

#: More kernels than any session has.
_MANY: Final = 2**63

#: A heap with more entries than this many times the agents is mostly made of wrong ones: it is made anew.
_SLACK: Final = 4


def used_of(row: Row) -> Needs:
    """(column, amount) of what is needed at all: an overdrawn slot that is not used must not keep a session out."""
    return tuple([(column, amount) for column, amount in enumerate(row) if amount])


def fits(needs: Needs, row: Sequence[int]) -> bool:
    for column, amount in needs:  # noqa: SIM110  # the innermost loop: a generator makes it half as fast
        if row[column] < amount:
            return False
    return True


class _Shade(NamedTuple):
    """An agent on which room is reserved."""

    #: What is free now, and what will be when the reserved session starts, less what it takes.
    now: list[int]
    later: list[int]


class Pool:
    """The agents of one resource group that take work, by architecture and id, as this cycle leaves them.

    `rows` is what any session may take; where room is reserved (see `scheduler.reservations`) that is less than what
    is free now.
    """

    def __init__(self, agents: Sequence[AgentView], slots: Sequence[str], device_slot: str) -> None:
        self.agents = agents
        self.slots = slots
        #: The column of the slot that devices give in fractions; -1 where no agent tells of devices.
        self.device_column = -1
        self.devices: list[list[int]] = [list(agent.devices or ()) for agent in agents]
        self.rows = [list(agent.free) for agent in agents]
        if device_slot in slots and any(self.devices):
            self.device_column = slots.index(device_slot)
            self.slots = (*slots, *[device_slot] * devices.COLUMNS)
            for row, on in zip(self.rows, self.devices, strict=True):
                row += devices.columns(on) if on else _UNTOLD
        #: Indexes of agents in the order in which their rows changed.
        self.log: list[int] = []
        self._shades: dict[int, _Shade] = {}
        self._eligible: dict[tuple[frozenset[str], frozenset[str] | None], list[int]] = {}

    def take(self, agent: int, needs: Needs, *, brief: bool) -> list[int]:
        """Let a kernel have its room; `brief`: it ends before any reservation begins. Returns its devices as they were."""
        before = self.devices[agent]
        on = list(before)
        for column, amount in needs if on else ():
            if column == self.device_column:
                devices.allot(on, amount)
        self._change(agent, needs, 1, on, brief=brief)
        return before

    def give_back(self, agent: int, needs: Needs, before: list[int], *, brief: bool) -> None:
        """Undo the last taking of an agent."""
        self._change(agent, needs, -1, before, brief=brief)

    def _change(self, agent: int, needs: Needs, sign: int, on: list[int], *, brief: bool) -> None:
        row = self.rows[agent]
        shade = self._shades.get(agent)
        if shade is None:
            for column, amount in needs:
                row[column] -= sign * amount
        else:
            for column, amount in needs:
                shade.now[column] -= sign * amount
                if not brief:
                    shade.later[column] -= sign * amount
            row[:] = map(min, shade.now, shade.later)
        if on:
            self.devices[agent] = on
            row[-devices.COLUMNS :] = devices.columns(on)
            if shade:
                shade.now[-devices.COLUMNS :] = shade.later[-devices.COLUMNS :] = row[-devices.COLUMNS :]
        self.log.append(agent)

    def plain(self, row: list[int]) -> list[int]:
        """Without what is behind it."""
        return row if self.device_column < 0 else row[: -devices.COLUMNS]

    def needs(self, shape: Shape) -> Row:
        """What must be there, in all columns."""
        if self.device_column < 0:
            return shape.needs
        return (*shape.needs, *devices.needs(shape.needs[self.device_column]))

    def capacity(self, agent: int) -> Row:
        capacity = self.agents[agent].capacity
        if self.device_column < 0:
            return capacity
        on = self.devices[agent]
        return (*capacity, *(devices.columns([devices.WHOLE] * len(on)) if on else _UNTOLD))

    def reserve(self, later: Mapping[int, list[int]]) -> None:
        """Keep room on some agents: `later` is what is free there when it is needed, less what is reserved."""
        for agent in sorted(later):
            now = list(self.rows[agent])
            shade = self._shades[agent] = _Shade(now, later[agent] + now[len(later[agent]) :])
            self.rows[agent][:] = map(min, shade.now, shade.later)
            self.log.append(agent)

    def now(self, agent: int) -> list[int]:
        """What is free now."""
        shade = self._shades.get(agent)
        return self.rows[agent] if shade is None else shade.now

    def shaded(self, needs: Needs, allowed: frozenset[int] | None) -> int | None:
        """The first agent with room that is free now and reserved for later."""
        for agent, shade in self._shades.items():
            if (allowed is None or agent in allowed) and fits(needs, shade.now):
                return agent
        return None

    def eligible(self, shape: Shape) -> list[int]:
        """Indexes of the agents on which a kernel of this shape may run at all. Many shapes share one answer."""
        key = (shape.architectures, shape.designated)
        found = self._eligible.get(key)
        if found is None:
            found = self._eligible[key] = [
                position
                for position, agent in enumerate(self.agents)
                if (not shape.architectures or agent.architecture in shape.architectures)
                and (shape.designated is None or agent.id in shape.designated)
            ]
        return found


class Entries:
    """The present heap entry of each agent under one rank; shared by all shapes that have this rank."""

    def __init__(self, pool: Pool, rank: Rank, placer: Placer) -> None:
        self._pool = pool
        self._rank = rank
        self._placer = placer
        self._cursor = len(pool.log)
        self.of: list[int] = [0] * len(pool.agents)
        self._update(range(len(pool.agents)))

    def catch_up(self) -> None:
        log = self._pool.log
        if self._cursor < len(log):
            changed = log[self._cursor :]
            self._cursor = len(log)
            self._update(set(changed) if len(changed) > 1 else changed)

    def _update(self, agents: Iterable[int]) -> None:
        rows, rank, entries, count = self._pool.rows, self._rank, self.of, len(self._pool.agents)
        plain = self._pool.plain
        try:
            for agent in agents:
                entries[agent] = index(rank(agent, plain(rows[agent]))) * count + agent
        except Exception as error:
            raise PluginFault.raised("placer", self._placer, error) from error


class Candidates:
    """The agents for one shape, best first."""

    def __init__(self, pool: Pool, shape: Shape, entries: Entries) -> None:
        self._pool = pool
        self._entries = entries
        self._cursor = 0
        self._heap: list[int] = []
        self.needs = used_of(pool.needs(shape))
        self.takes = used_of(shape.needs)
        self.eligible = pool.eligible(shape)
        self._allowed = None if len(self.eligible) == len(pool.agents) else frozenset(self.eligible)
        #: For sessions that are not brief, and that are: so many kernels at once are known not to fit. In a cycle
        #: agents only fill up, so that holds to its end.
        self.hopeless: list[int] = [_MANY, _MANY]
        self._rebuild()

    def place(self, kernels: int, preferred: frozenset[int] | None, *, brief: bool) -> list[int] | None:
        """Take room for all kernels, one agent each, or change nothing and return None.

        Kernels are alike, so taking the best agent for one after the other finds places for all where there are.

        Args:
            preferred: agents that are taken first among the `TIES` first ones of equal rank.
            brief: it ends before any reservation begins, so where nothing else fits, reserved room will do.
        """
        chosen: list[int] = []
        before: list[list[int]] = []
        while len(chosen) < kernels:
            self._catch_up()
            agent = self._best(preferred)
            if agent is None and brief:
                agent = self._pool.shaded(self.needs, self._allowed)
            if agent is None:
                self.hopeless[brief] = kernels
                for taken, on in zip(reversed(chosen), reversed(before), strict=True):
                    self._pool.give_back(taken, self.takes, on, brief=brief)
                return None
            before.append(self._pool.take(agent, self.takes, brief=brief))
            chosen.append(agent)
        return chosen

    def _best(self, preferred: frozenset[int] | None) -> int | None:
        entry = self._top()
        if entry is None:
            return None
        agent = entry % len(self._entries.of)
        if preferred is None or agent in preferred:
            return agent
        return self._preferred(preferred, agent)

    def _top(self) -> int | None:
        """The best right entry; wrong ones above it are dropped."""
        heap, rows, entries, needs = self._heap, self._pool.rows, self._entries.of, self.needs
        count = len(entries)
        while heap:
            entry = heap[0]
            agent = entry % count
            if entry == entries[agent] and fits(needs, rows[agent]):
                return entry
            heappop(heap)
        return None

    def _preferred(self, preferred: frozenset[int], first: int) -> int:
        """A preferred agent among the first ones that are as good as the first, else that one."""
        count = len(self._entries.of)
        seen = [heappop(self._heap)]
        end = (seen[0] // count + 1) * count
        chosen = first
        while len(seen) < TIES:
            entry = self._top()
            if entry is None or entry >= end:
                break
            heappop(self._heap)
            if entry == seen[-1]:
                continue
            seen.append(entry)
            if entry % count in preferred:
                chosen = entry % count
                break
        for entry in seen:
            heappush(self._heap, entry)
        return chosen

    def _catch_up(self) -> None:
        log = self._pool.log
        if self._cursor == len(log):
            return
        self._entries.catch_up()
        changed = set(log[self._cursor :])
        if len(self._heap) + len(changed) > _SLACK * len(self._pool.agents) + 64:
            self._rebuild()
            return
        self._cursor = len(log)
        heap, rows, entries, needs, allowed = (
            self._heap,
            self._pool.rows,
            self._entries.of,
            self.needs,
            self._allowed,
        )
        for agent in changed:
            if allowed is None or agent in allowed:
                row = rows[agent]
                for column, amount in needs:  # `fits`, without a call: this is where most of the time goes
                    if row[column] < amount:
                        break
                else:
                    heappush(heap, entries[agent])

    def _rebuild(self) -> None:
        self._entries.catch_up()
        self._cursor = len(self._pool.log)
        rows, entries, needs = self._pool.rows, self._entries.of, self.needs
        self._heap = [entries[agent] for agent in self.eligible if fits(needs, rows[agent])]
        heapify(self._heap)


class Index:
    """All candidates of one resource group, a heap a shape, made when a shape is first met."""

    def __init__(self, pool: Pool, ranking: Ranking, placer: Placer) -> None:
        self._pool = pool
        self._ranking = ranking
        self._placer = placer
        self._candidates: dict[Shape, Candidates] = {}
        self._having = _having(pool.agents) if ranking.prefer_cached_images else {}
        #: By the identity of the rank, which is kept alive beside its entries.
        self._entries: dict[int, tuple[Rank, Entries]] = {}

    def of(self, shape: Shape) -> Candidates:
        found = self._candidates.get(shape)
        if found is None:
            found = self._candidates[shape] = Candidates(self._pool, shape, self._entries_of(shape))
        return found

    def having(self, image_id: str) -> frozenset[int] | None:
        """The agents that have an image; None where it makes no difference."""
        return self._having.get(image_id)

    def _entries_of(self, shape: Shape) -> Entries:
        try:
            rank = self._ranking.of(shape)
        except Exception as error:
            raise PluginFault.raised("placer", self._placer, error) from error
        known = self._entries.get(id(rank))
        if known is None:
            known = self._entries[id(rank)] = (rank, Entries(self._pool, rank, self._placer))
        return known[1]


def _having(agents: Sequence[AgentView]) -> dict[str, frozenset[int]]:
    """Image → indexes of the agents that have it, without images that all have."""
    found: dict[str, list[int]] = {}
    for position, agent in enumerate(agents):
        for image in agent.images:
            found.setdefault(image, []).append(position)
    return {image: frozenset(those) for image, those in found.items() if len(those) < len(agents)}
