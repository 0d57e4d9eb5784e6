"""Taking what agents report: from a report to a committed transition."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from agents import protocol
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import FINAL, Kernel, KernelLog, Session
from services.sessions import lifecycle
from services.sessions.lifecycle import Changes, Reason, Was
from services.sessions.retries import regroup, start_again

#: A kept log is not inflated beyond this, whatever an agent sends (bytes).
_MAX_INFLATED = protocol.MAX_KEPT_LOG + 1024


@dataclass(frozen=True)
class Stray:
    """A kernel that the agent has and must not have."""

    kernel: str
    generation: int


async def phase(
    core: Core, db: AsyncSession, agent_id: str, report: protocol.KernelPhase, changes: Changes
) -> Stray | None:
    """Commit one phase of a kernel. Reports of another agent's kernels and of older generations change nothing.

    Returns what is to be destroyed, when the report shows that the agent runs what it must not.
    """
    kernel = await db.get(Kernel, report.kernel)
    alive = report.phase not in ("TERMINATED", "ERROR")
    if kernel is None or kernel.agent_id != agent_id:
        return Stray(report.kernel, report.generation) if alive else None
    session = await lifecycle.lock(db, kernel.session_id)
    if session is None:
        return Stray(report.kernel, report.generation) if alive else None
    kernels = await lifecycle.kernels_of(db, session.id)
    kernel = next(k for k in kernels if k.id == report.kernel)
    if kernel.generation != report.generation or kernel.status in FINAL:
        if not alive and kernel.abandoned and kernel.generation == report.generation:
            await confirm_gone(db, [kernel.id])
        return Stray(report.kernel, report.generation) if alive else None
    before = Was.all(kernels)
    at = core.now()
    status, reason = _status(session, kernel, report), _reason(kernel, report)
    # A final phase is what the node tells only when nothing of it lives: it may run elsewhere.
    if not alive and kernel.status == "TERMINATING" and kernel.reason_code == lifecycle.REGROUPED:
        await regroup(core, db, session, kernels, changes, gone=[kernel.id], told=None)
        return None
    if status == "ERROR" and await start_again(
        core, db, session, kernels, changes, reason=reason, gone=[kernel.id]
    ):
        return None
    moved = await lifecycle.move_kernel(db, kernel, status, at=at, reason=reason, values=_values(report))
    if moved:
        if status in FINAL:
            await lifecycle.end_peers(db, kernels, kernel, changes, at=at)
        await lifecycle.settle(db, session, before, changes, at=at, deadlines=core.settings.phase_deadlines)
    return None


async def confirm_gone(db: AsyncSession, kernel_ids: Sequence[str]) -> None:
    """Their node has said that nothing is left of these kernels."""
    await db.execute(
        update(Kernel)
        .where(Kernel.id.in_(kernel_ids))
        .values(abandoned=False)
        .execution_options(synchronize_session=False)
    )


async def keep_log(db: AsyncSession, agent_id: str, report: protocol.KernelLog) -> None:
    """Keep the log of a kernel that has ended; of several reports the newest counts."""
    kernel = await db.get(Kernel, report.kernel)
    if kernel is None or kernel.agent_id != agent_id or kernel.generation != report.generation:
        return
    if not _inflates(report.data):
        return
    statement = insert_into(db, KernelLog).values(kernel_id=kernel.id, data=report.data, size=report.size)
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=[KernelLog.kernel_id], set_={"data": report.data, "size": report.size}
        )
    )


def _status(session: Session, kernel: Kernel, report: protocol.KernelPhase) -> str:
    if report.phase not in ("TERMINATED", "ERROR"):
        return report.phase
    # Its node had said why it comes to its end, before anybody asked for it.
    failed = report.code not in ("", "REQUESTED") and report.code == kernel.reason_code
    if kernel.status == "TERMINATING" and not failed:
        return "TERMINATED" if kernel.started_at else "CANCELLED"
    # What never ran as a whole and was not asked to end has failed, whatever its node calls it.
    return report.phase if kernel.started_at and session.started_at else "ERROR"


def _reason(kernel: Kernel, report: protocol.KernelPhase) -> Reason:
    if report.phase not in ("TERMINATED", "ERROR"):
        return Reason(report.code, report.message)
    if kernel.status == "TERMINATING" and kernel.reason_code:
        return Reason(kernel.reason_code, kernel.reason_message)
    return Reason(report.code or report.phase, report.message)


def _values(report: protocol.KernelPhase) -> dict[str, object]:
    values: dict[str, object] = {}
    if report.exit_code is not None:
        values["exit_code"] = report.exit_code
    if report.container:
        values["container"] = report.container
    return values


def _inflates(data: bytes) -> bool:
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(data, _MAX_INFLATED)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail
