"""The state machine of kernels and sessions: the only place where a status is written.

    PENDING ─▶ SCHEDULED ─▶ PREPARING ─▶ PULLING ─▶ PREPARED ─▶ CREATING ─▶ RUNNING ─▶ TERMINATING ─▶ TERMINATED
       ▲           │             └────────── steps may be left out ─────────┘  │            ▲
       └───────────┘ (the node refused: back to the queue)                     └────────────┘ (ended by itself)
       └── from any state before RUNNING, and from TERMINATING if it never ran: its start failed and is tried again

    CANCELLED   from any state before RUNNING, when somebody wanted it ended
    ERROR       from any state that is not final, with a reason

A kernel moves by one compare-and-set `UPDATE` (id, generation, allowed statuses); its session's status is derived from
its kernels in the same transaction, with a row in the session's timeline: it runs when all of them do, and the end of one
is the end of all, with that one's reason. What a kernel occupies is released in the
transaction that makes it final. Illegal transitions cannot be written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import trail
from services.bus import AnyHint, Deliver, SessionChanged, Wake
from services.db import bulk
from services.db.tables import FINAL, STARTING, Kernel, Session, SessionEvent, Slots, stage_of
from services.scheduling import limits, occupancy
from services.scheduling.occupancy import SESSIONS
from services.sessions import gates

_STARTING: Final = STARTING[1:]
ORDER: Final = ("PENDING", *_STARTING, "RUNNING", "TERMINATING", "TERMINATED", "CANCELLED", "ERROR")
#: Statuses in which a kernel occupies its node.
PLACED: Final = (*_STARTING, "RUNNING", "TERMINATING")
LIVE: Final = ("PENDING", *PLACED)

#: status → those it may be reached from.
FROM: Final[Mapping[str, tuple[str, ...]]] = {
    "PENDING": (*_STARTING, "TERMINATING"),
    "SCHEDULED": ("PENDING",),
    "PREPARING": ("SCHEDULED",),
    "PULLING": ("SCHEDULED", "PREPARING"),
    "PREPARED": ("SCHEDULED", "PREPARING", "PULLING"),
    "CREATING": ("SCHEDULED", "PREPARING", "PULLING", "PREPARED"),
    "RUNNING": _STARTING,
    "TERMINATING": (*_STARTING, "RUNNING"),
    "TERMINATED": ("RUNNING", "TERMINATING"),
    "CANCELLED": ("PENDING", *_STARTING, "TERMINATING"),
    "ERROR": LIVE,
}


#: Codes of kernels that are ended because of another one of their session: it has ended; all are to start again.
PEER_ENDED: Final = "PEER_ENDED"
REGROUPED: Final = "REGROUPED"


@dataclass(frozen=True)
class Reason:
    """Why something changed: a stable code and a sentence that a person understands."""

    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Was:
    """A kernel as it was when its session was locked."""

    id: str
    status: str
    agent_id: str
    slots: Slots

    @classmethod
    def all(cls, kernels: Iterable[Kernel]) -> "list[Was]":
        return [cls(kernel.id, kernel.status, kernel.agent_id or "", kernel.slots) for kernel in kernels]


@dataclass
class Changes:
    """What a transaction changed, to be published after its commit: the bus must not run ahead of the database."""

    hints: list[AnyHint] = field(default_factory=list[AnyHint])
    #: Kernels that became final: what is kept of them in memory may go.
    ended: list[str] = field(default_factory=list[str])


async def lock(db: AsyncSession, session_id: str) -> Session | None:
    """Read a session and hold its row until the transaction ends, so that its kernels move one after another."""
    return await db.scalar(
        select(Session)
        .where(Session.id == session_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def kernels_of(db: AsyncSession, session_id: str) -> Sequence[Kernel]:
    rows = await db.scalars(
        select(Kernel)
        .where(Kernel.session_id == session_id)
        .order_by(Kernel.rank)
        .execution_options(populate_existing=True)
    )
    return rows.all()


async def move_kernel(
    db: AsyncSession,
    kernel: Kernel,
    to: str,
    *,
    at: datetime,
    reason: Reason | None = None,
    values: Mapping[str, Any] | None = None,
    abandon: bool = False,
) -> bool:
    """Move one kernel of a locked session, if it still is where that is legal. Returns whether it moved.

    Args:
        abandon: it becomes final without its node's word for it; the node is told until nothing of it is left.
    """
    reason = reason or Reason()
    changes: dict[str, Any] = {"status": to, **(values or {})}
    if to == "RUNNING":
        changes["started_at"] = at
    if to in FINAL:
        changes["terminated_at"] = at
        changes["abandoned"] = abandon and kernel.status in PLACED
    if reason.code:
        changes |= {"reason_code": reason.code, "reason_message": reason.message}
    result = await db.execute(
        update(Kernel)
        .where(Kernel.id == kernel.id, Kernel.generation == kernel.generation, Kernel.status.in_(FROM[to]))
        .values(**changes)
        .returning(Kernel.id)
        .execution_options(synchronize_session=False)
    )
    return result.first() is not None


async def say_why(db: AsyncSession, kernel: Kernel, reason: Reason) -> None:
    """Another reason for a kernel that comes to its end already."""
    await db.execute(
        update(Kernel)
        .where(Kernel.id == kernel.id, Kernel.generation == kernel.generation, Kernel.status == "TERMINATING")
        .values(reason_code=reason.code, reason_message=reason.message)
        .execution_options(synchronize_session=False)
    )


async def end_peers(
    db: AsyncSession, kernels: Iterable[Kernel], ended: Kernel, changes: Changes, *, at: datetime
) -> None:
    """After a kernel of a locked session has ended: end the others, which are nothing without it."""
    reason = Reason(PEER_ENDED, f"Ended with its session, of which {ended.hostname} had ended.")
    for kernel in kernels:
        if kernel.id == ended.id or kernel.status in FINAL:
            continue
        if kernel.status == "PENDING":
            await move_kernel(db, kernel, "CANCELLED", at=at, reason=reason)
        elif kernel.status != "TERMINATING":
            await move_kernel(db, kernel, "TERMINATING", at=at, reason=reason)
            changes.hints.append(Deliver(agent_id=kernel.agent_id or ""))
        elif kernel.reason_code == REGROUPED:
            await say_why(db, kernel, reason)


async def settle(
    db: AsyncSession,
    session: Session,
    before: Sequence[Was],
    changes: Changes,
    *,
    at: datetime,
    deadlines: Mapping[str, timedelta],
    reason: Reason | None = None,
) -> None:
    """After kernels moved: release what those occupied that became final, and derive the session's status.

    Args:
        before: the session's kernels as they were before any moved.
    """
    reason = reason or Reason()
    was_placed = {kernel.id: kernel for kernel in before if kernel.status in PLACED}
    after = await kernels_of(db, session.id)
    released = [was_placed[k.id] for k in after if k.id in was_placed and k.status not in PLACED]
    changes.ended += [kernel.id for kernel in after if kernel.status in FINAL]
    first = _first_to_end(after)
    status = derive(kernel.status for kernel in after)
    if status in FINAL and len(after) > 1:
        # What one of its kernels did before all ran is not the session's having run.
        ran = first.status != "TERMINATED" or session.started_at is not None
        status = first.status if ran else "CANCELLED"
    amounts = _release(session, released)
    if session.status in PLACED and status not in PLACED:
        amounts |= {(scope_id, SESSIONS): -1 for scope_id in limits.counting_sessions(session)}
    await occupancy.change(db, amounts)
    if released:
        # Its row in the timeline says so only where its status has changed as well.
        changes.hints.append(Wake(session_id=session.id))
    if len(after) > 1:
        _tell_of_members(session, before, after, changes)
    if status == session.status:
        if status in _STARTING:
            # Each step of a kernel is one of the session, whose status is that of the last.
            await db.execute(
                update(Session)
                .where(Session.id == session.id)
                .values(phase_deadline=_deadline(status, after, at, deadlines))
                .execution_options(synchronize_session=False)
            )
        return
    main = after[0]
    values: dict[str, Any] = {
        "status": status,
        "stage": stage_of(status),
        "version": Session.version + 1,
        "phase_deadline": _deadline(status, after, at, deadlines),
    }
    if status == "RUNNING":
        values["started_at"] = at
        if session.max_duration_seconds is not None:
            values["ends_at"] = at + timedelta(seconds=session.max_duration_seconds)
    if status in FINAL:
        values |= {"terminated_at": at, "exit_code": main.exit_code, "unreachable_since": None}
        values["cluster_key"] = None
    if status != "PENDING":
        values["pending_reason"] = None
    shown = reason if reason.code else _shown(first)
    if status in (*FINAL, "TERMINATING") or reason.code:
        values |= {"reason_code": shown.code, "reason_message": shown.message}
    trail.note(session.id, "status", session.status, status)
    await db.execute(
        update(Session)
        .where(Session.id == session.id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    await record(db, session.id, status, changes, at=at, reason=shown if status in FINAL else reason)
    if status in FINAL and (waiting := await gates.ended(db, session.id, at)):
        changes.hints += [SessionChanged(session_id=session_id) for session_id in waiting]
        changes.hints.append(Wake())


async def record(
    db: AsyncSession,
    session_id: str,
    status: str,
    changes: Changes,
    *,
    at: datetime,
    reason: Reason | None = None,
) -> None:
    """Add a row to the session's timeline."""
    reason = reason or Reason()
    event = SessionEvent(
        session_id=session_id, at=at, status=status, code=reason.code, message=reason.message
    )
    db.add(event)
    await db.flush()
    changes.hints.append(SessionChanged(session_id=session_id, event_id=event.id))


async def record_all(
    db: AsyncSession, session_ids: Sequence[str], status: str, *, at: datetime
) -> list[AnyHint]:
    """The same for many sessions, in one statement. Returns what is to be told after the commit."""
    said = {"at": at, "status": status, "code": "", "message": ""}
    constants = [literal(value, getattr(SessionEvent, name).type) for name, value in said.items()]
    those = bulk.table(db, "those", {"id": (bulk.TEXT, session_ids)})
    events = await (await db.connection()).execute(
        insert(SessionEvent)
        .from_select(["session_id", *said], select(those.c.id, *constants), include_defaults=False)
        .returning(SessionEvent.session_id, SessionEvent.id)
    )
    return [SessionChanged(session_id=session_id, event_id=number) for session_id, number in events.all()]


def derive(statuses: Iterable[str]) -> str:
    """A session's status from its kernels': it is only as far as the one that is least far, and failed if one is."""
    distinct = set(statuses)
    if len(distinct) == 1:
        return distinct.pop()
    live = [status for status in distinct if status in LIVE]
    if live:
        ending = distinct - set(live) or "TERMINATING" in distinct
        return "TERMINATING" if ending else min(live, key=ORDER.index)
    return "ERROR" if "ERROR" in distinct else "TERMINATED" if "TERMINATED" in distinct else "CANCELLED"


def _first_to_end(kernels: Sequence[Kernel]) -> Kernel:
    """Whose end is the session's: of those that did not end because of another one the first; else main1."""
    ended = [one for one in kernels if one.terminated_at and one.reason_code not in (PEER_ENDED, REGROUPED)]
    return min(ended, key=lambda one: (one.terminated_at, one.rank), default=kernels[0])


def _shown(kernel: Kernel) -> Reason:
    """A kernel's reason as its session's. Of a command's success only main1 tells."""
    if kernel.rank == 0:
        return Reason(kernel.reason_code, kernel.reason_message)
    code = "SUB_EXITED" if kernel.reason_code == "EXITED" else kernel.reason_code
    return Reason(code, f"{kernel.hostname}: {kernel.reason_message}" if kernel.reason_message else "")


def _deadline(
    status: str, kernels: Sequence[Kernel], at: datetime, deadlines: Mapping[str, timedelta]
) -> datetime | None:
    """Of the session's phase: what any of its kernels may take for its own."""
    if status not in deadlines:
        return None
    return at + max(deadlines[one] for one in {status, *(k.status for k in kernels)} if one in deadlines)


def _tell_of_members(
    session: Session, before: Sequence[Was], after: Sequence[Kernel], changes: Changes
) -> None:
    """A kernel's step is to be seen although the session's status has not changed; main1 may wait for the others."""
    was = {kernel.id: kernel.status for kernel in before}
    if any(was.get(kernel.id) != kernel.status for kernel in after):
        changes.hints.append(SessionChanged(session_id=session.id))
    if after[0].status == "SCHEDULED" and all(kernel.status == "RUNNING" for kernel in after[1:]):
        changes.hints.append(Deliver(agent_id=after[0].agent_id or ""))


def _release(session: Session, kernels: Sequence[Was]) -> occupancy.Amounts:
    amounts: occupancy.Amounts = {}
    for kernel in kernels:
        for scope_id in (*limits.scopes(session), kernel.agent_id):
            for slot, amount in kernel.slots.items():
                amounts[scope_id, slot] = amounts.get((scope_id, slot), 0) - amount
    return amounts
