"""Root fields about agents."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import strawberry

from resolvers.listings import listing
from schema import agents as types
from schema.agents import Agent, AgentEvent, AgentLoad, AgentStats, EventKind
from schema.context import Info
from schema.subscriptions import AgentId, AgentIds, Resume
from services import agents


@strawberry.type
class AgentQueries:
    agents = listing(
        "agents",
        agents.ORDERS,
        of=Agent,
        filter=types.AgentFilter,
        order=types.AgentOrder,
        description="Worker nodes; for superadmins.",
    )


@strawberry.type
class AgentMutations:
    @strawberry.field(description="Make a token that lets one new node in.")
    async def create_join_token(
        self, info: Info, input: types.CreateJoinTokenInput
    ) -> types.CreateJoinTokenPayload:
        core = info.context.core
        life = None if input.expires_in_seconds is None else timedelta(seconds=input.expires_in_seconds)
        made = await agents.create_join_token(core, info.context.viewer, str(input.resource_group_id), life)
        command = f"berth agent join {core.settings.public_url} --token {made.token} && berth agent run"
        return types.CreateJoinTokenPayload(token=made.token, command=command, expires_at=made.expires_at)

    @strawberry.field(description="Rename, drain or move an agent.")
    async def update_agent(self, info: Info, input: types.UpdateAgentInput) -> types.UpdateAgentPayload:
        row = await agents.edit(
            info.context.core,
            info.context.viewer,
            str(input.id),
            name=input.name,
            schedulable=input.schedulable,
            resource_group_id=str(input.resource_group_id) if input.resource_group_id else None,
        )
        return types.UpdateAgentPayload(agent=Agent.of(row))

    @strawberry.field(description="Take an agent out; its credential is void from now on.")
    async def remove_agent(self, info: Info, input: types.RemoveAgentInput) -> types.RemoveAgentPayload:
        row = await agents.remove(info.context.core, info.context.viewer, str(input.id), force=input.force)
        return types.RemoveAgentPayload(agent=Agent.of(row))


@strawberry.type
class AgentSubscriptions:
    @strawberry.subscription(description="Agents as they change; for superadmins.")
    async def agent_events(self, info: Info, after: Resume = None) -> AsyncGenerator[AgentEvent]:
        async for notice in agents.watch(info.context.core, info.context.viewer, after):
            info.context.forget()
            yield AgentEvent(
                kind=EventKind(notice.kind),
                cursor=notice.cursor,
                agent=Agent.of(notice.agent) if notice.agent else None,
                code=notice.event.code if notice.event else None,
                message=notice.event.message if notice.event else None,
            )

    @strawberry.subscription(description="A node's load, each sample as it comes; the newest counts.")
    async def agent_stats(self, info: Info, agent_id: AgentId) -> AsyncGenerator[AgentStats]:
        async for sample in agents.watch_stats(info.context.core, info.context.viewer, str(agent_id)):
            yield AgentStats.of(sample)

    @strawberry.subscription(
        description="The load of several nodes in one stream: the newest sample of each that has one, whenever some are new."
    )
    async def agents_stats(self, info: Info, agent_ids: AgentIds) -> AsyncGenerator[list[AgentLoad]]:
        wanted = [str(one) for one in agent_ids]
        async for found in agents.watch_stats_of(info.context.core, info.context.viewer, wanted):
            yield [
                AgentLoad(agent_id=strawberry.ID(agent_id), stats=AgentStats.of(sample))
                for agent_id, sample in found.items()
            ]
