"""A deadline holds where a task is being cancelled, which that of Python 3.11's first releases does not."""

import asyncio

import pytest

from agents.deadlines import within


async def forever() -> None:
    await asyncio.Event().wait()


async def test_what_is_in_time_gives_its_result_and_its_error() -> None:
    assert await within(5, asyncio.sleep(0, "done")) == "done"

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await within(5, fails())


async def test_it_expires_in_a_task_that_is_being_cancelled_and_gives_the_work_up() -> None:
    given_up = asyncio.Event()
    ended: list[str] = []

    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def clean_up() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            with pytest.raises(TimeoutError):
                await within(0.01, work())
            ended.append("by force")
            raise

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ended == ["by force"]
    await asyncio.wait_for(given_up.wait(), 5)
