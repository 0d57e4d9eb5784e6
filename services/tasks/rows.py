"""Tasks as whoever started them sees them: started, listed, followed, cancelled."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services import ids, permissions
from services.bus import Lagged, TaskChanged
from services.core import Core
from services.db.tables import Task, TaskLine
from services.errors import Conflict
from services.filters import Conditions, among, equal, searched
from services.nouns import Noun
from services.permissions import Actor

LIVE: Final = ("PENDING", "RUNNING")
#: What has ended is kept for so long.
_KEPT: Final = timedelta(days=30)
_PURGED_AT_ONCE: Final = 500


@dataclass(frozen=True)
class TaskFilter:
    #: Part of the message, or the beginning of an id.
    search: str | None = None
    kind: str | None = None
    status_in: Collection[str] | None = None
    user_id: str | None = None


ORDERS: Final = {"CREATED_AT": Task.id}


def _conditions(where: TaskFilter) -> Conditions:
    return [
        *searched(where.search, Task.id, Task.message),
        *equal(Task.kind, where.kind),
        *among(Task.status, where.status_in),
        *equal(Task.user_id, where.user_id),
    ]


_noun = Noun(Task, "tsk", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def start(
    core: Core,
    actor: Actor,
    kind: str,
    arguments: Mapping[str, Any],
    *,
    message: str = "",
    lock: str | None = None,
) -> Task:
    """Put a task into the queue; some manager takes it at once. Who may is for the caller to have asked.

    Args:
        lock: while a task with it lives, that one is returned instead of a second one.

    Raises:
        Conflict: work of another kind has this lock.
    """
    row = Task(
        id=ids.new("tsk"),
        kind=kind,
        status="PENDING",
        user_id=actor.user_id,
        domain_id=actor.domain_id,
        arguments=dict(arguments),
        lock=lock,
        current=0,
        message=message,
        summary=[],
        pulls=[],
        cancel_requested=False,
        attempt=0,
        created_at=core.now(),
    )
    try:
        async with core.db.write() as db:
            earlier = await _earlier(db, kind, lock)
            if earlier is not None:
                return earlier
            db.add(row)
    except IntegrityError as error:
        # Another manager was quicker.
        async with core.db.read() as db:
            earlier = await _earlier(db, kind, lock)
        if earlier is None:
            raise Conflict("This is being done just now. Try again when it has ended.") from error
        return earlier
    await core.bus.publish(TaskChanged(task_id=row.id))
    return row


async def cancel(core: Core, actor: Actor, task_id: str) -> Task:
    """Have a task end. One that has not begun has ended when this returns; another stops at its next step.

    Raises:
        NotFound, Forbidden; Conflict: it has ended already.
    """
    async with core.db.write() as db:
        row = await _noun.take(db, actor, task_id, "cancelTask")
        if row.status not in LIVE:
            raise Conflict("The task has ended already.")
        row.cancel_requested = True
        if row.status == "PENDING":
            row.status, row.ended_at, row.arguments = "CANCELLED", core.now(), {}
    await core.bus.publish(TaskChanged(task_id=row.id))
    return row


class Lines(NamedTuple):
    """Lines of a task, in the order in which things were done."""

    task_id: str
    #: Those after this number, which are not known yet.
    after: int = 0
    first: int = 100
    #: Only with this outcome.
    outcome: str | None = None


async def lines(core: Core, actor: Actor, asked: Sequence[Lines]) -> dict[Lines, list[TaskLine]]:
    """What became of each thing that some tasks are about; none of a task that the actor may not see."""
    result: dict[Lines, list[TaskLine]] = {one: [] for one in asked}
    # One statement for all tasks of which the same is asked, as in a list.
    async with core.db.read() as db:
        for after, first, outcome in dict.fromkeys(one[1:] for one in asked):
            place = func.row_number().over(partition_by=TaskLine.task_id, order_by=TaskLine.number)
            numbered = (
                select(TaskLine, place.label("place"))
                .join(Task, Task.id == TaskLine.task_id)
                .where(
                    TaskLine.task_id.in_(
                        [one.task_id for one in asked if one[1:] == (after, first, outcome)]
                    ),
                    permissions.visible(actor, Task),
                    TaskLine.number > after,
                    *equal(TaskLine.outcome, outcome),
                )
                .subquery()
            )
            line = aliased(TaskLine, numbered)
            for row in await db.scalars(select(line).where(numbered.c.place <= first).order_by(line.number)):
                result[Lines(row.task_id, after, first, outcome)].append(row)
    return result


async def watch(core: Core, actor: Actor, task_id: str | None = None) -> AsyncGenerator[Task]:
    """A task now, and whenever it has got on, until it has ended; without an id all that the actor sees, for ever.

    Raises:
        NotFound: it does not exist or is not the actor's to see.
    """
    async with core.bus.subscribe(TaskChanged) as hints:
        if task_id is not None:
            row = await get(core, actor, task_id, path="taskId")
            yield row
            if row.status not in LIVE:
                return
        while True:
            try:
                changed = {hint.task_id for hint in [await anext(hints), *hints.drain()]}
            except Lagged:
                # What has ended meanwhile is read from the list; what lives tells again.
                changed = {task_id} if task_id is not None else await _live(core, actor)
            wanted = sorted(one for one in changed if task_id in (None, one) and one is not None)
            for row in (await many(core, actor, wanted)).values() if wanted else ():
                yield row
                if task_id is not None and row.status not in LIVE:
                    return


async def purge(core: Core) -> None:
    """Forget tasks that ended long ago, some at a time."""
    async with core.db.write() as db:
        old = (
            await db.scalars(
                select(Task.id)
                .where(Task.status.not_in(LIVE), Task.ended_at < core.now() - _KEPT)
                .order_by(Task.id)
                .limit(_PURGED_AT_ONCE)
            )
        ).all()
        await db.execute(delete(TaskLine).where(TaskLine.task_id.in_(old)))
        await db.execute(delete(Task).where(Task.id.in_(old)))


async def _earlier(db: AsyncSession, kind: str, lock: str | None) -> Task | None:
    if lock is None:
        return None
    found = await db.scalar(select(Task).where(Task.lock == lock, Task.status.in_(LIVE)))
    if found is not None and found.kind != kind:
        raise Conflict("Something else is being done with this just now. Try again when it has ended.")
    return found


async def _live(core: Core, actor: Actor) -> set[str | None]:
    async with core.db.read() as db:
        rows = await db.scalars(
            select(Task.id).where(Task.status.in_(LIVE), permissions.visible(actor, Task))
        )
        return set(rows)
