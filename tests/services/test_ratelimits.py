"""Rate counters: never more than the limit in any window, in one process and over several."""

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services import ratelimits
from services.ratelimits import LocalCounters, RedisCounters
from tests.factories import Clock


def local() -> tuple[LocalCounters, Clock]:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    return LocalCounters(clock.monotonic), clock


@given(
    st.lists(st.floats(min_value=0, max_value=40, allow_nan=False), max_size=120),
    st.integers(min_value=1, max_value=10),
)
def test_no_window_ever_has_more_than_the_limit(pauses: list[float], limit: int) -> None:
    counters, clock = local()
    accepted: list[float] = []
    for pause in pauses:
        clock.advance(timedelta(seconds=pause))
        if counters.count("k", limit, 60) is None:
            accepted.append(clock.monotonic())
    for position, first in enumerate(accepted):
        assert len([moment for moment in accepted[position:] if moment < first + 60]) <= limit


@given(st.lists(st.floats(min_value=0, max_value=40, allow_nan=False), min_size=1, max_size=60))
def test_after_the_time_it_says_one_more_fits(pauses: list[float]) -> None:
    counters, clock = local()
    for pause in pauses:
        clock.advance(timedelta(seconds=pause))
        wait = counters.count("k", 3, 60)
        if wait is not None:
            assert 0 < wait <= 62
            # A hair more: floating point may round the sum down.
            clock.advance(timedelta(seconds=wait + 1e-4))
            assert counters.count("k", 3, 60) is None


@given(
    st.lists(st.floats(min_value=0, max_value=40, allow_nan=False), min_size=1, max_size=60),
    st.integers(min_value=1, max_value=5),
)
def test_what_is_said_to_remain_fits_and_no_more(pauses: list[float], limit: int) -> None:
    counters, clock = local()
    for pause in pauses:
        clock.advance(timedelta(seconds=pause))
        quota = counters.spend_now("k", limit, 60)
        assert 0 < quota.reset <= 62
        if quota.wait is not None:
            assert (quota.remaining, quota.reset) == (0, quota.wait)
        fitting = [counters.count("k", limit, 60) for _ in range(quota.remaining + 1)]
        assert fitting[-1] is not None
        assert fitting[:-1] == [None] * quota.remaining
        for _ in range(quota.remaining):
            counters.uncount("k")


async def test_asking_how_often_counts_nothing() -> None:
    counters, clock = local()
    for _ in range(3):
        await counters.take("a", 5, 60)
    clock.advance(timedelta(seconds=30))
    await counters.take("a", 5, 60)
    assert await counters.counts(["a", "b"], 60) == [4, 0]
    clock.advance(timedelta(seconds=45))
    assert await counters.counts(["a"], 60) == [1]


def test_keys_are_counted_each_for_itself() -> None:
    counters, _ = local()
    assert counters.count("a", 1, 60) is None
    assert counters.count("b", 1, 60) is None
    assert counters.count("a", 1, 60) is not None


def test_what_is_given_back_was_never_taken() -> None:
    counters, _ = local()
    for _ in range(10):
        assert counters.count("a", 1, 60) is None
        counters.uncount("a")
    counters.uncount("nobody")


def test_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimits, "_MOST_KEYS", 100)
    counters, clock = local()
    for number in range(1000):
        counters.count(f"k{number}", 5, 60)
    assert len(counters._counts) <= 100
    clock.advance(timedelta(minutes=3))
    counters.count("after", 5, 60)
    assert set(counters._counts) == {"after"}


@pytest.fixture
async def redis() -> AsyncGenerator[Redis]:
    client = Redis.from_url(os.environ["BERTH_TEST_REDIS_URL"])
    yield client
    await client.aclose()


@pytest.mark.redis
async def test_managers_share_one_counter(redis: Redis) -> None:
    managers = [RedisCounters(redis, lambda: 3) for _ in range(3)]
    key = uuid.uuid4().hex
    answers = await asyncio.gather(*(managers[n % 3].take(key, 20, 900) for n in range(60)))
    assert answers.count(None) == 20
    assert all(wait is None or 0 < wait <= 930 for wait in answers)


@pytest.mark.redis
async def test_a_shared_counter_says_where_it_stands(redis: Redis) -> None:
    one, other = (RedisCounters(redis, lambda: 2) for _ in range(2))
    key = uuid.uuid4().hex
    quotas = [await manager.spend(key, 2, 900) for manager in (one, other, one)]
    assert [(quota.remaining, quota.wait is None) for quota in quotas] == [(1, True), (0, True), (0, False)]
    assert all(900 <= quota.reset <= 915 for quota in quotas)
    assert await other.counts([key, uuid.uuid4().hex], 900) == [2, 0]
    assert await other.counts([], 900) == []


@pytest.mark.redis
async def test_a_shared_counter_takes_back(redis: Redis) -> None:
    counters, key = RedisCounters(redis, lambda: 1), uuid.uuid4().hex
    for _ in range(5):
        assert await counters.take(key, 1, 900) is None
        await counters.give_back(key, 900)
    assert await counters.take(key, 1, 900) is None
    assert await counters.take(key, 1, 900) is not None


@pytest.mark.redis
async def test_a_shared_counter_is_forgotten_when_its_window_has_passed(redis: Redis) -> None:
    counters, key = RedisCounters(redis, lambda: 1), uuid.uuid4().hex
    await counters.take(key, 5, 900)
    assert 900 <= await redis.ttl(f"berth:rate:{key}") <= 930


@pytest.mark.redis
async def test_what_has_left_the_window_counts_no_more_in_redis(redis: Redis) -> None:
    counters, key = RedisCounters(redis, lambda: 1), uuid.uuid4().hex
    seconds, _ = await redis.time()
    width = 900 / ratelimits.BUCKETS
    await redis.hset(f"berth:rate:{key}", str(int(seconds / width) - ratelimits.BUCKETS - 2), "5")
    assert await counters.take(key, 1, 900) is None
    await redis.hset(f"berth:rate:{key}", str(int(seconds / width) - ratelimits.BUCKETS + 1), "5")
    wait = await counters.take(key, 6, 900)
    assert wait is not None
    assert 0 < wait <= 2 * width


async def test_without_redis_each_manager_has_its_share() -> None:
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    counters = [RedisCounters(nowhere, lambda: 3) for _ in range(3)]
    accepted = [await manager.take("k", 30, 900) is None for manager in counters for _ in range(30)]
    assert accepted.count(True) == 30
    assert accepted[:11] == [True] * 10 + [False]
    await nowhere.aclose()


async def test_a_redis_that_failed_is_left_alone_for_a_moment() -> None:
    asked: list[int] = []
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    counters = RedisCounters(nowhere, lambda: 1, clock.monotonic)

    async def failing(**_: object) -> None:
        asked.append(1)
        raise OSError

    counters._take = failing  # type: ignore[assignment]
    for _ in range(5):
        await counters.take("k", 30, 900)
    assert len(asked) == 1
    clock.advance(timedelta(seconds=1))
    await counters.take("k", 30, 900)
    assert len(asked) == 2
    await nowhere.aclose()
