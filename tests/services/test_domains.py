"""Domains: made, changed, closed."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from services import auth, domains
from services.bus import Wake
from services.core import Core
from services.db.tables import Domain
from services.domains import DomainChanges, DomainSpec
from services.errors import BadInput, Conflict, Forbidden, NotFound, Unauthenticated
from tests.factories import PASSWORD, Clock, Factories


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
        assert heard.drain() == [Wake()]
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
