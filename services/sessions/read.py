"""Lists and details of sessions, scoped by role; a page and everything on it in a constant number of statements."""

import asyncio
import codecs
import contextlib
import zlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from agents.hub import AgentOffline, AgentRefused, CallTimedOut, Stream, Target
from agents.protocol import MAX_KEPT_LOG, LogTarget
from services import paging, permissions
from services.bus import Lagged, SessionChanged
from services.core import Core
from services.db.tables import FINAL, IS_LIVE, Kernel, KernelLog, Session, SessionEvent, in_status
from services.db.texts import contains_ascii
from services.errors import NotFound, Unavailable
from services.filters import Conditions, equal, linked, searched
from services.nouns import Noun
from services.paging import Page, PageArgs, Total
from services.permissions import Actor
from services.searches import Search
from services.sessions.lifecycle import LIVE

_STREAM_DEADLINE: Final = 15.0
#: Seconds after which a session that is waited for is looked at, in case that a hint was lost.
_LOOK_AGAIN: Final = 5.0
#: The part that does not answer. Not its id: whose session it is may not see nodes.
_NODE: Final = "node"

Category = Literal["RUNNING", "FINISHED", "OTHER"]

_OTHER: Final = tuple(status for status in (*LIVE, "ERROR") if status != "RUNNING")
CATEGORIES: Final[dict[str, tuple[str, ...]]] = {
    "RUNNING": ("RUNNING",),
    "FINISHED": ("TERMINATED", "CANCELLED"),
    "OTHER": _OTHER,
}


@dataclass(frozen=True)
class SessionFilter:
    """All given conditions hold together."""

    status_in: Sequence[str] | None = None
    category: Category | None = None
    #: Part of the name, or the beginning of an id.
    search: str | None = None
    user_id: str | None = None
    group_id: str | None = None
    domain_id: str | None = None
    resource_group_id: str | None = None
    agent_id: str | None = None
    type: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


#: Orders that a list may be asked for, by name.
ORDERS: Final = {
    "CREATED_AT": Session.id,  # an id is as old as its session, and indexed beside every filter
    "NAME": Session.name,
    "STATUS": Session.stage,  # what starts is one to an order: its steps are no index's matter
    "STARTED_AT": Session.started_at,
    "TERMINATED_AT": Session.terminated_at,
}


def conditions(where: SessionFilter) -> Conditions:
    """The filter as SQL."""
    return [*searched(where.search, Session.id, Session.name), *_conditions(where)]


def _conditions(where: SessionFilter) -> Conditions:
    """Without the search."""
    return [
        *_in_status(where.status_in),
        *_in_status(CATEGORIES[where.category] if where.category else None),
        *equal(Session.user_id, where.user_id),
        *equal(Session.group_id, where.group_id),
        *equal(Session.domain_id, where.domain_id),
        *equal(Session.resource_group_id, where.resource_group_id),
        *equal(Session.type, where.type),
        *linked(Session.id, Kernel.session_id, Kernel.agent_id, where.agent_id),
        *_created(where),
    ]


def _in_status(statuses: Sequence[str] | None) -> Conditions:
    return [] if statuses is None else [in_status(statuses)]


def _created(where: SessionFilter) -> Conditions:
    found: Conditions = []
    if where.created_after is not None:
        found.append(Session.created_at >= where.created_after)
    if where.created_before is not None:
        found.append(Session.created_at < where.created_before)
    return found


def _named(text: str) -> ColumnElement[bool]:
    """By the index of names, read whole: one of their parts would be written anew with each change of a status."""
    return contains_ascii(Session.name, text)


_noun = Noun(Session, "ses", _conditions, search=Search(Session, "ses", reading=_named))
find, page, total, many, get = _noun.find, _noun.page, _noun.total, _noun.many, _noun.get


async def kernels(core: Core, actor: Actor, session_ids: Sequence[str]) -> dict[str, list[Kernel]]:
    """Kernels of several sessions, main1 first; a session that the actor may not see has none."""
    result: dict[str, list[Kernel]] = {session_id: [] for session_id in session_ids}
    async with core.db.read() as db:
        rows = await db.scalars(
            select(Kernel)
            .where(Kernel.session_id.in_(session_ids), permissions.visible(actor, Kernel))
            .order_by(Kernel.session_id, Kernel.rank)
        )
        for row in rows:
            result[row.session_id].append(row)
    return result


async def many_kernels(core: Core, actor: Actor, ids: Sequence[str]) -> dict[str, Kernel]:
    async with core.db.read() as db:
        rows = await db.scalars(select(Kernel).where(Kernel.id.in_(ids), permissions.visible(actor, Kernel)))
        return {row.id: row for row in rows}


async def page_kernels(core: Core, actor: Actor, agent_id: str, args: PageArgs) -> Page[Kernel]:
    """Live kernels on an agent."""
    async with core.db.read() as db:
        return await paging.fetch(db, _kernels_on(actor, agent_id), Kernel, (), args)


async def total_kernels(core: Core, actor: Actor, agent_id: str) -> Total:
    async with core.db.read() as db:
        return await paging.count(db, _kernels_on(actor, agent_id))


async def timelines(core: Core, actor: Actor, session_ids: Sequence[str]) -> dict[str, list[SessionEvent]]:
    """Timelines of several sessions, oldest first."""
    result: dict[str, list[SessionEvent]] = {session_id: [] for session_id in session_ids}
    async with core.db.read() as db:
        visible = select(Session.id).where(Session.id.in_(session_ids), permissions.visible(actor, Session))
        rows = await db.scalars(
            select(SessionEvent).where(SessionEvent.session_id.in_(visible)).order_by(SessionEvent.id)
        )
        for row in rows:
            result[row.session_id].append(row)
    return result


@dataclass(frozen=True)
class Log:
    """`text` is the end of the whole log of `size` bytes; shorter than it when `truncated`."""

    text: str
    size: int
    truncated: bool


async def log(
    core: Core, actor: Actor, session_id: str, tail: int | None = None, kernel_id: str | None = None
) -> Log:
    """The log of one of a session's kernels, by default the main one: from its node while it lives, then the kept one."""
    await get(core, actor, session_id)
    async with core.db.read() as db:
        kernel = await one_kernel(db, session_id, kernel_id)
        kept = await db.get(KernelLog, kernel.id)
    limit = min(tail or MAX_KEPT_LOG, MAX_KEPT_LOG)
    if kept is not None:
        data, size = zlib.decompress(kept.data), kept.size
    elif kernel.status == "RUNNING" and kernel.agent_id:
        data = await _live_log(core, kernel, limit)
        size = len(data)
    else:
        return Log("", 0, truncated=False)
    data = data[-limit:]
    return Log(data.decode(errors="replace"), size, truncated=size > len(data))


async def follow_log(
    core: Core, actor: Actor, session_id: str, tail: int | None = None, kernel_id: str | None = None
) -> AsyncGenerator[str]:
    """The log of one of a session's kernels, by default the main one, as it grows, from `tail` bytes before its end.

    It begins when the kernel runs, however long that takes, and ends with it.

    Raises:
        NotFound: there is no such session for the actor, or no such kernel in it.
        Unavailable: its node is not connected.
    """
    kernel = await _started(core, actor, session_id, kernel_id)
    if kernel.status not in ("RUNNING", "TERMINATING") or kernel.agent_id is None:
        kept = await log(core, actor, session_id, tail, kernel.id)
        if kept.text:
            yield kept.text
        return
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    target = LogTarget(kernel=kernel.id, tail=min(tail or MAX_KEPT_LOG, MAX_KEPT_LOG), follow=True)
    stream = await open_stream(core, kernel.agent_id, target)
    try:
        async for frame in stream:
            if isinstance(frame, bytes) and (text := decoder.decode(frame)):
                yield text
    finally:
        await stream.close()


async def _started(core: Core, actor: Actor, session_id: str, kernel_id: str | None) -> Kernel:
    """A kernel, once it runs or has ended."""
    async with core.bus.subscribe(SessionChanged) as hints:
        while True:
            session = await get(core, actor, session_id, path="sessionId")
            async with core.db.read() as db:
                kernel = await one_kernel(db, session_id, kernel_id, path="kernelId")
            if session.status in FINAL or kernel.status in (*FINAL, "RUNNING", "TERMINATING"):
                return kernel
            with contextlib.suppress(TimeoutError, Lagged):
                async with asyncio.timeout(_LOOK_AGAIN):
                    while (await anext(hints)).session_id != session_id:
                        pass


async def _live_log(core: Core, kernel: Kernel, limit: int) -> bytes:
    data = b""
    stream = await open_stream(
        core, kernel.agent_id or "", LogTarget(kernel=kernel.id, tail=limit, follow=False)
    )
    try:
        async for frame in stream:
            if isinstance(frame, bytes):
                data = (data + frame)[-limit:]
    finally:
        await stream.close()
    return data


async def open_stream(core: Core, agent_id: str, target: Target) -> Stream:
    """Open a byte stream to a kernel, with errors that a person understands."""
    try:
        return await core.hub.open_stream(agent_id, target, deadline=_STREAM_DEADLINE)
    except (AgentOffline, CallTimedOut) as error:
        raise Unavailable(
            "The session's node does not answer. The session goes on there; try again when it is connected.",
            part=_NODE,
            retry_after=5,
        ) from error
    except AgentRefused as refused:
        raise Unavailable(refused.message, part=_NODE) from refused


async def one_kernel(
    db: AsyncSession, session_id: str, kernel_id: str | None, *, path: str | None = None
) -> Kernel:
    """A kernel of a session that the actor sees.

    Args:
        kernel_id: None: the main one.
        path: of the input that names it.

    Raises:
        NotFound: it is not one of the session's.
    """
    which = Kernel.rank == 0 if kernel_id is None else Kernel.id == kernel_id
    kernel = await db.scalar(select(Kernel).where(Kernel.session_id == session_id, which))
    if kernel is None:
        raise NotFound("The session has no such container.", path=path)
    return kernel


async def counts(core: Core, actor: Actor) -> dict[str, int]:
    """Status → number of sessions that the actor sees."""
    async with core.db.read() as db:
        rows = await db.execute(
            select(Session.status, func.count())
            .where(permissions.visible(actor, Session), IS_LIVE)
            .group_by(Session.status)
        )
        return dict(rows.all())


def _kernels_on(actor: Actor, agent_id: str) -> Select[Kernel]:
    return select(Kernel).where(
        Kernel.agent_id == agent_id, Kernel.status.not_in(FINAL), permissions.visible(actor, Kernel)
    )
