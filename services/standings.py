"""What a login is worth now, remembered for a moment: who it makes its bearer, and that it has not been ended.

A request must not cost statements to learn that nothing has changed since the last one, and a revoked login must be
dead within seconds on every manager, also when nobody could be told. So each answer is believed for `life`
(RELIABILITY: at most 5 s), and dropped at once when this manager revokes, or hears that another one did.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

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

    def get(self, key: str) -> tuple[bool, Standing | None]:
        """(is it known?, what it is)."""
        entry = self._entries.get(key)
        if entry is None or entry[0] <= self._clock():
            return False, None
        return True, entry[2]

    def put(self, key: str, user_id: str, standing: Standing | None, life: float) -> None:
        if len(self._entries) >= _MOST:
            self._prune()
        self._entries[key] = (self._clock() + life, user_id, standing)
        self._of_user[user_id].add(key)

    def forget(self, user_id: str) -> None:
        """Something about this user has changed."""
        for key in self._of_user.pop(user_id, ()):
            self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()
        self._of_user.clear()

    def _prune(self) -> None:
        now = self._clock()
        live = {key: entry for key, entry in self._entries.items() if entry[0] > now}
        self.clear()
        if len(live) < _MOST:
            for key, entry in live.items():
                self._entries[key] = entry
                self._of_user[entry[1]].add(key)
