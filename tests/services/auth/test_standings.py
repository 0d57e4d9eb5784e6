"""A standing is read once for all who ask at the same time, and not believed when it was overtaken."""

import asyncio

import pytest

from services.permissions import Actor
from services.standings import Standing, StandingBook

GOOD = Standing(Actor("usr_a", "dom_a", "USER"), epoch=0, rate_limit=1000)


class Readings:
    """A database that answers when it is told to."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[Standing | None]] = []

    async def read(self) -> Standing | None:
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


def ask(book: StandingBook, readings: Readings) -> "asyncio.Task[Standing | None]":
    return asyncio.create_task(book.read("lgn_a", "usr_a", readings.read, 2.0))


async def begun(readings: Readings, count: int) -> None:
    while len(readings.answers) < count:
        await asyncio.sleep(0)


async def test_who_asks_for_the_same_meanwhile_waits_for_the_one_reading() -> None:
    book, readings = StandingBook(), Readings()
    asked = [ask(book, readings) for _ in range(3)]
    await begun(readings, 1)
    asked[0].cancel()
    readings.answers[0].set_result(GOOD)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [GOOD, GOOD]
    assert len(readings.answers) == 1
    assert book.get("lgn_a") == (True, GOOD)


async def test_what_was_read_before_a_revocation_is_not_believed_after_it() -> None:
    book, readings = StandingBook(), Readings()
    early = ask(book, readings)
    await begun(readings, 1)
    book.forget("usr_a")
    late = ask(book, readings)
    await begun(readings, 2)
    readings.answers[0].set_result(GOOD)
    assert await early == GOOD
    assert book.get("lgn_a") == (False, None)
    readings.answers[1].set_result(None)
    assert await late is None
    assert book.get("lgn_a") == (True, None)


async def test_a_reading_that_fails_is_told_to_all_who_wait_and_tried_again_by_the_next() -> None:
    book, readings = StandingBook(), Readings()
    asked = [ask(book, readings) for _ in range(2)]
    await begun(readings, 1)
    readings.answers[0].set_exception(OSError("the database is away"))
    for one in asked:
        with pytest.raises(OSError, match="away"):
            await one
    again = ask(book, readings)
    await begun(readings, 2)
    readings.answers[1].set_result(GOOD)
    assert await again == GOOD
