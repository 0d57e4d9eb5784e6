"""Resource policies: what the keypairs that refer to one may have at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import idempotency, ids, inputs, permissions, slots
from services.bus import Wake
from services.core import Core
from services.db.tables import Keypair, ResourcePolicy
from services.errors import Conflict, Problems
from services.nouns import Noun
from services.permissions import Actor

#: The policy of new keypairs, unless another is asked for.
DEFAULT: Final = "default"
_MOST_KERNELS: Final = 1000


@dataclass(frozen=True)
class PolicyFilter:
    #: Part of the name or description, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class PolicySpec:
    name: str
    description: str = ""
    #: Limits by slot, amounts as the client wrote them; a slot that is not named is unlimited.
    total_slots: Sequence[tuple[str, str]] = ()
    #: None: unlimited.
    max_concurrent_sessions: int | None = None
    max_kernels_per_session: int = 1
    #: 0: never.
    idle_timeout_seconds: int = 0
    #: Load above it is use, in percent of what a session was given; 100: such load is no use.
    idle_cpu_percent: int = 5
    idle_accelerator_percent: int = 5
    idempotency_key: str | None = None


@dataclass(frozen=True)
class PolicyChanges:
    """None (where None means something: UNSET): as it is."""

    name: str | None = None
    description: str | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    max_concurrent_sessions: int | UnsetType | None = UNSET
    max_kernels_per_session: int | None = None
    idle_timeout_seconds: int | None = None
    idle_cpu_percent: int | None = None
    idle_accelerator_percent: int | None = None


ORDERS: Final = {"NAME": ResourcePolicy.name, "CREATED_AT": ResourcePolicy.id}


def _conditions(where: PolicyFilter) -> list[ColumnElement[bool]]:
    if not where.search:
        return []
    text = inputs.searchable(where.search)
    return [
        or_(
            ResourcePolicy.name.icontains(text, autoescape=True),
            ResourcePolicy.description.icontains(text, autoescape=True),
            ResourcePolicy.id.startswith(text.lower(), autoescape=True),
        )
    ]


_noun = Noun(ResourcePolicy, "pol", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: PolicySpec) -> ResourcePolicy:
    """Make a policy.

    Raises:
        BadInput, Forbidden, Conflict.
    """
    permissions.require_role(actor, "createResourcePolicy")
    problems = Problems()
    inputs.check_name(spec.name, problems)
    inputs.check_description(spec.description, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    limits = slots.parse(spec.total_slots, problems, "input.totalSlots")
    _check_numbers(spec, problems)
    problems.check()

    async def make(db: AsyncSession) -> ResourcePolicy:
        await _check_free(db, spec.name)
        policy = ResourcePolicy(
            id=ids.new("pol"),
            name=spec.name,
            description=spec.description,
            total_slots=limits,
            max_concurrent_sessions=spec.max_concurrent_sessions,
            max_kernels_per_session=spec.max_kernels_per_session,
            idle_timeout_seconds=spec.idle_timeout_seconds,
            idle_cpu_percent=spec.idle_cpu_percent,
            idle_accelerator_percent=spec.idle_accelerator_percent,
            created_at=core.now(),
        )
        db.add(policy)
        return policy

    policy, _ = await idempotency.once(
        core, actor, "createResourcePolicy", spec, ResourcePolicy, make, taken=_taken(spec.name)
    )
    return policy


async def edit(core: Core, actor: Actor, policy_id: str, changes: PolicyChanges) -> ResourcePolicy:
    """Change a policy. Lower limits end nothing that runs; they hold for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    if changes.name is not None:
        inputs.check_name(changes.name, problems)
    if changes.description is not None:
        inputs.check_description(changes.description, problems)
    limits = slots.parse(changes.total_slots or (), problems, "input.totalSlots")
    _check_numbers(changes, problems)
    problems.check()
    try:
        async with core.db.write() as db:
            policy = await _noun.take(db, actor, policy_id, "updateResourcePolicy")
            if changes.name is not None and changes.name != policy.name:
                await _check_free(db, changes.name)
                policy.name = changes.name
            if changes.description is not None:
                policy.description = changes.description
            if changes.total_slots is not None:
                policy.total_slots = limits
            if changes.max_concurrent_sessions is not UNSET:
                policy.max_concurrent_sessions = changes.max_concurrent_sessions
            if changes.max_kernels_per_session is not None:
                policy.max_kernels_per_session = changes.max_kernels_per_session
            inputs.take_idle(policy, changes)
    except IntegrityError as error:
        raise idempotency.clash(error, _taken(changes.name or "")) from error
    # What waits may fit now.
    await core.bus.publish(Wake())
    return policy


async def delete(core: Core, actor: Actor, policy_id: str) -> str:
    """Delete a policy that no keypair has. Returns its id.

    Raises:
        NotFound, Forbidden, Conflict: a keypair has it.
    """
    try:
        async with core.db.write() as db:
            policy = await _noun.take(db, actor, policy_id, "deleteResourcePolicy")
            if await db.scalar(select(Keypair.id).where(Keypair.policy_id == policy.id).limit(1)) is not None:
                raise _in_use(policy.name)
            await db.delete(policy)
    except IntegrityError as error:
        raise _in_use(policy_id) from error
    return policy_id


def _check_numbers(spec: PolicySpec | PolicyChanges, problems: Problems) -> None:
    inputs.check_sessions(spec.max_concurrent_sessions, problems)
    if spec.max_kernels_per_session is not None:
        inputs.check_number(
            spec.max_kernels_per_session, problems, "input.maxKernelsPerSession", least=1, most=_MOST_KERNELS
        )
    inputs.check_idle(spec, problems)


async def _check_free(db: AsyncSession, name: str) -> None:
    if await db.scalar(select(ResourcePolicy.id).where(ResourcePolicy.name == name)) is not None:
        raise _taken(name)


def _taken(name: str) -> Conflict:
    return Conflict(
        f"There is a resource policy named {name!r} already. Choose another name.", path="input.name"
    )


def _in_use(name: str) -> Conflict:
    return Conflict(f"The resource policy {name!r} is in use. Give its keypairs another one first.")
