"""The life of a session, as the database sees it."""

import asyncio
import zlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from agents.protocol import KernelLog, KernelReport
from services import sessions
from services.core import Core
from services.db.tables import FINAL, Session
from services.errors import BadInput, Conflict, NotFound, QuotaExceeded
from services.scheduling import occupancy
from services.sessions import SessionFilter
from services.sessions.lifecycle import FROM, LIVE, ORDER, derive
from tests.services.world import World, ledger_is_true

GIB = 2**30


async def running(world: World, actor, **more):  # type: ignore[no-untyped-def]
    session = await world.launch(actor, **more)
    await world.dispatch()
    for phase in ("PULLING", "PREPARED", "CREATING", "RUNNING"):
        await world.report(session.id, phase)
    return await world.session(session.id)


async def test_it_goes_through_every_status_and_leaves_a_timeline(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await running(world, actor)
    assert session.status == "RUNNING"
    assert await used(core, agent) == {"cpu": 1000, "mem": 2**28}
    await sessions.terminate(core, actor, [session.id])
    await world.report(session.id, "TERMINATED", code="REQUESTED", exit_code=143)
    ended = await world.session(session.id)
    assert (ended.status, ended.reason_code, ended.exit_code) == ("TERMINATED", "REQUESTED", 143)
    timeline = (await sessions.timelines(core, actor, [session.id]))[session.id]
    assert [event.status for event in timeline] == [
        "PENDING",
        "SCHEDULED",
        "PULLING",
        "PREPARED",
        "CREATING",
        "RUNNING",
        "TERMINATING",
        "TERMINATED",
    ]
    assert all(amount == 0 for amount in (await used(core, agent)).values())


async def test_amounts_below_the_images_minimum_are_raised_and_the_answer_says_so(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session = await world.launch(actor, cpu="0.05", mem=2**20)
    assert session.slots == {"cpu": 100, "mem": 32 * 2**20}
    assert session.raised == {"cpu": 100, "mem": 32 * 2**20}


async def test_all_wrong_fields_are_named_together(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    with pytest.raises(BadInput) as refused:
        await world.launch(
            actor,
            cpu="-1",
            mem=10**30,
            name="-no-",
            environ=[("1X", "y")],
            type="BATCH",
            idempotency_key="null\0",
        )
    assert [path for path, _ in refused.value.fields] == [
        "input.name",
        "input.slots.0.amount",
        "input.slots.1.amount",
        "input.environ.0.name",
        "input.startupCommand",
        "input.idempotencyKey",
    ]


@pytest.mark.parametrize("wrong", [{"name": "a\0"}, {"idempotency_key": "\0"}, {"name": "\ud800"}], ids=repr)
async def test_what_no_database_can_keep_is_refused_and_touches_nobody_else(
    core: Core, wrong: dict[str, str]
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    good, bad = await asyncio.gather(
        world.launch(actor), world.launch(actor, **wrong), return_exceptions=True
    )
    assert isinstance(bad, BadInput)
    assert (await world.session(good.id)).status == "PENDING"


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-0.1", "1e30", "0.001", "", "1,5", "٣" * 50])
async def test_a_malformed_amount_is_refused(core: Core, amount: str) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    with pytest.raises(BadInput):
        await world.launch(actor, cpu=amount)


async def test_a_live_name_is_taken_and_an_ended_one_is_free(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first = await world.launch(actor, name="mine")
    with pytest.raises(Conflict):
        await world.launch(actor, name="mine")
    await sessions.terminate(core, actor, [first.id])
    assert (await world.launch(actor, name="mine")).id != first.id


async def test_of_many_who_want_one_name_at_once_one_gets_it(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    made = await asyncio.gather(
        *(world.launch(actor, name="wanted") for _ in range(8)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in made) == ["Conflict"] * 7 + ["Session"]


async def test_the_same_idempotency_key_makes_one_session_even_at_once(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    made = await asyncio.gather(*(world.launch(actor, idempotency_key="k") for _ in range(6)))
    assert len({session.id for session in made}) == 1
    with pytest.raises(Conflict):
        await world.launch(actor, cpu="2", idempotency_key="k")


async def test_what_can_never_fit_is_refused_at_once_with_the_limit_named(core: Core) -> None:
    world = await World(core).build(group_slots={"cpu": 2000})
    actor, _ = await world.user(), await world.agent()
    with pytest.raises(QuotaExceeded) as refused:
        await world.launch(actor, cpu="3")
    assert refused.value.extra["limit"] == "2"
    assert "the group 'g'" in refused.value.message


async def test_concurrent_sessions_wait_with_the_limit_as_the_reason(core: Core) -> None:
    world = await World(core).build(concurrent=1)
    actor, _ = await world.user(), await world.agent()
    await world.launch(actor)
    second = await world.launch(actor)
    await world.dispatch()
    reason = (await world.session(second.id)).pending_reason
    assert reason is not None
    assert (reason["code"], reason["slot"], reason["cap"]) == ("LIMIT_REACHED", "sessions", 1)


@pytest.mark.parametrize("scope", ["policy", "group", "domain", "resource_group"])
async def test_no_limit_is_exceeded_by_dispatchers_that_run_at_once(core: Core, scope: str) -> None:
    world = await World(core).build(**{f"{scope}_slots": {"cpu": 3000}})
    actor = await world.user()
    for _ in range(2):
        await world.agent(cpu=16000, mem=64 * GIB)
    waiting = [await world.launch(actor) for _ in range(8)]
    await asyncio.gather(*(world.dispatch() for _ in range(4)))
    statuses = [(await world.session(session.id)).status for session in waiting]
    assert statuses.count("SCHEDULED") == 3
    assert statuses.count("PENDING") == 5
    assert await ledger_is_true(core)


async def test_a_dispatcher_that_lost_its_duty_commits_nothing(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    late = await world.dispatch()
    moment = core.now()
    core.now = lambda: moment + timedelta(seconds=60)
    core.manager_id = "another"
    await world.launch(actor)
    core.manager_id = "manager"
    assert await late.cycle() is False
    core.manager_id = "another"
    await world.dispatch()
    async with core.db.read() as db:
        assert await db.scalar(select(func.count()).where(Session.status == "SCHEDULED")) == 1


async def test_reports_of_an_older_generation_or_of_another_agent_change_nothing(core: Core) -> None:
    world = await World(core).build()
    actor, _, other = await world.user(), await world.agent(), await world.agent()
    session = await world.launch(actor)
    await world.dispatch()
    kernel = await world.kernel(session.id)
    stranger = next(a for a in (other, _) if a != kernel.agent_id)
    await world.report(session.id, "RUNNING", agent=stranger)
    await world.report(session.id, "RUNNING", generation=0)
    assert (await world.session(session.id)).status == "SCHEDULED"


async def test_a_forced_end_is_final_at_once_and_its_node_is_told_until_it_is_gone(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await running(world, actor)
    (outcome,) = await sessions.terminate(core, actor, [session.id], force=True)
    assert outcome.row is not None
    assert outcome.row.status == "TERMINATED"
    kernel = await world.kernel(session.id)
    assert kernel.abandoned
    report = KernelReport(kernel.id, kernel.generation, session.id, "RUNNING")
    welcome = await world.hello(agent, (report,))
    assert [(one.kernel, one.generation) for one in welcome.remove] == [(kernel.id, kernel.generation)]
    await world.report(session.id, "TERMINATED")
    assert not (await world.kernel(session.id)).abandoned


async def test_a_phase_that_never_ends_fails_with_its_reason(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await world.launch(actor)
    await world.dispatch()
    await world.report(session.id, "PULLING")
    moment = core.now()
    core.now = lambda: moment + timedelta(hours=1)
    assert await sessions.fail_overdue(core) == 1
    failed = await world.session(session.id)
    assert (failed.status, failed.reason_code) == ("ERROR", "PHASE_TIMED_OUT")
    assert "1800 seconds" in failed.reason_message
    assert all(amount == 0 for amount in (await used(core, agent)).values())


async def test_a_termination_that_takes_too_long_says_what_it_waits_for_and_can_be_forced(core: Core) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session = await running(world, actor)
    await sessions.terminate(core, actor, [session.id])
    moment = core.now()
    core.now = lambda: moment + timedelta(minutes=5)
    await sessions.fail_overdue(core)
    slow = await world.session(session.id)
    assert (slow.status, slow.reason_code) == ("TERMINATING", "STOP_SLOW")
    await sessions.terminate(core, actor, [session.id], force=True)
    assert (await world.session(session.id)).status == "TERMINATED"


@pytest.mark.parametrize(("requested", "right"), [(False, "ERROR"), (True, "CANCELLED")])
async def test_a_failed_start_stays_one_while_its_node_makes_sure_of_its_end(
    core: Core, requested: bool, right: str
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session = await world.launch(actor)
    await world.dispatch()
    if requested:
        await sessions.terminate(core, actor, [session.id])
    why = {"code": "ENGINE_UNREACHABLE", "message": "No answer."}
    await world.report(session.id, "TERMINATING", **why)
    # The manager has told the agent to end it: to the agent that is the end which was asked for.
    await world.report(session.id, "TERMINATED", **why)
    ended = await world.session(session.id)
    assert ended.status == right
    assert ended.reason_code == ("REQUESTED" if requested else "ENGINE_UNREACHABLE")


async def test_a_kept_log_is_read_after_the_end(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await running(world, actor)
    kernel = await world.kernel(session.id)
    await world.report(session.id, "TERMINATED", code="EXITED", exit_code=0)
    log = KernelLog(kernel.id, kernel.generation, zlib.compress("wörld".encode()), 6)
    await world.send(agent, log)
    kept = await sessions.log(core, actor, session.id)
    assert (kept.text, kept.size, kept.truncated) == ("wörld", 6, False)


async def test_a_log_that_inflates_without_end_is_not_kept(core: Core) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent()
    session = await running(world, actor)
    kernel = await world.kernel(session.id)
    bomb = zlib.compress(b"\0" * (64 * 2**20))
    await world.send(agent, KernelLog(kernel.id, kernel.generation, bomb, 1))
    await world.report(session.id, "TERMINATED")
    assert (await sessions.log(core, actor, session.id)).text == ""


async def test_a_foreign_session_answers_as_one_that_does_not_exist(core: Core) -> None:
    world = await World(core).build()
    owner, stranger, _ = await world.user(), await world.user(), await world.agent()
    session = await world.launch(owner)
    for asked in (session.id, "ses_00000000000000000000000000"):
        with pytest.raises(NotFound) as refused:
            await sessions.get(core, stranger, asked)
        (outcome,) = await sessions.terminate(core, stranger, [asked])
        assert outcome.error is not None
        assert outcome.error.message == refused.value.message


async def test_a_domain_admin_ends_the_sessions_of_the_domain_and_no_others(core: Core) -> None:
    world, elsewhere = await World(core).build(), await World(core).build()
    user, admin, foreign = (
        await world.user(),
        await world.user("DOMAIN_ADMIN"),
        await elsewhere.user("DOMAIN_ADMIN"),
    )
    await world.agent()
    session = await world.launch(user)
    (refused,) = await sessions.terminate(core, foreign, [session.id])
    assert isinstance(refused.error, NotFound)
    (done,) = await sessions.terminate(core, admin, [session.id])
    assert done.row is not None


async def test_a_page_has_the_same_number_of_statements_however_many_rows(
    core: Core, count_statements
) -> None:  # type: ignore[no-untyped-def]
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    numbers: list[int] = []
    for _ in range(2):
        for _ in range(5):
            await world.launch(actor)
        with count_statements(core) as statements:
            await sessions.page(core, actor, SessionFilter(), [], sessions.read.PageArgs(first=50))
        numbers.append(len(statements))
    assert numbers[0] == numbers[1]


@given(st.lists(st.sampled_from(ORDER), min_size=1, max_size=4))
def test_a_session_is_final_exactly_when_all_its_kernels_are(statuses: list[str]) -> None:
    final = all(status in FINAL for status in statuses)
    assert (derive(statuses) in FINAL) == final


def test_nothing_leaves_a_final_status() -> None:
    assert not {source for sources in FROM.values() for source in sources} & set(FINAL)
    assert set(FROM) == {*LIVE, *FINAL}


async def used(core: Core, scope: str) -> dict[str, int]:
    async with core.db.read() as db:
        return (await occupancy.of(db, [scope])).get(scope, {})
