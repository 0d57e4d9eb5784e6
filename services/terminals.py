"""Shells in sessions: a one-time ticket for the browser, a stream to the node behind it.

The shell and its scrollback live on the node under the terminal's id; a page that is reloaded, or a network that was
cut, asks for a new ticket with the same id and is back in the same shell.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import update

from agents.hub import Stream
from agents.protocol import CloseTerminal, TerminalTarget
from services import calls, permissions
from services.core import Core
from services.db.tables import Kernel, Session, Ticket
from services.errors import BadInput, Conflict, Unauthenticated
from services.keys import digest
from services.permissions import Actor, Subject
from services.sessions import get
from services.sessions.read import one_kernel, open_stream

_TERMINAL_ID: Final = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True)
class TerminalTicket:
    terminal_id: str
    #: Works once, until `expires_at`.
    ticket: str
    expires_at: datetime


async def open_terminal(
    core: Core,
    actor: Actor,
    session_id: str,
    terminal_id: str | None,
    columns: int,
    rows: int,
    *,
    kernel_id: str | None = None,
) -> TerminalTicket:
    """Make a ticket for a terminal, a new one or one that is kept.

    Args:
        kernel_id: of one of the session's kernels; None: the main one.

    Raises:
        NotFound, Forbidden, BadInput, Conflict: the session is not running.
    """
    if not (1 <= columns <= 1000 and 1 <= rows <= 1000):
        raise BadInput("A terminal has 1 to 1000 columns and rows.", path="input.columns")
    session, kernel = await _kernel(core, actor, session_id, terminal_id, kernel_id, "openTerminal")
    if session.status != "RUNNING":
        raise Conflict(f"The session is {session.status.lower()}; a terminal needs it running.")
    ticket = secrets.token_urlsafe(32)
    terminal = terminal_id or f"t{secrets.token_hex(6)}"
    expires_at = core.now() + core.settings.ticket_life
    async with core.db.write() as db:
        db.add(
            Ticket(
                token_hash=digest(ticket),
                purpose="terminal",
                user_id=actor.user_id,
                data={
                    "session": session.id,
                    "kernel": kernel.id,
                    "agent": kernel.agent_id,
                    "terminal": terminal,
                    "login": actor.login_id,
                    "columns": columns,
                    "rows": rows,
                },
                expires_at=expires_at,
            )
        )
    return TerminalTicket(terminal, ticket, expires_at)


@dataclass(frozen=True)
class Attachment:
    """An open terminal: its stream, and whose it is (it ends when that login is revoked)."""

    stream: Stream
    session_id: str
    user_id: str
    login_id: str


async def attach(core: Core, ticket: str) -> Attachment:
    """Use a ticket up and open the stream to the shell.

    Raises:
        Unauthenticated: the ticket is unknown, used or expired.
        Unavailable: the node does not answer.
    """
    now = core.now()
    async with core.db.write() as db:
        used = (
            await db.execute(
                update(Ticket)
                .where(
                    Ticket.token_hash == digest(ticket),
                    Ticket.purpose == "terminal",
                    Ticket.used_at.is_(None),
                    Ticket.expires_at > now,
                )
                .values(used_at=now)
                .returning(Ticket.user_id, Ticket.data)
            )
        ).first()
    if used is None:
        raise Unauthenticated("This ticket is unknown, used or expired. Open the terminal again.")
    user_id, data = used
    target = TerminalTarget(
        kernel=data["kernel"], terminal=data["terminal"], columns=data["columns"], rows=data["rows"]
    )
    stream = await open_stream(core, data["agent"], target)
    core.activity.note(data["session"], now)
    return Attachment(stream, data["session"], user_id, data["login"])


async def close_terminal(
    core: Core, actor: Actor, session_id: str, terminal_id: str, *, kernel_id: str | None = None
) -> None:
    """End a terminal's shell. One that is not there is closed already."""
    _, kernel = await _kernel(core, actor, session_id, terminal_id, kernel_id, "closeTerminal")
    if kernel.agent_id in core.hub.connected:
        await calls.call(
            core,
            kernel.agent_id or "",
            lambda request: CloseTerminal(request=request, kernel=kernel.id, terminal=terminal_id),
            deadline=15,
        )


async def _kernel(
    core: Core, actor: Actor, session_id: str, terminal_id: str | None, kernel_id: str | None, action: str
) -> tuple[Session, Kernel]:
    if terminal_id is not None and not _TERMINAL_ID.fullmatch(terminal_id):
        raise BadInput(
            "A terminal's id has 1 to 32 lower-case letters, digits and hyphens.", path="input.terminalId"
        )
    session = await get(core, actor, session_id, path="input.sessionId")
    permissions.require(actor, action, Subject(session.domain_id, session.group_id, session.user_id))
    async with core.db.read() as db:
        return session, await one_kernel(db, session_id, kernel_id, path="input.kernelId")
