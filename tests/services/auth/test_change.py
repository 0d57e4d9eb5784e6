"""Passwords and the tickets to set them: what a change ends, and who may do nothing before one."""

import asyncio
from collections import Counter

import pytest

from services import auth, users
from services.bus import Revoked
from services.core import Core
from services.errors import (
    BadInput,
    Forbidden,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from services.permissions import require_role
from tests.factories import PASSWORD, Clock, Factories
from tests.services.auth.visits import ADDRESS, NEW_PASSWORD, log_in


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
