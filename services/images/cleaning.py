"""Cleaning up: images that nobody has used on a node for long are removed from it, if they can be had again."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import permissions, tasks
from services.core import Core
from services.db.tables import IS_LIVE, Agent, AgentImage, Image, Kernel, Session, Task
from services.errors import BadInput, NotFound
from services.images.nodes import take_from
from services.permissions import Actor

_LONGEST: Final = 3660
_NODES_AT_ONCE: Final = 8


async def clean_up(
    core: Core,
    actor: Actor,
    *,
    unused_days: int,
    agent_ids: Sequence[str] | None = None,
    include_local: bool = False,
    dry_run: bool = False,
) -> Task:
    """Have images removed from nodes on which no session used them for so long, in the background.

    Args:
        agent_ids: only from these; None: from all that are connected.
        include_local: also those that no registry is known to have, which are lost with their last copy.
        dry_run: only say which, and what that would free.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    permissions.require_role(actor, "cleanUpImages")
    if not 0 <= unused_days <= _LONGEST:
        raise BadInput(f"Between 0 and {_LONGEST} days.", path="input.unusedDays")
    if agent_ids is not None:
        async with core.db.read() as db:
            known = set(await db.scalars(select(Agent.id).where(Agent.id.in_(agent_ids))))
        if missing := set(agent_ids) - known:
            raise NotFound(f"There is no agent {sorted(missing)[0]!r}.", path="input.agentIds")
    arguments = {
        "unused_days": unused_days,
        "agents": None if agent_ids is None else sorted(set(agent_ids)),
        "include_local": include_local,
        "dry_run": dry_run,
    }
    return await tasks.start(core, actor, "CLEAN_UP_IMAGES", arguments)


@dataclass(frozen=True)
class _Candidate:
    agent: Agent
    image: Image
    last_used_at: datetime


async def _clean_up(run: tasks.Run) -> None:
    """The work of CLEAN_UP_IMAGES: a line for each image on each node that was unused for long enough."""
    core, given = run.core, run.arguments
    before = core.now() - timedelta(days=given["unused_days"])
    found = await _unused(core, before, given["agents"])
    by_agent: dict[str, list[_Candidate]] = defaultdict(list)
    for one in found:
        by_agent[one.agent.id].append(one)
    run.advance(0, len(found))
    turns = asyncio.Semaphore(_NODES_AT_ONCE)
    done = 0

    async def clean(candidates: list[_Candidate]) -> None:
        nonlocal done
        async with turns:
            for one in candidates:
                run.advance(message=f"{one.agent.name}: {one.image.reference}")
                await _clean(run, one)
                done += 1
                run.advance(done)

    async with asyncio.TaskGroup() as group:
        for candidates in by_agent.values():
            group.create_task(clean(candidates))


CLEAN_UP: Final = tasks.Kind("CLEAN_UP_IMAGES", _clean_up, restartable=True)


async def _clean(run: tasks.Run, one: _Candidate) -> None:
    subject = f"{one.image.reference} on {one.agent.name}"
    since = f"unused since {one.last_used_at:%Y-%m-%d}"
    if one.image.scanned_digest is None and not run.arguments["include_local"]:
        run.note("SKIPPED", subject, f"ONLY_HERE: No registry is known to have it; {since}.")
        return
    if run.arguments["dry_run"]:
        run.note("PLANNED", subject, since)
        run.count("bytesFreed", one.image.size)
        return
    async with run.core.db.read() as db:
        if one.image.id in await _needed(db, [one.image.id]):
            run.note("SKIPPED", subject, "NEEDED: A session needs it now.")
            return
    error = await take_from(run.core, one.agent, one.image)
    run.note("FAILED" if error else "DONE", subject, error.message if error else since)
    if error is None:
        run.count("bytesFreed", one.image.size)


async def _unused(core: Core, before: datetime, agent_ids: Sequence[str] | None) -> list[_Candidate]:
    """Images on connected nodes that no session has used there since, and none needs anywhere."""
    used = (
        select(
            Kernel.agent_id.label("agent_id"),
            Session.image_id.label("image_id"),
            func.max(func.coalesce(Kernel.terminated_at, Session.created_at)).label("used_at"),
        )
        .join(Session, Session.id == Kernel.session_id)
        .where(Kernel.agent_id.is_not(None))
        .group_by(Kernel.agent_id, Session.image_id)
        .subquery()
    )
    query = (
        select(Agent, Image, AgentImage.since, used.c.used_at)
        .join(AgentImage, AgentImage.agent_id == Agent.id)
        .join(Image, Image.id == AgentImage.image_id)
        .outerjoin(used, (used.c.agent_id == Agent.id) & (used.c.image_id == Image.id))
        .where(Agent.status == "ALIVE", AgentImage.since < before)
        .order_by(Agent.name, Image.reference)
    )
    if agent_ids is not None:
        query = query.where(Agent.id.in_(agent_ids))
    async with core.db.read() as db:
        rows = (await db.execute(query)).all()
        needed = await _needed(db, list({image.id for _, image, _, _ in rows}))
    found = [
        _Candidate(agent, image, max(since, used_at or since))
        for agent, image, since, used_at in rows
        if image.id not in needed
    ]
    return [one for one in found if one.last_used_at < before]


async def _needed(db: AsyncSession, image_ids: Sequence[str]) -> set[str]:
    """Those that a session which has not ended was made from."""
    rows = await db.scalars(
        select(Session.image_id).where(Session.image_id.in_(image_ids), IS_LIVE).distinct()
    )
    return set(rows)
