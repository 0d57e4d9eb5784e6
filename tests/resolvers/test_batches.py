"""Questions that come together are answered together."""

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any

import pytest

from resolvers.batches import Batch


class Book:
    """What was fetched, and how it went."""

    def __init__(self) -> None:
        self.fetched: list[list[str]] = []
        self.failing = False
        self.gate: asyncio.Event | None = None

    async def load(self, keys: list[str]) -> dict[str, str]:
        self.fetched.append(list(keys))
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            raise LookupError(keys)
        return {key: key.upper() for key in keys if key != "nothing"}


async def settled(answer: Any) -> Any:
    return await answer if isawaitable(answer) else answer


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def batch(book: Book) -> Batch[str, str]:
    return Batch(book.load, missing="?")


async def test_what_is_asked_at_once_is_fetched_at_once(book: Book, batch: Batch[str, str]) -> None:
    answers = await asyncio.gather(*(settled(batch.get(key)) for key in ("a", "b", "a", "nothing")))
    assert answers == ["A", "B", "A", "?"]
    assert book.fetched == [["a", "b", "nothing"]]


async def test_an_answer_that_is_at_hand_is_no_future(book: Book, batch: Batch[str, str]) -> None:
    foreseen = batch.foresee(["a", "b"])
    assert foreseen is not None
    await foreseen
    assert batch.get("a") == "A"
    assert batch.known("b") == "B"
    assert batch.foresee(["b", "a"]) is None
    assert book.fetched == [["a", "b"]]
    with pytest.raises(KeyError):
        batch.known("c")


async def test_a_key_that_is_under_way_is_not_fetched_again(book: Book, batch: Batch[str, str]) -> None:
    book.gate = asyncio.Event()
    first = asyncio.ensure_future(settled(batch.get("a")))
    while not book.fetched:
        await asyncio.sleep(0)
    second = asyncio.gather(settled(batch.get("a")), settled(batch.get("b")))
    await asyncio.sleep(0)
    book.gate.set()
    assert await first == "A"
    assert await second == ["A", "B"]
    assert book.fetched == [["a"], ["b"]]


async def test_a_failure_reaches_all_who_wait_and_is_not_kept(book: Book, batch: Batch[str, str]) -> None:
    book.failing = True
    answers = await asyncio.gather(settled(batch.get("a")), settled(batch.get("b")), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LookupError, LookupError]
    book.failing = False
    assert await settled(batch.get("a")) == "A"


async def test_who_gives_up_does_not_take_the_answer_from_the_others(
    book: Book, batch: Batch[str, str]
) -> None:
    book.gate = asyncio.Event()
    impatient, patient = (asyncio.ensure_future(settled(batch.get("a"))) for _ in range(2))
    while not book.fetched:
        await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    book.gate.set()
    assert await patient == "A"
    assert impatient.cancelled()


async def test_closing_ends_what_is_under_way(book: Book, batch: Batch[str, str]) -> None:
    book.gate = asyncio.Event()
    waiting: Awaitable[Any] = asyncio.ensure_future(settled(batch.get("a")))
    while not book.fetched:
        await asyncio.sleep(0)
    batch.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
