"""Resource policies: what the keypairs that refer to one may have at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids, inputs, options, permissions, slots
from services.bus import Wake
from services.core import Core
from services.db.tables import Keypair, ResourcePolicy
from services.errors import BadInput, Conflict, NotFound, Problems
from services.filters import Conditions, searched
from services.nouns import Named, amend
from services.permissions import Actor

#: The policy of new keypairs, unless another is asked for.
DEFAULT: Final = "default"
_MOST_AT_ONCE: Final = 500
_MOST_FOLDER_BYTES: Final = 2**60
_MOST_FOLDERS: Final = 100_000


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
    #: 0: never; None: as the settings say.
    idle_timeout_seconds: int | None = None
    #: Load above it is use, in percent of what a session was given; 100: such load is no use.
    idle_cpu_percent: int = 5
    idle_accelerator_percent: int = 5
    #: From its start a session may run for so long; 0: for ever.
    max_lifetime_seconds: int = 0
    #: Storage hosts that folders may be on, beside those of the domain and the group; None: all.
    allowed_storage_hosts: Sequence[str] | None = None
    #: Bytes of one folder; None: unlimited.
    max_folder_bytes: int | None = None
    #: Folders of one user; None: unlimited.
    max_folders: int | None = None
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
    max_lifetime_seconds: int | None = None
    allowed_storage_hosts: Sequence[str] | UnsetType | None = UNSET
    max_folder_bytes: int | UnsetType | None = UNSET
    max_folders: int | UnsetType | None = UNSET


ORDERS: Final = {"NAME": ResourcePolicy.name, "CREATED_AT": ResourcePolicy.id}


def _conditions(where: PolicyFilter) -> Conditions:
    return searched(where.search, ResourcePolicy.id, ResourcePolicy.name, ResourcePolicy.description)


_noun = Named(ResourcePolicy, "pol", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: PolicySpec) -> ResourcePolicy:
    """Make a policy.

    Raises:
        BadInput, Forbidden, Conflict.
    """
    permissions.require_role(actor, "createResourcePolicy")
    problems = Problems()
    inputs.check_title(spec, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    limits = slots.parse(spec.total_slots, problems, "input.totalSlots")
    _check_numbers(spec, problems)
    problems.check()

    async def make(_: AsyncSession) -> ResourcePolicy:
        return ResourcePolicy(
            id=ids.new("pol"),
            name=spec.name,
            description=spec.description,
            total_slots=limits,
            max_concurrent_sessions=spec.max_concurrent_sessions,
            max_kernels_per_session=spec.max_kernels_per_session,
            idle_timeout_seconds=core.options.given(spec.idle_timeout_seconds, options.DEFAULT_IDLE_TIMEOUT),
            idle_cpu_percent=spec.idle_cpu_percent,
            idle_accelerator_percent=spec.idle_accelerator_percent,
            max_lifetime_seconds=spec.max_lifetime_seconds,
            allowed_storage_hosts=_listed(spec.allowed_storage_hosts),
            max_folder_bytes=spec.max_folder_bytes,
            max_folders=spec.max_folders,
            created_at=core.now(),
        )

    return await _noun.create(core, actor, "createResourcePolicy", spec, make)


async def edit(core: Core, actor: Actor, policy_id: str, changes: PolicyChanges) -> ResourcePolicy:
    """Change a policy. Lower limits end nothing that runs; they hold for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    inputs.check_title(changes, problems)
    limits = slots.parse(changes.total_slots or (), problems, "input.totalSlots")
    _check_numbers(changes, problems)
    problems.check()
    async with _noun.change(core, actor, policy_id, "updateResourcePolicy", changes) as policy:
        if changes.total_slots is not None:
            policy.total_slots = limits
        amend(
            policy,
            changes,
            "max_concurrent_sessions",
            "max_kernels_per_session",
            "idle_timeout_seconds",
            "idle_cpu_percent",
            "idle_accelerator_percent",
            "max_lifetime_seconds",
            "max_folder_bytes",
            "max_folders",
        )
        if changes.allowed_storage_hosts is not UNSET:
            policy.allowed_storage_hosts = _listed(changes.allowed_storage_hosts)
    # What waits may fit now.
    await core.bus.publish(Wake(anew=True))
    return policy


async def assign(core: Core, actor: Actor, policy_id: str, keypair_ids: Sequence[str]) -> list[Keypair]:
    """Give keypairs a policy, all of them or none. It holds for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden; Conflict: the policy was deleted just now.
    """
    permissions.require_role(actor, "assignResourcePolicy")
    wanted = list(dict.fromkeys(keypair_ids))
    if not 1 <= len(wanted) <= _MOST_AT_ONCE:
        raise BadInput(f"Between 1 and {_MOST_AT_ONCE} keypairs at once.", path="input.keypairIds")
    try:
        async with core.db.write() as db:
            policy = await _noun.take(db, actor, policy_id, "assignResourcePolicy")
            query = select(Keypair).where(Keypair.id.in_(wanted), permissions.visible(actor, Keypair))
            rows = (await db.scalars(query.order_by(Keypair.id).with_for_update())).all()
            if len(rows) < len(wanted):
                raise NotFound(
                    "One of the keypairs does not exist, or is not yours to see.", path="input.keypairIds"
                )
            for row in rows:
                row.policy_id = policy.id
    except IntegrityError as error:
        raise Conflict("The resource policy was deleted just now. Choose another one.") from error
    for row in rows:
        core.standings.forget(row.user_id)
    # What waits may fit now.
    await core.bus.publish(Wake(anew=True))
    found = {row.id: row for row in rows}
    return [found[keypair_id] for keypair_id in wanted]


async def delete(core: Core, actor: Actor, policy_id: str) -> str:
    """Delete a policy that no keypair has. Returns its id.

    Raises:
        NotFound, Forbidden, Conflict: a keypair has it.
    """

    async def check(db: AsyncSession, policy: ResourcePolicy) -> None:
        if await db.scalar(select(Keypair.id).where(Keypair.policy_id == policy.id).limit(1)) is not None:
            raise Conflict(
                f"The resource policy {policy.name!r} is in use. Give its keypairs another one first."
            )

    return (await _noun.delete(core, actor, policy_id, "deleteResourcePolicy", first=check)).id


def _listed(hosts: Sequence[str] | None) -> list[str] | None:
    return None if hosts is None else list(hosts)


def _check_numbers(spec: PolicySpec | PolicyChanges, problems: Problems) -> None:
    inputs.check_storage_hosts(spec.allowed_storage_hosts, problems)
    inputs.check_number(
        spec.max_folder_bytes, problems, "input.maxFolderBytes", least=0, most=_MOST_FOLDER_BYTES
    )
    inputs.check_number(spec.max_folders, problems, "input.maxFolders", least=0, most=_MOST_FOLDERS)
    inputs.check_sessions(spec.max_concurrent_sessions, problems)
    inputs.check_kernels(spec.max_kernels_per_session, problems)
    inputs.check_idle(spec, problems)
