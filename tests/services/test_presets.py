"""Resource presets: amounts under a name, that superadmins make and everybody sees."""

import asyncio
from collections import Counter

import pytest

from services import presets
from services.core import Core
from services.db.tables import ResourcePreset
from services.errors import BadInput, Conflict, Forbidden, NotFound
from services.paging import PageArgs
from services.presets import PresetChanges, PresetFilter, PresetSpec
from tests.factories import Factories

SLOTS = [("cpu", "2"), ("mem", "4294967296")]


async def test_a_preset_is_made_changed_and_deleted(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    spec = PresetSpec("medium", [*SLOTS, ("cuda.shares", "0.3"), ("cuda.device", "0")], "d", 2**27)
    preset = await presets.create(core, admin, spec)
    assert preset.slots == {"cpu": 2000, "mem": 2**32, "cuda.shares": 300}
    await presets.edit(core, admin, preset.id, PresetChanges(name="m", slots=SLOTS, shared_memory=None))
    changed: ResourcePreset = await make.fresh(preset)
    assert (changed.name, changed.description, changed.shared_memory) == ("m", "d", None)
    assert changed.slots == {"cpu": 2000, "mem": 2**32}
    assert await presets.delete(core, admin, preset.id) == preset.id
    with pytest.raises(NotFound):
        await presets.get(core, admin, preset.id)


async def test_all_wrong_fields_are_named_together(core: Core, make: Factories) -> None:
    spec = PresetSpec(" ", [("cpu", "x"), ("mem", "1"), ("gpu", "1")], "\0", 1)
    with pytest.raises(BadInput) as refused:
        await presets.create(core, await make.superadmin(), spec)
    assert [path for path, _ in refused.value.fields] == [
        "input.name",
        "input.description",
        "input.slots.0.amount",
        "input.slots.2.name",
        "input.sharedMemory",
    ]


@pytest.mark.parametrize("slots", [[], [("cpu", "1")], [("cpu", "0"), ("mem", "4294967296")]])
async def test_what_no_session_could_be_made_with_is_no_preset(
    core: Core, make: Factories, slots: list[tuple[str, str]]
) -> None:
    admin, preset = await make.superadmin(), await make.preset()
    with pytest.raises(BadInput):
        await presets.create(core, admin, PresetSpec("p", slots))
    with pytest.raises(BadInput):
        await presets.edit(core, admin, preset.id, PresetChanges(slots=slots))


async def test_shared_memory_stays_a_part_of_the_memory(core: Core, make: Factories) -> None:
    admin, preset = await make.superadmin(), await make.preset(shared_memory=2**29)
    with pytest.raises(BadInput) as refused:
        await presets.edit(core, admin, preset.id, PresetChanges(slots=[("cpu", "1"), ("mem", str(2**29))]))
    assert refused.value.path == "input.sharedMemory"
    assert (await make.fresh(preset)).slots["mem"] == 2**30


async def test_of_many_who_want_a_name_at_once_one_gets_it(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    outcomes = await asyncio.gather(
        *(presets.create(core, admin, PresetSpec("small", SLOTS)) for _ in range(6)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {ResourcePreset: 1, Conflict: 5}
    other = await make.preset()
    with pytest.raises(Conflict):
        await presets.edit(core, admin, other.id, PresetChanges(name="small"))


async def test_the_same_request_makes_one(core: Core, make: Factories) -> None:
    admin, spec = await make.superadmin(), PresetSpec("small", SLOTS, idempotency_key="k")
    assert len({(await presets.create(core, admin, spec)).id for _ in range(3)}) == 1


@pytest.mark.parametrize("role", ["DOMAIN_ADMIN", "USER"])
async def test_everybody_sees_presets_and_only_a_superadmin_governs_them(
    core: Core, make: Factories, role: str
) -> None:
    preset, actor = await make.preset(), make.actor(await make.user(role=role))
    page = await presets.page(core, actor, PresetFilter(), [], PageArgs())
    assert [row.id for row in page.rows] == [preset.id]
    with pytest.raises(Forbidden):
        await presets.create(core, actor, PresetSpec("p", SLOTS))
    with pytest.raises(Forbidden):
        await presets.edit(core, actor, preset.id, PresetChanges(name="q"))
    with pytest.raises(Forbidden):
        await presets.delete(core, actor, preset.id)
