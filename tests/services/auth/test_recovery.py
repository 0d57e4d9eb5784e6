"""Forgotten passwords: a link by mail, once and not for long, and nothing that tells who has an account."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from sqlalchemy import select

from services import auth, mails
from services.auth import recovery
from services.core import Core
from services.db.tables import Mail, Ticket, User
from services.errors import BadInput, Forbidden, RateLimited, Unauthenticated
from services.mails import queue
from services.options import PASSWORD_RESET
from tests.factories import Clock, Factories
from tests.services.auth.visits import ADDRESS, NEW_PASSWORD, log_in


async def inbox(core: Core, kind: str = "PASSWORD_RESET") -> list[tuple[str, str]]:
    """(recipient, the secret of the link) of mails, oldest first."""
    async with core.db.read() as db:
        found = list(await db.scalars(select(Mail).where(Mail.kind == kind).order_by(Mail.id)))
    said = [(mail.recipient, queue.read(core, mail)) for mail in found]
    links = [(to, re.search(r"#([\w-]{30,})", content.text)) for to, content in said if content]
    return [(to, link.group(1) if link else "") for to, link in links]


async def ask(core: Core, email: str, address: str = ADDRESS) -> bool:
    return await auth.request_reset(core, email, address=address)


async def test_a_mailed_link_sets_the_password_once_and_ends_all_logins(core: Core, make: Factories) -> None:
    user = await make.user()
    before = await log_in(core, user)
    assert await ask(core, f" {user.email.upper()} ") is False
    ((to, token),) = await inbox(core)
    assert to == user.email
    assert (await auth.reset_password(core, token, NEW_PASSWORD)).id == user.id
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, before.access_token)
    with pytest.raises(Unauthenticated):
        await log_in(core, user)
    assert await log_in(core, user, NEW_PASSWORD)
    assert [one[0] for one in await inbox(core, "PASSWORD_CHANGED")] == [user.email]
    with pytest.raises(Unauthenticated) as refused:
        await auth.reset_password(core, token, NEW_PASSWORD)
    assert "requestPasswordReset" in refused.value.extra["help"]


async def test_of_many_who_use_a_link_at_once_one_sets_the_password(core: Core, make: Factories) -> None:
    await ask(core, (await make.user()).email)
    ((_, token),) = await inbox(core)
    outcomes = await asyncio.gather(
        *(auth.reset_password(core, token, f"horse-no-{number}") for number in range(5)),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in outcomes) == {User: 1, Unauthenticated: 4}


async def test_a_link_that_is_old_or_replaced_by_a_new_password_is_void(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    await ask(core, user.email)
    await ask(core, user.email)
    (_, first), (_, second) = await inbox(core)
    await auth.reset_password(core, second, NEW_PASSWORD)
    with pytest.raises(Unauthenticated):
        await auth.reset_password(core, first, "other-horse-3")
    await ask(core, user.email)
    clock.advance(core.settings.reset_ticket_life)
    with pytest.raises(Unauthenticated):
        await auth.reset_password(core, (await inbox(core))[-1][1], "other-horse-3")


async def test_a_weak_password_does_not_use_the_link_up(core: Core, make: Factories) -> None:
    await ask(core, (await make.user()).email)
    ((_, token),) = await inbox(core)
    with pytest.raises(BadInput):
        await auth.reset_password(core, token, "short")
    assert await auth.reset_password(core, token, NEW_PASSWORD)


async def test_who_has_no_account_costs_the_same_and_gets_nothing(
    core: Core,
    make: Factories,
    count_statements: Callable[[Core], AbstractContextManager[list[str]]],
) -> None:
    known, idle = await make.user(), await make.user(active=False)
    closed = await make.user(domain=await make.domain(active=False))
    asked: list[list[str]] = []
    strange = ["nobody@example.org", idle.email, closed.email, "", "\0", "\ud800", "é@x", "x" * 100_000]
    for email in (known.email, *strange):
        with count_statements(core) as statements:
            assert await ask(core, email) is False
        asked.append(statements)
    assert [one for one in asked if one != asked[0]] == []
    assert [to for to, _ in await inbox(core)] == [known.email]
    async with core.db.read() as db:
        assert set(await db.scalars(select(Ticket.user_id))) == {known.id}


async def test_nobody_is_flooded_with_mails_and_the_limit_tells_nothing(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    for email in (user.email, "nobody@example.org"):
        for number in range(recovery.OF_RECIPIENT):
            await ask(core, email, f"192.0.2.{number}")
        with pytest.raises(RateLimited):
            await ask(core, email, "192.0.2.99")
    clock.advance(timedelta(hours=2))
    assert await ask(core, user.email) is False


async def test_one_address_cannot_ask_for_everybody(core: Core, clock: Clock) -> None:
    for number in range(recovery.OF_ADDRESS):
        await ask(core, f"u{number}@example.org")
    with pytest.raises(RateLimited):
        await ask(core, "one-more@example.org")
    assert await ask(core, "one-more@example.org", "198.51.100.1") is False


async def test_it_can_be_switched_off(core: Core, make: Factories) -> None:
    user = await make.user()
    core.options.replace({PASSWORD_RESET.key: False})
    for email in (user.email, "nobody@example.org"):
        with pytest.raises(Forbidden):
            await ask(core, email)
    assert await inbox(core) == []


async def test_who_asks_while_the_mail_server_is_away_is_told_so(core: Core, make: Factories) -> None:
    await make.mail(last_error="SMTPConnectError", attempts=1)
    assert await mails.are_delayed(core)
    assert await ask(core, (await make.user()).email) is True
    assert await ask(core, "nobody@example.org") is True
