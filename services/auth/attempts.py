"""Attempts to get in: counted in the database before they are judged, and from some number on put off longer each time.

    failures   … free-1   free    free+1   free+2   …
    wait              0    5 s      10 s     20 s   …  at most `longest`

A thousand at once, on however many managers, are a thousand: the rows are locked while one is counted. A success takes
its attempt back. Failures are forgotten one by one with time, so that neither a forgetful person nor a busy office
address is put off for ever; and nobody can shut somebody else out for longer than a minute at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.core import Core
from services.db.engine import insert_into
from services.db.tables import FailedAttempt
from services.errors import RateLimited
from services.keys import digest
from services.options import LOGIN_ATTEMPTS, LOGIN_ATTEMPTS_OF_ADDRESS

#: Milliseconds of the first wait.
FIRST_WAIT: Final = 5_000
_MINUTE: Final = 60_000
_FORGOTTEN: Final = 24 * 60 * _MINUTE
#: Failures on one account from anywhere; below it nobody notices that others try.
OF_ACCOUNT: Final = 100
OF_CODE: Final = 5


@dataclass(frozen=True)
class Scope:
    """What is counted together; times in milliseconds."""

    key: bytes
    #: So many attempts have no wait between them.
    free: int
    longest: int
    #: After so long one failure is forgotten.
    cools: int

    def wait(self, failures: int) -> int:
        over = failures - self.free
        return 0 if over < 0 else min(FIRST_WAIT << min(over, 20), self.longest)


@dataclass(frozen=True)
class Attempt:
    """One attempt, which has been counted as a failure until it turns out to be none."""

    scopes: Sequence[Scope]

    async def succeeded(self, db: AsyncSession) -> None:
        """It was none: take it back, and forget what failed before on this account from this address."""
        own = self.scopes[0]
        # In the order in which attempts are counted: two that held a row each would wait for each other. No row is deleted
        # here, for one that is counted on at this moment would count nothing.
        for scope in sorted(self.scopes, key=lambda one: one.key):
            left = 0 if scope is own else FailedAttempt.failures - 1
            await db.execute(
                update(FailedAttempt)
                .where(FailedAttempt.key == scope.key, FailedAttempt.failures > 0)
                .values(failures=left, allowed_ms=0)
            )


async def at_login(core: Core, account: str, network: str) -> Attempt:
    """Count an attempt on an account (known or not) from a network.

    Raises:
        RateLimited: it comes too soon; it is not counted.
    """
    value = core.options.value
    return await _begin(
        core,
        [
            Scope(_key("pair", account, network), value(LOGIN_ATTEMPTS), 15 * _MINUTE, 10 * _MINUTE),
            Scope(_key("network", network), value(LOGIN_ATTEMPTS_OF_ADDRESS), _MINUTE, _MINUTE // 6),
            Scope(_key("account", account), max(OF_ACCOUNT, value(LOGIN_ATTEMPTS)), _MINUTE, _MINUTE),
        ],
    )


async def at_code(core: Core, user_id: str) -> Attempt:
    """Count an attempt at a second factor: six digits are soon tried, so these waits hold from everywhere.

    Raises:
        RateLimited
    """
    return await _begin(core, [Scope(_key("code", user_id), OF_CODE, 15 * _MINUTE, 10 * _MINUTE)])


async def purge(core: Core) -> None:
    """Forget accounts and addresses of which nobody has tried anything for a day."""
    async with core.db.write() as db:
        await db.execute(delete(FailedAttempt).where(FailedAttempt.last_ms < _now(core) - _FORGOTTEN))


async def _begin(core: Core, scopes: Sequence[Scope]) -> Attempt:
    # In one order for all, so that two attempts cannot wait for each other.
    by_key = {scope.key: scope for scope in sorted(scopes, key=lambda one: one.key)}
    async with core.db.write() as db:
        new = [{"key": key, "failures": 0, "allowed_ms": 0, "last_ms": _now(core)} for key in by_key]
        await db.execute(insert_into(db, FailedAttempt).values(new).on_conflict_do_nothing())
        rows = (
            await db.scalars(
                select(FailedAttempt)
                .where(FailedAttempt.key.in_(list(by_key)))
                .order_by(FailedAttempt.key)
                .with_for_update()
            )
        ).all()
        # Only now, when it is this one's turn: who went before may have been counted a moment later than this one came.
        now = _now(core)
        wait = max(row.allowed_ms for row in rows) - now
        if wait > 0:
            raise RateLimited("Too many failed attempts. Wait, then try again.", retry_after=wait / 1000)
        counted: list[dict[str, int | bytes]] = []
        for row in rows:
            scope = by_key[row.key]
            forgotten = max(0, now - row.last_ms) // scope.cools
            failures = max(0, row.failures - forgotten) + 1
            pause = scope.wait(failures)
            # Managers' clocks differ: no wait is none on any of them.
            until = now + pause if pause else 0
            counted.append({"of": row.key, "count": failures, "until": until, "at": now})
        await (await db.connection()).execute(_COUNT, counted)
    return Attempt(scopes)


_COUNT: Final = (
    update(FailedAttempt)
    .where(FailedAttempt.key == bindparam("of"))
    .values(failures=bindparam("count"), allowed_ms=bindparam("until"), last_ms=bindparam("at"))
)


def _key(*parts: str) -> bytes:
    """Names of accounts that are none are not kept in clear: there may be a mistyped password among them."""
    text = "\n".join(part[:512] for part in parts)
    return digest(text.encode(errors="replace").decode(errors="replace"))


def _now(core: Core) -> int:
    return int(core.now().timestamp() * 1000)
