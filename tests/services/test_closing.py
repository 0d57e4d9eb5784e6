"""Sessions of users, groups and domains that are deactivated: they go on, or all of them end, whatever happens."""

from datetime import timedelta

import pytest

from services import closing, users
from services.core import Core
from services.db.tables import User
from services.errors import BerthError
from tests.factories import Clock, Factories
from tests.services.world import World, ledger_is_true


async def test_by_choice_the_sessions_of_a_deactivated_user_end_or_go_on(core: Core, make: Factories) -> None:
    world = await World(core).build()
    admin, stays, goes = await make.superadmin(), await world.user(), await world.user()
    await world.agent()
    launched = {name: await world.launch(who, "0.5") for name, who in (("stays", stays), ("goes", goes))}
    await world.dispatch()
    for session in launched.values():
        await world.report(session.id, "RUNNING")
    waiting = await world.launch(goes, "4")
    await users.deactivate(core, admin, [stays.user_id])
    await users.deactivate(core, admin, [goes.user_id], end_sessions=True)
    assert (await world.session(launched["stays"].id)).status == "RUNNING"
    ended = await world.session(launched["goes"].id)
    assert (ended.status, ended.reason_code) == ("TERMINATING", "USER_DEACTIVATED")
    assert (await world.session(waiting.id)).status == "CANCELLED"
    await world.report(ended.id, "TERMINATED")
    assert (await world.session(ended.id)).reason_code == "USER_DEACTIVATED"
    assert await ledger_is_true(core)


async def test_what_one_mutation_does_not_end_and_what_comes_meanwhile_ends_soon_after(
    core: Core, make: Factories, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "AT_ONCE", 2)
    world = await World(core).build()
    admin, owner = await make.superadmin(), await world.user()
    await world.agent()
    launched = [await world.launch(owner) for _ in range(5)]
    (outcome,) = await users.deactivate(core, admin, [owner.user_id], end_sessions=True)
    assert outcome.row is not None

    async def left() -> int:
        return sum([(await world.session(one.id)).status == "PENDING" for one in launched])

    assert await left() == 3
    assert await closing.end_of_closed(core) == 2
    assert await closing.end_of_closed(core) == 1
    assert await left() == 0
    # One that was being made at that moment: its transaction had seen an active user.
    async with core.db.write() as db:
        row = await db.get_one(User, owner.user_id)
        row.active = True
    late = await world.launch(owner)
    async with core.db.write() as db:
        row = await db.get_one(User, owner.user_id)
        row.active = False
    assert await closing.end_of_closed(core) == 1
    assert (await world.session(late.id)).status == "CANCELLED"
    clock.advance(timedelta(minutes=5))
    await closing.end_of_closed(core)
    assert (await make.fresh(outcome.row)).sessions_ending_since is None


async def test_who_comes_back_keeps_what_has_not_ended_yet(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "AT_ONCE", 1)
    world = await World(core).build()
    admin, owner = await make.superadmin(), await world.user()
    await world.agent()
    for _ in range(3):
        await world.launch(owner)
    await users.deactivate(core, admin, [owner.user_id], end_sessions=True)
    await users.reactivate(core, admin, [owner.user_id])
    assert await closing.end_of_closed(core) == 0


async def test_nothing_is_launched_for_who_was_deactivated(core: Core, make: Factories) -> None:
    world = await World(core).build()
    admin, owner = await make.superadmin(), await world.user()
    await world.agent()
    await users.deactivate(core, admin, [owner.user_id])
    with pytest.raises(BerthError):
        await world.launch(owner)
