"""How a node becomes an agent, and how it stops being one."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from agents.protocol import CLOSE_REMOVED, PROTOCOL
from services import ids, inputs, permissions
from services.bus import AgentChanged, AnyHint, Wake
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import FINAL, Agent, AgentEvent, AgentImage, JoinToken, Kernel, ResourceGroup, Session
from services.errors import BadInput, Conflict, NotFound, Problems, Unauthenticated
from services.keys import digest
from services.permissions import Actor, Subject
from services.sessions import lifecycle
from services.sessions.lifecycle import Changes, Reason
from services.sessions.terminate import fail, publish

_LONGEST_TOKEN_LIFE: Final = timedelta(days=30)


@dataclass(frozen=True)
class NewToken:
    """Shown once; only its hash is kept."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class Joined:
    agent_id: str
    #: `agt_….SECRET`; shown once, only the secret's hash is kept.
    credential: str


async def create_join_token(
    core: Core, actor: Actor, resource_group_id: str, life: timedelta | None = None
) -> NewToken:
    """Make a token that lets one new node into a resource group."""
    life = core.settings.join_token_life if life is None else life
    if not timedelta(minutes=1) <= life <= _LONGEST_TOKEN_LIFE:
        raise BadInput("A token lives between 1 minute and 30 days.", path="input.expiresInSeconds")
    token = secrets.token_urlsafe(32)
    async with core.db.write() as db:
        await _resource_group(db, actor, resource_group_id, "createJoinToken")
        expires_at = core.now() + life
        await admit(db, token, resource_group_id, expires_at, created_by=actor.user_id, at=core.now())
    return NewToken(token, expires_at)


async def admit(
    db: AsyncSession,
    token: str,
    resource_group_id: str,
    expires_at: datetime,
    *,
    created_by: str | None,
    at: datetime,
) -> None:
    """Let a token in once; one that is known already stays as it is."""
    await db.execute(
        insert_into(db, JoinToken)
        .values(
            token_hash=digest(token),
            resource_group_id=resource_group_id,
            created_by=created_by,
            created_at=at,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing()
    )


async def join(core: Core, *, token: str, name: str, protocol: int) -> Joined:
    """Exchange a join token for an agent's own credential. The token is used up.

    Raises:
        Unauthenticated: the token is unknown, used or expired; the answer does not tell which.
        BadInput: the name or the protocol is not acceptable.
        Conflict: another agent has this name.
    """
    if protocol != PROTOCOL:
        raise BadInput(
            f"This manager speaks link protocol {PROTOCOL}, the agent speaks {protocol}. Install the same release.",
            path="protocol",
        )
    problems = Problems()
    inputs.check_name(name, problems, "name")
    problems.check()
    agent_id, secret = ids.new("agt"), secrets.token_urlsafe(32)
    try:
        async with core.db.write() as db:
            resource_group_id = await db.scalar(
                update(JoinToken)
                .where(
                    JoinToken.token_hash == digest(token),
                    JoinToken.agent_id.is_(None),
                    JoinToken.expires_at > core.now(),
                )
                .values(agent_id=agent_id)
                .returning(JoinToken.resource_group_id)
            )
            if resource_group_id is None:
                raise Unauthenticated(
                    "The join token is unknown, used or expired. Make a new one on the agents page."
                )
            db.add(
                Agent(
                    id=agent_id,
                    name=name,
                    resource_group_id=resource_group_id,
                    status="LOST",
                    credential_hash=digest(secret),
                    created_at=core.now(),
                )
            )
            await db.flush()
            changes: list[AnyHint] = []
            await note(db, agent_id, "LOST", changes, at=core.now(), reason=Reason("JOINED", "Joined."))
    except IntegrityError as error:
        raise Conflict(
            f"Another agent is named {name!r}. Choose another with --name.", path="name"
        ) from error
    for hint in changes:
        await core.bus.publish(hint)
    return Joined(agent_id, f"{agent_id}.{secret}")


async def authenticate(core: Core, credential: str) -> str:
    """The id of the agent whose credential this is.

    Raises:
        Unauthenticated: it is nobody's, or the agent was removed.
    """
    agent_id, _, secret = credential.partition(".")
    if ids.kind(agent_id) != "agt":
        raise Unauthenticated("The agent's credential is not valid here. Join again with a new token.")
    async with core.db.read() as db:
        known = await db.scalar(
            select(Agent.credential_hash).where(Agent.id == agent_id, Agent.status != "TERMINATED")
        )
    # Compared even when there is no such agent, so that time tells nothing.
    if not hmac.compare_digest(digest(secret), known or b"\0" * 32):
        raise Unauthenticated("The agent's credential is not valid here. Join again with a new token.")
    return agent_id


async def edit(
    core: Core,
    actor: Actor,
    agent_id: str,
    *,
    name: str | None = None,
    schedulable: bool | None = None,
    resource_group_id: str | None = None,
) -> Agent:
    """Rename, drain (schedulable=False: nothing new is placed on it) or move an agent.

    Raises:
        NotFound, Forbidden, BadInput, Conflict: the name is taken, or it has live sessions of the old resource group.
    """
    problems = Problems()
    if name is not None:
        inputs.check_name(name, problems)
    problems.check()
    changes: list[AnyHint] = [Wake()]
    try:
        async with core.db.write() as db:
            agent = await _visible(db, actor, agent_id, "updateAgent")
            if resource_group_id is not None and resource_group_id != agent.resource_group_id:
                await _resource_group(db, actor, resource_group_id, "updateResourceGroup")
                if await _live_sessions(db, agent_id):
                    raise Conflict(
                        "The agent has live sessions. Drain it, wait until they have ended, then move it.",
                        path="input.resourceGroupId",
                    )
                agent.resource_group_id = resource_group_id
            if name is not None:
                agent.name = name
            if schedulable is not None:
                agent.schedulable = schedulable
            await db.flush()
            await note(
                db, agent_id, agent.status, changes, at=core.now(), reason=Reason("UPDATED", "Changed.")
            )
    except IntegrityError as error:
        raise Conflict(f"Another agent is named {name!r}.", path="input.name") from error
    for hint in changes:
        await core.bus.publish(hint)
    return agent


async def remove(core: Core, actor: Actor, agent_id: str, *, force: bool = False) -> Agent:
    """Take an agent out: its credential is void from now on.

    Args:
        force: although it has live sessions; they end with an error.

    Raises:
        NotFound, Forbidden, Conflict.
    """
    changes = Changes()
    async with core.db.write() as db:
        agent = await _visible(db, actor, agent_id, "removeAgent")
        live = await _live_sessions(db, agent_id)
        if live and not force:
            raise Conflict(
                f"The agent has {len(live)} live session(s). Drain it and wait, or remove it by force: "
                "then they end with an error."
            )
        for session_id in live:
            session = await lifecycle.lock(db, session_id)
            if session is not None and session.status not in FINAL:
                reason = Reason("NODE_REMOVED", f"Its node {agent.name!r} was removed by an administrator.")
                await fail(core, db, session, changes, reason=reason)
        agent.status = "TERMINATED"
        # The name is free again; history keeps it with the end of the id.
        agent.name = f"{agent.name[:40]}~{agent.id[-8:]}"
        agent.schedulable = False
        await db.execute(delete(AgentImage).where(AgentImage.agent_id == agent_id))
        reason = Reason("REMOVED", "Removed by an administrator.")
        await note(db, agent_id, "TERMINATED", changes.hints, at=core.now(), reason=reason)
    await core.hub.disconnect(agent_id, CLOSE_REMOVED)
    core.stats.forget([agent_id])
    await publish(core, changes)
    return agent


async def note(
    db: AsyncSession, agent_id: str, status: str, hints: list[AnyHint], *, at: datetime, reason: Reason
) -> None:
    """Write down what happened to an agent; the hint is to be published after the commit."""
    event = AgentEvent(agent_id=agent_id, at=at, status=status, code=reason.code, message=reason.message)
    db.add(event)
    await db.flush()
    hints.append(AgentChanged(agent_id=agent_id, event_id=event.id))


async def _live_sessions(db: AsyncSession, agent_id: str) -> list[str]:
    rows = await db.scalars(
        select(Session.id)
        .join(Kernel, Kernel.session_id == Session.id)
        .where(Kernel.agent_id == agent_id, Kernel.status.not_in(FINAL))
        .distinct()
        .order_by(Session.id)
    )
    return list(rows)


async def _visible(db: AsyncSession, actor: Actor, agent_id: str, action: str) -> Agent:
    permissions.require_role(actor, action)
    agent = await db.scalar(
        select(Agent)
        .where(Agent.id == agent_id, Agent.status != "TERMINATED", permissions.visible(actor, Agent))
        .with_for_update()
    )
    if agent is None:
        raise NotFound("There is no such agent, or it is not yours to see.", path="input.id")
    permissions.require(actor, action, Subject())
    return agent


async def _resource_group(
    db: AsyncSession, actor: Actor, resource_group_id: str, action: str
) -> ResourceGroup:
    permissions.require_role(actor, action)
    found = await db.scalar(
        select(ResourceGroup).where(
            ResourceGroup.id == resource_group_id, permissions.visible(actor, ResourceGroup)
        )
    )
    if found is None:
        raise NotFound("There is no such resource group.", path="input.resourceGroupId")
    return found
