"""A thread of one plug-in's own: whatever it does there, nothing else waits for it.

The thread does not keep the process from ending: a driver that hangs in the kernel can only be left behind.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Hung(Exception):
    """A call did not come back in time, or the one before it has not yet."""


class Worker:
    """Runs calls one at a time. Its thread begins with the first of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._turn = asyncio.Lock()
        self._late: asyncio.Future[Any] | None = None

    async def call(self, work: Callable[[], T], deadline: float) -> T:
        """Run it and return what it returns. Calls wait for each other within their deadlines (seconds).

        Raises:
            Hung: no answer in time; it goes on in the thread, and until it has ended all calls end like this at once.
            Exception: whatever the call raises.
        """
        try:
            async with asyncio.timeout(deadline), self._turn:
                if self._late is not None:
                    raise Hung(f"{self._name} has not come back from an earlier call")
                future = self._begin(work)
                try:
                    return await asyncio.shield(future)
                except asyncio.CancelledError:
                    self._leave(future)
                    raise
        except TimeoutError as error:
            if self._late is None:
                raise
            raise Hung(f"{self._name} did not answer within {deadline:g} s") from error

    def _begin(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            outcome: Callable[[], None]
            try:
                result = work()
            except BaseException as error:
                outcome = _settled(future, error=error)
            else:
                outcome = _settled(future, result=result)
            if not loop.is_closed():
                loop.call_soon_threadsafe(outcome)

        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"accelerator-{self._name}", daemon=True)
            self._thread.start()
        self._calls.put(run)
        return future

    def _leave(self, future: "asyncio.Future[Any]") -> None:
        if future.done():
            return
        self._late = future

        def back(done: "asyncio.Future[Any]") -> None:
            self._late = None
            if not done.cancelled():
                done.exception()  # seen: nobody waits for it any more

        future.add_done_callback(back)

    def _run(self) -> None:
        while True:
            self._calls.get()()


def _settled(
    future: "asyncio.Future[T]", *, result: Any = None, error: BaseException | None = None
) -> Callable[[], None]:
    def settle() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    return settle
