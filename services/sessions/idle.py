"""Ending what nobody uses.

    used ─▶ unused for a while ─▶ warned (a row of the timeline) ─▶ ended with IDLE_TIMEOUT
      ▲              │                 │
      └──────────────┴─────────────────┘ a byte of a terminal, or load above a threshold

A session is used when bytes go through one of its streams, or when the load of one of its kernels is above a threshold of
what the kernel was given. Its keypair's resource policy and its resource group may each say after how long an unused one
ends; the shorter counts, with its own thresholds. What cannot be seen (its node is silent, the manager was away) counts
as used: nothing is ended that was not watched all the while.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import bindparam, or_, select, update

from services import permissions, subjects
from services.bus import SessionChanged
from services.core import Core
from services.db.tables import (
    FINAL,
    Kernel,
    ResourceGroup,
    ResourcePolicy,
    Session,
    Slots,
    in_status,
)
from services.errors import Conflict, NotFound
from services.permissions import Actor
from services.sessions import lifecycle, terms
from services.sessions.lifecycle import Changes, Reason
from services.sessions.notices import end_warned, warn
from services.sessions.terminate import publish
from services.sessions.terms import Rule

#: Use is written down at most so often while it lasts; its end is written exactly.
_COARSE: Final = timedelta(seconds=15)
#: Used less long ago than this is shown as in use.
_NOW: Final = timedelta(seconds=30)
#: Sessions warned and ended by one look.
_MOST: Final = 500


@dataclass(frozen=True)
class Standing:
    """How a running session stands with its rule. `ends_at`: None, it is not ended for being unused."""

    reason: Literal["IN_USE", "UNUSED", "EXEMPT", "NO_LIMIT"]
    used_at: datetime
    ends_at: datetime | None


@dataclass
class _Watched:
    """A running session that a rule holds for."""

    id: str
    rule: Rule
    written: datetime | None
    used_at: datetime
    warned_at: datetime | None
    kernels: list[tuple[str, Slots]] = field(default_factory=list[tuple[str, Slots]])


def standing(core: Core, session: Session, rule: Rule | None) -> Standing:
    """How it stands, as far as this manager knows."""
    now = core.now()
    used_at = _used_at(core, session.id, session.last_used_at, session.started_at or session.created_at)
    if session.idle_exempt or rule is None:
        return Standing("EXEMPT" if session.idle_exempt else "NO_LIMIT", used_at, None)
    return Standing(
        "IN_USE" if now - used_at < _NOW else "UNUSED",
        used_at,
        _ends_at(rule, used_at, session.idle_warned_at or now),
    )


async def end_unused(core: Core) -> int:
    """Write down who is used, warn whom it is time to warn, and end who was warned and is still unused.

    The number of statements does not depend on how many sessions there are, but for those that are ended: each ends in
    a transaction of its own. Returns how many were.
    """
    now = core.now()
    watched = await _watched(core)
    core.activity.look(now, (one.id for one in watched))
    if core.activity.since is not None:
        for one in watched:
            one.used_at = max(one.used_at, core.activity.since)
    for one in watched:
        if _loaded(core, one):
            one.used_at = now
    await _write(core, watched, now)
    unused = [one for one in watched if now - one.used_at >= one.rule.timeout - one.rule.warning]
    unwarned = [one for one in unused if one.warned_at is None][:_MOST]
    await warn(
        core, Session.idle_warned_at, "IDLE_WARNING", {one.id: _warning(one, now) for one in unwarned}, now
    )
    due = [one for one in unused if one.warned_at and _ends_at(one.rule, one.used_at, one.warned_at) <= now]
    return sum([await _end(core, one) for one in due[:_MOST]])


async def exempt(core: Core, actor: Actor, session_id: str, *, exempted: bool) -> Session:
    """Have a session left alone however long it is unused and however old it gets, or no longer.

    Raises:
        NotFound, Forbidden, Conflict: it has ended.
    """
    changes = Changes()
    async with core.db.write() as db:
        session = await lifecycle.lock(db, session_id)
        seen = select(Session.id).where(Session.id == session_id, permissions.visible(actor, Session))
        if session is None or await db.scalar(seen) is None:
            raise NotFound("There is no such session, or it is not yours to see.", path="input.id")
        permissions.require(actor, "exemptSession", await subjects.one(db, actor, session))
        if session.status in FINAL:
            raise Conflict("The session has ended already.")
        if session.idle_exempt != exempted:
            session.idle_exempt, session.last_used_at = exempted, core.now()
            session.idle_warned_at = session.lifetime_warned_at = None
            reason = (
                Reason(
                    "IDLE_EXEMPTED",
                    "An administrator lets it go on, however long it is unused and however old it gets.",
                )
                if exempted
                else Reason(
                    "IDLE_EXEMPTION_ENDED", "It ends again when it is unused for too long, or too old."
                )
            )
            await lifecycle.record(db, session.id, session.status, changes, at=core.now(), reason=reason)
    await publish(core, changes)
    return session


async def _watched(core: Core) -> list[_Watched]:
    found: dict[str, _Watched] = {}
    async with core.db.read() as db:
        query = select(
            Session.id,
            Session.last_used_at,
            Session.started_at,
            Session.idle_warned_at,
            Kernel.id,
            Kernel.slots,
            *terms.COLUMNS,
        ).join(Kernel, Kernel.session_id == Session.id)
        rows: Any = await db.execute(
            terms.joined(query)
            .where(
                in_status(["RUNNING"]),
                ~Session.idle_exempt,
                or_(ResourcePolicy.idle_timeout_seconds > 0, ResourceGroup.idle_timeout_seconds > 0),
            )
            .order_by(Session.id)
        )
        for session_id, written, started_at, warned_at, kernel_id, slots, *numbers in rows:
            rule = terms.of(core, numbers).idle
            if rule is None:
                continue
            if session_id not in found:
                used_at = _used_at(core, session_id, written, started_at or core.now())
                found[session_id] = _Watched(session_id, rule, written, used_at, warned_at)
            found[session_id].kernels.append((kernel_id, slots))
    return list(found.values())


def _used_at(core: Core, session_id: str, written: datetime | None, started_at: datetime) -> datetime:
    known = (written, core.activity.of(session_id), core.activity.since)
    return max(started_at, *(moment for moment in known if moment is not None), started_at)


def _ends_at(rule: Rule, used_at: datetime, warned_at: datetime) -> datetime:
    """Never sooner after its warning than the warning promises, even when a limit was lowered in between."""
    return max(used_at + rule.timeout, warned_at + rule.warning)


def _loaded(core: Core, one: _Watched) -> bool:
    """Is one of its kernels busy, or not to be seen?"""
    for kernel_id, slots in one.kernels:
        samples = core.stats.recent(kernel_id)
        if not samples:
            return True
        cores = slots.get("cpu", 1000) / 1000
        for sample in samples:
            stats = sample.stats
            loads = [*stats.accelerators.values(), *(use.utilisation or 0.0 for use in stats.devices)]
            if _above(stats.cpu_percent / cores, one.rule.cpu_percent) or any(
                _above(load, one.rule.accelerator_percent) for load in loads
            ):
                return True
    return False


def _above(load: float, threshold: int) -> bool:
    """A threshold of 100 % says that this kind of load is no use, whatever a short burst measures."""
    return threshold < 100 and load > threshold


async def _write(core: Core, watched: Sequence[_Watched], now: datetime) -> None:
    changed: list[Mapping[str, Any]] = []
    woken: list[str] = []
    for one in watched:
        newer = one.written is None or one.used_at > one.written
        lasting = one.written is not None and one.used_at == now and now - one.written < _COARSE
        if newer and (one.warned_at is not None or not lasting):
            changed.append({"session": one.id, "used": one.used_at})
        if newer and one.warned_at is not None and one.used_at > one.warned_at:
            one.warned_at = None
            woken.append(one.id)
    if not changed:
        return
    async with core.db.write() as db:
        await (await db.connection()).execute(
            update(Session)
            .where(
                Session.id == bindparam("session"),
                Session.status == "RUNNING",
                or_(Session.last_used_at.is_(None), Session.last_used_at < bindparam("used")),
            )
            .values(last_used_at=bindparam("used"), idle_warned_at=None),
            changed,
        )
    for session_id in woken:
        await core.bus.publish(SessionChanged(session_id=session_id))


def _warning(one: _Watched, now: datetime) -> str:
    left = _ends_at(one.rule, one.used_at, now) - now
    unused = now - one.used_at
    return (
        f"It has not been used for {unused.total_seconds():.0f} seconds and ends in {left.total_seconds():.0f} seconds, "
        "unless it is used before."
    )


async def _end(core: Core, one: _Watched) -> bool:
    def still(row: Session) -> bool:
        """It may have been used through another manager."""
        unused = row.last_used_at is None or row.last_used_at <= one.used_at
        return unused and row.idle_warned_at == one.warned_at

    why = f"It was not used for {one.rule.timeout.total_seconds():.0f} seconds."
    return await end_warned(core, one.id, Reason("IDLE_TIMEOUT", why), still)
