"""Logins: opened by password and keypair, tried in vain, refreshed."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from services import auth, passwords
from services.auth import attempts
from services.bus import Revoked
from services.core import Core
from services.db.tables import FailedAttempt, Login, RetiredRefreshToken, Ticket, User
from services.errors import (
    RateLimited,
    Unauthenticated,
)
from services.keys import digest
from services.options import LOGIN_ATTEMPTS_OF_ADDRESS
from tests.factories import PASSWORD, SECRET_KEY, Clock, Factories
from tests.services.auth.visits import ADDRESS, log_in


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


async def test_after_five_failures_each_next_one_waits_longer_the_right_password_too(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1")
    waits: list[float] = []
    for _ in range(10):
        with pytest.raises(RateLimited) as refused:
            await log_in(core, user)
        waits.append(refused.value.extra["retry_after"])
        clock.advance(timedelta(seconds=waits[-1]))
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1")
    assert waits[:6] == [5, 10, 20, 40, 80, 160]
    assert waits == sorted(waits)
    assert max(waits) <= 900
    with pytest.raises(RateLimited) as refused:
        await log_in(core, user)
    clock.advance(timedelta(seconds=refused.value.extra["retry_after"]))
    assert await log_in(core, user)
    for _ in range(4):
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1")
    assert await log_in(core, user)


async def test_failures_are_forgotten_with_time(core: Core, make: Factories, clock: Clock) -> None:
    user = await make.user()
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(Unauthenticated):
                await log_in(core, user, "wrong-horse-1")
        clock.advance(timedelta(minutes=40))
    assert await log_in(core, user)
    await attempts.purge(core)
    clock.advance(timedelta(days=1, seconds=1))
    await attempts.purge(core)
    async with core.db.read() as db:
        assert list(await db.scalars(select(FailedAttempt))) == []


async def test_one_account_is_not_tried_from_everywhere_and_its_owner_waits_a_minute_at_most(
    core: Core, make: Factories, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "OF_ACCOUNT", 8)
    user = await make.user()
    for number in range(8):
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1", f"198.51.100.{number}")
    for number in range(8):
        with pytest.raises(RateLimited) as refused:
            await log_in(core, user, PASSWORD)
        assert refused.value.extra["retry_after"] <= 60
        clock.advance(timedelta(seconds=refused.value.extra["retry_after"]))
        with pytest.raises(Unauthenticated):
            await log_in(core, user, "wrong-horse-1", f"198.51.101.{number}")
    clock.advance(timedelta(minutes=1))
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


async def test_attempts_at_once_are_all_counted_on_however_many_managers(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    managers = [replace(core, manager_id=f"mgr-{number}") for number in range(4)]
    outcomes = await asyncio.gather(
        *(log_in(one, user, "wrong-horse-1") for one in managers for _ in range(5)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {Unauthenticated: 5, RateLimited: 15}


async def test_logins_and_failures_at_once_do_not_wait_for_each_other(core: Core, make: Factories) -> None:
    people = [await make.user() for _ in range(6)]
    for _ in range(3):
        passwords_tried = [PASSWORD, "wrong-horse-1"]
        outcomes = await asyncio.gather(
            *(log_in(core, user, tried) for user in people for tried in passwords_tried),
            return_exceptions=True,
        )
        assert Counter(type(outcome) for outcome in outcomes) == {auth.LoginResult: 6, Unauthenticated: 6}


async def test_one_address_cannot_try_all_accounts(core: Core, clock: Clock) -> None:
    for number in range(LOGIN_ATTEMPTS_OF_ADDRESS.default):
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
