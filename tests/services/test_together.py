"""What is asked for at the same time is done together, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from services.together import Together


class Rounds:
    """Work that waits until it is let go, and remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.go = asyncio.Event()

    async def work(self, items: Sequence[int]) -> Sequence[str | Exception]:
        self.seen.append(list(items))
        await self.go.wait()
        return [ValueError(str(one)) if one < 0 else f"did {one}" for one in items]


async def test_what_comes_while_a_round_is_done_makes_the_next_one() -> None:
    rounds = Rounds()
    together = Together(rounds.work)
    first = asyncio.create_task(together.ask(1))
    while not rounds.seen:
        await asyncio.sleep(0)
    others = [asyncio.create_task(together.ask(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    rounds.go.set()
    assert await asyncio.gather(first, *others) == ["did 1", "did 2", "did 3"]
    assert rounds.seen == [[1], [2, 3]]


async def test_what_is_wrong_with_one_is_raised_to_who_asked_for_it() -> None:
    rounds = Rounds()
    rounds.go.set()
    together = Together(rounds.work)
    answers = await asyncio.gather(together.ask(1), together.ask(-2), return_exceptions=True)
    assert answers[0] == "did 1"
    assert isinstance(answers[1], ValueError)


async def test_when_the_work_itself_fails_all_of_its_round_are_told_and_the_next_is_done() -> None:
    failing = True

    async def work(items: Sequence[int]) -> Sequence[int | Exception]:
        if failing:
            raise OSError("the database is away")
        return items

    together = Together(work)
    answers = await asyncio.gather(together.ask(1), together.ask(2), return_exceptions=True)
    assert all(isinstance(one, OSError) for one in answers)
    failing = False
    assert await together.ask(3) == 3


async def test_who_stops_waiting_before_its_round_is_left_out_of_it() -> None:
    rounds = Rounds()
    together = Together(rounds.work)
    first = asyncio.create_task(together.ask(1))
    while not rounds.seen:
        await asyncio.sleep(0)
    second, third = [asyncio.create_task(together.ask(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    rounds.go.set()
    assert await asyncio.gather(first, third) == ["did 1", "did 3"]
    assert rounds.seen == [[1], [3]]
