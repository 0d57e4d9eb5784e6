"""Ending sessions: by request, by force, and when a phase takes too long."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services import permissions, subjects
from services.bus import Deliver
from services.core import Core
from services.db.tables import FINAL, Agent, Kernel, Session, in_status
from services.errors import Conflict, NotFound
from services.outcomes import Outcome, each
from services.permissions import Actor
from services.sessions import lifecycle
from services.sessions.lifecycle import Changes, Reason, Was

REQUESTED = Reason("REQUESTED", "Terminated on request.")
FORCED = Reason("FORCED", "Ended by force, without waiting for the node to confirm it.")
CANCELLED = Reason("CANCELLED", "Cancelled before it ran.")


async def terminate(
    core: Core, actor: Actor, session_ids: Sequence[str], *, force: bool = False
) -> list[Outcome[Session]]:
    """End sessions, each for itself. What waits is cancelled at once; what runs is stopped by its node.

    Args:
        force: do not wait for the node; the session is final when this returns, and whatever the node still has of it
            is removed as soon as the node can be reached. Legal in every state that is not final.
    """
    return await each(session_ids, lambda session_id: _terminate(core, actor, session_id, force=force))


async def _terminate(core: Core, actor: Actor, session_id: str, *, force: bool) -> Session:
    changes = Changes()
    async with core.db.write() as db:
        session = await lifecycle.lock(db, session_id)
        visible = session is not None and await _readable(db, actor, session_id)
        if session is None or not visible:
            raise NotFound("There is no such session, or it is not yours to see.")
        permissions.require(actor, "terminateSessions", await subjects.one(db, actor, session))
        if session.status in FINAL:
            raise Conflict("The session has already ended.")
        await end(core, db, session, changes, reason=FORCED if force else REQUESTED, force=force)
    await publish(core, changes)
    async with core.db.read() as db:
        return (await db.scalars(select(Session).where(Session.id == session_id))).one()


async def end(
    core: Core, db: AsyncSession, session: Session, changes: Changes, *, reason: Reason, force: bool = False
) -> None:
    """Begin (or by force complete) the end of a locked session."""
    at = core.now()
    kernels = await lifecycle.kernels_of(db, session.id)
    before = Was.all(kernels)
    decided = any(kernel.status in FINAL for kernel in kernels)
    for kernel in kernels:
        if kernel.status == "PENDING":
            await lifecycle.move_kernel(
                db, kernel, "CANCELLED", at=at, reason=CANCELLED if not force else reason
            )
        elif force:
            to = "TERMINATED" if kernel.started_at else "CANCELLED"
            await lifecycle.move_kernel(db, kernel, "TERMINATING", at=at, reason=reason)
            await lifecycle.move_kernel(db, kernel, to, at=at, reason=reason, abandon=True)
        elif kernel.status == "TERMINATING":
            await _ask_as_well(db, kernel, reason)
        else:
            await lifecycle.move_kernel(db, kernel, "TERMINATING", at=at, reason=reason)
        if kernel.agent_id:
            changes.hints.append(Deliver(agent_id=kernel.agent_id))
    # Where the end of one of its kernels was the session's, that stays the reason.
    told, deadlines = None if decided else reason, core.settings.phase_deadlines
    await lifecycle.settle(db, session, before, changes, at=at, deadlines=deadlines, reason=told)


async def _ask_as_well(db: AsyncSession, kernel: Kernel, reason: Reason) -> None:
    """A failed start that its node is still clearing away is not to be tried again: now its end is asked for."""
    if kernel.started_at is None or kernel.reason_code == lifecycle.REGROUPED:
        await lifecycle.say_why(db, kernel, reason)


async def fail_overdue(core: Core) -> int:
    """End what has been in a phase for longer than that phase's deadline. Returns how many sessions were due.

    A start fails with its reason. A termination is not final before its node has confirmed it, for two containers of
    one kernel must never be: it is asked for again, and says what it waits for, until the node answers or somebody
    forces it.
    """
    async with core.db.read() as db:
        due = (
            await db.scalars(
                select(Session.id)
                .where(in_status(core.settings.phase_deadlines), Session.phase_deadline < core.now())
                .limit(500)
            )
        ).all()
    for session_id in due:
        changes = Changes()
        async with core.db.write() as db:
            session = await lifecycle.lock(db, session_id)
            if session is None or session.phase_deadline is None or session.phase_deadline >= core.now():
                continue
            if session.status == "TERMINATING":
                await _insist(core, db, session, changes)
            else:
                await fail(core, db, session, changes, reason=_overdue(core, session))
        await publish(core, changes)
    return len(due)


async def fail(core: Core, db: AsyncSession, session: Session, changes: Changes, *, reason: Reason) -> None:
    """Make a locked session final with an error; what its nodes have of it is removed.

    Where the end of one of its kernels was the session's, that stays the reason.
    """
    at = core.now()
    kernels = await lifecycle.kernels_of(db, session.id)
    before = Was.all(kernels)
    decided = any(kernel.status in FINAL for kernel in kernels)
    for kernel in kernels:
        await lifecycle.move_kernel(db, kernel, "ERROR", at=at, reason=reason, abandon=True)
        if kernel.agent_id:
            changes.hints.append(Deliver(agent_id=kernel.agent_id))
    told, deadlines = None if decided else reason, core.settings.phase_deadlines
    await lifecycle.settle(db, session, before, changes, at=at, deadlines=deadlines, reason=told)


async def publish(core: Core, changes: Changes) -> None:
    """Tell what a committed transaction changed."""
    core.stats.forget(changes.ended)
    for hint in dict.fromkeys(changes.hints):
        await core.bus.publish(hint)


def _overdue(core: Core, session: Session) -> Reason:
    allowed = core.settings.phase_deadlines[session.status]
    what = {
        "SCHEDULED": "The node did not take the session",
        "PREPARING": "The node did not begin to prepare the session",
        "PULLING": "The image did not arrive",
        "PREPARED": "The container was not created",
        "CREATING": "The container did not start",
    }.get(session.status, "The session did not get on")
    if session.network and session.network_agent_id is None:
        what = "No node made the network between the session's nodes"
    return Reason(
        "PHASE_TIMED_OUT",
        f"{what} within {allowed.total_seconds():.0f} seconds. Try again; if it happens again, tell an administrator.",
    )


async def _insist(core: Core, db: AsyncSession, session: Session, changes: Changes) -> None:
    at = core.now()
    kernels = [k for k in await lifecycle.kernels_of(db, session.id) if k.status == "TERMINATING"]
    agent_ids = [kernel.agent_id for kernel in kernels if kernel.agent_id]
    lost = (await db.scalars(select(Agent.name).where(Agent.id.in_(agent_ids), Agent.status == "LOST"))).all()
    session.phase_deadline = at + core.settings.phase_deadlines["TERMINATING"]
    reason = (
        Reason(
            "NODE_LOST",
            f"Waits for the node {lost[0]!r}, which is not connected. Terminate by force to give it up.",
        )
        if lost
        else Reason(
            "STOP_SLOW",
            "The node has not stopped it yet; it was asked again. Terminate by force to give it up.",
        )
    )
    if session.reason_code != reason.code:
        session.reason_code, session.reason_message = reason.code, reason.message
        await lifecycle.record(db, session.id, session.status, changes, at=at, reason=reason)
    changes.hints += [Deliver(agent_id=agent_id) for agent_id in agent_ids]


async def _readable(db: AsyncSession, actor: Actor, session_id: str) -> bool:
    query = select(Session.id).where(Session.id == session_id, permissions.visible(actor, Session))
    return await db.scalar(query) is not None
