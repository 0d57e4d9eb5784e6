"""Lists and details of agents."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from services import permissions
from services.bus import AgentChanged, Lagged
from services.core import Core
from services.db.tables import Agent, AgentEvent, AgentImage
from services.errors import BadInput
from services.filters import Conditions, among, equal, linked, searched
from services.nouns import Noun
from services.permissions import Actor
from services.scheduling.occupancy import of
from services.stats import KernelSample, Latest, NodeSample
from services.timelines import Timeline, position

#: Nodes that one stream tells of.
MOST_WATCHED: Final = 100
#: Seconds in which samples of several nodes count as one change.
TOGETHER = 0.5

ORDERS: Final = {
    "NAME": Agent.name,
    "CREATED_AT": Agent.id,
    "STATUS": Agent.status,
    "LAST_CONTACT_AT": Agent.last_contact_at,
}
_timeline = Timeline(AgentEvent, AgentEvent.agent_id)


@dataclass(frozen=True)
class AgentFilter:
    status_in: Sequence[str] | None = None
    resource_group_id: str | None = None
    schedulable: bool | None = None
    #: Only those that have this image.
    image_id: str | None = None
    search: str | None = None


@dataclass(frozen=True)
class AgentNotice:
    """CHANGED: the agent is new or has changed. RESYNC: read afresh."""

    kind: Literal["CHANGED", "RESYNC"]
    cursor: str
    agent: Agent | None = None
    event: AgentEvent | None = None


def _conditions(where: AgentFilter) -> Conditions:
    return [
        *among(Agent.status, where.status_in),
        *equal(Agent.resource_group_id, where.resource_group_id),
        *equal(Agent.schedulable, where.schedulable),
        *linked(Agent.id, AgentImage.agent_id, AgentImage.image_id, where.image_id),
        *searched(where.search, Agent.id, Agent.name, Agent.address),
    ]


_noun = Noun(Agent, "agt", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def occupied(core: Core, agent_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Agent → slot → what its kernels occupy."""
    async with core.db.read() as db:
        return await of(db, agent_ids)


async def watch(core: Core, actor: Actor, after: str | None = None) -> AsyncGenerator[AgentNotice]:
    """Agents as they change; `after` resumes as `services.sessions.watch` does.

    Raises:
        Forbidden: the actor may see no agents.
        BadInput: `after` is not a cursor.
    """
    permissions.require_role(actor, "read:agent")
    begin = None if after is None else position(after)
    async with core.bus.subscribe(AgentChanged) as hints:
        cursor = await _timeline.newest(core) if begin is None else begin
        if begin is not None:
            for notice in await _replay(core, actor, cursor):
                cursor = int(notice.cursor)
                yield notice
        while True:
            try:
                batch = [await anext(hints), *hints.drain()]
            except Lagged:
                cursor = await _timeline.newest(core)
                yield AgentNotice("RESYNC", str(cursor))
                continue
            newest: dict[str, int] = {}
            for hint in batch:
                newest[hint.agent_id] = max(hint.event_id, newest.get(hint.agent_id, 0))
            for notice in await _notices(core, actor, newest, cursor):
                cursor = int(notice.cursor)
                yield notice


async def watch_stats(core: Core, actor: Actor, agent_id: str) -> AsyncGenerator[NodeSample]:
    """Samples of one node, the newest when the watcher is ready for one."""
    await get(core, actor, agent_id, path="agentId")
    async with core.stats.watch_node(agent_id) as latest:
        async for sample in latest:
            yield sample


async def watch_stats_of(
    core: Core, actor: Actor, agent_ids: Sequence[str]
) -> AsyncGenerator[dict[str, NodeSample]]:
    """Newest samples of several nodes, of those that have any: at once, then whenever one has another, a few times a second.

    Raises:
        BadInput: too many. NotFound: one does not exist or is not the actor's to see.
    """
    wanted = list(dict.fromkeys(agent_ids))
    if not 1 <= len(wanted) <= MOST_WATCHED:
        raise BadInput(f"Between 1 and {MOST_WATCHED} agents at once.", path="agentIds")
    found = await many(core, actor, wanted)
    if missing := [one for one in wanted if one not in found]:
        await get(core, actor, missing[0], path="agentIds")
    async with core.stats.watch_nodes(wanted) as latest:
        while True:
            samples = {agent_id: core.stats.node(agent_id) for agent_id in wanted}
            yield {agent_id: sample for agent_id, sample in samples.items() if sample is not None}
            await anext(latest)
            # Nodes send one after the other: what comes in this time is told together.
            await asyncio.sleep(TOGETHER)


async def watch_kernel_stats(core: Core, kernel_id: str) -> AsyncGenerator[KernelSample]:
    """Samples of one kernel. The caller has checked that it may be seen."""
    async with core.stats.watch_kernel(kernel_id) as latest:
        stream: Latest[KernelSample] = latest
        async for sample in stream:
            yield sample


async def _replay(core: Core, actor: Actor, cursor: int) -> Sequence[AgentNotice]:
    missed = await _timeline.missed(core, cursor)
    if missed is None:
        return [AgentNotice("RESYNC", str(await _timeline.newest(core)))]
    return await _notices(core, actor, missed, cursor)


async def _notices(core: Core, actor: Actor, changed: dict[str, int], cursor: int) -> Sequence[AgentNotice]:
    found = await many(core, actor, list(changed))
    events = await _timeline.events(core, changed.values())
    notices: list[AgentNotice] = []
    for agent_id, number in sorted(changed.items(), key=lambda item: item[1]):
        if agent_id in found:
            cursor = max(cursor, number)
            notices.append(AgentNotice("CHANGED", str(cursor), found[agent_id], events.get(number)))
    return notices
