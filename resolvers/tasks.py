"""Root fields about tasks."""

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry

from resolvers.listings import listing
from schema import tasks as types
from schema.context import Info
from schema.tasks import Task
from services import tasks

TaskId = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="One task, until it has ended; without it all that you see, from now on."
    ),
]


@strawberry.type
class TaskQueries:
    tasks = listing(
        "tasks",
        tasks.ORDERS,
        of=Task,
        filter=types.TaskFilter,
        order=types.TaskOrder,
        description="Work in the background that you see, by default the newest first.",
    )


@strawberry.type
class TaskMutations:
    @strawberry.field(description="Have a task end; what was done is done.")
    async def cancel_task(self, info: Info, input: types.CancelTaskInput) -> types.CancelTaskPayload:
        row = await tasks.cancel(info.context.core, info.context.viewer, str(input.id))
        return types.CancelTaskPayload(task=Task.of(row))


@strawberry.type
class TaskSubscriptions:
    @strawberry.subscription(description="A task as it is now, then whenever it has got on.")
    async def task_progress(self, info: Info, task_id: TaskId = None) -> AsyncGenerator[Task]:
        wanted = str(task_id) if task_id is not None else None
        async for row in tasks.watch(info.context.core, info.context.viewer, wanted):
            info.context.forget()
            yield Task.of(row)
