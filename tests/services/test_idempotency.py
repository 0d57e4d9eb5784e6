"""A creating mutation acts once however often it is sent, and at once from how many sides."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from services import auth, domains, groups, idempotency, keypairs, policies, resource_groups, users
from services.core import Core
from services.db.tables import Domain, IdempotencyKey, Keypair, User
from services.domains import DomainSpec
from services.errors import BadInput, Conflict
from services.groups import GroupSpec
from services.keypairs import KeypairSpec
from services.keys import Keys
from services.policies import PolicySpec
from services.resource_groups import ResourceGroupSpec
from services.users import UserSpec
from tests.factories import PASSWORD, Clock, Factories


async def count(core: Core, table: type) -> int:
    async with core.db.read() as db:
        return await db.scalar(select(func.count()).select_from(table)) or 0


async def test_every_creating_mutation_acts_once(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    domain, user = await make.domain(), await make.user()
    makers = {
        domains: DomainSpec("one", idempotency_key="k1"),
        groups: GroupSpec(domain.id, "one", idempotency_key="k2"),
        policies: PolicySpec("one", idempotency_key="k3"),
        resource_groups: ResourceGroupSpec("one", idempotency_key="k4"),
        keypairs: KeypairSpec(user.id, idempotency_key="k5"),
        users: UserSpec(domain.id, "one@example.org", "one", password=PASSWORD, idempotency_key="k6"),
    }
    for module, spec in makers.items():
        first, again = [await module.create(core, admin, spec) for _ in range(2)]
        for row in ("keypair", "user"):
            first, again = getattr(first, row, first), getattr(again, row, again)
        assert first.id == again.id
    assert await count(core, IdempotencyKey) == len(makers)


async def test_a_lost_reply_is_given_again_with_its_secret(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    spec = KeypairSpec(user.id, idempotency_key="k")
    first, again = await keypairs.create(core, admin, spec), await keypairs.create(core, admin, spec)
    assert first.secret_key == again.secret_key
    spec_of_user = UserSpec(user.domain_id, "one@example.org", "one", idempotency_key="u")
    made, repeated = (
        await users.create(core, admin, spec_of_user),
        await users.create(core, admin, spec_of_user),
    )
    assert made.secret_key == repeated.secret_key
    # Of the links the newest is good: it is the one that arrived.
    assert await auth.redeem_ticket(core, repeated.ticket or "", PASSWORD, address="192.0.2.1")


async def test_the_same_request_from_many_sides_at_once_makes_one(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    before = await count(core, Keypair)
    results = await asyncio.gather(
        *(keypairs.create(core, admin, KeypairSpec(user.id, idempotency_key="k")) for _ in range(8))
    )
    assert len({result.keypair.id for result in results}) == 1
    assert await count(core, Keypair) == before + 1


async def test_the_same_request_is_not_its_own_name_clash(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    results = await asyncio.gather(
        *(domains.create(core, admin, DomainSpec("one", idempotency_key="k")) for _ in range(8))
    )
    assert len({result.id for result in results}) == 1


async def test_a_twin_that_commits_in_the_middle_is_found(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin was not there when the key was looked up, and has the name when that is looked up."""
    admin, spec = await make.superadmin(), DomainSpec("one", idempotency_key="k")
    twin = await domains.create(core, admin, spec)
    real, looked = idempotency._earlier, []

    async def late(*arguments):  # type: ignore[no-untyped-def]
        looked.append(1)
        return None if len(looked) == 1 else await real(*arguments)

    monkeypatch.setattr(idempotency, "_earlier", late)
    assert (await domains.create(core, admin, spec)).id == twin.id
    assert len(looked) == 2


async def test_two_requests_for_one_name_are_a_clash_whatever_their_keys(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    outcomes = await asyncio.gather(
        *(domains.create(core, admin, DomainSpec("one", idempotency_key=f"k{n}")) for n in range(6)),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in outcomes) == {Domain: 1, Conflict: 5}
    assert await count(core, IdempotencyKey) == 1


async def test_the_same_key_for_something_else_is_refused(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    await domains.create(core, admin, DomainSpec("one", idempotency_key="k"))
    with pytest.raises(Conflict) as refused:
        await domains.create(core, admin, DomainSpec("two", idempotency_key="k"))
    assert refused.value.path == "input.idempotencyKey"
    with pytest.raises(Conflict):
        await policies.create(core, admin, PolicySpec("one", idempotency_key="k"))


async def test_a_key_is_its_users_own(core: Core, make: Factories) -> None:
    one, two = await make.superadmin(), await make.superadmin()
    first = await domains.create(core, one, DomainSpec("one", idempotency_key="k"))
    second = await domains.create(core, two, DomainSpec("two", idempotency_key="k"))
    assert first.id != second.id


async def test_a_key_stands_for_24_hours(core: Core, make: Factories, clock: Clock) -> None:
    admin = await make.superadmin()
    first = await policies.create(core, admin, PolicySpec("one", idempotency_key="k"))
    clock.advance(timedelta(hours=23, minutes=59))
    assert (await policies.create(core, admin, PolicySpec("one", idempotency_key="k"))).id == first.id
    clock.advance(timedelta(minutes=1))
    second = await policies.create(core, admin, PolicySpec("two", idempotency_key="k"))
    assert second.id != first.id
    clock.advance(timedelta(hours=25))
    await auth.purge(core)
    assert await count(core, IdempotencyKey) == 0


async def test_what_was_deleted_since_is_not_made_again_silently(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    spec = PolicySpec("one", idempotency_key="k")
    policy = await policies.create(core, admin, spec)
    await policies.delete(core, admin, policy.id)
    with pytest.raises(Conflict, match="deleted"):
        await policies.create(core, admin, spec)


async def test_a_request_that_failed_leaves_its_key_free(core: Core, make: Factories) -> None:
    admin, taken = await make.superadmin(), await make.domain()
    with pytest.raises(Conflict):
        await domains.create(core, admin, DomainSpec(taken.name, idempotency_key="k"))
    assert await domains.create(core, admin, DomainSpec("free", idempotency_key="k"))


async def test_a_key_survives_the_change_of_the_managers_keys(core: Core, make: Factories) -> None:
    admin, domain = await make.superadmin(), await make.domain()
    spec = UserSpec(domain.id, "one@example.org", "one", password=PASSWORD, idempotency_key="k")
    first = await users.create(core, admin, spec)
    sealing = {**core.keys.sealing, "e2": b"2" * 32}
    core.keys = Keys(core.keys.signing, sealing, core.keys.current_signing, "e2")
    assert (await users.create(core, admin, spec)).user.id == first.user.id


async def test_what_is_kept_of_a_request_does_not_give_its_password_away(core: Core, make: Factories) -> None:
    """A plain hash of the arguments could be searched for the password, which argon2 is there to prevent."""
    admin, domain = await make.superadmin(), await make.domain()
    spec = UserSpec(domain.id, "one@example.org", "one", password=PASSWORD, idempotency_key="k")
    await users.create(core, admin, spec)
    async with core.db.write() as db:
        key = (await db.scalars(select(IdempotencyKey))).one()
    core.keys = Keys.generate()
    with pytest.raises(Conflict, match="another request"):
        await users.create(core, admin, spec)
    assert len(key.arguments_hash) == 32
    assert await count(core, User) == 2


@pytest.mark.parametrize("key", ["", "x" * 129, "\0", "a\nb"])
async def test_a_key_that_cannot_be_kept_is_refused(core: Core, make: Factories, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        await domains.create(core, await make.superadmin(), DomainSpec("one", idempotency_key=key))
    assert refused.value.path == "input.idempotencyKey"
