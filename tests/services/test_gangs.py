"""Sessions of several kernels: placed all or none, running when all run, ended when one ends."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from agents.protocol import Swarm
from services import agents, leases, sessions, terminals
from services.core import Core
from services.db.tables import FINAL, Agent, Kernel, Session, Ticket
from services.errors import BadInput, NotFound, QuotaExceeded
from services.permissions import Actor
from services.scheduling.commits import Placement, commit
from services.scheduling.dispatch import Dispatcher
from tests.factories import Clock
from tests.services.world import World, ledger_is_true

NO_SPACE = {"code": "NO_SPACE", "message": "The disk is full."}
START = ("PULLING", "PREPARED", "CREATING", "RUNNING")


async def built(core: Core, nodes: int = 1, *, swarm: bool = False, **more: Any) -> tuple[World, Actor]:
    """A world with a user and nodes of 4 cores, which have a network between them if `swarm`."""
    values: dict[str, Any] = {"kernels": 8, **more}
    world = await World(core).build(**values)
    actor = await world.user()
    for number in range(nodes):
        agent = await world.agent()
        if swarm:
            await world.hello(agent, swarm=Swarm(managers=("first",), control=number == 0))
    return world, actor


async def launched(world: World, actor: Actor, size: int = 3, **more: Any) -> Session:
    session = await world.launch(actor, cluster_size=size, **more)
    await world.dispatch()
    return await world.session(session.id)


async def spread(core: Core, size: int = 3, **more: Any) -> tuple[World, Actor, Session]:
    """A gang whose kernels are too large to share a node, on as many nodes."""
    world, actor = await built(core, nodes=more.pop("nodes", size), swarm=True, **more.pop("world", {}))
    return world, actor, await launched(world, actor, size, cpu="3", cluster_mode="MULTI_NODE", **more)


async def runs(world: World, session: Session, *ranks: int) -> Session:
    kernels = await world.kernels(session.id)
    for kernel in [kernels[rank] for rank in ranks] or kernels:
        for phase in START:
            await world.tell(kernel, phase)
    return await world.session(session.id)


async def statuses(world: World, session: Session) -> list[str]:
    return [kernel.status for kernel in await world.kernels(session.id)]


async def test_its_kernels_are_named_ranked_and_counted_together(core: Core) -> None:
    world, actor = await built(core)
    session = await launched(world, actor)
    assert (session.status, session.slots) == ("SCHEDULED", {"cpu": 3000, "mem": 3 * 2**28})
    kernels = await world.kernels(session.id)
    assert [(one.rank, one.hostname, one.slots["cpu"]) for one in kernels] == [
        (0, "main1", 1000),
        (1, "sub1", 1000),
        (2, "sub2", 1000),
    ]
    assert len({one.agent_id for one in kernels}) == 1
    assert await ledger_is_true(core)


async def test_more_containers_than_a_limit_allows_are_refused_with_the_limit_named(core: Core) -> None:
    world, actor = await built(core, kernels=2)
    with pytest.raises(QuotaExceeded) as refused:
        await world.launch(actor, cluster_size=3)
    assert (refused.value.path, refused.value.extra["limit"]) == ("input.clusterSize", "2")
    assert "resource policy" in refused.value.message
    wrong: dict[str, Any]
    for wrong in ({"cluster_size": 0}, {"cluster_size": 61}, {"cluster_mode": "ANYWHERE"}):
        with pytest.raises(BadInput):
            await world.launch(actor, **wrong)


@pytest.mark.parametrize("scope", ["policy_slots", "group_slots", "domain_slots", "resource_group_slots"])
async def test_limits_count_all_containers(core: Core, scope: str) -> None:
    limit: dict[str, Any] = {scope: {"cpu": 2000}}
    world, actor = await built(core, **limit)
    with pytest.raises(QuotaExceeded) as refused:
        await world.launch(actor, cluster_size=3)
    assert (refused.value.extra["asked"], refused.value.extra["limit"]) == ("3", "2")
    assert (await launched(world, actor, 2)).status == "SCHEDULED"
    waiting = await launched(world, actor, 2)
    assert waiting.pending_reason is not None
    assert (waiting.pending_reason["code"], waiting.pending_reason["asked"]) == ("LIMIT_REACHED", 2000)


async def test_a_single_node_gang_waits_for_one_node_with_room_for_all(core: Core) -> None:
    world, actor = await built(core, nodes=2, swarm=True)
    session = await launched(world, actor, 2, cpu="3")
    assert (session.status, (session.pending_reason or {})["code"]) == ("PENDING", "NO_AGENT_FITS")
    assert await statuses(world, session) == ["PENDING", "PENDING"]
    await world.agent(cpu=8000, mem=2**33)
    await world.dispatch()
    assert len({one.agent_id for one in await world.kernels(session.id)}) == 1


async def test_a_multi_node_gang_goes_to_several_nodes_of_one_swarm(core: Core) -> None:
    world, _, session = await spread(core)
    assert (session.status, session.network) == ("SCHEDULED", f"berth-{session.id}")
    assert len({one.agent_id for one in await world.kernels(session.id)}) == 3
    assert await ledger_is_true(core)


async def test_without_a_network_between_nodes_it_goes_to_one_or_waits_and_says_so(core: Core) -> None:
    world, actor = await built(core, nodes=3)
    small = await launched(world, actor, 2, cluster_mode="MULTI_NODE")
    assert (small.status, small.network) == ("SCHEDULED", "")
    large = await launched(world, actor, 2, cpu="3", cluster_mode="MULTI_NODE")
    reason = large.pending_reason or {}
    assert (large.status, reason["code"]) == ("PENDING", "NO_AGENT_FITS")
    assert reason["unconnected"]
    # A swarm none of whose managers is a node cannot be told to make a network.
    for agent in await _agents(core):
        await world.hello(agent, swarm=Swarm(managers=("elsewhere",)))
    await world.dispatch()
    assert (await world.session(large.id)).status == "PENDING"
    for agent in await _agents(core):
        await world.hello(agent, swarm=Swarm(managers=("elsewhere",), control=True))
    await world.dispatch()
    assert (await world.session(large.id)).status == "SCHEDULED"


async def test_nodes_of_different_swarms_share_no_gang(core: Core) -> None:
    world, actor = await built(core, nodes=3)
    for agent, swarm in zip(await _agents(core), ("one", "one", "two"), strict=True):
        await world.hello(agent, swarm=Swarm(managers=(swarm,), control=True))
    assert (await launched(world, actor, 3, cpu="3", cluster_mode="MULTI_NODE")).status == "PENDING"
    pair = await launched(world, actor, 2, cpu="3", cluster_mode="MULTI_NODE")
    assert {one.agent_id for one in await world.kernels(pair.id)} == set((await _agents(core))[:2])


async def test_it_runs_when_all_run(core: Core) -> None:
    world, _, session = await spread(core)
    assert (await runs(world, session, 1, 2)).status == "SCHEDULED"
    assert (await runs(world, session, 0)).status == "RUNNING"


async def test_each_step_of_a_kernel_gives_the_start_more_time(core: Core, clock: Clock) -> None:
    world, _, session = await spread(core)
    kernels = await world.kernels(session.id)
    await world.tell(kernels[1], "PULLING")
    clock.advance(timedelta(minutes=20))
    assert await sessions.fail_overdue(core) == 0
    await runs(world, session, 1, 2)
    clock.advance(timedelta(seconds=61))
    assert await sessions.fail_overdue(core) == 1
    assert set(await statuses(world, session)) == {"ERROR"}


async def test_one_that_dies_ends_all_with_its_reason(core: Core) -> None:
    world, _, session = await spread(core)
    await runs(world, session)
    kernels = await world.kernels(session.id)
    killed = {"code": "OOM_KILLED", "message": "It needed more memory.", "exit_code": 137}
    await world.tell(kernels[1], "TERMINATED", **killed)
    assert await statuses(world, session) == ["TERMINATING", "TERMINATED", "TERMINATING"]
    for kernel in (kernels[2], kernels[0]):
        await world.tell(kernel, "TERMINATED", code="REQUESTED", exit_code=143)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("TERMINATED", "OOM_KILLED")
    assert ended.reason_message == "sub1: It needed more memory."
    assert {one.reason_code for one in await world.kernels(session.id)} == {"OOM_KILLED", "PEER_ENDED"}
    assert await ledger_is_true(core)


async def test_one_that_cannot_start_fails_all(core: Core) -> None:
    world, _, session = await spread(core)
    await runs(world, session, 2)
    kernels = await world.kernels(session.id)
    await world.tell(kernels[1], "ERROR", code="IMAGE_NOT_FOUND", message="There is no such image.")
    assert (await world.session(session.id)).status == "TERMINATING"
    await world.tell(kernels[0], "TERMINATED", code="REQUESTED")
    await world.tell(kernels[2], "TERMINATED", code="REQUESTED")
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("ERROR", "IMAGE_NOT_FOUND")
    assert await statuses(world, session) == ["CANCELLED", "ERROR", "TERMINATED"]
    assert await ledger_is_true(core)


@pytest.mark.parametrize("code", [0, 3])
async def test_a_batch_gangs_result_is_that_of_main1_whose_end_ends_the_others(core: Core, code: int) -> None:
    world, _, session = await spread(core, type="BATCH", startup_command="mpirun hostname")
    await runs(world, session)
    kernels = await world.kernels(session.id)
    await world.tell(kernels[0], "TERMINATED", code="EXITED", message="Ended.", exit_code=code)
    for kernel in kernels[1:]:
        await world.tell(kernel, "TERMINATED", code="REQUESTED", exit_code=143)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code, ended.exit_code) == ("TERMINATED", "EXITED", code)
    assert sessions.succeeded(ended) == (code == 0)


async def test_main1_ending_well_after_another_had_ended_is_no_success(core: Core) -> None:
    world, _, session = await spread(core, size=2, type="BATCH", startup_command="mpirun hostname")
    await runs(world, session)
    main, sub = await world.kernels(session.id)
    await world.tell(sub, "TERMINATED", code="EXITED", message="Ended.", exit_code=0)
    await world.tell(main, "TERMINATED", code="EXITED", message="Ended.", exit_code=0)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code) == ("TERMINATED", "SUB_EXITED")
    assert not sessions.succeeded(ended)


async def test_terminating_it_ends_all_and_forcing_it_waits_for_none(core: Core) -> None:
    for force in (False, True):
        world, actor, session = await spread(core)
        await runs(world, session)
        await sessions.terminate(core, actor, [session.id], force=force)
        if not force:
            for kernel in await world.kernels(session.id):
                assert (await world.session(session.id)).status == "TERMINATING"
                await world.tell(kernel, "TERMINATED", code="REQUESTED")
        ended = await world.session(session.id)
        assert (ended.status, ended.reason_code) == ("TERMINATED", "FORCED" if force else "REQUESTED")
        assert {one.abandoned for one in await world.kernels(session.id)} == {force}
        assert await ledger_is_true(core)


async def test_one_ended_before_all_ran_was_cancelled(core: Core) -> None:
    world, actor, session = await spread(core)
    await runs(world, session, 1)
    await sessions.terminate(core, actor, [session.id])
    for kernel in await world.kernels(session.id):
        await world.tell(kernel, "TERMINATED", code="REQUESTED")
    assert (await world.session(session.id)).status == "CANCELLED"


async def test_a_failed_start_takes_the_whole_gang_back_once_nothing_of_it_is_left(
    core: Core, clock: Clock
) -> None:
    world, _, session = await spread(core, size=2, nodes=3, world={"retries": 1})
    await runs(world, session, 1)
    main, sub = await world.kernels(session.id)
    await world.tell(main, "ERROR", **NO_SPACE)
    now = await world.session(session.id)
    assert (now.status, now.reason_code) == ("TERMINATING", "START_RETRIED")
    assert await statuses(world, session) == ["PENDING", "TERMINATING"]
    assert await ledger_is_true(core)
    await world.tell(sub, "TERMINATED", code="REQUESTED")
    back = await world.session(session.id)
    assert (back.status, (back.pending_reason or {})["code"]) == ("PENDING", "RETRY_LATER")
    assert await statuses(world, session) == ["PENDING", "PENDING"]
    assert await ledger_is_true(core)
    clock.advance(timedelta(seconds=10))
    await world.dispatch()
    again = await world.kernels(session.id)
    assert main.agent_id not in {one.agent_id for one in again}
    assert [one.generation for one in again] == [main.generation + 1, sub.generation + 1]
    assert [one.started_at for one in again] == [None, None]
    # Late words of the first start change nothing.
    await world.tell(sub, "RUNNING")
    assert (await runs(world, session)).status == "RUNNING"
    await world.tell((await world.kernels(session.id))[0], "ERROR", **NO_SPACE)
    await world.tell((await world.kernels(session.id))[1], "TERMINATED", code="REQUESTED")
    assert (await world.session(session.id)).status == "ERROR"


async def test_when_two_starts_fail_at_once_one_retry_is_spent(core: Core) -> None:
    world, _, session = await spread(core, nodes=4, world={"retries": 2})
    kernels = await world.kernels(session.id)
    for kernel in kernels:
        await world.tell(kernel, "ERROR", **NO_SPACE)
    back = await world.session(session.id)
    assert (back.status, len(back.failed_agent_ids)) == ("PENDING", 1)


async def test_one_that_is_asked_to_end_while_it_is_taken_back_ends(core: Core) -> None:
    world, actor, session = await spread(core, world={"retries": 2})
    await runs(world, session, 1)
    kernels = await world.kernels(session.id)
    await world.tell(kernels[0], "ERROR", **NO_SPACE)
    await sessions.terminate(core, actor, [session.id])
    for kernel in kernels[1:]:
        await world.tell(kernel, "TERMINATED", code="REQUESTED")
    assert (await world.session(session.id)).status == "CANCELLED"
    assert await ledger_is_true(core)


async def test_a_lost_node_with_a_part_of_it_keeps_all_until_it_returns(core: Core, clock: Clock) -> None:
    world, _, session = await spread(core, world={"grace": 3600})
    await runs(world, session)
    first, second, _ = await world.kernels(session.id)
    await _lose(core, first.agent_id, second.agent_id)
    for kernel in (first, second):
        assert (await world.session(session.id)).unreachable_since is not None
        await world.hello(kernel.agent_id or "", kernels=())
    now = await world.session(session.id)
    assert now.unreachable_since is None
    # They came back without it: what was running there is gone, and so the others are ended.
    assert now.status == "TERMINATING"


async def test_giving_a_node_up_ends_all_or_starts_all_again(core: Core, clock: Clock) -> None:
    for ran in (True, False):
        world, _, session = await spread(core, world={"grace": 60, "retries": 1}, nodes=5)
        await runs(world, session, *([] if ran else [1]))
        kernels = await world.kernels(session.id)
        await _lose(core, kernels[0].agent_id)
        clock.advance(timedelta(seconds=61))
        assert await agents.give_up_lost(core) == 1
        now = await world.session(session.id)
        if ran:
            assert (now.status, now.reason_code) == ("ERROR", "NODE_LOST")
            assert all(one.abandoned for one in await world.kernels(session.id))
        else:
            assert await statuses(world, session) == ["PENDING", "TERMINATING", "TERMINATING"]
            for kernel in kernels[1:]:
                await world.tell(kernel, "TERMINATED", code="REQUESTED")
            assert (await world.session(session.id)).status == "PENDING"
        assert await ledger_is_true(core)


async def test_a_terminal_and_a_log_are_of_the_container_that_was_chosen(core: Core) -> None:
    world, actor, session = await spread(core)
    await runs(world, session)
    kernels = await world.kernels(session.id)
    for chosen, expected in ((None, kernels[0]), (kernels[2].id, kernels[2])):
        await terminals.open_terminal(core, actor, session.id, None, 80, 24, kernel_id=chosen)
        async with core.db.read() as db:
            made = (await db.scalars(select(Ticket.data).order_by(Ticket.expires_at.desc()))).all()
        assert expected.id in [data["kernel"] for data in made]
    _, _, foreign = await spread(core)
    other = (await world.kernels(foreign.id))[0].id
    with pytest.raises(NotFound) as refused:
        await terminals.open_terminal(core, actor, session.id, None, 80, 24, kernel_id=other)
    assert refused.value.path == "input.kernelId"
    with pytest.raises(NotFound):
        await sessions.log(core, actor, session.id, kernel_id=other)


async def test_of_several_dispatchers_one_places_a_gang_and_always_all_of_it(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes come and go, gangs are ended while they are placed: at every moment all kernels have a node, or none has."""

    async def always(*_: Any) -> bool:
        return True

    # The worst: each believes that the duty is its own, and only what is committed keeps them apart.
    monkeypatch.setattr(leases, "holds", always)
    chance = random.Random(4)
    world, actor = await built(core, nodes=4, swarm=True)
    mine = [await world.launch(actor, cluster_size=3, cluster_mode="MULTI_NODE", cpu="2") for _ in range(4)]
    partly: list[list[str]] = []
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            async with core.db.read() as db:
                rows = await db.execute(select(Kernel.session_id, Kernel.status).order_by(Kernel.session_id))
                found: dict[str, list[str]] = {}
                for session_id, status in rows:
                    found.setdefault(session_id, []).append(status)
            partly.extend(one for one in found.values() if "PENDING" in one and set(one) & {"SCHEDULED"})
            await asyncio.sleep(0)

    async def drain() -> None:
        for agent in await _agents(core):
            async with core.db.write() as db:
                schedulable = chance.random() < 0.5
                await db.execute(update(Agent).where(Agent.id == agent).values(schedulable=schedulable))

    async def end() -> None:
        await sessions.terminate(core, actor, [mine[chance.randrange(4)].id])

    watching = asyncio.create_task(watch())
    for _ in range(4):
        rivals = [Dispatcher(core) for _ in range(2)]
        for one in rivals:
            await one.take_duty()
        await asyncio.gather(*(one.cycle() for one in rivals), drain(), end())
        assert await ledger_is_true(core)
    done.set()
    await watching
    assert partly == []


async def test_a_gang_overtaken_between_plan_and_commit_takes_nothing(core: Core) -> None:
    world, actor = await built(core, nodes=2, swarm=True)
    gang = await world.launch(actor, cluster_size=2, cluster_mode="MULTI_NODE", cpu="3")
    plan = {gang.id: Placement(gang.version, tuple(await _agents(core)))}
    # Held back from the rival's cycle, which takes room on one of the two nodes that were chosen.
    async with core.db.write() as db:
        later = core.now() + timedelta(hours=1)
        await db.execute(update(Session).where(Session.id == gang.id).values(starts_at=later))
    rival = await world.launch(actor, cpu="2")
    await world.dispatch()
    assert await statuses(world, rival) == ["SCHEDULED"]
    fence = await leases.acquire(core, "dispatch", timedelta(minutes=1))
    assert fence is not None
    assert await commit(core, "dispatch", fence, plan) == []
    assert await statuses(world, gang) == ["PENDING", "PENDING"]
    assert await ledger_is_true(core)
    # With the room back, the same plan is as good as it was.
    await sessions.terminate(core, actor, [rival.id], force=True)
    assert await commit(core, "dispatch", fence, plan) == [gang.id]
    assert {one.agent_id for one in await world.kernels(gang.id)} == set(plan[gang.id].agents)
    assert await ledger_is_true(core)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_its_nodes_say_it_ends_whole(core: Core, seed: int) -> None:
    """Random words of random nodes: the status is always that of its kernels, and nothing is left behind."""
    chance = random.Random(seed)
    world, actor, session = await spread(core, nodes=4, world={"retries": 1})
    codes = ("NO_SPACE", "EXITED", "OOM_KILLED", "IMAGE_NOT_FOUND")
    for _ in range(40):
        kernels = await world.kernels(session.id)
        kernel = chance.choice(kernels)
        match chance.randrange(8):
            case 0:
                await world.tell(kernel, chance.choice(("ERROR", "TERMINATED")), code=chance.choice(codes))
            case 1 if chance.random() < 0.2:
                await sessions.terminate(core, actor, [session.id])
            case 2:
                await world.dispatch()
            case _:
                await world.tell(kernel, chance.choice(START))
        now = await world.session(session.id)
        found = await statuses(world, session)
        assert (now.status in FINAL) == all(one in FINAL for one in found)
        assert (now.status == "RUNNING") == all(one == "RUNNING" for one in found)
        assert not ("SCHEDULED" in found and "PENDING" in found)
        assert await ledger_is_true(core)
    await sessions.terminate(core, actor, [session.id], force=True)
    assert all(one in FINAL for one in await statuses(world, session))
    assert await ledger_is_true(core)


async def _agents(core: Core) -> list[str]:
    async with core.db.read() as db:
        return list(await db.scalars(select(Agent.id).order_by(Agent.id)))


async def _lose(core: Core, *agent_ids: str | None) -> None:
    async with core.db.write() as db:
        await db.execute(
            update(Agent)
            .where(Agent.id.in_(agent_ids))
            .values(lease_expires_at=core.now() - timedelta(seconds=1))
        )
    await agents.expire_leases(core)
