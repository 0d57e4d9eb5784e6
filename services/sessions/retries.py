"""Starts that failed for a reason of the node are tried again, elsewhere if somewhere else fits.

An agent tells that a start has failed only when nothing of it lives any more, so running it elsewhere makes no second
copy. A node that is lost tells nothing: what was about to start there is tried again only once it has been given up, and
should the node come back, what it has is of an older generation and is removed.

The kernels of a session start together, so they start again together: the others are ended first, each goes back into the
queue when its node has said that nothing of it is left, and the session is looked at again when all have.

    failed kernel ─▶ PENDING          others ─▶ TERMINATING (REGROUPED) ─▶ PENDING          all PENDING: the session is
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.bus import Deliver
from services.core import Core
from services.db.tables import FINAL, Kernel, ResourceGroup, Session
from services.options import LONGEST_RETRY_PAUSE, RETRY_PAUSE
from services.sessions import lifecycle, reasons
from services.sessions.lifecycle import REGROUPED, Changes, Reason, Was

#: Codes of failures that another node, or this one in a while, may not have. An image that does not exist, and a command
#: that ends, are the same everywhere.
_OF_THE_NODE: Final = frozenset(
    {
        "CREATE_FAILED",
        "ENGINE_UNREACHABLE",
        "NODE_LOST",
        "NO_SPACE",
        "PULL_FAILED",
        "RUNTIME_FAILED",
        "START_FAILED",
        "TIMED_OUT",
    }
)
#: What a kernel no longer has when it waits again.
_NOTHING: Final[Mapping[str, Any]] = {
    "agent_id": None,
    "container": "",
    "reason_code": "",
    "reason_message": "",
    "exit_code": None,
    "started_at": None,
}


async def start_again(
    core: Core,
    db: AsyncSession,
    session: Session,
    kernels: Sequence[Kernel],
    changes: Changes,
    *,
    reason: Reason,
    gone: Collection[str],
) -> bool:
    """Put a locked session whose start has failed back into the queue. Returns whether it was: else it has failed.

    Args:
        kernels: as they were read after the session was locked.
        gone: those whose start has failed and of which nothing is left, or is given up.
    """
    if regrouping(kernels):
        return await regroup(core, db, session, kernels, changes, gone=gone, told=None)
    if session.started_at is not None or reason.code not in _OF_THE_NODE:
        return False
    if not all(_may_start_again(kernel, reason, gone) for kernel in kernels):
        return False
    tried, at = list(session.failed_agent_ids), core.now()
    most = await db.scalar(
        select(ResourceGroup.start_retries).where(ResourceGroup.id == session.resource_group_id)
    )
    if len(tried) >= (most or 0):
        return False
    # The rows are read again below: what they say of their nodes is wanted as it was.
    failed_on = next(kernel.agent_id or "" for kernel in kernels if kernel.id in gone)
    left = (most or 0) - len(tried)
    told = Reason(
        "START_RETRIED",
        f"Its start failed ({reason.code}: {reason.message}) It is tried again, {left} more "
        f"{'time' if left == 1 else 'times'} at most.",
    )
    session.failed_agent_ids = [*tried, failed_on]
    session.retry_at = at + _pause(core, len(tried))
    await db.flush()
    return await regroup(core, db, session, kernels, changes, gone=gone, told=told)


def regrouping(kernels: Sequence[Kernel]) -> bool:
    """Are kernels being ended so that all can start again?"""
    return any(_regrouped(kernel) for kernel in kernels)


async def regroup(
    core: Core,
    db: AsyncSession,
    session: Session,
    kernels: Sequence[Kernel],
    changes: Changes,
    *,
    gone: Collection[str],
    told: Reason | None,
) -> bool:
    """Put the kernels of which nothing is left back into the queue, and end the others of a locked session for it.

    Args:
        told: why; None: that was said before.

    Returns: False when the first of them had moved in the meantime.
    """
    at, before = core.now(), Was.all(kernels)
    why = Reason(REGROUPED, "Ended so that all containers of the session can start again together.")
    for kernel in kernels:
        if kernel.id in gone:
            if not await lifecycle.move_kernel(db, kernel, "PENDING", at=at, values=_NOTHING):
                return False
        elif kernel.status == "TERMINATING":
            await lifecycle.say_why(db, kernel, why)
        elif kernel.status != "PENDING":
            await lifecycle.move_kernel(db, kernel, "TERMINATING", at=at, reason=why)
            changes.hints.append(Deliver(agent_id=kernel.agent_id or ""))
    deadlines = core.settings.phase_deadlines
    await lifecycle.settle(db, session, before, changes, at=at, deadlines=deadlines, reason=told)
    waits = select(Kernel.id).where(Kernel.session_id == session.id, Kernel.status != "PENDING")
    later = session.retry_at if session.retry_at is not None and session.retry_at > at else None
    await db.execute(
        update(Session)
        .where(Session.id == session.id, Session.status == "PENDING", ~waits.exists())
        .values(
            scheduled_at=None,
            unreachable_since=None,
            # Made anew, or found to be there: that it was gone may be why the start failed.
            network_agent_id=None,
            pending_reason=reasons.held_back(reasons.RETRY_LATER) if later is not None else None,
        )
        .execution_options(synchronize_session=False)
    )
    return True


def _pause(core: Core, tried: int) -> timedelta:
    first, longest = core.options.value(RETRY_PAUSE), core.options.value(LONGEST_RETRY_PAUSE)
    return timedelta(seconds=min(first * 2**tried, max(first, longest)))


def _regrouped(kernel: Kernel) -> bool:
    return kernel.status == "TERMINATING" and kernel.reason_code == REGROUPED


def _may_start_again(kernel: Kernel, reason: Reason, gone: Collection[str]) -> bool:
    """Not what had begun to run by itself, and not what somebody wants ended."""
    if kernel.status in FINAL:
        return False
    lost = reason.code == "NODE_LOST"
    if kernel.status == "TERMINATING":
        # Its node had told why before it could tell that nothing is left.
        return not lost and kernel.reason_code in _OF_THE_NODE
    return lost or kernel.id not in gone or kernel.started_at is None
