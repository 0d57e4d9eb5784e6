"""An idle dispatcher asks the database one thing, and whatever changed is still found."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy import delete, insert, select

from services import sessions
from services.core import Core
from services.db.tables import Lease, SessionEvent
from services.scheduling.dispatch import LEASE, Dispatcher
from tests.factories import Clock
from tests.services.world import World


async def settled(world: World) -> Dispatcher:
    """A dispatcher that has looked at everything and knows that nothing has changed since."""
    dispatcher = await world.dispatch()
    while await dispatcher.cycle(()):
        pass
    return dispatcher


async def test_where_nothing_has_changed_a_cycle_is_one_statement_however_many_wait(
    core: Core, clock: Clock, count_statements: Callable[[Core], AbstractContextManager[list[str]]]
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    for _ in range(3):
        await world.launch(actor, cpu="3")
    dispatcher = await settled(world)
    with count_statements(core) as statements:
        assert not await dispatcher.cycle(())
    assert len([one for one in statements if one.startswith("SELECT")]) == 1


async def test_a_session_whose_hint_was_lost_is_placed_by_an_idle_cycle(core: Core, clock: Clock) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    dispatcher = await settled(world)
    made = await world.launch(actor)
    await dispatcher.cycle(())
    assert (await world.session(made.id)).status == "SCHEDULED"


async def test_an_idle_cycle_places_what_waited_for_a_session_that_has_ended(
    core: Core, clock: Clock
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    first, second = [await world.launch(actor, cpu="3") for _ in range(2)]
    dispatcher = await settled(world)
    assert (await world.session(second.id)).status == "PENDING"
    await sessions.terminate(core, actor, [first.id], force=True)
    await dispatcher.cycle(())
    assert (await world.session(second.id)).status == "SCHEDULED"


async def test_a_moment_that_was_waited_for_comes_also_for_an_idle_dispatcher(
    core: Core, clock: Clock
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    made = await world.launch(actor, starts_at=core.now() + timedelta(seconds=5))
    dispatcher = await settled(world)
    clock.advance(timedelta(seconds=4))
    await dispatcher.take_duty()
    await dispatcher.cycle(())
    assert (await world.session(made.id)).status == "PENDING"
    clock.advance(timedelta(seconds=1))
    await dispatcher.cycle(())
    assert (await world.session(made.id)).status == "SCHEDULED"


async def test_what_leaves_no_row_is_found_after_half_a_minute(core: Core, clock: Clock) -> None:
    world = await World(core).build()
    actor, agent = await world.user(), await world.agent(cpu=1000, mem=8 * 2**30)
    made = await world.launch(actor, cpu="3")
    dispatcher = await settled(world)
    await world.hello(agent)
    async with core.db.write() as db:
        # As if the connection had left no row, and its hint had been lost.
        await db.execute(delete(SessionEvent).where(SessionEvent.session_id != made.id))
    clock.advance(timedelta(seconds=31))
    await dispatcher.take_duty()
    await dispatcher.cycle(())
    assert (await world.session(made.id)).status == "SCHEDULED"


async def test_a_row_with_a_lower_number_that_is_seen_later_counts_as_a_change(
    core: Core, clock: Clock
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    made = await world.launch(actor, cpu="5")
    async with core.db.write() as db:
        first = (await db.scalars(select(SessionEvent).where(SessionEvent.session_id == made.id))).one()
        number, values = first.id, {"session_id": made.id, "at": first.at, "status": "PENDING"}
        await db.execute(insert(SessionEvent).values(id=number + 10, **values))
    dispatcher = await settled(world)
    other = await world.launch(actor)
    async with core.db.write() as db:
        await db.execute(delete(SessionEvent).where(SessionEvent.session_id == other.id))
        await db.execute(insert(SessionEvent).values({**values, "id": number + 5, "session_id": other.id}))
    await dispatcher.cycle(())
    assert (await world.session(other.id)).status == "SCHEDULED"


async def test_a_busy_dispatcher_renews_its_duty_in_time_and_not_for_each_cycle(
    core: Core, clock: Clock, count_statements: Callable[[Core], AbstractContextManager[list[str]]]
) -> None:
    dispatcher = Dispatcher(core)
    assert await dispatcher.take_duty()
    with count_statements(core) as statements:
        assert await dispatcher.take_duty()
    assert statements == []
    for _ in range(30):
        clock.advance(timedelta(seconds=0.9))
        assert await dispatcher.take_duty()
        async with core.db.read() as db:
            ends = await db.scalar(select(Lease.expires_at).where(Lease.name == LEASE))
        assert ends is not None
        assert ends - core.now() > timedelta(seconds=5)
