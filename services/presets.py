"""Resource presets: amounts that sessions often ask for, under a name, for everybody who launches something."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids, inputs, permissions, slots
from services.core import Core
from services.db.tables import ResourcePreset, Slots
from services.errors import Problems
from services.filters import Conditions, searched
from services.nouns import Named, amend
from services.permissions import Actor

#: Bytes; less is of no use to anybody who shares memory.
LEAST_SHARED_MEMORY: Final = 1024 * 1024
_GIB: Final = 2**30
#: Name → description, amounts.
FIRST: Final[dict[str, tuple[str, Slots]]] = {
    "small": ("A notebook, a script.", {"cpu": 1000, "mem": 2 * _GIB}),
    "medium": ("Everyday work.", {"cpu": 2000, "mem": 4 * _GIB}),
    "large": ("More data, several processes.", {"cpu": 4000, "mem": 8 * _GIB}),
}


@dataclass(frozen=True)
class PresetFilter:
    #: Part of the name or description, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class PresetSpec:
    name: str
    #: Amounts as the client wrote them; cpu and mem at least.
    slots: Sequence[tuple[str, str]]
    description: str = ""
    #: Bytes; None: what sessions have that say nothing.
    shared_memory: int | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class PresetChanges:
    """None (where None means something: UNSET): as it is."""

    name: str | None = None
    description: str | None = None
    #: Replaces all amounts.
    slots: Sequence[tuple[str, str]] | None = None
    shared_memory: int | UnsetType | None = UNSET


ORDERS: Final = {"NAME": ResourcePreset.name, "CREATED_AT": ResourcePreset.id}


def _conditions(where: PresetFilter) -> Conditions:
    return searched(where.search, ResourcePreset.id, ResourcePreset.name, ResourcePreset.description)


_noun = Named(ResourcePreset, "pre", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: PresetSpec) -> ResourcePreset:
    """Make a preset.

    Raises:
        BadInput, Forbidden, Conflict.
    """
    permissions.require_role(actor, "createResourcePreset")
    problems = Problems()
    inputs.check_title(spec, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    amounts = _parse(spec.slots, problems)
    _check_shared_memory(spec.shared_memory, amounts, problems)
    problems.check()

    async def make(_: AsyncSession) -> ResourcePreset:
        return ResourcePreset(
            id=ids.new("pre"),
            name=spec.name,
            description=spec.description,
            slots=amounts,
            shared_memory=spec.shared_memory,
            created_at=core.now(),
        )

    return await _noun.create(core, actor, "createResourcePreset", spec, make)


async def edit(core: Core, actor: Actor, preset_id: str, changes: PresetChanges) -> ResourcePreset:
    """Change a preset. Sessions that were made with it stay as they are: they have amounts, not a preset.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    inputs.check_title(changes, problems)
    amounts = None if changes.slots is None else _parse(changes.slots, problems)
    problems.check()
    async with _noun.change(core, actor, preset_id, "updateResourcePreset", changes) as preset:
        if amounts is not None:
            preset.slots = amounts
        amend(preset, changes, "shared_memory")
        _check_shared_memory(preset.shared_memory, preset.slots, problems)
        problems.check()
    return preset


async def delete(core: Core, actor: Actor, preset_id: str) -> str:
    """Delete a preset. Returns its id.

    Raises:
        NotFound, Forbidden.
    """
    return (await _noun.delete(core, actor, preset_id, "deleteResourcePreset")).id


async def add_first(core: Core, db: AsyncSession) -> None:
    """Some to begin with, on an installation's first start; who wants none deletes them, and they stay away."""
    for name, (description, amounts) in FIRST.items():
        db.add(
            ResourcePreset(
                id=ids.new("pre"),
                name=name,
                description=description,
                slots=amounts,
                created_at=core.now(),
            )
        )
    await db.flush()


def _parse(entries: Sequence[tuple[str, str]], problems: Problems) -> Slots:
    before = len(problems.fields)
    amounts = slots.parse(entries, problems, "input.slots")
    if len(problems.fields) == before:
        for name, least in slots.MANDATORY.items():
            if amounts.get(name, 0) < least:
                problems.add("input.slots", f"A session needs at least {slots.describe(name, least)}.")
    return {name: amount for name, amount in amounts.items() if amount}


def _check_shared_memory(shared_memory: int | None, amounts: Slots, problems: Problems) -> None:
    most = amounts.get("mem", slots.LARGEST + 1)
    if shared_memory is not None and not LEAST_SHARED_MEMORY <= shared_memory < most:
        problems.add(
            "input.sharedMemory",
            f"Shared memory is part of the memory: at least {LEAST_SHARED_MEMORY} bytes, less than {most}.",
        )
