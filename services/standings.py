"""What a login is worth now, remembered for a moment: who it makes its bearer, and that it has not been ended.

A request must not cost statements to learn that nothing has changed since the last one, and a revoked login must be
dead within seconds on every manager, also when nobody could be told. So each answer is believed for `life`
(RELIABILITY: at most 5 s), and dropped at once when this manager revokes, or hears that another one did.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from services.permissions import Actor

_MOST: Final = 20_000


@dataclass(frozen=True)
class Standing:
    actor: Actor
    #: Tokens of another epoch are void.
    epoch: int
    #: Requests per 15 minutes of the actor's keypair.
    rate_limit: int


class StandingBook:
    """Standings by login id (or user id, of those who have no login); None stands for one that is void.

    Args:
        clock: monotonic seconds: a wall clock that is set back would make an answer live for hours.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[float, str, Standing | None]] = {}
        self._of_user: dict[str, set[str]] = defaultdict(set)
        #: Key → its user, and the reading that is under way.
        self._reads: dict[str, tuple[str, asyncio.Task[Standing | None]]] = {}
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watch(self, user_id: str) -> Generator[asyncio.Event]:
        """An event that is set whenever something about the user may have changed; the reader clears it."""
        changed = asyncio.Event()
        self._watchers[user_id].add(changed)
        try:
            yield changed
        finally:
            self._watchers[user_id].discard(changed)
            if not self._watchers[user_id]:
                del self._watchers[user_id]

    def get(self, key: str) -> tuple[bool, Standing | None]:
        """(is it known?, what it is)."""
        entry = self._entries.get(key)
        if entry is None or entry[0] <= self._clock():
            return False, None
        return True, entry[2]

    async def read(
        self,
        key: str,
        user_id: str,
        read: Callable[[], Coroutine[Any, Any, Standing | None]],
        life: float,
    ) -> Standing | None:
        """What `read` finds, believed for `life` seconds; who asks for the same meanwhile waits for the one reading.

        Who asks after the user was forgotten gets a reading of its own, and what the one before found is not kept.
        """
        if key not in self._reads:
            task = asyncio.create_task(read())
            self._reads[key] = user_id, task
            task.add_done_callback(lambda done: self._found(key, done, life))
        # A request that is given up must not take the others' answer with it.
        return await asyncio.shield(self._reads[key][1])

    def _found(self, key: str, task: "asyncio.Task[Standing | None]", life: float) -> None:
        user_id, current = self._reads.get(key, ("", None))
        if current is task:
            del self._reads[key]
        # A failure is told to each who waits; when nobody does any more, it is nobody's.
        if task.cancelled() or task.exception() is not None or current is not task:
            return
        standing = task.result()
        self.put(key, standing.actor.user_id if standing else user_id, standing, life)

    def put(self, key: str, user_id: str, standing: Standing | None, life: float) -> None:
        if len(self._entries) >= _MOST:
            self._prune()
        self._entries[key] = (self._clock() + life, user_id, standing)
        self._of_user[user_id].add(key)

    def forget(self, user_id: str) -> None:
        """Something about this user has changed."""
        for key in self._of_user.pop(user_id, ()):
            self._entries.pop(key, None)
        self._reads = {key: read for key, read in self._reads.items() if read[0] != user_id}
        for changed in self._watchers.get(user_id, ()):
            changed.set()

    def clear(self) -> None:
        self._entries.clear()
        self._of_user.clear()
        self._reads.clear()
        for watching in self._watchers.values():
            for changed in watching:
                changed.set()

    def _prune(self) -> None:
        now = self._clock()
        live = {key: entry for key, entry in self._entries.items() if entry[0] > now}
        self._entries.clear()
        self._of_user.clear()
        if len(live) < _MOST:
            for key, entry in live.items():
                self._entries[key] = entry
                self._of_user[entry[1]].add(key)
