"""A plug-in of others that raises, hangs or cannot be stopped holds up its own resource group and no other."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest
from sqlalchemy import update

from scheduler.placers import Pack, PackOptions
from scheduler.plugins import placers, sequencers
from scheduler.protocols import Cycle, PluginOptions, Ranking
from scheduler.sequencers import oldest_first
from scheduler.snapshot import Request
from services import resource_groups
from services.core import Core
from services.db.tables import Base, ResourceGroup, ResourcePolicy, Session
from services.errors import BadInput
from services.permissions import Actor
from services.resource_groups import ResourceGroupChanges, ResourceGroupSpec
from services.scheduling.dispatch import Dispatcher
from services.sessions.reasons import explain
from tests.factories import Clock, Factories
from tests.services.test_sessions import running
from tests.services.world import World

PATIENCE = 60.0
Behaviour = Callable[[], None]


class _Foreign:
    """Does what the test says whenever it is asked, then what a good plug-in does."""

    Options = PluginOptions
    behaves: ClassVar[list[Behaviour]] = []

    def __init__(self, options: Any) -> None:
        self.options = options


class ForeignSequencer(_Foreign):
    def order(self, cycle: Cycle) -> Iterable[Request]:
        for act in self.behaves:
            act()
        return sorted(cycle.requests, key=oldest_first)


class ForeignPlacer(_Foreign):
    def prepare(self, cycle: Cycle) -> Ranking:
        for act in self.behaves:
            act()
        return Pack(PackOptions()).prepare(cycle)


def raises() -> None:
    raise ZeroDivisionError("secret")


def leaves() -> None:
    raise SystemExit


def hangs() -> None:
    while True:
        pass


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the foreign plug-ins do; good at first."""
    for registry, kind in ((sequencers, ForeignSequencer), (placers, ForeignPlacer)):
        entry = EntryPoint("foreign", f"{__name__}:{kind.__name__}", "berth")
        monkeypatch.setitem(registry._installed(), "foreign", [entry])

    def set_to(*acts: Behaviour) -> None:
        monkeypatch.setattr(_Foreign, "behaves", list(acts))

    return set_to


def patient(core: Core, seconds: float) -> None:
    core.settings = replace(core.settings, plan_limit=timedelta(seconds=seconds))


async def two(core: Core, **plugins: str) -> tuple[World, World, Sequence[Actor]]:
    """A resource group with plug-ins of others and one without, each with an agent."""
    bad, good = await World(core).build(), await World(core).build()
    for world in (bad, good):
        await world.agent()
    async with core.db.write() as db:
        await db.execute(
            update(ResourceGroup).where(ResourceGroup.id == bad.resource_group).values(**plugins)
        )
    return bad, good, (await bad.user(), await good.user())


async def fault(world: World) -> dict[str, Any] | None:
    async with world.core.db.read() as db:
        return (await db.get_one(ResourceGroup, world.resource_group)).scheduler_fault


async def status(world: World, session_id: str) -> str:
    return (await world.session(session_id)).status


@pytest.mark.parametrize("kind", ["sequencer", "placer"])
@pytest.mark.parametrize(("act", "says"), [(raises, "ZeroDivisionError: secret"), (leaves, "SystemExit")])
async def test_one_that_raises_stops_its_resource_group_which_says_so_and_no_other(
    core: Core, make: Factories, behave: Callable[..., None], kind: str, act: Behaviour, says: str
) -> None:
    patient(core, PATIENCE)
    bad, good, (mine, theirs) = await two(core, **{kind: "foreign"})
    behave(act)
    stuck, free = await bad.launch(mine), await good.launch(theirs)
    await bad.dispatch()
    assert await status(good, free.id) == "SCHEDULED"
    assert await fault(good) is None
    found = await fault(bad)
    assert found is not None
    assert found["plugin"].startswith(kind)
    assert says in found["message"]
    reason = (await bad.session(stuck.id)).pending_reason
    assert reason is not None
    assert (reason["code"], reason["plugin"]) == ("SCHEDULER_FAILED", found["plugin"])
    assert "secret" not in explain(reason)
    core.now = lambda: stuck.created_at + timedelta(hours=1)
    await bad.dispatch()
    assert await fault(bad) == found, "it is the same one since its first moment"
    changes = (
        ResourceGroupChanges(sequencer="fifo") if kind == "sequencer" else ResourceGroupChanges(placer="pack")
    )
    await resource_groups.edit(core, await make.superadmin(), bad.resource_group, changes)
    assert await fault(bad) is None
    await bad.dispatch()
    assert await status(bad, stuck.id) == "SCHEDULED"


async def again(dispatcher: Dispatcher) -> None:
    """Once more, after however long."""
    await dispatcher.take_duty()
    await dispatcher.cycle()


async def ended(dispatcher: Dispatcher, world: World) -> None:
    """The thread that was given up is no more."""
    thread = dispatcher._planner._suspects[world.resource_group].work.thread
    thread.join(PATIENCE)
    assert not thread.is_alive()


async def test_one_that_hangs_is_given_up_left_alone_for_a_while_and_tried_again(
    core: Core, clock: Clock, behave: Callable[..., None]
) -> None:
    bad, good, (mine, theirs) = await two(core, placer="foreign")
    patient(core, 0.1)
    behave(hangs)
    stuck, free = await bad.launch(mine), await good.launch(theirs)
    dispatcher = await bad.dispatch()
    assert await status(good, free.id) == "SCHEDULED"
    found = await fault(bad)
    assert found is not None
    assert (found["plugin"], found["message"]) == ("placer foreign", "It took longer than 0.1 seconds.")
    await ended(dispatcher, bad)

    patient(core, PATIENCE)
    behave()
    clock.advance(timedelta(seconds=59))
    await again(dispatcher)
    assert await status(bad, stuck.id) == "PENDING"
    clock.advance(timedelta(seconds=1))
    await again(dispatcher)
    assert await status(bad, stuck.id) == "SCHEDULED"
    assert await fault(bad) is None


async def test_one_that_cannot_be_stopped_is_not_started_twice(
    core: Core, clock: Clock, behave: Callable[..., None]
) -> None:
    """It waits for something outside of Python; others go on meanwhile, however long that takes."""
    bad, good, (mine, theirs) = await two(core, sequencer="foreign")
    released, starts = threading.Event(), list[int]()

    def waits() -> None:
        starts.append(1)
        released.wait(PATIENCE)

    patient(core, 0.1)
    behave(waits)
    stuck = await bad.launch(mine)
    dispatcher = await bad.dispatch()
    for _ in range(3):
        clock.advance(timedelta(hours=1))
        free = await good.launch(theirs, cpu="0.5")
        await again(dispatcher)
        assert await status(good, free.id) == "SCHEDULED"
    assert starts == [1]
    patient(core, PATIENCE)
    released.set()
    await ended(dispatcher, bad)
    await again(dispatcher)
    assert await status(bad, stuck.id) == "SCHEDULED"


async def test_other_settings_are_tried_at_once(core: Core, behave: Callable[..., None]) -> None:
    bad, _, (mine, _) = await two(core, placer="foreign", sequencer="foreign")
    patient(core, 0.1)
    behave(hangs)
    stuck = await bad.launch(mine)
    dispatcher = await bad.dispatch()
    found = await fault(bad)
    assert found is not None
    assert found["plugin"] == "sequencer foreign or placer foreign"
    await ended(dispatcher, bad)
    async with core.db.write() as db:
        await db.execute(update(ResourceGroup).values(placer="pack", sequencer="lifo"))
    await again(dispatcher)
    assert await status(bad, stuck.id) == "SCHEDULED"


async def queue(core: Core, **settings: Any) -> tuple[World, dict[str, str]]:
    """One cpu of four is free; the head wants all, and one that wants the free cpu comes after it."""
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    async with core.db.write() as db:
        await db.execute(update(ResourceGroup).values(**{"backfill": True, **settings}))
    duration = None if settings.get("backfill_options") else 3600
    await world.launch(actor, cpu="3", max_duration_seconds=duration)
    await world.dispatch()
    made = {"head": await world.launch(actor, cpu="4"), "open": await world.launch(actor, cpu="1")}
    if settings.get("backfill_options"):
        made["brief"] = await world.launch(actor, cpu="0.5", max_duration_seconds=60)
    await world.dispatch()
    return world, {name: await status(world, one.id) for name, one in made.items()}


async def test_a_resource_group_switches_backfill_off(core: Core) -> None:
    _, kept = await queue(core)
    assert kept == {"head": "PENDING", "open": "PENDING"}, "the room is kept for the head"
    _, free = await queue(core, backfill=False)
    assert free == {"head": "PENDING", "open": "SCHEDULED"}, "whoever fits passes"


@pytest.mark.parametrize("where", [ResourcePolicy, ResourceGroup])
async def test_the_longest_that_sessions_may_run_is_a_known_end(
    core: Core,
    clock: Clock,
    where: type[Base],
) -> None:
    """Of what runs, so that there is a reservation; and of what waits, so that it may pass unless it is exempt."""
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    async with core.db.write() as db:
        await db.execute(update(where).values(max_lifetime_seconds=600))
    await running(world, actor, cpu="3")
    clock.advance(timedelta(seconds=0.5))
    head = await world.launch(actor, cpu="4")
    alike, exempt = await world.launch(actor, cpu="0.5"), await world.launch(actor, cpu="0.5")
    async with core.db.write() as db:
        await db.execute(update(Session).where(Session.id == exempt.id).values(idle_exempt=True))
    await world.dispatch()
    waiting = (await world.session(head.id)).pending_reason
    assert datetime.fromisoformat((waiting or {})["starts_at"]) == clock.time + timedelta(seconds=600)
    assert [await status(world, one.id) for one in (alike, exempt)] == ["SCHEDULED", "PENDING"]


async def test_what_has_no_known_end_may_be_taken_to_run_for_so_long(core: Core) -> None:
    """Then there is a reservation, and only who ends before it passes."""
    _, found = await queue(core, backfill_options={"assumed_duration_seconds": 600})
    assert found == {"head": "PENDING", "open": "PENDING", "brief": "SCHEDULED"}


@pytest.mark.parametrize(
    "options",
    [{"assumed_duration_seconds": -1}, {"assumed_duration_seconds": "1"}, {"other": 1}],
)
async def test_options_of_backfill_are_checked_like_those_of_plug_ins(
    core: Core, make: Factories, options: dict[str, Any]
) -> None:
    admin, group = await make.superadmin(), await make.resource_group()
    with pytest.raises(BadInput) as made:
        await resource_groups.create(core, admin, ResourceGroupSpec("new", backfill_options=options))
    with pytest.raises(BadInput) as edited:
        await resource_groups.edit(core, admin, group.id, ResourceGroupChanges(backfill_options=options))
    for refused in (made, edited):
        assert [path for path, _ in refused.value.fields] == ["input.backfillOptions"]
    good = ResourceGroupChanges(backfill=False, backfill_options={"assumed_duration_seconds": 60})
    changed = await resource_groups.edit(core, admin, group.id, good)
    assert (changed.backfill, changed.backfill_options) == (False, {"assumed_duration_seconds": 60})
    (listed,) = [one for one in resource_groups.schedulers() if one.kind == "BACKFILL"]
    assert listed.options_schema is not None
    assert "assumed_duration_seconds" in str(listed.options_schema)
