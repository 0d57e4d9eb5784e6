"""Does tasks: claims what waits, keeps the leases of what it does, and takes over what managers that are gone have left."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import case, select, update

from services.bus import Lagged, TaskChanged
from services.core import Core
from services.db.tables import Task
from services.errors import BerthError
from services.tasks.run import BEAT, LEASE, Run, TaskLost

log = logging.getLogger(__name__)

#: Tasks that one manager does at once.
_AT_ONCE: Final = 4
#: A task whose managers keep going away is given up after so many.
_ATTEMPTS: Final = 3
#: Seconds between looks at the table, in case that a hint was lost.
_LOOK: Final = 2.0


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Args:
        work: does it. May be cancelled at any await; raises `BerthError` with what a person should read.
        restartable: doing it again from its beginning, after any part of it was done, does no harm.
    """

    name: str
    work: Callable[[Run], Awaitable[None]]
    restartable: bool


async def release_all(core: Core) -> None:
    """End all leases: for a manager that can be the only one, so that it need not wait for what a killed one had."""
    async with core.db.write() as db:
        await db.execute(update(Task).where(Task.status == "RUNNING").values(lease_expires_at=core.now()))


class Runner:
    """See the module. `follow` is a duty that never ends; `close` gives back what is being done."""

    def __init__(self, core: Core, kinds: Sequence[Kind]) -> None:
        self._core = core
        self._kinds = {kind.name: kind for kind in kinds}
        self._works: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._closing = False

    async def follow(self) -> None:
        """Take tasks as they come, for ever."""
        while True:
            async with self._core.bus.subscribe(TaskChanged) as hints:
                with contextlib.suppress(Lagged):
                    while True:
                        await self.look()
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(_LOOK):
                                for hint in [await anext(hints), *hints.drain()]:
                                    if hint.task_id in self._news:
                                        self._news[hint.task_id].set()

    async def look(self) -> None:
        """Take over what was left, and begin what waits, as far as there is room."""
        await self._take_over()
        free = _AT_ONCE - len(self._works)
        if free <= 0 or self._closing:
            return
        for task in await self._claim(free):
            run = Run(self._core, task)
            self._news[task.id] = asyncio.Event()
            work = asyncio.create_task(self._do(self._kinds[task.kind], run))
            self._works[task.id] = work
            work.add_done_callback(lambda done, task_id=task.id: self._done(task_id, done))

    async def idle(self) -> None:
        """Return when nothing is being done here any more."""
        while self._works:
            await asyncio.wait(self._works.values())

    async def close(self) -> None:
        """Stop what is being done; other managers begin it again where that does no harm."""
        self._closing = True
        for work in self._works.values():
            work.cancel()
        await self.idle()

    async def _take_over(self) -> None:
        now = self._core.now()
        again = [kind.name for kind in self._kinds.values() if kind.restartable]
        left = (Task.status == "RUNNING", Task.lease_expires_at <= now, Task.kind.in_(list(self._kinds)))
        async with self._core.db.read() as db:
            if await db.scalar(select(Task.id).where(*left).limit(1)) is None:
                return
        async with self._core.db.write() as db:
            begins_again = Task.kind.in_(again) & (Task.attempt < _ATTEMPTS)
            status = case((Task.cancel_requested, "CANCELLED"), (begins_again, "PENDING"), else_="FAILED")
            failed = ~Task.cancel_requested & ~begins_again
            found = await db.scalars(
                update(Task)
                .where(*left)
                .values(
                    status=status,
                    manager="",
                    lease_expires_at=None,
                    pulls=[],
                    ended_at=case((begins_again & ~Task.cancel_requested, None), else_=now),
                    error_code=case((failed, "MANAGER_LOST"), else_=""),
                    error_message=case(
                        (
                            failed,
                            "The manager that did this is gone. What it had done is done; start it again.",
                        ),
                        else_="",
                    ),
                )
                .returning(Task.id)
            )
            changed = list(found)
        for task_id in changed:
            await self._core.bus.publish(TaskChanged(task_id=task_id))

    async def _claim(self, free: int) -> list[Task]:
        waiting = (Task.status == "PENDING", Task.kind.in_(list(self._kinds)))
        async with self._core.db.read() as db:
            found = (await db.scalars(select(Task.id).where(*waiting).order_by(Task.id).limit(free))).all()
        claimed: list[Task] = []
        for task_id in found:
            now = self._core.now()
            async with self._core.db.write() as db:
                task = await db.scalar(
                    update(Task)
                    .where(Task.id == task_id, *waiting)
                    .values(
                        status="RUNNING",
                        manager=self._core.manager_id,
                        attempt=Task.attempt + 1,
                        lease_expires_at=now + LEASE,
                        started_at=now,
                        current=0,
                        total=None,
                        summary=[],
                        pulls=[],
                    )
                    .returning(Task)
                )
            if task is not None:
                claimed.append(task)
        return claimed

    async def _do(self, kind: Kind, run: Run) -> None:
        try:
            await run.begin()
        except TaskLost:
            return
        work = asyncio.ensure_future(kind.work(run))
        beat = asyncio.create_task(self._beat(run, work))
        try:
            await asyncio.wait([work])
        finally:
            beat.cancel()
            work.cancel()
            await asyncio.wait([work, beat])
            await self._end(kind, run, work)

    async def _beat(self, run: Run, work: "asyncio.Future[None]") -> None:
        """Write what is told, renew the lease, notice that it is to be cancelled."""
        news, waits = self._news[run.id], 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await news.wait()
            waits += BEAT
            renew = news.is_set() or waits >= LEASE.total_seconds() / 3
            news.clear()
            try:
                await run.flush(renew=renew)
            except TaskLost:
                work.cancel()
                return
            except Exception:
                # The database may be away for a moment; the lease decides whether it was too long.
                log.exception("task %s could not be written", run.id)
                continue
            waits = 0.0 if renew else waits
            if run.cancelling:
                work.cancel()
                return

    async def _end(self, kind: Kind, run: Run, work: "asyncio.Future[None]") -> None:
        try:
            if work.cancelled():
                if run.cancelling:
                    await run.end("CANCELLED")
                elif kind.restartable:
                    await run.give_back()
                else:
                    await run.end("FAILED", "MANAGER_STOPPED", "The manager was stopped. Start it again.")
                return
            error = work.exception()
            if error is None:
                await run.end("SUCCEEDED")
            elif isinstance(error, BerthError):
                await run.end("FAILED", error.code, error.message)
            elif not isinstance(error, TaskLost):
                number = secrets.token_hex(4)
                log.error("task %s failed (error %s)", run.id, number, exc_info=error)
                await run.end("FAILED", "INTERNAL", f"Something unexpected went wrong (error {number}).")
        except TaskLost:
            log.warning("task %s is another manager's", run.id)

    def _done(self, task_id: str, work: "asyncio.Task[None]") -> None:
        self._works.pop(task_id, None)
        self._news.pop(task_id, None)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.error("task %s was lost", task_id, exc_info=error)
