"""What ends a login: dead in all forms within moments of being revoked."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from services import auth, standings, users
from services.bus import Revoked
from services.core import Core
from services.db.tables import Domain, Login, User
from services.errors import (
    BadInput,
    NotFound,
    Unauthenticated,
)
from services.paging import Order, PageArgs
from services.standings import StandingBook
from tests.factories import SECRET_KEY, Clock, Factories
from tests.services.auth.visits import ADDRESS, log_in
from tests.services.forgeries import ACCESS, access_forger


async def test_forged_access_tokens_are_refused(core: Core, make: Factories) -> None:
    user = await make.user()
    actor = (await log_in(core, user)).actor
    forger = access_forger(core.keys, user.id, actor.login_id, core.now())
    assert await auth.authenticate_bearer(core, forger.good())
    believed: list[str] = []
    for wrong, forge in ACCESS.items():
        with contextlib.suppress(Unauthenticated):
            await auth.authenticate_bearer(core, forge(forger))
            believed.append(wrong)
    assert believed == []
    assert await auth.authenticate_bearer(core, forger.good())


async def test_logging_out_ends_this_login_at_once(core: Core, make: Factories) -> None:
    user = await make.user()
    mine, other = await log_in(core, user), await log_in(core, user)
    assert await auth.authenticate_bearer(core, mine.access_token)
    async with core.bus.subscribe(Revoked) as heard:
        assert await auth.logout(core, mine.actor) == mine.actor.login_id
        assert heard.drain() == [Revoked(user.id, mine.actor.login_id)]
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, mine.access_token)
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, mine.refresh_token)
    assert await auth.authenticate_bearer(core, other.access_token)


async def test_logging_out_everywhere_ends_all(core: Core, make: Factories) -> None:
    user = await make.user()
    results = [await log_in(core, user) for _ in range(3)]
    ended = await auth.logout_everywhere(core, results[0].actor)
    assert set(ended) == {result.actor.login_id for result in results}
    for result in results:
        assert not await auth.still_stands(core, user.id, result.actor.login_id)


async def test_a_signed_request_has_no_login_to_end(core: Core, make: Factories) -> None:
    with pytest.raises(BadInput):
        await auth.logout(core, make.actor(await make.user()))


@pytest.mark.parametrize("how", ["user", "role", "domain", "keypair", "password"])
async def test_what_is_revoked_elsewhere_is_dead_within_the_life_of_a_standing(
    core: Core, make: Factories, clock: Clock, how: str
) -> None:
    """Another manager, of which this one hears nothing: the bus is down."""
    user = await make.user()
    keypair = await make.keypair(user=user)
    result = await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address=ADDRESS)
    assert await auth.authenticate_bearer(core, result.access_token)
    async with core.db.write() as db:
        match how:
            case "user":
                await db.execute(update(User).where(User.id == user.id).values(active=False))
            case "domain":
                await db.execute(update(Domain).values(active=False))
            case "keypair":
                await db.execute(
                    update(type(keypair)).where(type(keypair).id == keypair.id).values(active=False)
                )
            case _:
                await db.execute(update(User).where(User.id == user.id).values(epoch=User.epoch + 1))
    clock.advance(core.settings.standing_life)
    assert core.settings.standing_life <= timedelta(seconds=2)
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, result.access_token)
    assert not await auth.still_stands(core, user.id, result.actor.login_id)
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, result.refresh_token)


async def test_a_deactivated_user_is_dead_at_once_here(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    result = await log_in(core, user)
    assert await auth.authenticate_bearer(core, result.access_token)
    await users.deactivate(core, admin, [user.id])
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, result.access_token)
    assert not await auth.still_stands(core, user.id, "")


async def test_a_manager_that_hears_of_a_revocation_believes_nothing_old(core: Core, make: Factories) -> None:
    user = await make.user()
    result = await log_in(core, user)
    assert await auth.authenticate_bearer(core, result.access_token)
    duty = asyncio.create_task(auth.follow_revocations(core))
    await asyncio.sleep(0)
    async with core.db.write() as db:
        await db.execute(update(User).where(User.id == user.id).values(active=False))
    assert await auth.still_stands(core, user.id, result.actor.login_id)  # remembered, not looked up
    await core.bus.publish(Revoked(user.id))
    await asyncio.sleep(0)
    assert not await auth.still_stands(core, user.id, result.actor.login_id)
    duty.cancel()


async def test_requests_in_a_row_ask_the_database_once(core: Core, make: Factories, count_statements) -> None:  # type: ignore[no-untyped-def]
    result = await log_in(core, await make.user())
    await auth.authenticate_bearer(core, result.access_token)
    with count_statements(core) as statements:
        for _ in range(20):
            await auth.authenticate_bearer(core, result.access_token)
    assert statements == []


async def test_only_ones_own_logins_are_listed(core: Core, make: Factories) -> None:
    user, other = await make.user(), await make.superadmin()
    results = [await log_in(core, user) for _ in range(3)]
    await auth.logout(core, results[1].actor)
    actor = results[0].actor
    page = await auth.page_logins(core, actor, [Order(Login.id)], PageArgs())
    assert [row.id for row in page.rows] == [results[0].actor.login_id, results[2].actor.login_id]
    assert (await auth.total_logins(core, actor)).count == 2
    with pytest.raises(NotFound):
        await auth.get_login(core, other, actor.login_id)


def test_a_standing_is_believed_for_its_life_and_not_longer() -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    book = StandingBook(clock.monotonic)
    book.put("lgn", "usr", None, life=2)
    assert book.get("lgn") == (True, None)
    clock.advance(timedelta(seconds=2))
    assert book.get("lgn") == (False, None)


def test_the_book_of_standings_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings, "_MOST", 10)
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    book = StandingBook(clock.monotonic)
    for number in range(1000):
        book.put(f"lgn{number}", f"usr{number % 7}", None, life=2)
        clock.advance(timedelta(seconds=0.1))
    assert len(book._entries) <= 30
    assert book.get("lgn999") == (True, None)
