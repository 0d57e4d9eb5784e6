"""Counting what may happen only so often: in this process, or for all managers together in Redis.

A window slides: it is cut into 60 buckets, and what is in a bucket counts until all of it is older than the window. So
no span of that length ever has more than the limit, and a little less may be let through, never more.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

BUCKETS: Final = 60
_MOST_KEYS: Final = 50_000
#: After Redis failed it is left alone for so long (seconds).
_PAUSE: Final = 1.0


@dataclass(frozen=True)
class Quota:
    """Where a counter stands after one more was asked for."""

    limit: int
    #: How many more fit now.
    remaining: int
    #: Seconds until the oldest of what was counted leaves the window, and makes room again.
    reset: float
    #: None: it was counted; else the seconds after which one more may be tried.
    wait: float | None = None


class RateCounters(Protocol):
    async def take(self, key: str, limit: int, window: float) -> float | None:
        """Count one occurrence of `key`.

        Returns:
            None when it is within `limit` per `window` seconds; else it is not counted, and the result is the number
            of seconds after which one more may be tried.
        """
        ...

    async def spend(self, key: str, limit: int, window: float) -> Quota:
        """As `take`, and says where the counter stands."""
        ...

    async def give_back(self, key: str, window: float) -> None:
        """Uncount the latest occurrence: it turned out not to matter."""
        ...

    async def counts(self, keys: Sequence[str], window: float) -> list[int]:
        """How often each has occurred in the last `window` seconds; asking counts nothing."""
        ...


class LocalCounters:
    """Counters of this process alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Key → (seconds of a bucket, bucket → count, oldest first).
        self._counts: dict[str, tuple[float, dict[int, int]]] = {}

    async def take(self, key: str, limit: int, window: float) -> float | None:
        return self.count(key, limit, window)

    async def spend(self, key: str, limit: int, window: float) -> Quota:
        return self.spend_now(key, limit, window)

    async def give_back(self, key: str, window: float) -> None:
        self.uncount(key)

    async def counts(self, keys: Sequence[str], window: float) -> list[int]:
        oldest = int(self._clock() / (window / BUCKETS)) - BUCKETS
        found = (self._counts.get(key, (0.0, {}))[1] for key in keys)
        return [sum(count for bucket, count in buckets.items() if bucket >= oldest) for buckets in found]

    def spend_now(self, key: str, limit: int, window: float) -> Quota:
        wait = self.count(key, limit, window)
        width, buckets = self._counts[key]
        # Nothing is counted where nothing is allowed at all.
        oldest = min(buckets, default=int(self._clock() / width))
        reset = (oldest + BUCKETS + 1) * width - self._clock()
        return Quota(limit, max(0, limit - sum(buckets.values())), wait or reset, wait)

    def count(self, key: str, limit: int, window: float) -> float | None:
        now, width = self._clock(), window / BUCKETS
        current = int(now / width)
        if key not in self._counts and len(self._counts) >= _MOST_KEYS:
            self._prune(now)
        _, buckets = self._counts.setdefault(key, (width, {}))
        for old in [bucket for bucket in buckets if bucket < current - BUCKETS]:
            del buckets[old]
        wait = _wait(buckets, limit, now, width)
        if wait is None:
            buckets[current] = buckets.get(current, 0) + 1
        return wait

    def uncount(self, key: str) -> None:
        buckets = self._counts.get(key, (0.0, {}))[1]
        if buckets:
            newest = max(buckets)
            buckets[newest] -= 1
            if buckets[newest] <= 0:
                del buckets[newest]

    def _prune(self, now: float) -> None:
        """Drop what no longer counts; when all of it does, the oldest tenth: memory is bounded whatever comes."""
        self._counts = {
            key: (width, buckets)
            for key, (width, buckets) in self._counts.items()
            if buckets and max(buckets) >= int(now / width) - BUCKETS
        }
        if len(self._counts) >= _MOST_KEYS:
            for key in list(self._counts)[: _MOST_KEYS // 10]:
                del self._counts[key]


def _wait(buckets: dict[int, int], limit: int, now: float, width: float) -> float | None:
    """Seconds until enough has left the window, None when one more fits now."""
    over = sum(buckets.values()) - limit + 1
    if over <= 0:
        return None
    for bucket in sorted(buckets):
        over -= buckets[bucket]
        if over <= 0:
            return max((bucket + BUCKETS + 1) * width - now, 0.001)
    return (BUCKETS + 1) * width


#: The same as `LocalCounters.spend_now`, in Redis' own time. KEYS: counter. ARGV: limit, milliseconds of a bucket, buckets.
#: Returns milliseconds to wait (0: counted), how many more fit, milliseconds until the oldest leaves.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, width, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local current = math.floor(now / width)
local fields, buckets, total, oldest = redis.call('HGETALL', KEYS[1]), {}, 0, current
for i = 1, #fields, 2 do
  local bucket, count = tonumber(fields[i]), tonumber(fields[i + 1])
  if bucket < current - kept then
    redis.call('HDEL', KEYS[1], fields[i])
  else
    total = total + count
    oldest = math.min(oldest, bucket)
    buckets[#buckets + 1] = {bucket, count}
  end
end
if total < limit then
  redis.call('HINCRBY', KEYS[1], string.format('%d', current), 1)
  redis.call('PEXPIRE', KEYS[1], math.ceil(width * (kept + 2)))
  return {0, limit - total - 1, math.ceil((oldest + kept + 1) * width - now)}
end
table.sort(buckets, function(a, b) return a[1] < b[1] end)
local over = total - limit + 1
for _, bucket in ipairs(buckets) do
  over = over - bucket[2]
  if over <= 0 then
    local wait = math.max(1, math.ceil((bucket[1] + kept + 1) * width - now))
    return {wait, 0, wait}
  end
end
local all = math.ceil(width * (kept + 1))
return {all, 0, all}
"""

_COUNTS: Final = """
local time = redis.call('TIME')
local oldest = math.floor((time[1] * 1000 + math.floor(time[2] / 1000)) / tonumber(ARGV[1])) - tonumber(ARGV[2])
local found = {}
for i, key in ipairs(KEYS) do
  local fields, total = redis.call('HGETALL', key), 0
  for j = 1, #fields, 2 do
    if tonumber(fields[j]) >= oldest then total = total + tonumber(fields[j + 1]) end
  end
  found[i] = total
end
return found
"""

_GIVE_BACK: Final = """
local newest
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if not newest or tonumber(field) > tonumber(newest) then newest = field end
end
if newest and redis.call('HINCRBY', KEYS[1], newest, -1) <= 0 then redis.call('HDEL', KEYS[1], newest) end
"""


class RedisCounters:
    """Counters that all managers share.

    While Redis does not answer each manager counts for itself, with its share of the limit: by its own count of the
    window so far, and the number of managers when that was last known.
    """

    def __init__(
        self, client: Redis, managers: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._take = client.register_script(_TAKE)
        self._give_back = client.register_script(_GIVE_BACK)
        self._counts = client.register_script(_COUNTS)
        self._managers = managers
        self._clock = clock
        self._own = LocalCounters()
        self._paused_until = float("-inf")

    async def take(self, key: str, limit: int, window: float) -> float | None:
        return (await self.spend(key, limit, window)).wait

    async def spend(self, key: str, limit: int, window: float) -> Quota:
        milliseconds = window * 1000 / BUCKETS
        found = await self._ask(self._take, [key], [limit, milliseconds, BUCKETS])
        if found is None:
            return self._own.spend_now(key, max(1, limit // max(1, self._managers())), window)
        wait, remaining, reset = (int(number) for number in found)
        if wait > 0:
            return Quota(limit, 0, reset / 1000, wait / 1000)
        self._own.count(key, limit, window)
        return Quota(limit, remaining, reset / 1000)

    async def give_back(self, key: str, window: float) -> None:
        self._own.uncount(key)
        await self._ask(self._give_back, [key], [])

    async def counts(self, keys: Sequence[str], window: float) -> list[int]:
        found = await self._ask(self._counts, keys, [window * 1000 / BUCKETS, BUCKETS]) if keys else []
        return await self._own.counts(keys, window) if found is None else [int(count) for count in found]

    async def _ask(self, script: Any, keys: Sequence[str], arguments: list[Any]) -> Any:
        """The script's result, None when Redis does not answer."""
        if self._clock() < self._paused_until:
            return None
        try:
            return await script(keys=[f"berth:rate:{key}" for key in keys], args=arguments) or 0
        except (RedisError, OSError, TimeoutError):
            log.warning("Redis does not answer; each manager limits rates for itself until it does")
            self._paused_until = self._clock() + _PAUSE
            return None
