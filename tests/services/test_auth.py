"""Logins: opened, refreshed, ended; and dead in all forms within moments of being revoked."""

import asyncio
import contextlib
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from services import auth, passwords, standings, users
from services.auth import logins
from services.bus import Revoked
from services.core import Core
from services.db.tables import Domain, Login, RetiredRefreshToken, Ticket, User
from services.errors import (
    BadInput,
    Forbidden,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from services.keys import digest
from services.paging import Order, PageArgs
from services.permissions import require_role
from services.standings import StandingBook
from tests.factories import PASSWORD, SECRET_KEY, Clock, Factories
from tests.services.forgeries import ACCESS, access_forger

ADDRESS = "192.0.2.1"
NEW_PASSWORD = "better-horse-2"


async def log_in(
    core: Core, user: User, password: str = PASSWORD, address: str = ADDRESS
) -> auth.LoginResult:
    return await auth.login(core, user.email, password, address=address, user_agent="pytest")


async def test_a_login_makes_its_user_the_actor(core: Core, make: Factories) -> None:
    user = await make.user(role="DOMAIN_ADMIN")
    group = await make.group(domain_id=user.domain_id, members=[user])
    result = await log_in(core, user)
    actor = await auth.authenticate_bearer(core, result.access_token)
    assert actor == result.actor
    assert (actor.user_id, actor.domain_id, actor.role) == (user.id, user.domain_id, "DOMAIN_ADMIN")
    assert (actor.group_ids, actor.keypair_id) == (frozenset([group.id]), user.main_keypair_id)
    login = await auth.get_login(core, actor, actor.login_id)
    assert (login.address, login.user_agent) == (ADDRESS, "pytest")


async def test_the_address_may_be_written_in_any_case(core: Core, make: Factories) -> None:
    user = await make.user()
    assert await auth.login(core, f"  {user.email.upper()} ", PASSWORD, address=ADDRESS)


async def test_the_database_keeps_no_token_and_no_password(core: Core, make: Factories) -> None:
    user = await make.user()
    result = await log_in(core, user)
    async with core.db.read() as db:
        login = (await db.scalars(select(Login))).one()
        kept = (await db.scalars(select(User.password_hash).where(User.id == user.id))).one()
    assert login.token_hash == digest(result.refresh_token)
    assert kept is not None
    assert kept.startswith("$argon2id$")
    assert result.refresh_token not in repr(result)
    assert result.access_token not in repr(result)


async def test_a_hash_of_older_parameters_is_renewed_at_login(core: Core, make: Factories) -> None:
    user = await make.user()
    await log_in(core, user)
    renewed = (await make.fresh(user)).password_hash
    assert renewed != user.password_hash
    assert "m=19456,t=2,p=1" in renewed
    assert await log_in(core, user)


async def test_nothing_tells_whether_an_address_is_known(core: Core, make: Factories) -> None:
    user, idle, unset = await make.user(), await make.user(active=False), await make.user(password_hash=None)
    closed = await make.user(domain=await make.domain(active=False))
    attempts = [
        (user.email, "wrong-horse-1"),
        ("nobody@example.org", PASSWORD),
        (idle.email, PASSWORD),
        (unset.email, PASSWORD),
        (closed.email, PASSWORD),
        ("\0", PASSWORD),
        ("\ud800@example.org", "\ud800"),
        ("x" * 100_000, "y" * 100_000),
    ]
    answers: set[str] = set()
    for email, password in attempts:
        with pytest.raises(Unauthenticated) as refused:
            await auth.login(core, email, password, address=ADDRESS)
        answers.add(refused.value.message)
    assert len(answers) == 1


async def test_an_unknown_address_costs_what_a_known_one_does(
    core: Core,
    make: Factories,
    monkeypatch: pytest.MonkeyPatch,
    count_statements,  # type: ignore[no-untyped-def]
) -> None:
    user = await make.user()
    hashed: list[str | None] = []
    real = passwords.verify

    async def noted(password: str, kept: str | None) -> bool:
        hashed.append(kept)
        return await real(password, kept)

    monkeypatch.setattr(passwords, "verify", noted)
    costs: list[int] = []
    for email in (user.email, "nobody@example.org", "\ud800"):
        with count_statements(core) as statements, pytest.raises(Unauthenticated):
            await auth.login(core, email, "wrong-horse-1", address=ADDRESS)
        costs.append(len(statements))
    assert len(set(costs)) == 1
    assert [kept is None for kept in hashed] == [False, True, True]


async def test_a_keypair_logs_in_and_counts_for_its_login(core: Core, make: Factories) -> None:
    user = await make.user()
    keypair = await make.keypair(user=user)
    result = await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address=ADDRESS)
    assert result.actor.keypair_id == keypair.id != user.main_keypair_id
    assert (await auth.authenticate_bearer(core, result.access_token)).keypair_id == keypair.id


async def test_an_access_key_alone_logs_nobody_in(core: Core, make: Factories) -> None:
    keypair, off = await make.keypair(), await make.keypair(active=False)
    attempts = [
        (keypair.access_key, ""),
        (keypair.access_key, keypair.access_key),
        (keypair.access_key, SECRET_KEY[:-1]),
        (keypair.access_key, "é\ud800"),
        (keypair.access_key.lower(), SECRET_KEY),
        (off.access_key, SECRET_KEY),
        ("", ""),
        ("\0", SECRET_KEY),
    ]
    for access_key, secret_key in attempts:
        with pytest.raises(Unauthenticated):
            await auth.login_with_keypair(core, access_key, secret_key, address=ADDRESS)


# ── attempts ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_five_failures_a_minute_and_then_not_even_the_right_password(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1")
    with pytest.raises(RateLimited) as refused:
        await log_in(core, user)
    assert 0 < refused.value.extra["retry_after"] <= 62
    clock.advance(timedelta(seconds=refused.value.extra["retry_after"]))
    assert await log_in(core, user)


async def test_an_unknown_address_is_limited_like_a_known_one(core: Core, clock: Clock) -> None:
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await auth.login(core, "nobody@example.org", PASSWORD, address=ADDRESS)
    with pytest.raises(RateLimited):
        await auth.login(core, "nobody@example.org", PASSWORD, address=ADDRESS)


async def test_a_stranger_does_not_lock_the_owner_out(core: Core, make: Factories, clock: Clock) -> None:
    user = await make.user()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1")
    assert await log_in(core, user, address="198.51.100.7")


async def test_successes_are_not_counted(core: Core, make: Factories, clock: Clock) -> None:
    user = await make.user()
    for _ in range(12):
        assert await log_in(core, user)


async def test_attempts_at_once_are_all_counted(core: Core, make: Factories, clock: Clock) -> None:
    user = await make.user()
    outcomes = await asyncio.gather(
        *(log_in(core, user, "wrong-horse-1") for _ in range(20)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {Unauthenticated: 5, RateLimited: 15}


async def test_one_address_cannot_try_all_accounts(core: Core, clock: Clock) -> None:
    for number in range(logins.ATTEMPTS_OF_ADDRESS):
        with pytest.raises(Unauthenticated):
            await auth.login_with_keypair(core, f"BK{number:018d}", SECRET_KEY, address=ADDRESS)
    with pytest.raises(RateLimited):
        await auth.login_with_keypair(core, "BK999999999999999999", SECRET_KEY, address=ADDRESS)


async def test_a_whole_ipv6_network_is_one_address(core: Core, make: Factories, clock: Clock) -> None:
    user = await make.user()
    for number in range(5):
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1", f"2001:db8::{number:x}")
    with pytest.raises(RateLimited):
        await log_in(core, user, PASSWORD, "2001:db8::ffff:1")
    assert await log_in(core, user, PASSWORD, "2001:db8:0:1::1")


# ── refreshing ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_refresh_gives_the_next_token_and_keeps_the_login(core: Core, make: Factories) -> None:
    first = await log_in(core, await make.user())
    second = await auth.refresh(core, first.refresh_token, address="198.51.100.7", user_agent="other")
    assert second.refresh_token != first.refresh_token
    assert second.actor.login_id == first.actor.login_id
    assert second.refresh_expires_at == first.refresh_expires_at
    assert await auth.authenticate_bearer(core, second.access_token)
    assert (await auth.get_login(core, second.actor, second.actor.login_id)).address == "198.51.100.7"


async def test_fifty_refreshes_at_once_have_one_successor(core: Core, make: Factories) -> None:
    first = await log_in(core, await make.user())
    results = await asyncio.gather(*(auth.refresh(core, first.refresh_token) for _ in range(50)))
    (successor,) = {result.refresh_token for result in results}
    assert await auth.refresh(core, successor)
    async with core.db.read() as db:
        assert await db.scalar(select(func.count()).select_from(Login)) == 1
        assert await db.scalar(select(func.count()).select_from(RetiredRefreshToken)) == 2


async def test_a_lost_reply_can_be_asked_for_again_for_ten_seconds(
    core: Core, make: Factories, clock: Clock
) -> None:
    first = await log_in(core, await make.user())
    lost = await auth.refresh(core, first.refresh_token)
    clock.advance(timedelta(seconds=9))
    again = await auth.refresh(core, first.refresh_token)
    assert again.refresh_token == lost.refresh_token
    assert await auth.refresh(core, again.refresh_token)


async def test_a_refresh_token_that_comes_back_ends_the_login(
    core: Core, make: Factories, clock: Clock
) -> None:
    first = await log_in(core, await make.user())
    stolen = await auth.refresh(core, first.refresh_token)
    clock.advance(timedelta(seconds=10))
    async with core.bus.subscribe(Revoked) as heard:
        with pytest.raises(Unauthenticated):
            await auth.refresh(core, first.refresh_token)
        assert heard.drain() == [Revoked(first.actor.user_id, first.actor.login_id)]
    for token in (stolen.refresh_token, first.refresh_token):
        with pytest.raises(Unauthenticated):
            await auth.refresh(core, token)
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, stolen.access_token)


async def test_an_older_generation_is_reuse_even_within_the_grace(core: Core, make: Factories) -> None:
    first = await log_in(core, await make.user())
    second = await auth.refresh(core, first.refresh_token)
    third = await auth.refresh(core, second.refresh_token)
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, first.refresh_token)
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, third.refresh_token)


async def test_a_thief_ends_only_the_login_that_was_stolen(core: Core, make: Factories, clock: Clock) -> None:
    user = await make.user()
    stolen, other = await log_in(core, user), await log_in(core, user)
    await auth.refresh(core, stolen.refresh_token)
    clock.advance(timedelta(seconds=11))
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, stolen.refresh_token)
    assert await auth.refresh(core, other.refresh_token)


@pytest.mark.parametrize("token", ["", "nothing", "\0", "é", "\ud800", "x" * 10_000])
async def test_an_unknown_refresh_token_is_refused(core: Core, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, token)


async def test_a_login_ends_after_its_life_however_often_it_is_refreshed(
    core: Core, make: Factories, clock: Clock
) -> None:
    result = await log_in(core, await make.user())
    for _ in range(13):
        clock.advance(timedelta(days=1))
        result = await auth.refresh(core, result.refresh_token)
    clock.advance(timedelta(days=1))
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, result.refresh_token)


# ── what ends a login ──────────────────────────────────────────────────────────────────────────────────────────────


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


# ── passwords ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_changing_the_password_ends_all_other_logins(core: Core, make: Factories) -> None:
    user = await make.user()
    mine, other = await log_in(core, user), await log_in(core, user)
    async with core.bus.subscribe(Revoked) as heard:
        changed = await auth.change_password(core, mine.actor, PASSWORD, NEW_PASSWORD)
        assert heard.drain() == [Revoked(user.id, other.actor.login_id)]
    assert changed is not None
    assert await auth.authenticate_bearer(core, changed[0])
    assert await auth.still_stands(core, user.id, mine.actor.login_id)
    for token in (mine.access_token, other.access_token):
        with pytest.raises(Unauthenticated):
            await auth.authenticate_bearer(core, token)
    assert await auth.refresh(core, mine.refresh_token)
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, other.refresh_token)
    with pytest.raises(Unauthenticated):
        await log_in(core, user)
    assert await log_in(core, user, NEW_PASSWORD)


@pytest.mark.parametrize(
    ("current", "new", "path"),
    [
        ("wrong-horse-1", NEW_PASSWORD, "input.currentPassword"),
        (PASSWORD, "short", "input.newPassword"),
        (PASSWORD, PASSWORD, "input.newPassword"),
    ],
)
async def test_a_password_is_not_changed_so(
    core: Core, make: Factories, current: str, new: str, path: str
) -> None:
    user = await make.user()
    with pytest.raises(BadInput) as refused:
        await auth.change_password(core, make.actor(user), current, new)
    assert refused.value.path == path
    assert (await make.fresh(user)).password_hash == user.password_hash


async def test_the_current_password_cannot_be_guessed_by_who_found_the_console_open(
    core: Core, make: Factories, clock: Clock
) -> None:
    actor = make.actor(await make.user())
    for _ in range(5):
        with pytest.raises(BadInput):
            await auth.change_password(core, actor, "wrong-horse-1", NEW_PASSWORD)
    with pytest.raises(RateLimited):
        await auth.change_password(core, actor, PASSWORD, NEW_PASSWORD)


async def test_of_two_changes_at_once_one_counts(core: Core, make: Factories) -> None:
    user = await make.user()
    actor = make.actor(user)
    outcomes = await asyncio.gather(
        auth.change_password(core, actor, PASSWORD, "first-horse-1"),
        auth.change_password(core, actor, PASSWORD, "second-horse-2"),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BadInput", "NoneType"]


async def test_who_must_change_the_password_may_do_nothing_else(core: Core, make: Factories) -> None:
    user = await make.user(role="SUPERADMIN", must_change_password=True)
    result = await log_in(core, user)
    actor = await auth.authenticate_bearer(core, result.access_token)
    assert actor.must_change_password
    assert (await users.get(core, actor, user.id)).id == user.id
    assert await auth.get_login(core, actor, actor.login_id)
    with pytest.raises(Forbidden, match="password"):
        require_role(actor, "createDomain")
    with pytest.raises(NotFound):
        await users.get(core, actor, (await make.user()).id)
    changed = await auth.change_password(core, actor, PASSWORD, NEW_PASSWORD)
    assert changed is not None
    actor = await auth.authenticate_bearer(core, changed[0])
    assert not actor.must_change_password
    require_role(actor, "createDomain")


async def test_who_must_change_the_password_may_log_out(core: Core, make: Factories) -> None:
    result = await log_in(core, await make.user(must_change_password=True))
    assert await auth.logout(core, result.actor)


async def test_a_ticket_sets_a_password_once_and_logs_in(core: Core, make: Factories) -> None:
    user = await make.user(password_hash=None, must_change_password=True)
    ticket = await auth.create_password_ticket(core, user.id)
    result = await auth.redeem_ticket(core, ticket, NEW_PASSWORD, address=ADDRESS)
    actor = await auth.authenticate_bearer(core, result.access_token)
    assert (actor.user_id, actor.must_change_password) == (user.id, False)
    assert await log_in(core, user, NEW_PASSWORD)
    with pytest.raises(Unauthenticated):
        await auth.redeem_ticket(core, ticket, "other-horse-3", address=ADDRESS)


async def test_of_many_who_use_a_ticket_at_once_one_gets_in(core: Core, make: Factories) -> None:
    ticket = await auth.create_password_ticket(core, (await make.user()).id)
    outcomes = await asyncio.gather(
        *(auth.redeem_ticket(core, ticket, f"horse-no-{number}", address=ADDRESS) for number in range(5)),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in outcomes) == {auth.LoginResult: 1, Unauthenticated: 4}


async def test_a_bad_password_does_not_use_a_ticket_up(core: Core, make: Factories) -> None:
    ticket = await auth.create_password_ticket(core, (await make.user()).id)
    with pytest.raises(BadInput):
        await auth.redeem_ticket(core, ticket, "short", address=ADDRESS)
    assert await auth.redeem_ticket(core, ticket, NEW_PASSWORD, address=ADDRESS)


async def test_a_ticket_ends_what_was_open_before(core: Core, make: Factories) -> None:
    user = await make.user()
    before = await log_in(core, user)
    ticket = await auth.create_password_ticket(core, user.id)
    await auth.redeem_ticket(core, ticket, NEW_PASSWORD, address=ADDRESS)
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, before.access_token)


@pytest.mark.parametrize("why", ["expired", "replaced", "changed", "deactivated", "other purpose", "unknown"])
async def test_a_ticket_that_is_not_good_is_refused(
    core: Core, make: Factories, clock: Clock, why: str
) -> None:
    admin, user = await make.superadmin(), await make.user()
    ticket = await auth.create_password_ticket(core, user.id)
    match why:
        case "expired":
            clock.advance(core.settings.password_ticket_life)
        case "replaced":
            await auth.create_password_ticket(core, user.id)
        case "changed":
            await auth.change_password(core, make.actor(user), PASSWORD, "other-horse-3")
        case "deactivated":
            await users.deactivate(core, admin, [user.id])
        case "other purpose":
            await make.ticket(user=user, token="terminal", purpose="terminal")
            ticket = "terminal"
        case _:
            ticket = "\ud800"
    with pytest.raises(Unauthenticated):
        await auth.redeem_ticket(core, ticket, NEW_PASSWORD, address=ADDRESS)


async def test_there_is_no_ticket_for_who_may_not_come_in(core: Core, make: Factories) -> None:
    with pytest.raises(NotFound):
        await auth.create_password_ticket(core, (await make.user(active=False)).id)


async def test_what_has_expired_is_forgotten_and_nothing_else(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    live = await log_in(core, user)
    await auth.refresh(core, live.refresh_token)
    old = await make.login(user=user, expires_at=core.now() - timedelta(days=2))
    async with core.db.write() as db:
        db.add(RetiredRefreshToken(token_hash=digest("x"), login_id=old.id))
    await make.ticket(user=user, expires_at=core.now() - timedelta(days=2))
    await make.ticket(user=user, token="good")
    await make.nonce(expires_at=core.now() - timedelta(seconds=1))
    await make.nonce(expires_at=core.now() + timedelta(seconds=1))
    await auth.purge(core)
    async with core.db.read() as db:
        assert list(await db.scalars(select(Login.id))) == [live.actor.login_id]
        assert list(await db.scalars(select(RetiredRefreshToken.login_id))) == [live.actor.login_id]
        assert list(await db.scalars(select(Ticket.token_hash))) == [digest("good")]


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
