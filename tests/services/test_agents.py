"""Agents that join, report, fall silent and return."""

import asyncio
from datetime import timedelta

import pytest

from agents.protocol import KernelReport
from services import agents, sessions
from services.core import Core
from services.errors import BadInput, Conflict, Forbidden, NotFound, Unauthenticated
from tests.services.test_sessions import running
from tests.services.world import World


async def test_a_join_token_lets_one_agent_in_once(core: Core) -> None:
    world = await World(core).build()
    admin = await world.user("SUPERADMIN")
    token = await agents.create_join_token(core, admin, world.resource_group)
    tried = await asyncio.gather(
        *(agents.join(core, token=token.token, name=f"n{i}", protocol=1) for i in range(5)),
        return_exceptions=True,
    )
    joined = [one for one in tried if isinstance(one, agents.Joined)]
    assert len(joined) == 1
    assert all(isinstance(one, Unauthenticated) for one in tried if one is not joined[0])
    assert await agents.authenticate(core, joined[0].credential) == joined[0].agent_id


@pytest.mark.parametrize("credential", ["", ".", "agt_x.y", "agt_00000000000000000000000000.secret", "\0.\0"])
async def test_a_bad_credential_is_refused(core: Core, credential: str) -> None:
    with pytest.raises(Unauthenticated):
        await agents.authenticate(core, credential)


async def test_an_older_protocol_is_told_what_would_be_right(core: Core) -> None:
    with pytest.raises(BadInput, match="speaks link protocol 1, the agent speaks 0"):
        await agents.join(core, token="t", name="n", protocol=0)


async def test_an_expired_join_token_is_refused(core: Core) -> None:
    world = await World(core).build()
    admin = await world.user("SUPERADMIN")
    token = await agents.create_join_token(core, admin, world.resource_group)
    moment = core.now()
    core.now = lambda: moment + timedelta(hours=2)
    with pytest.raises(Unauthenticated):
        await agents.join(core, token=token.token, name="n", protocol=1)


async def test_silence_makes_an_agent_lost_and_leaves_its_sessions(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await running(world, actor)
    moment = core.now()
    core.now = lambda: moment + timedelta(minutes=1)
    assert await agents.expire_leases(core) == 1
    lost = await world.session(session.id)
    assert (lost.status, lost.unreachable_since is not None) == ("RUNNING", True)
    kernel = await world.kernel(session.id)
    await world.hello(agent, (KernelReport(kernel.id, kernel.generation, session.id, "RUNNING"),))
    back = await world.session(session.id)
    assert (back.status, back.unreachable_since) == ("RUNNING", None)


async def test_a_lost_agent_gets_no_new_work(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    moment = core.now()
    core.now = lambda: moment + timedelta(minutes=1)
    await agents.expire_leases(core)
    session = await world.launch(actor)
    await world.dispatch()
    waiting = await world.session(session.id)
    assert waiting.status == "PENDING"
    assert waiting.pending_reason is not None
    assert waiting.pending_reason["code"] == "NO_AGENTS"


async def test_sessions_of_a_lost_agent_are_given_up_only_where_the_resource_group_says_so(
    core: Core,
) -> None:
    patient, strict = await World(core).build(), await World(core).build(grace=30)
    kept = await running(patient, await patient.user()) if await patient.agent() else None
    given_up = await running(strict, await strict.user()) if await strict.agent() else None
    assert kept is not None
    assert given_up is not None
    moment = core.now()
    core.now = lambda: moment + timedelta(minutes=1)
    await agents.expire_leases(core)
    core.now = lambda: moment + timedelta(minutes=3)
    assert await agents.give_up_lost(core) == 1
    assert (await patient.session(kept.id)).status == "RUNNING"
    ended = await strict.session(given_up.id)
    assert (ended.status, ended.reason_code) == ("ERROR", "NODE_LOST")


async def test_a_container_that_vanished_ends_its_session_with_a_reason(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await running(world, actor)
    await world.hello(agent, newest_seq=world.sequences[agent])
    gone = await world.session(session.id)
    assert (gone.status, gone.reason_code) == ("ERROR", "CONTAINER_GONE")


async def test_an_end_that_was_journalled_while_offline_is_not_mistaken_for_a_loss(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await running(world, actor)
    await world.hello(agent, newest_seq=world.sequences[agent] + 1)
    assert (await world.session(session.id)).status == "RUNNING"
    await world.report(session.id, "TERMINATED", code="EXITED", message="Ended by itself.", exit_code=0)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("TERMINATED", "EXITED")


async def test_a_draining_agent_gets_nothing_new_and_keeps_what_it_has(core: Core) -> None:
    world = await World(core).build()
    admin, agent = await world.user("SUPERADMIN"), await world.agent()
    session = await running(world, admin)
    await agents.edit(core, admin, agent, schedulable=False)
    waiting = await world.launch(admin)
    await world.dispatch()
    assert (await world.session(session.id)).status == "RUNNING"
    assert (await world.session(waiting.id)).status == "PENDING"


async def test_an_agent_with_live_sessions_is_removed_only_by_force(core: Core) -> None:
    world = await World(core).build()
    admin, agent = await world.user("SUPERADMIN"), await world.agent()
    session = await running(world, admin)
    with pytest.raises(Conflict):
        await agents.remove(core, admin, agent)
    await agents.remove(core, admin, agent, force=True)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("ERROR", "NODE_REMOVED")
    with pytest.raises(Unauthenticated):
        await agents.authenticate(core, f"{agent}.secret")


async def test_only_a_superadmin_sees_or_changes_agents(core: Core) -> None:
    world = await World(core).build()
    user, agent = await world.user(), await world.agent()
    with pytest.raises(NotFound):
        await agents.get(core, user, agent)
    with pytest.raises(Forbidden):
        await agents.edit(core, user, agent, schedulable=False)
    with pytest.raises(Forbidden):
        await agents.create_join_token(core, user, world.resource_group)


async def test_a_watcher_is_told_what_it_missed(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session = await world.launch(actor)
    watch = sessions.watch(core, actor, sessions.SessionFilter())
    await world.dispatch()
    stream = sessions.watch(core, actor, sessions.SessionFilter(), after="0")
    notice = await anext(stream)
    assert (notice.kind, notice.session and notice.session.id) == ("CHANGED", session.id)
    await stream.aclose()
    await watch.aclose()
