"""Resource groups: agents that are scheduled together, how, and who may use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from scheduler.plugins import (
    PluginError,
    Registry,
    UnknownPlugin,
    backfill_options,
    placers,
    sequencers,
)
from scheduler.reservations import EASY, BackfillOptions
from services import ids, inputs, options, permissions, slots, trail
from services.bus import Wake
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import (
    Agent,
    Base,
    Domain,
    Group,
    JoinToken,
    ResourceGroup,
    ResourceGroupGrant,
    Session,
    Slots,
    User,
)
from services.errors import BadInput, Conflict, NotFound, Problems
from services.filters import Conditions, equal, linked, searched
from services.nouns import Named, amend
from services.permissions import Actor, Reach

_LONGEST_GRACE: Final = 366 * 24 * 3600
_MOST_AT_ONCE: Final = 500
_MOST_RETRIES: Final = 20
_GRANTEES: Final[dict[str, type[Base]]] = {"dom": Domain, "grp": Group, "usr": User}

Kind = Literal["SEQUENCER", "PLACER", "BACKFILL"]


@dataclass(frozen=True)
class ResourceGroupFilter:
    active: bool | None = None
    #: Only those granted to this domain, group or user itself.
    grantee_id: str | None = None
    #: Part of the name or description, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class ResourceGroupSpec:
    name: str
    description: str = ""
    sequencer: str = "fifo"
    sequencer_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    placer: str = "pack"
    placer_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Limits of all sessions in it by slot, amounts as the client wrote them; a slot that is not named is unlimited.
    total_slots: Sequence[tuple[str, str]] = ()
    #: None: unlimited.
    max_concurrent_sessions: int | None = None
    #: None: as many as the keypair's policy allows.
    max_kernels_per_session: int | None = None
    #: After so long without its node a session is given up; None: it waits until somebody decides.
    lost_session_grace_seconds: int | None = None
    #: An unused session ends after so long; 0: never; None: as the settings say.
    idle_timeout_seconds: int | None = None
    #: Load above it is use, in percent of what a session was given; 100: such load is no use.
    idle_cpu_percent: int = 5
    idle_accelerator_percent: int = 5
    #: From its start a session may run for so long; 0: for ever.
    max_lifetime_seconds: int = 0
    #: A start that fails for a reason of its node is tried again at most so often; None: as the settings say.
    start_retries: int | None = None
    #: The head of the queue gets a reservation, and others may pass it that do not delay it; None: as the settings say.
    backfill: bool | None = None
    backfill_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    idempotency_key: str | None = None


@dataclass(frozen=True)
class ResourceGroupChanges:
    """None (where None means something: UNSET): as it is. Options replace all options of that plug-in."""

    name: str | None = None
    description: str | None = None
    active: bool | None = None
    sequencer: str | None = None
    sequencer_options: Mapping[str, Any] | None = None
    placer: str | None = None
    placer_options: Mapping[str, Any] | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    max_concurrent_sessions: int | UnsetType | None = UNSET
    max_kernels_per_session: int | UnsetType | None = UNSET
    lost_session_grace_seconds: int | UnsetType | None = UNSET
    idle_timeout_seconds: int | None = None
    idle_cpu_percent: int | None = None
    idle_accelerator_percent: int | None = None
    max_lifetime_seconds: int | None = None
    start_retries: int | None = None
    backfill: bool | None = None
    backfill_options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Scheduler:
    """An installed plug-in."""

    kind: Kind
    name: str
    #: JSON Schema (2020-12) of its options, None when it cannot be loaded.
    options_schema: dict[str, Any] | None
    #: Why it cannot be used; empty: it can.
    problem: str


ORDERS: Final = {"NAME": ResourceGroup.name, "CREATED_AT": ResourceGroup.id}


def _conditions(where: ResourceGroupFilter) -> Conditions:
    granted, grantee = ResourceGroupGrant.resource_group_id, ResourceGroupGrant.grantee_id
    return [
        *equal(ResourceGroup.active, where.active),
        *linked(ResourceGroup.id, granted, grantee, where.grantee_id),
        *searched(where.search, ResourceGroup.id, ResourceGroup.name, ResourceGroup.description),
    ]


_noun = Named(ResourceGroup, "rgp", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def grants(core: Core, actor: Actor, resource_group_ids: Sequence[str]) -> dict[str, list[str]]:
    """Resource group → ids of whom it is granted to (`dom_…`, `grp_…`, `usr_…`).

    Who does not see all resource groups sees only the grants that concern the actor.
    """
    result: dict[str, list[str]] = {one: [] for one in resource_group_ids}
    known = [one for one in result if ids.kind(one) == "rgp"]
    if not known:
        return result
    query = (
        select(ResourceGroupGrant.resource_group_id, ResourceGroupGrant.grantee_id)
        .join(ResourceGroup, ResourceGroup.id == ResourceGroupGrant.resource_group_id)
        .where(ResourceGroup.id.in_(known), permissions.visible(actor, ResourceGroup))
        .order_by(ResourceGroupGrant.grantee_id)
    )
    if permissions.reach(actor, "read:resourceGroup") is not Reach.EVERYTHING:
        query = query.where(ResourceGroupGrant.grantee_id.in_(actor.grantee_ids))
    async with core.db.read() as db:
        for resource_group_id, grantee_id in await db.execute(query):
            result[resource_group_id].append(grantee_id)
    return result


def schedulers() -> list[Scheduler]:
    """All sequencers and placers that are installed, by kind and name, and the backfill."""
    kinds: list[tuple[Kind, Registry[Any]]] = [("SEQUENCER", sequencers), ("PLACER", placers)]
    found = [_described(kind, registry, name) for kind, registry in kinds for name in registry.names()]
    return [*found, Scheduler("BACKFILL", EASY, msgspec.json.schema(BackfillOptions), "")]


async def create(core: Core, actor: Actor, spec: ResourceGroupSpec) -> ResourceGroup:
    """Make a resource group, granted to nobody yet.

    Raises:
        BadInput: also when a plug-in is not installed or refuses its options; Forbidden, Conflict.
    """
    permissions.require_role(actor, "createResourceGroup")
    problems = Problems()
    inputs.check_title(spec, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    limits = _check_limits(spec, problems)
    _check_plugin(sequencers, "sequencer", spec.sequencer, spec.sequencer_options, problems)
    _check_plugin(placers, "placer", spec.placer, spec.placer_options, problems)
    _check_backfill(spec.backfill_options, problems)
    problems.check()

    async def make(_: AsyncSession) -> ResourceGroup:
        return ResourceGroup(
            id=ids.new("rgp"),
            name=spec.name,
            description=spec.description,
            active=True,
            total_slots=limits,
            max_concurrent_sessions=spec.max_concurrent_sessions,
            max_kernels_per_session=spec.max_kernels_per_session,
            sequencer=spec.sequencer,
            sequencer_options=dict(spec.sequencer_options),
            placer=spec.placer,
            placer_options=dict(spec.placer_options),
            lost_session_grace_seconds=spec.lost_session_grace_seconds,
            idle_timeout_seconds=core.options.given(spec.idle_timeout_seconds, options.DEFAULT_IDLE_TIMEOUT),
            idle_cpu_percent=spec.idle_cpu_percent,
            idle_accelerator_percent=spec.idle_accelerator_percent,
            max_lifetime_seconds=spec.max_lifetime_seconds,
            start_retries=core.options.given(spec.start_retries, options.DEFAULT_START_RETRIES),
            backfill=core.options.given(spec.backfill, options.DEFAULT_BACKFILL),
            backfill_options=dict(spec.backfill_options),
            created_at=core.now(),
        )

    return await _noun.create(core, actor, "createResourceGroup", spec, make)


async def edit(
    core: Core, actor: Actor, resource_group_id: str, changes: ResourceGroupChanges
) -> ResourceGroup:
    """Change a resource group; the next round of scheduling goes by it.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    inputs.check_title(changes, problems)
    limits = _check_limits(changes, problems)
    _check_backfill(changes.backfill_options or {}, problems)
    problems.check()
    async with _noun.change(core, actor, resource_group_id, "updateResourceGroup", changes) as group:
        if changes.total_slots is not None:
            group.total_slots = limits
        if changes.backfill_options is not None:
            group.backfill_options = dict(changes.backfill_options)
        amend(
            group,
            changes,
            "active",
            "max_concurrent_sessions",
            "max_kernels_per_session",
            "lost_session_grace_seconds",
            "idle_timeout_seconds",
            "idle_cpu_percent",
            "idle_accelerator_percent",
            "max_lifetime_seconds",
            "start_retries",
            "backfill",
        )
        _change_plugins(group, changes)
    await core.bus.publish(Wake(anew=True))
    return group


async def delete(core: Core, actor: Actor, resource_group_id: str) -> str:
    """Delete a resource group that never had an agent or a session. Returns its id.

    Raises:
        NotFound, Forbidden, Conflict: it had some; deactivate it instead.
    """

    async def empty(db: AsyncSession, group: ResourceGroup) -> None:
        for row in (Agent, Session):
            used = select(row.id).where(row.resource_group_id == group.id).limit(1)
            if await db.scalar(used) is not None:
                raise Conflict(
                    f"The resource group {group.name!r} has, or had, agents or sessions. Deactivate it instead."
                )
        for row in (ResourceGroupGrant, JoinToken):
            await db.execute(delete_from(row).where(row.resource_group_id == group.id))

    return (await _noun.delete(core, actor, resource_group_id, "deleteResourceGroup", first=empty)).id


async def grant(
    core: Core, actor: Actor, resource_group_id: str, grantee_ids: Sequence[str]
) -> ResourceGroup:
    """Let domains, groups and users use a resource group; who may already still may.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    _check_grantees(grantee_ids)
    async with core.db.write() as db:
        group = await _noun.take(db, actor, resource_group_id, "grantResourceGroup")
        await _check_known(db, grantee_ids)
        there = (
            ResourceGroupGrant.resource_group_id == group.id,
            ResourceGroupGrant.grantee_id.in_(grantee_ids),
        )
        known = set(await db.scalars(select(ResourceGroupGrant.grantee_id).where(*there)))
        await add_grants(db, group.id, grantee_ids)
        if new := sorted(set(grantee_ids) - known):
            trail.note(group.id, "grants", None, new)
    await core.bus.publish(Wake(anew=True))
    return group


async def revoke(
    core: Core, actor: Actor, resource_group_id: str, grantee_ids: Sequence[str]
) -> ResourceGroup:
    """Take grants back. What runs goes on; nothing new is started by who may no longer.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    _check_grantees(grantee_ids)
    async with core.db.write() as db:
        group = await _noun.take(db, actor, resource_group_id, "revokeResourceGroup")
        gone = await db.scalars(
            delete_from(ResourceGroupGrant)
            .where(
                ResourceGroupGrant.resource_group_id == group.id,
                ResourceGroupGrant.grantee_id.in_(grantee_ids),
            )
            .returning(ResourceGroupGrant.grantee_id)
        )
        if taken := sorted(gone):
            trail.note(group.id, "grants", taken, None)
    return group


async def add_grants(db: AsyncSession, resource_group_id: str, grantee_ids: Sequence[str]) -> None:
    rows = [{"resource_group_id": resource_group_id, "grantee_id": one} for one in sorted(set(grantee_ids))]
    await db.execute(insert_into(db, ResourceGroupGrant).on_conflict_do_nothing(), rows)


def _change_plugins(group: ResourceGroup, changes: ResourceGroupChanges) -> None:
    """Another plug-in begins with its own defaults: options of the old one mean nothing to it."""
    problems, before = Problems(), _plugins(group)
    if changes.sequencer is not None or changes.sequencer_options is not None:
        name = changes.sequencer or group.sequencer
        kept = group.sequencer_options if name == group.sequencer else {}
        options = kept if changes.sequencer_options is None else dict(changes.sequencer_options)
        _check_plugin(sequencers, "sequencer", name, options, problems)
        group.sequencer, group.sequencer_options = name, options
    if changes.placer is not None or changes.placer_options is not None:
        name = changes.placer or group.placer
        kept = group.placer_options if name == group.placer else {}
        options = kept if changes.placer_options is None else dict(changes.placer_options)
        _check_plugin(placers, "placer", name, options, problems)
        group.placer, group.placer_options = name, options
    problems.check()
    if _plugins(group) != before:
        # Whether the new ones are at fault is seen when they are asked.
        group.scheduler_fault = None


def _plugins(group: ResourceGroup) -> tuple[Any, ...]:
    return group.sequencer, group.sequencer_options, group.placer, group.placer_options


def _check_plugin(
    registry: Registry[Any], kind: str, name: str, options: Mapping[str, Any], problems: Problems
) -> None:
    before = len(problems.fields)
    inputs.check_json(options, problems, f"input.{kind}Options")
    if len(problems.fields) > before:
        return
    try:
        registry.load(name, options)
    except UnknownPlugin as error:
        problems.add(f"input.{kind}", error.message)
    except PluginError as error:
        problems.add(f"input.{kind}Options", error.message)


def _check_backfill(options: Mapping[str, Any], problems: Problems) -> None:
    before = len(problems.fields)
    inputs.check_json(options, problems, "input.backfillOptions")
    if len(problems.fields) > before:
        return
    try:
        backfill_options(options)
    except PluginError as error:
        problems.add("input.backfillOptions", error.message)


def _check_limits(given: ResourceGroupSpec | ResourceGroupChanges, problems: Problems) -> Slots:
    """The limits by slot; what is wrong with any limit goes to `problems`."""
    inputs.check_sessions(given.max_concurrent_sessions, problems)
    inputs.check_kernels(given.max_kernels_per_session, problems)
    inputs.check_idle(given, problems)
    inputs.check_number(
        given.lost_session_grace_seconds,
        problems,
        "input.lostSessionGraceSeconds",
        least=0,
        most=_LONGEST_GRACE,
    )
    inputs.check_number(given.start_retries, problems, "input.startRetries", least=0, most=_MOST_RETRIES)
    return slots.parse(given.total_slots or (), problems, "input.totalSlots")


def _check_grantees(grantee_ids: Sequence[str]) -> None:
    if not 1 <= len(grantee_ids) <= _MOST_AT_ONCE:
        raise BadInput(f"Between 1 and {_MOST_AT_ONCE} grantees at once.", path="input.granteeId")
    problems = Problems()
    for grantee_id in grantee_ids:
        if ids.kind(grantee_id) not in _GRANTEES:
            problems.add("input.granteeId", "An id of a domain, group or user.")
    problems.check()


async def _check_known(db: AsyncSession, grantee_ids: Sequence[str]) -> None:
    for prefix, table in _GRANTEES.items():
        wanted = {one for one in grantee_ids if ids.kind(one) == prefix}
        if wanted:
            column: Any = table.id  # pyright: ignore
            missing = wanted - set(await db.scalars(select(column).where(column.in_(wanted))))
            if missing:
                raise NotFound(
                    f"There is no {ids.KINDS[prefix]} {sorted(missing)[0]!r}.", path="input.granteeId"
                )


def _described(kind: Kind, registry: Registry[Any], name: str) -> Scheduler:
    try:
        return Scheduler(kind, name, registry.options_schema(name), "")
    except PluginError as error:
        return Scheduler(kind, name, None, error.message)
