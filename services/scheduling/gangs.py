"""Cluster sessions: kernels that are alike, placed all or none, and reach each other by name.

    SINGLE_NODE   all on one node: to the scheduler one request for the sum
    MULTI_NODE    on one node or several. Several need a network between them, which engines have that are in one Docker
                  Swarm; where none have, it goes to one node or waits, and says so

A node tells which engines manage its swarm (`Hello.swarm`); nodes that name a common one have a network between them, if
a node of theirs can make one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from services.bus import AnyHint, Deliver
from services.db.tables import Agent, Slots
from services.errors import Problems

MODES: Final = ("SINGLE_NODE", "MULTI_NODE")
#: Kernels of one session: as many as have room in a bridge of an agent (`agents.runtimes.docker_networks`).
MOST: Final = 60

#: An agent's id, architecture and what is free of it.
Node = tuple[str, str, Slots]


class Asking(Protocol):
    """What of a session says where it may go."""

    @property
    def slots(self) -> Slots: ...
    @property
    def cluster_size(self) -> int: ...
    @property
    def cluster_mode(self) -> str: ...
    @property
    def designated_agent_id(self) -> str | None: ...
    @property
    def failed_agent_ids(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Ask:
    """What the scheduler is asked for: `kernels` of `slots` each, on `designated` agents alone (None: any)."""

    kernels: int
    slots: Slots
    designated: list[str] | None
    #: It could go to several nodes, were there a network between them.
    unconnected: bool = False


@dataclass(frozen=True)
class Network:
    """Agents whose engines are in one swarm, and those among them that can make a network for the others."""

    members: frozenset[str]
    makers: frozenset[str]


def check(size: int, mode: str, problems: Problems) -> None:
    if not 1 <= size <= MOST:
        problems.add("input.clusterSize", f"Between 1 and {MOST} containers.")
    if mode not in MODES:
        problems.add("input.clusterMode", f"One of {', '.join(MODES)}.")


def hostname(rank: int) -> str:
    return f"sub{rank}" if rank else "main1"


def total(amounts: Mapping[str, int], size: int) -> Slots:
    """Of all kernels."""
    return {slot: amount * size for slot, amount in amounts.items()}


def each(session: Asking) -> Slots:
    """Of one kernel."""
    return share(session.slots, session.cluster_size)


def share(amounts: Slots, size: int) -> Slots:
    """Of one of so many kernels."""
    return amounts if size == 1 else {slot: amount // size for slot, amount in amounts.items()}


def everywhere(chosen: Sequence[str], kernels: int) -> tuple[str, ...]:
    """An agent for each kernel, from what the scheduler chose: one agent for all, or one for each."""
    return tuple(chosen) * kernels if len(chosen) == 1 else tuple(chosen)


def network(session_id: str, agents: Iterable[str]) -> str:
    """The name of the network between a session's agents; empty where it needs none."""
    return f"berth-{session_id}" if len(set(agents)) > 1 else ""


def networks(agents: Iterable[Agent]) -> list[Network]:
    """The swarms of these agents, without those in which none of them can make a network."""
    swarms: list[tuple[set[str], set[str], set[str]]] = []
    for agent in agents:
        told: Mapping[str, Any] = agent.hardware.get("swarm") or {}
        if not told.get("managers"):
            continue
        managers, members = set(told["managers"]), {agent.id}
        makers = {agent.id} if told.get("control") else set[str]()
        apart: list[tuple[set[str], set[str], set[str]]] = []
        for others in swarms:
            if managers & others[0]:
                managers, members, makers = managers | others[0], members | others[1], makers | others[2]
            else:
                apart.append(others)
        swarms = [*apart, (managers, members, makers)]
    return [Network(frozenset(members), frozenset(makers)) for _, members, makers in swarms if makers]


def to_tell(known: Sequence[Network], placed: Iterable[tuple[str, ...]]) -> list[AnyHint]:
    """Who has to hear of placements on several nodes: those that can make their network."""
    spread = {agents[0] for agents in placed if len(set(agents)) > 1}
    makers = (
        {maker for one in known if spread & one.members for maker in one.makers} if spread else set[str]()
    )
    return [Deliver(agent_id=maker) for maker in sorted(makers)]


def depends_on_room(session: Asking) -> bool:
    """Does what it asks for depend on what nodes have free?"""
    if session.designated_agent_id:
        return False
    return bool(session.failed_agent_ids) or (
        session.cluster_size > 1 and session.cluster_mode == "MULTI_NODE"
    )


def ask(
    session: Asking,
    needs: Slots,
    nodes: Sequence[Node],
    architecture: str,
    connected: Sequence[Network],
) -> Ask:
    """What the scheduler is to look for.

    Args:
        needs: of one kernel, with what it takes in pieces of devices.
        nodes: of its resource group that take work.
        connected: `networks` of all nodes.
    """
    size = session.cluster_size
    if session.designated_agent_id:
        return Ask(1, total(needs, size), [session.designated_agent_id])
    if not session.failed_agent_ids and (size == 1 or session.cluster_mode == "SINGLE_NODE"):
        return Ask(1, total(needs, size), None)
    suitable = [node for node in nodes if node[1] == architecture]
    failed = set(session.failed_agent_ids)
    others = [node for node in suitable if node[0] not in failed]
    if not failed:
        return _ask(session, needs, suitable, connected)
    # After failed starts those where none failed, if there is room on them.
    elsewhere = _ask(session, needs, others, connected)
    if not _fits(elsewhere, others):
        return _ask(session, needs, suitable, connected)
    return Ask(elsewhere.kernels, elsewhere.slots, elsewhere.designated or [node[0] for node in others])


def _ask(session: Asking, needs: Slots, suitable: Sequence[Node], connected: Sequence[Network]) -> Ask:
    size = session.cluster_size
    together = Ask(1, total(needs, size), None)
    if size == 1 or session.cluster_mode == "SINGLE_NODE":
        return together
    spread = [
        Ask(size, needs, [node[0] for node in suitable if node[0] in those.members])
        for those in connected
        if sum(node[0] in those.members for node in suitable) > 1
    ]
    spread = [one if len(one.designated or ()) < len(suitable) else Ask(size, needs, None) for one in spread]
    for one in (*spread, together):
        if _fits(one, suitable):
            return one
    if spread:
        return max(spread, key=lambda one: len(one.designated or suitable))
    return Ask(1, together.slots, None, unconnected=len(suitable) > 1)


def _fits(one: Ask, nodes: Iterable[Node]) -> bool:
    room = 0
    for agent_id, _, free in nodes:
        if one.designated is None or agent_id in one.designated:
            room += min(
                (max(free.get(slot, 0), 0) // amount for slot, amount in one.slots.items() if amount > 0),
                default=one.kernels,
            )
            if room >= one.kernels:
                return True
    return False
