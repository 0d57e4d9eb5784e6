"""Domains: made, changed, closed."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from services import auth, domains, groups, users
from services.bus import Revoked, Wake
from services.core import Core
from services.db.tables import Domain, User
from services.domains import DomainChanges, DomainSpec
from services.errors import BadInput, BerthError, Conflict, Forbidden, NotFound, Unauthenticated
from services.groups import GroupChanges
from services.permissions import Actor
from tests.factories import PASSWORD, Clock, Factories
from tests.services.world import World


async def test_a_superadmin_makes_a_domain_with_limits(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    spec = DomainSpec("research", "Research", [("cpu", "1.5"), ("mem", "1073741824")])
    domain = await domains.create(core, admin, spec)
    assert (await domains.get(core, admin, domain.id)).name == "research"
    assert (domain.total_slots, domain.active) == ({"cpu": 1500, "mem": 2**30}, True)


async def test_all_wrong_fields_are_named_together(core: Core, make: Factories) -> None:
    spec = DomainSpec("-no-", "x" * 5000, [("cpu", "NaN"), ("gold", "1")], idempotency_key="")
    with pytest.raises(BadInput) as refused:
        await domains.create(core, await make.superadmin(), spec)
    assert [path for path, _ in refused.value.fields] == [
        "input.name",
        "input.description",
        "input.idempotencyKey",
        "input.totalSlots.0.amount",
        "input.totalSlots.1.name",
    ]


@pytest.mark.parametrize("role", ["DOMAIN_ADMIN", "USER"])
async def test_nobody_else_makes_changes_or_closes_one(core: Core, make: Factories, role: str) -> None:
    user = await make.user(role=role)
    actor = make.actor(user)
    with pytest.raises(Forbidden):
        await domains.create(core, actor, DomainSpec("research"))
    with pytest.raises(Forbidden):
        await domains.edit(core, actor, user.domain_id, DomainChanges(description="mine"))
    with pytest.raises(Forbidden):
        await domains.deactivate(core, actor, user.domain_id)


async def test_an_edit_changes_what_is_given_and_wakes_the_dispatcher(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    domain = await make.domain(description="old", total_slots={"cpu": 1000})
    async with core.bus.subscribe(Wake) as heard:
        await domains.edit(core, admin, domain.id, DomainChanges(total_slots=[("mem", "1024")]))
        assert heard.drain() == [Wake(anew=True)]
    changed: Domain = await make.fresh(domain)
    assert (changed.name, changed.description, changed.total_slots) == (domain.name, "old", {"mem": 1024})
    await domains.edit(core, admin, domain.id, DomainChanges(name="renamed", description="new"))
    changed = await make.fresh(domain)
    assert (changed.name, changed.description, changed.total_slots) == ("renamed", "new", {"mem": 1024})


async def test_a_name_is_taken_once(core: Core, make: Factories) -> None:
    admin, other = await make.superadmin(), await make.domain()
    await domains.create(core, admin, DomainSpec("research"))
    with pytest.raises(Conflict) as refused:
        await domains.create(core, admin, DomainSpec("research"))
    assert refused.value.path == "input.name"
    with pytest.raises(Conflict):
        await domains.edit(core, admin, other.id, DomainChanges(name="research"))


async def test_of_many_who_want_a_name_at_once_one_gets_it(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    others = [await make.domain() for _ in range(4)]
    outcomes = await asyncio.gather(
        *(domains.create(core, admin, DomainSpec("research")) for _ in range(4)),
        *(domains.edit(core, admin, other.id, DomainChanges(name="research")) for other in others),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in outcomes) == {Domain: 1, Conflict: 7}


async def test_closing_a_domain_shuts_its_users_out(core: Core, make: Factories, clock: Clock) -> None:
    admin, user = await make.superadmin(), await make.user()
    result = await auth.login(core, user.email, PASSWORD, address="192.0.2.1")
    assert await auth.authenticate_bearer(core, result.access_token)
    closed = await domains.deactivate(core, admin, user.domain_id)
    assert not closed.active
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, result.access_token)
    await domains.edit(core, admin, user.domain_id, DomainChanges(active=True))
    clock.advance(timedelta(seconds=3))
    assert await auth.authenticate_bearer(core, result.access_token)


async def test_nobody_closes_the_domain_they_sit_in(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    with pytest.raises(Conflict):
        await domains.deactivate(core, admin, admin.domain_id)
    with pytest.raises(Conflict):
        await domains.edit(core, admin, admin.domain_id, DomainChanges(active=False))


async def test_a_domain_that_is_not_there_is_not_changed(core: Core, make: Factories) -> None:
    with pytest.raises(NotFound):
        await domains.deactivate(core, await make.superadmin(), "dom_01jd0000000000000000000000")


async def test_superadmins_who_close_each_others_domains_leave_one(core: Core, make: Factories) -> None:
    for by_edit in (False, True):
        one, two = await make.superadmin(), await make.superadmin()

        def close(actor: Actor, domain_id: str, by_edit: bool = by_edit) -> Any:
            if by_edit:
                return domains.edit(core, actor, domain_id, DomainChanges(active=False))
            return domains.deactivate(core, actor, domain_id)

        async with core.db.write() as db:
            await db.execute(
                update(User).where(User.id.not_in([one.user_id, two.user_id])).values(active=False)
            )
        outcomes = await asyncio.gather(
            close(one, two.domain_id), close(two, one.domain_id), return_exceptions=True
        )
        assert Counter(type(outcome) for outcome in outcomes) == {Domain: 1, Conflict: 1}


async def test_a_superadmin_of_a_closed_domain_is_none_who_could_come_in(core: Core, make: Factories) -> None:
    last, shut = await make.superadmin(), await make.superadmin()
    await domains.deactivate(core, last, shut.domain_id)
    (outcome,) = await users.deactivate(core, shut, [last.user_id])
    assert isinstance(outcome.error, Conflict)


async def test_every_manager_hears_that_a_domain_was_closed(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    async with core.bus.subscribe(Revoked) as heard:
        with core.standings.watch(user.id) as changed:
            await domains.deactivate(core, admin, user.domain_id)
            assert changed.is_set()
        assert heard.drain() == [Revoked(user.domain_id)]


async def test_sessions_of_a_closed_domain_or_group_end_by_choice(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    for close, reason in (("domain", "DOMAIN_DEACTIVATED"), ("group", "GROUP_DEACTIVATED")):
        world = await World(core).build()
        owner = await world.user()
        await world.agent()
        session = await world.launch(owner)
        await world.dispatch()
        await world.report(session.id, "RUNNING")
        if close == "domain":
            await domains.deactivate(core, admin, world.domain, end_sessions=True)
        else:
            changes = GroupChanges(active=False, end_sessions=True)
            (outcome,) = await groups.edit_all(core, admin, [world.group], changes)
            assert outcome.error is None
        ended = await world.session(session.id)
        assert (ended.status, ended.reason_code) == ("TERMINATING", reason)
        with pytest.raises(BerthError):
            await world.launch(owner)
