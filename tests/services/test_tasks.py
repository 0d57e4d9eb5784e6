"""Work in the background: done once, told as it goes, cancelled, taken over, and never written by two."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services import tasks
from services.core import Core
from services.db.tables import Domain, Task, TaskLine
from services.errors import Conflict, NotFound, Unavailable
from services.permissions import Actor
from services.tasks import Kind, Run, Runner, TaskLost
from services.tasks.run import LEASE
from tests.factories import Clock, Factories

KIND = "INSTALL_IMAGES"


def runner(core: Core, work: Callable[[Run], Awaitable[None]], *, restartable: bool = True) -> Runner:
    return Runner(core, [Kind(KIND, work, restartable)])


async def done(core: Core, work: Callable[[Run], Awaitable[None]], **more: bool) -> None:
    one = runner(core, work, **more)
    await one.look()
    await one.idle()


async def lines(core: Core, actor: Actor, task_id: str, **more: Any) -> list[TaskLine]:
    asked = tasks.Lines(task_id, **more)
    return (await tasks.lines(core, actor, [asked]))[asked]


@pytest.fixture
async def admin(make: Factories) -> Actor:
    return await make.superadmin()


async def started(core: Core, admin: Actor, **more: str) -> Task:
    return await tasks.start(core, admin, KIND, {"a": 1}, **more)


async def test_it_tells_how_far_it_is_and_what_became_of_each(core: Core, admin: Actor) -> None:
    task = await started(core, admin, message="waiting")
    watched: list[Task] = []
    looking, step = asyncio.Event(), asyncio.Event()

    async def work(run: Run) -> None:
        assert run.arguments == {"a": 1}
        run.advance(1, 2, "first")
        run.note("DONE", "one\0", "good")
        await step.wait()
        run.note("FAILED", "two", "\ud800")
        run.count("bytesFreed", 5)
        run.advance(2)

    async def watch() -> None:
        async for now in tasks.watch(core, admin, task.id):
            watched.append(now)
            looking.set()
            if now.message == "first":
                step.set()

    watching = asyncio.create_task(watch())
    await asyncio.wait_for(looking.wait(), 30)
    await done(core, work)
    await asyncio.wait_for(watching, 30)
    last = watched[-1]
    assert (last.status, last.current, last.total) == ("SUCCEEDED", 2, 2)
    assert [tuple(one) for one in last.summary] == [("DONE", 1), ("FAILED", 1), ("bytesFreed", 5)]
    assert (watched[0].status, watched[0].message) == ("PENDING", "waiting")
    assert any(one.status == "RUNNING" and one.current == 1 for one in watched)
    assert [(one.number, one.outcome, one.subject) for one in await lines(core, admin, task.id)] == [
        (1, "DONE", "one\ufffd"),
        (2, "FAILED", "two"),
    ]
    assert [one.number for one in await lines(core, admin, task.id, after=1)] == [2]
    assert len(await lines(core, admin, task.id, outcome="DONE")) == 1


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Unavailable("Not now."), "UNAVAILABLE", "Not now."),
        (RuntimeError("secret"), "INTERNAL", "unexpected"),
    ],
)
async def test_a_failure_is_told_and_a_surprise_is_not(
    core: Core, admin: Actor, error: Exception, code: str, says: str
) -> None:
    task = await started(core, admin)

    async def work(_run: Run) -> None:
        raise error

    await done(core, work)
    now = await tasks.get(core, admin, task.id)
    assert (now.status, now.error_code) == ("FAILED", code)
    assert says in now.error_message
    assert "secret" not in now.error_message
    with pytest.raises(Conflict):
        await tasks.cancel(core, admin, task.id)


async def test_one_that_waits_is_cancelled_at_once_and_one_that_runs_at_its_next_step(
    core: Core, admin: Actor
) -> None:
    begun = asyncio.Event()

    async def work(run: Run) -> None:
        begun.set()
        run.note("DONE", "before")
        await asyncio.Event().wait()

    waits = await started(core, admin)
    assert (await tasks.cancel(core, admin, waits.id)).status == "CANCELLED"
    last = runs = await started(core, admin)
    one = runner(core, work)
    following = asyncio.create_task(one.follow())
    await asyncio.wait_for(begun.wait(), 30)
    assert (await tasks.cancel(core, admin, runs.id)).cancel_requested
    async with asyncio.timeout(30):
        async for now in tasks.watch(core, admin, runs.id):
            last = now
    assert last.status == "CANCELLED"
    assert [tuple(figure) for figure in last.summary] == [("DONE", 1)]
    following.cancel()
    await one.close()


async def test_what_a_manager_that_is_gone_had_is_done_by_another_and_it_writes_nothing_more(
    core: Core, make: Factories, admin: Actor, clock: Clock
) -> None:
    task = await started(core, admin)
    other = replace(core, manager_id="mgr-other")
    runs: list[Run] = []
    awake = asyncio.Event()
    written: list[str] = []

    async def paused(run: Run) -> None:
        runs.append(run)
        await awake.wait()
        async with run.write() as db:
            db.add(Domain(id="dom_late", name="late"))
        written.append("late")

    async def work(run: Run) -> None:
        run.note("DONE", "again")
        async with run.write() as db:
            db.add(Domain(id="dom_other", name="other"))
        written.append("other")

    stale = runner(core, paused)
    await stale.look()
    while not runs:
        await asyncio.sleep(0)
    clock.advance(LEASE)
    await done(other, work)
    now = await tasks.get(core, admin, task.id)
    assert (now.status, now.attempt, now.manager) == ("SUCCEEDED", 2, "mgr-other")
    awake.set()
    await stale.idle()
    assert written == ["other"]
    assert [one.subject for one in await lines(core, admin, task.id)] == ["again"]
    with pytest.raises(TaskLost):
        await runs[0].end("FAILED")
    assert (await make.fresh(now)).status == "SUCCEEDED"


async def test_what_cannot_begin_again_fails_and_what_keeps_losing_managers_too(
    core: Core, admin: Actor, clock: Clock
) -> None:
    async def never(_run: Run) -> None:
        raise AssertionError("nothing is left to do")

    async def status(task: Task) -> tuple[str, str]:
        now = await tasks.get(core, admin, task.id)
        return now.status, now.error_code

    async def lose(task: Task, *, attempt: int = 1) -> None:
        async with core.db.write() as db:
            row = await db.get_one(Task, task.id)
            row.status, row.attempt, row.manager = "RUNNING", attempt, "mgr-gone"
            row.lease_expires_at = core.now() + LEASE

    once, often, stopped = [await started(core, admin) for _ in range(3)]
    await lose(once)
    await lose(often, attempt=3)
    await lose(stopped)
    await tasks.cancel(core, admin, stopped.id)
    await done(core, never, restartable=False)
    assert [await status(one) for one in (once, stopped)] == [("RUNNING", ""), ("RUNNING", "")]
    clock.advance(LEASE + timedelta(seconds=1))
    await done(core, never, restartable=False)
    assert await status(once) == ("FAILED", "MANAGER_LOST")
    assert await status(often) == ("FAILED", "MANAGER_LOST")
    assert await status(stopped) == ("CANCELLED", "")
    async with core.db.write() as db:
        row = await db.get_one(Task, often.id)
        row.status, row.lease_expires_at, row.error_code = "RUNNING", core.now(), ""
    await done(core, never)
    assert await status(often) == ("FAILED", "MANAGER_LOST")


async def test_managers_that_look_at_once_do_each_task_once(core: Core, admin: Actor) -> None:
    made = [await started(core, admin) for _ in range(4)]
    did: list[str] = []

    async def work(run: Run) -> None:
        did.append(run.id)

    await asyncio.gather(*(done(replace(core, manager_id=f"mgr-{number}"), work) for number in range(5)))
    assert sorted(did) == sorted(one.id for one in made)


async def test_a_manager_that_stops_gives_back_what_may_begin_again(core: Core, admin: Actor) -> None:
    begun = asyncio.Event()

    async def endless(_run: Run) -> None:
        begun.set()
        await asyncio.Event().wait()

    for restartable, status in ((True, "PENDING"), (False, "FAILED")):
        begun.clear()
        task = await started(core, admin)
        one = runner(core, endless, restartable=restartable)
        await one.look()
        await asyncio.wait_for(begun.wait(), 30)
        await one.close()
        assert (await tasks.get(core, admin, task.id)).status == status
        with contextlib.suppress(Conflict):
            await tasks.cancel(core, admin, task.id)


async def test_the_same_work_is_not_begun_twice(core: Core, admin: Actor) -> None:
    made = await asyncio.gather(*(started(core, admin, lock="images") for _ in range(5)))
    assert len({one.id for one in made}) == 1
    with pytest.raises(Conflict):
        await tasks.start(core, admin, "OTHER", {}, lock="images")
    await tasks.cancel(core, admin, made[0].id)
    assert (await started(core, admin, lock="images")).id != made[0].id


async def test_it_is_its_users_and_what_is_old_is_forgotten(
    core: Core, make: Factories, admin: Actor, clock: Clock
) -> None:
    stranger = make.actor(await make.user())
    task = await started(core, admin)
    for look in (tasks.cancel(core, stranger, task.id), tasks.get(core, stranger, task.id)):
        with pytest.raises(NotFound):
            await look
    assert await lines(core, stranger, task.id) == []
    with pytest.raises(NotFound):
        await anext(tasks.watch(core, stranger, task.id))
    await make.task_line(task=task)
    await tasks.cancel(core, admin, task.id)
    lives = await started(core, admin)
    for days, kept in ((29, True), (2, False)):
        clock.advance(timedelta(days=days))
        await tasks.purge(core)
        assert (task.id in await tasks.many(core, admin, [task.id])) is kept
    assert lives.id in await tasks.many(core, admin, [lives.id])
