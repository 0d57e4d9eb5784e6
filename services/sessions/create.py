"""Making a session: everything that can be known to be wrong is said at once, all of it together."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import gangs, ids, inputs, limits, permissions, slots
from services.bus import Wake
from services.core import Core
from services.db.tables import (
    Agent,
    Domain,
    Group,
    IdempotencyKey,
    Image,
    Kernel,
    Keypair,
    ResourceGroup,
    ResourcePolicy,
    Session,
    SessionDependency,
    Slots,
    User,
)
from services.errors import Conflict, NotFound, Problems
from services.permissions import Actor, Subject
from services.sessions import gates, lifecycle

NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MAX_ENVIRON: Final = 64 * 1024
_MAX_SCRIPT: Final = 256 * 1024
_MIN_SHARED_MEMORY: Final = 1024 * 1024
_LONGEST: Final = timedelta(days=366)


@dataclass(frozen=True)
class SessionSpec:
    """What a client asks for; amounts as it wrote them."""

    group_id: str
    resource_group_id: str
    image_id: str
    slots: Sequence[tuple[str, str]]
    name: str | None = None
    type: str = "INTERACTIVE"
    environ: Sequence[tuple[str, str]] = ()
    startup_command: str | None = None
    bootstrap_script: str | None = None
    priority: int = 0
    shared_memory: int | None = None
    agent_id: str | None = None
    #: Kernels, each with these slots.
    cluster_size: int = 1
    cluster_mode: str = "SINGLE_NODE"
    #: Not before; what has passed already is no condition.
    starts_at: datetime | None = None
    #: It is ended when it has run for so long.
    max_duration_seconds: int | None = None
    #: Batch sessions of the same user that have to succeed first.
    depends_on: Sequence[str] = ()
    idempotency_key: str | None = None


@dataclass
class _Plan:
    """What the checks found."""

    name: str
    #: Of one kernel.
    slots: Slots = field(default_factory=Slots)
    raised: Slots = field(default_factory=Slots)
    shared_memory: int = 64 * 1024 * 1024


async def create(core: Core, actor: Actor, spec: SessionSpec) -> Session:
    """Put a session into the queue. Amounts below the image's minimum are raised, and `raised` says so.

    Raises:
        BadInput: fields are wrong; all of them are named.
        NotFound: group, resource group, image or agent do not exist for the actor.
        QuotaExceeded: it could never fit within a limit of the keypair, user, group, domain or resource group.
        Conflict: the actor has a live session of this name, or the idempotency key stands for something else.
    """
    problems = Problems()
    plan = _Plan(name=_check_name(spec, problems))
    asked = slots.parse(spec.slots, problems, "input.slots")
    _check_texts(spec, problems)
    _check_times(core, spec, problems)
    gangs.check(spec.cluster_size, spec.cluster_mode, problems)
    arguments = hashlib.sha256(msgspec.json.encode(spec)).digest()
    changes = lifecycle.Changes()
    try:
        async with core.db.write() as db:
            earlier = await _earlier(db, actor, spec, arguments)
            if earlier is not None:
                return earlier
            group, resource_group, image = await _find(db, actor, spec)
            needed = await gates.find(db, actor, spec.depends_on, problems)
            if not problems.fields:
                plan.slots, plan.raised = slots.raise_to(asked, {**slots.MANDATORY, **image.minimum_slots})
                plan.shared_memory = _shared_memory(spec, plan.slots, problems)
            problems.check()
            await _check_limits(db, actor, spec, group, resource_group, plan)
            session = _row(core, actor, spec, plan, group, resource_group, image)
            waits = not all(map(gates.succeeded, needed))
            session.pending_reason = gates.reason(session.created_at, session.starts_at, waits=waits)
            db.add(session)
            await db.flush()
            db.add_all([SessionDependency(session_id=session.id, depends_on_id=one.id) for one in needed])
            db.add_all(
                [
                    Kernel(
                        id=ids.new("knl"),
                        session_id=session.id,
                        rank=rank,
                        hostname=gangs.hostname(rank),
                        slots=plan.slots,
                    )
                    for rank in range(spec.cluster_size)
                ]
            )
            if spec.idempotency_key:
                db.add(
                    IdempotencyKey(
                        user_id=actor.user_id,
                        key=spec.idempotency_key,
                        mutation="createSession",
                        arguments_hash=arguments,
                        object_id=session.id,
                    )
                )
            await lifecycle.record(db, session.id, "PENDING", changes, at=session.created_at)
    except IntegrityError as error:
        earlier = await _after_race(core, actor, spec, arguments)
        if earlier is not None:
            return earlier
        raise Conflict(
            f"You already have a session named {plan.name!r}. Terminate it or choose another name.",
            path="input.name",
        ) from error
    for hint in (*changes.hints, Wake()):
        await core.bus.publish(hint)
    return session


def _check_name(spec: SessionSpec, problems: Problems) -> str:
    if spec.name is None or spec.name == "":
        return f"session-{secrets.token_hex(4)}"
    if not NAME.fullmatch(spec.name):
        problems.add(
            "input.name",
            "A name has 1 to 64 letters, digits, dots, hyphens or underscores and begins and ends with a letter or digit.",
        )
    return spec.name


def _check_texts(spec: SessionSpec, problems: Problems) -> None:
    size = 0
    for position, (name, value) in enumerate(spec.environ):
        size += len(name.encode()) + len(value.encode())
        if not _VARIABLE.fullmatch(name):
            problems.add(
                f"input.environ.{position}.name",
                "A variable's name has letters, digits and underscores and does not begin with a digit.",
            )
        if "\0" in value:
            problems.add(
                f"input.environ.{position}.value", "A variable's value must not contain a null character."
            )
    if size > _MAX_ENVIRON:
        problems.add("input.environ", f"All variables together have at most {_MAX_ENVIRON} bytes.")
    if spec.type not in ("INTERACTIVE", "BATCH"):
        problems.add("input.type", "The type is INTERACTIVE or BATCH.")
    if spec.type == "BATCH" and not (spec.startup_command or "").strip():
        problems.add("input.startupCommand", "A batch session needs the command that it runs.")
    for name, text in (("startupCommand", spec.startup_command), ("bootstrapScript", spec.bootstrap_script)):
        if text and (len(text.encode()) > _MAX_SCRIPT or "\0" in text):
            problems.add(f"input.{name}", f"At most {_MAX_SCRIPT} bytes, without null characters.")
    if not -100 <= spec.priority <= 100:
        problems.add("input.priority", "A priority is between -100 and 100.")
    if spec.idempotency_key is not None and not 1 <= len(spec.idempotency_key) <= 128:
        problems.add("input.idempotencyKey", "A key has 1 to 128 characters.")


def _check_times(core: Core, spec: SessionSpec, problems: Problems) -> None:
    if spec.starts_at is not None and spec.starts_at > core.now() + _LONGEST:
        problems.add("input.startsAt", f"At most {_LONGEST.days} days from now.")
    if spec.max_duration_seconds is not None:
        most = int(_LONGEST.total_seconds())
        inputs.check_number(
            spec.max_duration_seconds, problems, "input.maxDurationSeconds", least=1, most=most
        )


def _shared_memory(spec: SessionSpec, amounts: Slots, problems: Problems) -> int:
    memory = amounts["mem"]
    if spec.shared_memory is None:
        return min(64 * 1024 * 1024, memory // 2)
    if not _MIN_SHARED_MEMORY <= spec.shared_memory < memory:
        problems.add(
            "input.sharedMemory",
            f"Shared memory is part of a container's memory: at least {_MIN_SHARED_MEMORY} bytes, less than {memory}.",
        )
    return spec.shared_memory


async def _find(db: AsyncSession, actor: Actor, spec: SessionSpec) -> tuple[Group, ResourceGroup, Image]:
    group = await db.scalar(
        select(Group).where(Group.id == spec.group_id, permissions.visible(actor, Group, "createSession"))
    )
    if group is None or not group.active:
        raise NotFound("There is no such group, or you are not a member of it.", path="input.groupId")
    permissions.require(actor, "createSession", Subject(domain_id=group.domain_id, group_id=group.id))
    resource_group = await db.scalar(
        select(ResourceGroup).where(
            ResourceGroup.id == spec.resource_group_id, permissions.visible(actor, ResourceGroup)
        )
    )
    if resource_group is None or not resource_group.active:
        raise NotFound(
            "There is no such resource group, or it was not granted to you.", path="input.resourceGroupId"
        )
    image = await db.scalar(
        select(Image).where(Image.id == spec.image_id, Image.active, permissions.visible(actor, Image))
    )
    if image is None:
        raise NotFound("There is no such image, or it may not be used.", path="input.imageId")
    if spec.agent_id is not None:
        agent = await db.scalar(
            select(Agent.id).where(
                Agent.id == spec.agent_id,
                Agent.resource_group_id == resource_group.id,
                permissions.visible(actor, Agent),
            )
        )
        if agent is None:
            raise NotFound("There is no such agent in this resource group.", path="input.agentId")
    return group, resource_group, image


async def _check_limits(
    db: AsyncSession,
    actor: Actor,
    spec: SessionSpec,
    group: Group,
    resource_group: ResourceGroup,
    plan: _Plan,
) -> None:
    """Refuse at once what could never fit, even if nothing else ran."""
    found = (
        await db.execute(
            select(ResourcePolicy, User, Domain)
            .select_from(Keypair)
            .join(ResourcePolicy, ResourcePolicy.id == Keypair.policy_id)
            .join(User, User.id == Keypair.user_id)
            .join(Domain, Domain.id == group.domain_id)
            .where(Keypair.id == actor.keypair_id, Keypair.active)
        )
    ).first()
    if found is None:
        raise NotFound("Your keypair is not active. Ask an administrator, or use another one.")
    policy, user, domain = found
    for limit in (
        limits.of_policy(actor.keypair_id, policy),
        limits.of_user(user),
        limits.of_group(group),
        limits.of_domain(domain),
        limits.of_resource_group(resource_group),
    ):
        limits.check(limit, gangs.total(plan.slots, spec.cluster_size), kernels=spec.cluster_size)


def _row(
    core: Core,
    actor: Actor,
    spec: SessionSpec,
    plan: _Plan,
    group: Group,
    resource_group: ResourceGroup,
    image: Image,
) -> Session:
    session_id = ids.new("ses")
    return Session(
        id=session_id,
        name=plan.name,
        type=spec.type,
        status="PENDING",
        version=0,
        reason_code="",
        reason_message="",
        user_id=actor.user_id,
        keypair_id=actor.keypair_id,
        group_id=group.id,
        domain_id=group.domain_id,
        resource_group_id=resource_group.id,
        image_id=image.id,
        slots=gangs.total(plan.slots, spec.cluster_size),
        raised=gangs.total(plan.raised, spec.cluster_size),
        cluster_size=spec.cluster_size,
        cluster_mode=spec.cluster_mode,
        cluster_key=core.keys.seal(secrets.token_hex(32), session_id) if spec.cluster_size > 1 else None,
        shared_memory=plan.shared_memory,
        environ=dict(spec.environ),
        startup_command=spec.startup_command,
        bootstrap_script=spec.bootstrap_script,
        priority=spec.priority,
        designated_agent_id=spec.agent_id,
        starts_at=spec.starts_at,
        max_duration_seconds=spec.max_duration_seconds,
        created_at=core.now(),
    )


async def _earlier(db: AsyncSession, actor: Actor, spec: SessionSpec, arguments: bytes) -> Session | None:
    """What the same idempotency key made before."""
    if not spec.idempotency_key:
        return None
    key = await db.get(IdempotencyKey, (actor.user_id, spec.idempotency_key))
    if key is None:
        return None
    if key.arguments_hash != arguments or key.mutation != "createSession":
        raise Conflict(
            "This idempotency key was used for another request. Use a new key for each new request.",
            path="input.idempotencyKey",
        )
    return await db.get(Session, key.object_id)


async def _after_race(core: Core, actor: Actor, spec: SessionSpec, arguments: bytes) -> Session | None:
    async with core.db.read() as db:
        return await _earlier(db, actor, spec, arguments)
