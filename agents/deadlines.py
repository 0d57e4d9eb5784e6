"""A deadline that also holds in a task which is being cancelled.

`asyncio.timeout` of the first releases of Python 3.11, among them that of Debian 12, takes its own expiry for the
cancellation there and lets it through: what was to be ended by force would be left alone.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Do it, or raise `TimeoutError` and give it up."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
