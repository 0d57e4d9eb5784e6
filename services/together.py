"""What is asked for at the same time is done together: in one transaction, with one statement a table.

Nobody waits for company: what is asked for alone is done at once, and while that is at the database, what comes gathers
and is done next. So the more is asked, the less each costs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from services import trail

Item = TypeVar("Item")
Result = TypeVar("Result")

#: What each of them comes to: a result, or what is to be raised to who asked.
Work = Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]

#: Of one round: a transaction must not hold its locks for long.
_MOST: Final = 200


class Together(Generic[Item, Result]):
    def __init__(self, work: Work[Item, Result]) -> None:
        self._work = work
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Result:
        """Have an item done with whatever else is asked for. Who stops waiting does not stop what has begun."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            # What is done for all of them is not the doing of who happened to come first.
            with trail.following(None):
                while self._waiting:
                    part, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                    part = [(item, answer) for item, answer in part if not answer.cancelled()]
                    if part:
                        _settle(part, await self._outcomes([item for item, _ in part]))
        finally:
            self._running = None

    async def _outcomes(self, items: list[Item]) -> Sequence[Any]:
        try:
            return await self._work(items)
        except Exception as error:
            return [error] * len(items)


def _settle(part: Sequence[tuple[Any, asyncio.Future[Any]]], outcomes: Sequence[Any]) -> None:
    for (_, answer), outcome in zip(part, outcomes, strict=True):
        if answer.done():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
