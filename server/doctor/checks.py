"""What a check finds, and running many of them."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

#: Seconds that one check may take: an engine that hangs must not hang the doctor.
DEADLINE: Final = 15.0


class Verdict(Enum):
    """`NOTE`: fine, and worth knowing. `WARNING`: works, with a risk. `FAILURE`: something will not work, or is unsafe."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """`mend`: what to do about it, as a sentence or a command."""

    check: str
    verdict: Verdict
    found: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict.value}


#: Looks at one thing. May raise: that is a failure with what was raised.
Check = Callable[[], "Sequence[Finding] | Awaitable[Sequence[Finding]]"]


def ok(check: str, found: str) -> list[Finding]:
    return [Finding(check, Verdict.OK, found)]


def note(check: str, found: str, mend: str = "") -> list[Finding]:
    return [Finding(check, Verdict.NOTE, found, mend)]


def warning(check: str, found: str, mend: str) -> list[Finding]:
    return [Finding(check, Verdict.WARNING, found, mend)]


def failure(check: str, found: str, mend: str) -> list[Finding]:
    return [Finding(check, Verdict.FAILURE, found, mend)]


async def run(checks: dict[str, Check]) -> list[Finding]:
    """Run all checks at once, in the order of their table. One that raises or hangs is a failure and spoils no other."""
    results = await asyncio.gather(*(_run(name, check) for name, check in checks.items()))
    return [finding for found in results for finding in found]


async def _run(name: str, check: Check) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(DEADLINE):
            if inspect.iscoroutinefunction(check):
                return await check()
            found = await asyncio.to_thread(check)
            return await found if inspect.isawaitable(found) else found
    except TimeoutError:
        return failure(
            name, f"no answer within {DEADLINE:g} s", "Look whether what it concerns hangs; restart it."
        )
    except Exception as error:  # a check must not end the others
        return failure(
            name, f"{type(error).__name__}: {error}", "Look into what it says; run the doctor again."
        )
