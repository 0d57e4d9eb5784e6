"""Making a session: everything that can be known to be wrong is said at once, all of it together."""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids, inputs, permissions, slots, trail
from services.bus import Wake
from services.core import Core
from services.db import bulk
from services.db.tables import (
    Agent,
    Group,
    IdempotencyKey,
    Image,
    Kernel,
    ResourceGroup,
    Session,
    SessionDependency,
    Slots,
    stage_of,
)
from services.errors import BerthError, Conflict, NotFound, Problems
from services.permissions import Actor
from services.scheduling import gangs, limits
from services.sessions import admission, gates, lifecycle
from services.sessions.admission import Admission
from services.together import Together

#: Texts that are searched for before all of a request has been looked at.
_LOOKED_UP: Final = frozenset({"input.name", "input.idempotencyKey", "input.imageId"})
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
    #: Empty: `image_alias` names it.
    image_id: str
    slots: Sequence[tuple[str, str]]
    #: Kernels, each with these slots.
    cluster_size: int = 1
    cluster_mode: str = "SINGLE_NODE"
    name: str | None = None
    type: str = "INTERACTIVE"
    environ: Sequence[tuple[str, str]] = ()
    startup_command: str | None = None
    bootstrap_script: str | None = None
    priority: int = 0
    shared_memory: int | None = None
    agent_id: str | None = None
    #: Not before; what has passed already is no condition.
    starts_at: datetime | None = None
    #: It is ended when it has run for so long.
    max_duration_seconds: int | None = None
    #: Batch sessions of the same user that have to succeed first.
    depends_on: Sequence[str] = ()
    #: A short name of the image, where it has no id.
    image_alias: str | None = None
    idempotency_key: str | None = None


@dataclass
class _Plan:
    """What the checks found."""

    name: str
    #: Of one kernel.
    slots: Slots = field(default_factory=Slots)
    raised: Slots = field(default_factory=Slots)
    shared_memory: int = 64 * 1024 * 1024


@dataclass
class _Wish:
    """A session that was asked for and looked at, as far as that needs no database."""

    actor: Actor
    spec: SessionSpec
    plan: _Plan
    asked: Slots
    problems: Problems
    #: Hash of what was asked for.
    arguments: bytes
    #: Whose doing it is; None: it is not recorded.
    entry: trail.Entry | None


@dataclass
class _Made:
    """What is to be written of one session."""

    session: Session
    kernels: list[dict[str, Any]]
    needed: Sequence[Session]
    key: dict[str, Any] | None
    entry: trail.Entry | None


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
    if bool(spec.image_id) == (spec.image_alias is not None):
        problems.add("input.imageId", "An image, by `imageId` or by `imageAlias`: one of them.")
    gangs.check(spec.cluster_size, spec.cluster_mode, problems)
    if not _LOOKED_UP.isdisjoint(path for path, _ in problems.fields):
        # What no database can keep must not come into the statements that this request shares with others.
        problems.check()
    arguments = hashlib.sha256(msgspec.json.encode(spec)).digest()
    intake: Together[_Wish, Session] = core.rounds.setdefault(
        "createSession", Together[_Wish, Session](partial(_create, core))
    )
    return await intake.ask(_Wish(actor, spec, plan, asked, problems, arguments, trail.current()))


async def _create(core: Core, wishes: Sequence[_Wish]) -> list[Session | Exception]:
    """Put sessions that were asked for at the same time into the queue: each for itself, all in one transaction."""
    first, later = _apart(wishes)
    outcomes: dict[int, Session | Exception] = {}
    changes = lifecycle.Changes()
    try:
        async with core.db.write() as db:
            found = await admission.read(db, [(one.actor, one.spec) for one in first])
            made: list[_Made] = []
            for one in first:
                outcome = await _outcome(core, db, one, found)
                if isinstance(outcome, _Made):
                    made.append(outcome)
                outcomes[id(one)] = outcome.session if isinstance(outcome, _Made) else outcome
            await _insert(core, db, made, changes)
            recorded = await _record(db, made)
        recorded()
    except IntegrityError as error:
        changes = lifecycle.Changes()
        if len(first) == 1:
            outcomes[id(first[0])] = await _after_race(core, first[0], error)
        else:
            # Somebody on another connection was quicker with one of them: with which, each finds out by itself.
            later = list(wishes)
    for hint in changes.hints:
        await core.bus.publish(hint)
    if changes.hints:
        await core.bus.publish(Wake())
    for one in later:
        outcomes[id(one)] = (await _create(core, [one]))[0]
    return [outcomes[id(one)] for one in wishes]


def _apart(wishes: Sequence[_Wish]) -> tuple[list[_Wish], list[_Wish]]:
    """(those that have nothing to do with each other, those that share a name or a key with one of them)."""
    first: list[_Wish] = []
    later: list[_Wish] = []
    seen: set[tuple[str, ...]] = set()
    for one in wishes:
        user, key = one.actor.user_id, one.spec.idempotency_key
        marks = {("name", user, one.plan.name), *([("key", user, key)] if key else [])}
        (later if marks & seen else first).append(one)
        seen |= marks
    return first, later


async def _outcome(
    core: Core, db: AsyncSession, wish: _Wish, found: Admission
) -> _Made | Session | Exception:
    """What becomes of one of several; what is wrong with it does not touch the others."""
    try:
        return await _make(core, db, wish, found)
    except BerthError as error:
        return error


async def _make(core: Core, db: AsyncSession, wish: _Wish, found: Admission) -> _Made | Session:
    actor, spec, plan, problems = wish.actor, wish.spec, wish.plan, wish.problems
    earlier = await _earlier(db, wish, found.keys)
    if earlier is not None:
        return earlier
    group, resource_group, image = found.places(actor, spec)
    if spec.agent_id is not None:
        await _check_agent(db, actor, spec.agent_id, resource_group)
    needed = await gates.find(db, actor, spec.depends_on, problems)
    if not problems.fields:
        plan.slots, plan.raised = slots.raise_to(wish.asked, {**slots.MANDATORY, **image.minimum_slots})
        plan.shared_memory = _shared_memory(spec, plan.slots, problems)
    problems.check()
    for limit in found.limits(actor, group, resource_group):
        limits.check(limit, gangs.total(plan.slots, spec.cluster_size), kernels=spec.cluster_size)
    if spec.name and (actor.user_id, plan.name) in found.names:
        raise _taken(plan.name)
    session = _row(core, actor, spec, plan, group, resource_group, image)
    waits = not all(map(gates.succeeded, needed))
    session.pending_reason = gates.reason(session.created_at, session.starts_at, waits=waits)
    kernels = [
        {
            "id": ids.new("knl"),
            "session_id": session.id,
            "rank": rank,
            "hostname": gangs.hostname(rank),
            "slots": plan.slots,
        }
        for rank in range(spec.cluster_size)
    ]
    key = {
        "user_id": actor.user_id,
        "key": spec.idempotency_key,
        "mutation": "createSession",
        "arguments_hash": wish.arguments,
        "object_id": session.id,
    }
    return _Made(session, kernels, needed, key if spec.idempotency_key else None, wish.entry)


async def _insert(core: Core, db: AsyncSession, made: Sequence[_Made], changes: lifecycle.Changes) -> None:
    """Write all of them, a statement a table."""
    if not made:
        return
    connection = await db.connection()
    for table, rows in (
        (Session, [bulk.values(one.session) for one in made]),
        (Kernel, [kernel for one in made for kernel in one.kernels]),
        (
            SessionDependency,
            [{"session_id": one.session.id, "depends_on_id": n.id} for one in made for n in one.needed],
        ),
        (IdempotencyKey, [one.key for one in made if one.key]),
    ):
        if rows:
            await connection.execute(insert(table), rows)
    sessions = [one.session.id for one in made]
    changes.hints += await lifecycle.record_all(db, sessions, "PENDING", at=core.now())


async def _record(db: AsyncSession, made: Sequence[_Made]) -> Callable[[], None]:
    """Each in the audit, in the transaction that makes it."""
    entries: list[trail.Entry] = []
    for one in made:
        if one.entry is not None:
            one.entry.targets, one.entry.outcome, one.entry.code = [one.session.id], "DONE", ""
            entries.append(one.entry)
    return await trail.write(db, entries)


async def _after_race(core: Core, wish: _Wish, error: IntegrityError) -> Session | Exception:
    """What a single one comes to that failed at the write: the same request was quicker, or its name is taken."""
    try:
        async with core.db.read() as db:
            found = await admission.read(db, [(wish.actor, wish.spec)])
            earlier = await _earlier(db, wish, found.keys)
    except BerthError as refusal:
        return refusal
    if earlier is not None:
        return earlier
    taken = _taken(wish.plan.name)
    taken.__cause__ = error
    return taken


def _taken(name: str) -> Conflict:
    return Conflict(
        f"You already have a session named {name!r}. Terminate it or choose another name.", path="input.name"
    )


def _check_name(spec: SessionSpec, problems: Problems) -> str:
    if spec.name is None or spec.name == "":
        return f"session-{secrets.token_hex(4)}"
    return inputs.check_name(spec.name, problems)


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
    inputs.check_idempotency_key(spec.idempotency_key, problems)


def _check_times(core: Core, spec: SessionSpec, problems: Problems) -> None:
    if spec.starts_at is not None and spec.starts_at > core.now() + _LONGEST:
        problems.add("input.startsAt", f"At most {_LONGEST.days} days from now.")
    most = int(_LONGEST.total_seconds())
    inputs.check_number(spec.max_duration_seconds, problems, "input.maxDurationSeconds", least=1, most=most)


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


async def _check_agent(db: AsyncSession, actor: Actor, agent_id: str, resource_group: ResourceGroup) -> None:
    agent = await db.scalar(
        select(Agent.id).where(
            Agent.id == agent_id,
            Agent.resource_group_id == resource_group.id,
            permissions.visible(actor, Agent),
        )
    )
    if agent is None:
        raise NotFound("There is no such agent in this resource group.", path="input.agentId")


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
    return bulk.new(
        Session,
        id=session_id,
        name=plan.name,
        type=spec.type,
        status="PENDING",
        stage=stage_of("PENDING"),
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


async def _earlier(
    db: AsyncSession, wish: _Wish, keys: Mapping[tuple[str, str], IdempotencyKey]
) -> Session | None:
    """What the same idempotency key made before."""
    key = keys.get((wish.actor.user_id, wish.spec.idempotency_key or ""))
    if key is None:
        return None
    if key.arguments_hash != wish.arguments or key.mutation != "createSession":
        raise Conflict(
            "This idempotency key was used for another request. Use a new key for each new request.",
            path="input.idempotencyKey",
        )
    return await db.get(Session, key.object_id)
