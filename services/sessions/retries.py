"""Starts that failed for a reason of the node are tried again, elsewhere if somewhere else fits.

An agent tells that a start has failed only when nothing of it lives any more, so running it elsewhere makes no second
copy. A node that is lost tells nothing: what was about to start there is tried again only once it has been given up, and
should the node come back, what it has is of an older generation and is removed.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.core import Core
from services.db.tables import Kernel, ResourceGroup, Session
from services.sessions import gates, lifecycle
from services.sessions.lifecycle import Changes, Reason, Was

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
_FIRST: Final = timedelta(seconds=10)
_LONGEST: Final = timedelta(minutes=5)


async def start_again(
    core: Core,
    db: AsyncSession,
    session: Session,
    kernels: Sequence[Kernel],
    changes: Changes,
    *,
    reason: Reason,
) -> bool:
    """Put a locked session whose start has failed back into the queue. Returns whether it was: else it has failed.

    Args:
        kernels: as they were read after the session was locked.
    """
    # Of several kernels the others may live: they have to be ended first.
    if len(kernels) != 1 or kernels[0].started_at is not None or reason.code not in _OF_THE_NODE:
        return False
    kernel, tried, at = kernels[0], list(session.failed_agent_ids), core.now()
    most = await db.scalar(
        select(ResourceGroup.start_retries).where(ResourceGroup.id == session.resource_group_id)
    )
    if len(tried) >= (most or 0):
        return False
    # The row is read again below: what it says of its node is wanted as it was.
    before, failed_on = Was.all(kernels), kernel.agent_id or ""
    nothing = {"agent_id": None, "container": "", "reason_code": "", "reason_message": "", "exit_code": None}
    if not await lifecycle.move_kernel(db, kernel, "PENDING", at=at, values=nothing):
        return False
    retry_at = at + min(_FIRST * 2 ** len(tried), _LONGEST)
    left = (most or 0) - len(tried)
    told = Reason(
        "START_RETRIED",
        f"Its start failed ({reason.code}: {reason.message}) It is tried again, {left} more "
        f"{'time' if left == 1 else 'times'} at most.",
    )
    await lifecycle.settle(
        db, session, before, changes, at=at, deadlines=core.settings.phase_deadlines, reason=told
    )
    await db.execute(
        update(Session)
        .where(Session.id == session.id)
        .values(
            failed_agent_ids=[*tried, failed_on],
            retry_at=retry_at,
            scheduled_at=None,
            unreachable_since=None,
            pending_reason=gates.retried(retry_at),
        )
        .execution_options(synchronize_session=False)
    )
    return True
