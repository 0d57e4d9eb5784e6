"""Many small questions, one statement: what is asked for before the loop comes round is fetched together."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Batch(Generic[Key, Value]):
    """Answers of one kind, kept for one operation.

    An answer that is at hand is given at once, not as a future of its own: a page of a hundred rows whose answers were
    foreseen costs no task for each row.

    Args:
        load: fetches several; keys that it leaves out have the answer `missing`.
    """

    def __init__(self, load: Callable[[list[Key]], Awaitable[Mapping[Key, Value]]], missing: Value) -> None:
        self._load = load
        self._missing = missing
        self._known: dict[Key, Value] = {}
        #: The round that each key is fetched in, open or under way.
        self._awaited: dict[Key, asyncio.Future[None]] = {}
        #: The round that still takes keys.
        self._open: tuple[list[Key], asyncio.Future[None]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, key: Key) -> Value | Awaitable[Value]:
        """The answer if it is at hand, else something to await."""
        if key in self._known:
            return self._known[key]
        return self._later(key)

    def known(self, key: Key) -> Value:
        """The answer, which must be at hand.

        Raises:
            KeyError: it is not.
        """
        return self._known[key]

    def foresee(self, keys: Iterable[Key]) -> Awaitable[object] | None:
        """Have these answers at hand; None when they all are already."""
        rounds = {self._want(key) for key in keys if key not in self._known}
        return asyncio.gather(*map(asyncio.shield, rounds)) if rounds else None

    def close(self) -> None:
        """The operation is over: nobody waits any more."""
        for task in self._tasks:
            task.cancel()
        self._known.clear()

    async def _later(self, key: Key) -> Value:
        # Shielded: one field that is cancelled must not take the answer from the others.
        await asyncio.shield(self._want(key))
        return self._known[key]

    def _want(self, key: Key) -> asyncio.Future[None]:
        awaited = self._awaited.get(key)
        if awaited is not None:
            return awaited
        if self._open is None:
            loop = asyncio.get_running_loop()
            self._open = [], loop.create_future()
            self._open[1].add_done_callback(_retrieve)
            loop.call_soon(self._begin, *self._open)
        keys, done = self._open
        keys.append(key)
        self._awaited[key] = done
        return done

    def _begin(self, keys: list[Key], done: asyncio.Future[None]) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch(keys, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, keys: list[Key], done: asyncio.Future[None]) -> None:
        self._open = None
        try:
            found = await self._load(keys)
            for key in keys:
                self._known[key] = found.get(key, self._missing)
        except asyncio.CancelledError:
            done.cancel()
            raise
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)
        finally:
            for key in keys:
                del self._awaited[key]


def _retrieve(done: asyncio.Future[None]) -> None:
    """A failure that nobody is left to hear of is no news."""
    if not done.cancelled():
        done.exception()
