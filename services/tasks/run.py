"""What the work of a task is given: to tell how far it is, and to write while the task is still this manager's."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.bus import TaskChanged
from services.core import Core
from services.db.tables import Task, TaskLine

#: A manager that says nothing for so long has lost its tasks.
LEASE: Final = timedelta(seconds=30)
#: What is told is written at most so often (seconds).
BEAT: Final = 0.5
_LONGEST_SUBJECT: Final = 512
_LONGEST_MESSAGE: Final = 4096


class TaskLost(Exception):
    """The task is another manager's by now, or has been ended: nothing more of it may be written."""


class Pull(NamedTuple):
    """An image on its way to a node; bytes, None: the node has not said yet."""

    agent_id: str
    image_id: str
    reference: str
    current: int | None = None
    total: int | None = None


class Run:
    """One attempt at a task. `advance`, `note` and `count` only remember; what they say is written soon after.

    Args:
        task: as it was claimed.
    """

    def __init__(self, core: Core, task: Task) -> None:
        self.core = core
        self.id = task.id
        self.arguments: dict[str, Any] = task.arguments
        self.user_id = task.user_id
        self.domain_id = task.domain_id
        self.cancelling = False
        self._attempt = task.attempt
        self._progress: dict[str, Any] = {}
        self._summary: dict[str, int] = {}
        self._lines: list[dict[str, Any]] = []
        self._number = 0
        self._turn = asyncio.Lock()

    def advance(
        self,
        current: int | None = None,
        total: int | None = None,
        message: str | None = None,
        pulls: Sequence[Pull] | None = None,
    ) -> None:
        """How far it is; None: as before."""
        under_way = None if pulls is None else [list(pull) for pull in pulls]
        told = {"current": current, "total": total, "message": message, "pulls": under_way}
        self._progress |= {name: value for name, value in told.items() if value is not None}

    def note(self, outcome: str, subject: str, message: str = "") -> None:
        """What became of one thing; counted in the summary under its outcome."""
        self._number += 1
        self._lines.append(
            {
                "task_id": self.id,
                "number": self._number,
                "outcome": outcome,
                "subject": _storable(subject, _LONGEST_SUBJECT),
                "message": _storable(message, _LONGEST_MESSAGE),
            }
        )
        self.count(outcome)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a figure of the summary."""
        self._summary[name] = self._summary.get(name, 0) + by

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncSession]:
        """A transaction of the work's own: committed only if the task is still ours at its beginning, and no other manager
        can take it before its end. No other I/O inside.

        Raises:
            TaskLost.
        """
        async with self.core.db.write() as db:
            await self._keep(db)
            yield db

    async def flush(self, *, renew: bool = False) -> None:
        """Write what was told since.

        Args:
            renew: also when nothing was.

        Raises:
            TaskLost.
        """
        async with self._turn:
            dirty = bool(self._progress or self._lines)
            if not dirty and not renew:
                return
            async with self.core.db.write() as db:
                lines = await self._save(db)
            del self._lines[: len(lines)]
        if dirty:
            await self.core.bus.publish(TaskChanged(task_id=self.id))

    async def end(self, status: str, code: str = "", message: str = "") -> None:
        """Write the last of it.

        Raises:
            TaskLost.
        """
        async with self._turn:
            async with self.core.db.write() as db:
                lines = await self._save(db)
                await db.execute(
                    update(Task)
                    .where(Task.id == self.id)
                    .values(
                        status=status,
                        # Nobody begins it again; there may be secrets in them.
                        arguments={},
                        pulls=[],
                        error_code=code,
                        error_message=_storable(message, _LONGEST_MESSAGE),
                        ended_at=self.core.now(),
                        lease_expires_at=None,
                    )
                )
            del self._lines[: len(lines)]
        await self.core.bus.publish(TaskChanged(task_id=self.id))

    async def give_back(self) -> None:
        """Let another manager begin again. Raises TaskLost."""
        async with self.core.db.write() as db:
            await self._keep(db)
            await db.execute(
                update(Task)
                .where(Task.id == self.id)
                .values(status="PENDING", manager="", lease_expires_at=None, pulls=[])
            )
        await self.core.bus.publish(TaskChanged(task_id=self.id))

    async def begin(self) -> None:
        """What an earlier attempt told is void."""
        async with self.write() as db:
            await db.execute(delete(TaskLine).where(TaskLine.task_id == self.id))

    async def _save(self, db: AsyncSession) -> list[dict[str, Any]]:
        lines, progress = list(self._lines), dict(self._progress)
        await self._keep(db, **progress, summary=[list(item) for item in self._summary.items()])
        if lines:
            await db.execute(insert(TaskLine), lines)
        self._progress = {
            name: value for name, value in self._progress.items() if progress.get(name) != value
        }
        return lines

    async def _keep(self, db: AsyncSession, **values: Any) -> None:
        """Renew the lease if it is still ours; the row stays locked until the transaction's end."""
        now = self.core.now()
        kept = await db.scalar(
            update(Task)
            .where(
                Task.id == self.id,
                Task.status == "RUNNING",
                Task.manager == self.core.manager_id,
                Task.attempt == self._attempt,
                Task.lease_expires_at > now,
            )
            .values(lease_expires_at=now + LEASE, **values)
            .returning(Task.cancel_requested)
        )
        if kept is None:
            raise TaskLost(self.id)
        self.cancelling = self.cancelling or kept


def _storable(text: str, longest: int) -> str:
    """What databases can keep, of texts that strangers write."""
    return "".join(
        "\ufffd" if character == "\0" or "\ud800" <= character <= "\udfff" else character
        for character in text[:longest]
    )
