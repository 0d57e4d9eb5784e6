"""Streams: each event is complete, and the next one begins where the last ended."""

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from strawberry import Schema

from agents.protocol import KernelStats, NodeStats, Stats
from resolvers.context import RequestContext
from schema.errors import present_all
from services import agents, announcements, sessions
from services.agents import read
from services.announcements import AnnouncementChanges, AnnouncementSpec
from services.core import Core
from services.db.tables import KernelLog
from services.permissions import Actor
from tests.factories import Factories
from tests.schema import cluster
from tests.schema.cluster import Cluster

EVENTS = """subscription ($filter: SessionFilter, $after: String) { sessionEvents(filter: $filter, after: $after) {
    kind cursor session { id name status user { email } allowedActions kernels { id } } entry { status code } } }"""


class Stream:
    def __init__(self, results: AsyncGenerator[Any]) -> None:
        self._results = results

    async def next(self) -> Any:
        result = await asyncio.wait_for(anext(self._results), 10)
        if result.errors:
            return present_all(result.errors)
        (value,) = result.data.values()
        return value

    async def ends(self) -> bool:
        return await anext(self._results, None) is None


@pytest.fixture
async def built(make: Factories) -> Cluster:
    return await cluster.build(make, sessions=1)


@asynccontextmanager
async def watching(
    core: Core, schema: Schema, actor: Actor | None, query: str, **variables: Any
) -> AsyncGenerator[Stream]:
    async with RequestContext(core, actor) as context:
        results = await schema.stream(query, variable_values=variables, context_value=context)
        try:
            yield Stream(results)
        finally:
            await results.aclose()


async def subscribed(core: Core, waiting: "asyncio.Task[Any]") -> None:
    """The stream listens on the bus by now."""
    while not any(core.bus._queues.values()) and not waiting.done():  # type: ignore[attr-defined]
        await asyncio.sleep(0)


async def test_a_change_arrives_with_the_session_as_it_is_now(
    core: Core, schema: Schema, built: Cluster
) -> None:
    async with watching(core, schema, built.user, EVENTS) as stream:
        waiting = asyncio.ensure_future(stream.next())
        await subscribed(core, waiting)
        await sessions.edit(core, built.user, built.sessions[0].id, name="renamed")
        event = await waiting
        assert event["kind"] == "CHANGED"
        assert event["session"]["name"] == "renamed"
        assert event["session"]["user"]["email"] == built.owner.email
        assert event["session"]["kernels"]

        # What was loaded for one event must not be shown with the next.
        waiting = asyncio.ensure_future(stream.next())
        await sessions.terminate(core, built.user, [built.sessions[0].id])
        event = await waiting
        assert event["session"]["status"] == "TERMINATING"
        assert event["entry"]["status"] == "TERMINATING"


async def test_who_comes_back_with_a_cursor_is_told_what_was_missed(
    core: Core, schema: Schema, built: Cluster
) -> None:
    async with watching(core, schema, built.user, EVENTS, after="0") as stream:
        event = await stream.next()
        assert event["session"]["id"] == built.sessions[0].id
        assert int(event["cursor"]) > 0


async def test_nobody_hears_of_what_is_not_theirs(
    core: Core, schema: Schema, built: Cluster, make: Factories
) -> None:
    stranger = await make.user()
    theirs = await make.session(user=stranger)
    actor = make.actor(stranger)
    async with watching(core, schema, actor, EVENTS) as stream:
        waiting = asyncio.ensure_future(stream.next())
        await subscribed(core, waiting)
        await sessions.edit(core, built.user, built.sessions[0].id, name="not-theirs")
        await sessions.edit(core, actor, theirs.id, name="theirs")
        assert (await waiting)["session"]["name"] == "theirs"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ('subscription { sessionEvents(after: "x") { cursor } }', "BAD_USER_INPUT"),
        ("subscription { agentEvents { cursor } }", "FORBIDDEN"),
        ('subscription { agentStats(agentId: "agt_x") { at } }', "NOT_FOUND"),
        ('subscription { agentsStats(agentIds: ["agt_x"]) { agentId } }', "NOT_FOUND"),
        ("subscription { agentsStats(agentIds: []) { agentId } }", "BAD_USER_INPUT"),
        ('subscription { sessionStats(sessionId: "ses_x") { at } }', "NOT_FOUND"),
        ('subscription { sessionLogs(sessionId: "ses_x") { text } }', "NOT_FOUND"),
    ],
)
async def test_a_stream_that_may_not_be_is_refused(
    core: Core, schema: Schema, built: Cluster, query: str, code: str
) -> None:
    for actor, expected in ((built.user, code), (None, "UNAUTHENTICATED")):
        async with watching(core, schema, actor, query) as stream:
            (error,) = await stream.next()
            assert error["extensions"]["code"] == expected


async def test_samples_come_the_last_known_first(core: Core, schema: Schema, built: Cluster) -> None:
    query = "subscription ($id: ID!) { sessionStats(sessionId: $id) { at cpuPercent memoryBytes processes } }"
    kernels = (await sessions.kernels(core, built.user, [built.sessions[0].id]))[built.sessions[0].id]
    async with watching(core, schema, built.user, query, id=built.sessions[0].id) as stream:
        assert (await stream.next())["cpuPercent"] == 12.5
        waiting = asyncio.ensure_future(stream.next())
        sample = KernelStats(kernel=kernels[0].id, cpu_percent=99.0)
        core.stats.ingest(built.agent.id, Stats(time.time(), NodeStats(), (sample,)))
        assert (await waiting)["cpuPercent"] == 99.0


async def test_an_administrator_watches_nodes(core: Core, schema: Schema, built: Cluster) -> None:
    stats = "subscription ($id: ID!) { agentStats(agentId: $id) { cpuPercent kernelCount } }"
    async with watching(core, schema, built.admin, stats, id=built.agent.id) as stream:
        assert await stream.next() == {"cpuPercent": 50.0, "kernelCount": 1}
    events = "subscription { agentEvents { kind cursor agent { id schedulable slots { name used } } code message } }"
    async with watching(core, schema, built.admin, events) as stream:
        waiting = asyncio.ensure_future(stream.next())
        await subscribed(core, waiting)
        await agents.edit(core, built.admin, built.agent.id, schedulable=False)
        event = await waiting
        assert event["agent"]["schedulable"] is False
        assert {slot["name"]: slot["used"] for slot in event["agent"]["slots"]} == {"cpu": "1", "mem": "0"}


async def test_the_log_of_an_ended_session_comes_and_ends(
    core: Core, schema: Schema, built: Cluster, make: Factories
) -> None:
    session = await make.session(user=built.owner, group=built.group, status="TERMINATED")
    kernel = await make.kernel(session=session)
    async with core.db.write() as db:
        db.add(KernelLog(kernel_id=kernel.id, data=zlib.compress(b"hello\n"), size=6))
    query = "subscription ($id: ID!) { sessionLogs(sessionId: $id) { text end } }"
    async with watching(core, schema, built.user, query, id=session.id) as stream:
        assert await stream.next() == {"text": "hello\n", "end": False}
        assert await stream.next() == {"text": "", "end": True}
        assert await stream.ends()


async def test_the_load_of_a_page_of_nodes_comes_in_one_stream(
    core: Core, schema: Schema, built: Cluster, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "TOGETHER", 0)
    silent, other = await make.agent(), await make.agent()
    query = "subscription ($ids: [ID!]!) { agentsStats(agentIds: $ids) { agentId stats { cpuPercent } } }"
    asked = [built.agent.id, silent.id, other.id]
    async with watching(core, schema, built.admin, query, ids=asked) as stream:
        assert await stream.next() == [{"agentId": built.agent.id, "stats": {"cpuPercent": 50.0}}]
        for agent_id, percent in ((built.agent.id, 70.0), (other.id, 5.0)):
            core.stats.ingest(agent_id, Stats(time.time(), NodeStats(cpu_percent=percent), ()))
        found = await stream.next()
        assert {one["agentId"]: one["stats"]["cpuPercent"] for one in found} == {
            built.agent.id: 70.0,
            other.id: 5.0,
        }


async def test_announcements_arrive_change_and_go_for_whom_they_are(
    core: Core, schema: Schema, built: Cluster, make: Factories
) -> None:
    query = "subscription { announcementsChanged { id title } }"
    mine = AnnouncementSpec("Mine", domain_id=built.owner.domain_id)
    theirs = AnnouncementSpec("Theirs", domain_id=(await make.domain()).id)
    async with watching(core, schema, built.user, query) as stream:
        before = await stream.next()
        await announcements.create(core, built.admin, theirs)
        made = await announcements.create(core, built.admin, mine)
        assert await stream.next() == [{"id": made.id, "title": "Mine"}, *before]
        await announcements.edit(core, built.admin, made.id, AnnouncementChanges(title="Changed"))
        assert (await stream.next())[0]["title"] == "Changed"
        await announcements.delete(core, built.admin, made.id)
        assert await stream.next() == before
        # What begins and ends by itself is told too.
        second = timedelta(seconds=1)
        soon = await make.announcement(starts_at=core.now() + second, title="Soon")
        assert (await stream.next())[0]["title"] == "Soon"
        changes = AnnouncementChanges(ends_at=core.now() + second)
        await announcements.edit(core, built.admin, soon.id, changes)
        while await stream.next() != before:
            pass
