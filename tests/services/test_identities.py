"""By whom else a user is known: shown, and taken apart without shutting anybody out."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import select

from services import auth, identities
from services.core import Core
from services.db.tables import Identity, Mail, User
from services.errors import Conflict, Forbidden, NotFound, Unauthenticated
from tests.factories import Factories
from tests.services.auth.visits import log_in


async def without_password(make: Factories) -> User:
    user = await make.user()
    async with make.core.db.write() as db:
        (await db.get_one(User, user.id)).password_hash = None
    return user


async def left(core: Core, user: User) -> list[str]:
    async with core.db.read() as db:
        return sorted(await db.scalars(select(Identity.id).where(Identity.user_id == user.id)))


async def test_a_link_is_forgotten_with_the_logins_that_it_may_have_opened(
    core: Core, make: Factories
) -> None:
    user = await make.user(language="ko")
    mine, other = await log_in(core, user), await log_in(core, user)
    kept, gone = await make.identity(user=user), await make.identity(user=user)
    await identities.unlink(core, mine.actor, gone.id)
    assert await left(core, user) == [kept.id]
    assert (await auth.authenticate_bearer(core, mine.access_token)).user_id == user.id
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, other.access_token)
    async with core.db.read() as db:
        told = (await db.scalars(select(Mail).where(Mail.kind == "IDENTITY_UNLINKED"))).one()
    assert told.recipient == user.email
    with pytest.raises(NotFound):
        await identities.unlink(core, mine.actor, gone.id)


async def test_the_only_way_to_log_in_is_not_taken_by_oneself_but_by_an_administrator(
    core: Core, make: Factories
) -> None:
    user = await without_password(make)
    provider = await make.identity_provider(active=False)
    await make.identity(user=user, issuer=provider.issuer)
    only = await make.identity(user=user, issuer="https://elsewhere.example")
    with pytest.raises(Conflict):
        await identities.unlink(core, make.actor(user), only.id)
    await make.identity_provider(issuer=provider.issuer)
    await identities.unlink(core, make.actor(user), only.id)
    (last,) = await left(core, user)
    with pytest.raises(Conflict):
        await identities.unlink(core, make.actor(user), last)
    admin = make.actor(await make.user(domain=None, domain_id=user.domain_id, role="DOMAIN_ADMIN"))
    await identities.unlink(core, admin, last)
    assert await left(core, user) == []


async def test_of_two_who_take_the_last_two_ways_at_once_one_is_refused(core: Core, make: Factories) -> None:
    user = await without_password(make)
    provider = await make.identity_provider()
    both = [await make.identity(user=user, issuer=provider.issuer) for _ in range(2)]
    outcomes = await asyncio.gather(
        *(identities.unlink(core, make.actor(user), one.id) for one in both), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {User: 1, Conflict: 1}
    assert len(await left(core, user)) == 1


async def test_an_administrator_does_not_take_a_superadmins(core: Core, make: Factories) -> None:
    superadmin = await make.user(role="SUPERADMIN")
    identity = await make.identity(user=superadmin)
    admin = make.actor(await make.user(domain=None, domain_id=superadmin.domain_id, role="DOMAIN_ADMIN"))
    with pytest.raises(Forbidden):
        await identities.unlink(core, admin, identity.id)
    with pytest.raises(NotFound):
        await identities.unlink(core, make.actor(await make.user()), identity.id)


async def test_a_subject_is_not_shown_whole(core: Core, make: Factories) -> None:
    assert identities.hint("kim@example.org") == "kim@…"
    assert identities.hint("17") == "17"
    provider = await make.identity_provider(title="The Campus")
    assert await identities.titles(
        core, await make.superadmin(), [provider.issuer, "https://gone.example"]
    ) == {provider.issuer: ["The Campus"]}
