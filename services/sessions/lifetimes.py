"""Ending what has run for as long as anything may.

    started ─▶ warned (a row of the timeline) ─▶ ended with MAX_LIFETIME

Counted from the start by the clock, used or not, whether or not a manager was there to see it. But nothing ends before
its warning has had its time: not after the manager was away, not when the limit was lowered, not when the clock jumped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import or_, select, update

from services.bus import SessionChanged
from services.core import Core
from services.db.tables import ResourceGroup, ResourcePolicy, Session, in_status
from services.sessions import terms
from services.sessions.lifecycle import Reason
from services.sessions.notices import end_warned, warn
from services.sessions.terms import Terms

#: Sessions warned and ended by one look.
_MOST: Final = 500


@dataclass(frozen=True)
class Lifetime:
    """How a running session stands with its maximum lifetime. `ends_at`: None, it is not ended for its age."""

    reason: Literal["LIMITED", "EXEMPT", "NO_LIMIT"]
    limit: timedelta | None
    ends_at: datetime | None


@dataclass(frozen=True)
class _Aging:
    id: str
    started_at: datetime
    limit: timedelta
    warning: timedelta
    warned_at: datetime | None

    def ends_at(self, now: datetime) -> datetime:
        """Never sooner after its warning than the warning promises."""
        return max(self.started_at + self.limit, (self.warned_at or now) + self.warning)

    def must_know(self, now: datetime) -> bool:
        return now >= self.started_at + self.limit - self.warning

    def should_not_have_been_told(self, now: datetime) -> bool:
        return self.warned_at is not None and not self.must_know(now)


def lifetime(core: Core, session: Session, found: Terms | None) -> Lifetime:
    """How it stands now."""
    limit = found.lifetime if found else None
    if found is None or limit is None or session.started_at is None:
        return Lifetime("NO_LIMIT", None, None)
    if session.idle_exempt:
        return Lifetime("EXEMPT", limit, None)
    aging = _Aging(session.id, session.started_at, limit, found.warning, session.lifetime_warned_at)
    return Lifetime("LIMITED", limit, aging.ends_at(core.now()))


async def end_aged(core: Core) -> int:
    """Warn whom it is time to warn, and end who was warned and is too old. Returns how many were ended.

    The number of statements does not depend on how many sessions there are, but for those that are ended.
    """
    now = core.now()
    running, unlimited = await _running(core)
    await _take_back(core, [*unlimited, *(one.id for one in running if one.should_not_have_been_told(now))])
    known = [one for one in running if one.must_know(now)]
    unwarned = [one for one in known if one.warned_at is None][:_MOST]
    await warn(
        core,
        Session.lifetime_warned_at,
        "LIFETIME_WARNING",
        {one.id: _message(one, now) for one in unwarned},
        now,
    )
    due = [one for one in known if one.warned_at is not None and one.ends_at(now) <= now]
    return sum([await _end(core, one) for one in due[:_MOST]])


async def _running(core: Core) -> tuple[list[_Aging], list[str]]:
    """Those that have a limit, and those that had one when they were warned."""
    query = terms.joined(
        select(Session.id, Session.started_at, Session.lifetime_warned_at, *terms.COLUMNS)
    ).where(
        in_status(["RUNNING"]),
        ~Session.idle_exempt,
        or_(
            ResourcePolicy.max_lifetime_seconds > 0,
            ResourceGroup.max_lifetime_seconds > 0,
            Session.lifetime_warned_at.is_not(None),
        ),
    )
    found, unlimited = list[_Aging](), list[str]()
    async with core.db.read() as db:
        rows: Any = await db.execute(query.order_by(Session.id))
        for session_id, started_at, warned_at, *numbers in rows:
            own = terms.of(core, numbers)
            limit = own.lifetime
            if limit is None:
                unlimited.append(session_id)
            elif started_at is not None:
                found.append(_Aging(session_id, started_at, limit, own.warning, warned_at))
    return found, unlimited


async def _take_back(core: Core, session_ids: Sequence[str]) -> None:
    """The limit was raised after the warning, or the clock was set back: there will be another one in time."""
    if not session_ids:
        return
    async with core.db.write() as db:
        await db.execute(
            update(Session).where(Session.id.in_(session_ids[:_MOST])).values(lifetime_warned_at=None)
        )
    for session_id in session_ids[:_MOST]:
        await core.bus.publish(SessionChanged(session_id=session_id))


def _message(one: _Aging, now: datetime) -> str:
    left = one.ends_at(now) - now
    return (
        f"Sessions may run for {one.limit.total_seconds():.0f} seconds here; it ends in {left.total_seconds():.0f} "
        "seconds, used or not. Save what you need."
    )


async def _end(core: Core, one: _Aging) -> bool:
    why = f"It has run for {one.limit.total_seconds():.0f} seconds, as long as any session may here."
    reason = Reason("MAX_LIFETIME", why)
    # Its warning may have been taken back.
    return await end_warned(core, one.id, reason, lambda row: row.lifetime_warned_at == one.warned_at)
