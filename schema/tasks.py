"""Tasks: work in the background, with progress."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.context import Info
from schema.fields import permitted_actions, refers, said
from schema.nodes import Node
from schema.paging import Direction
from schema.scalars import ByteSize
from services import tasks
from services.db import tables

if TYPE_CHECKING:
    from schema.users import User

LinesAfter = Annotated[
    int,
    strawberry.argument(description="Only lines with a higher number than this one, which is known already."),
]
LinesFirst = Annotated[int, strawberry.argument(description="At most so many, at most 500.")]
LinesOutcome = Annotated[
    "TaskOutcome | None", strawberry.argument(description="Only lines with this outcome.")
]
MOST_LINES = 500


@strawberry.enum(description="What a task does.")
class TaskKind(Enum):
    RESCAN_REGISTRIES = strawberry.enum_value(
        "RESCAN_REGISTRIES", description="Looks through registries for images."
    )
    CLEAN_UP_IMAGES = strawberry.enum_value(
        "CLEAN_UP_IMAGES", description="Removes images from nodes where nobody used them."
    )
    INSTALL_IMAGES = strawberry.enum_value("INSTALL_IMAGES", description="Brings images to nodes.")
    IMPORT_USERS = strawberry.enum_value("IMPORT_USERS", description="Makes the users of a file.")


@strawberry.enum(description="Where a task stands.")
class TaskStatus(Enum):
    PENDING = strawberry.enum_value("PENDING", description="No manager does it yet.")
    RUNNING = strawberry.enum_value("RUNNING", description="A manager does it.")
    SUCCEEDED = strawberry.enum_value(
        "SUCCEEDED", description="It was carried through; its lines say what became of each thing."
    )
    FAILED = strawberry.enum_value("FAILED", description="It could not be carried through: `error`.")
    CANCELLED = strawberry.enum_value("CANCELLED", description="It was cancelled; what was done is done.")


@strawberry.enum(description="What became of one thing that a task is about.")
class TaskOutcome(Enum):
    ADDED = strawberry.enum_value("ADDED", description="It is new.")
    CHANGED = strawberry.enum_value("CHANGED", description="It is another one than before.")
    SKIPPED = strawberry.enum_value("SKIPPED", description="It was left alone; the message says why.")
    VANISHED = strawberry.enum_value("VANISHED", description="It is not there any more.")
    PLANNED = strawberry.enum_value("PLANNED", description="It would be done; this was a dry run.")
    DONE = strawberry.enum_value("DONE", description="It was done.")
    FAILED = strawberry.enum_value("FAILED", description="It was not done.")


@strawberry.type(description="A figure of a task's summary.")
class TaskFigure:
    name: str = said("What is counted: an outcome, or something of the task's own.")
    value: str = said("An exact whole number.")


@strawberry.type(description="What became of one thing that a task is about.")
class TaskLine:
    number: int = said("From 1 on, in the order in which things were done.")
    outcome: TaskOutcome = said("What became of it.")
    subject: str = said("What it is about.")
    message: str = said("Why, for people; empty where nothing is to be said.")


@strawberry.type(description="An image on its way to a node, by a task.")
class TaskPull:
    agent_id: strawberry.ID = said("The node.")
    image_id: strawberry.ID = said("The image.")
    reference: str = said("What it is called.")
    current: ByteSize | None = said("How much of it is there; null: the node has not said yet.")
    total: ByteSize | None = said("How much it is; null: the node has not said yet.")


@strawberry.type(description="Why a task could not be carried through.")
class TaskError:
    code: str = said("For programs.")
    message: str = said("For people.")


@strawberry.type(
    description="Work in the background, done by one manager, which outlives the page that started it."
)
class Task(Node):
    row: strawberry.Private[tables.Task]
    kind: TaskKind = said("What it does.")
    status: TaskStatus = said("Where it stands.")
    current: int = said("Steps done.")
    total: int | None = said("Steps in all; null while that is not known.")
    message: str = said("What it is at, for people.")
    cancel_requested: bool = said("It was asked to end and does so at its next step.")
    created_at: datetime = said("When it was asked for.")
    started_at: datetime | None = said("When a manager last took it; null: none did yet.")
    ended_at: datetime | None = said("When it ended; null: it has not.")
    user: Annotated["User", strawberry.lazy("schema.users")] | None = refers(
        "user_id", "Who asked for it; null when you may not see them."
    )
    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")

    @classmethod
    def of(cls, row: tables.Task) -> "Task":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            kind=TaskKind(row.kind),
            status=TaskStatus(row.status),
            current=row.current,
            total=row.total,
            message=row.message,
            cancel_requested=row.cancel_requested,
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
        )

    @strawberry.field(description="Counts, so far and in the end.")
    def summary(self) -> list[TaskFigure]:
        return [TaskFigure(name=name, value=str(value)) for name, value in self.row.summary]

    @strawberry.field(
        description="Images that are on their way to nodes just now, at most eight; none when nothing is pulled or it has ended."
    )
    def pulls(self) -> list[TaskPull]:
        return [
            TaskPull(
                agent_id=strawberry.ID(agent_id),
                image_id=strawberry.ID(image_id),
                reference=reference,
                current=None if current is None else ByteSize(current),
                total=None if total is None else ByteSize(total),
            )
            for agent_id, image_id, reference, current, total in self.row.pulls
        ]

    @strawberry.field(description="Why it failed; null when it did not.")
    def error(self) -> TaskError | None:
        row = self.row
        return TaskError(code=row.error_code, message=row.error_message) if row.error_code else None

    @strawberry.field(description="What became of each thing that it is about, so far.")
    async def lines(
        self, info: Info, after: LinesAfter = 0, first: LinesFirst = 100, outcome: LinesOutcome = None
    ) -> list[TaskLine]:
        wanted = None if outcome is None else outcome.name
        asked = tasks.Lines(self.row.id, after, max(0, min(first, MOST_LINES)), wanted)
        found = await info.context.each("task_lines", asked)
        return [
            TaskLine(
                number=line.number,
                outcome=TaskOutcome(line.outcome),
                subject=line.subject,
                message=line.message,
            )
            for line in found
        ]


@strawberry.input(description="Which tasks; all given conditions hold together.")
class TaskFilter:
    search: str | None = said("Part of the message, or the beginning of the id.", default=None)
    kind: TaskKind | None = said("Only of this kind.", default=None)
    status_in: list[TaskStatus] | None = said("Only with one of these statuses.", default=None)
    user_id: strawberry.ID | None = said("Only those that this user asked for.", default=None)


@strawberry.enum(description="What lists of tasks are ordered by.")
class TaskOrderField(Enum):
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of tasks.")
class TaskOrder:
    field: TaskOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A task to cancel.")
class CancelTaskInput:
    id: strawberry.ID = said("The task.")


@strawberry.type(description="A task was asked to end.")
class CancelTaskPayload:
    task: Task = said("The task as it is now; one that runs ends at its next step.")
