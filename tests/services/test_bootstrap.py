"""The first start, and every start after it."""

import asyncio

import pytest
from sqlalchemy import func, select

from services import auth, bootstrap, groups, presets, resource_groups, users
from services.bootstrap import FirstRun
from services.core import Core
from services.db.tables import Domain, Group, GroupMember, Keypair, ResourceGroup, ResourcePolicy, User
from services.errors import BadInput, Unauthenticated
from services.paging import PageArgs
from services.users import UserChanges, UserSpec
from tests.factories import PASSWORD, Factories

EMAIL = "owner@example.org"
ADDRESS = "192.0.2.1"
TABLES = (Domain, Group, GroupMember, Keypair, ResourceGroup, ResourcePolicy, User)


async def counts(core: Core) -> list[int]:
    async with core.db.read() as db:
        return [await db.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES]


async def redeemed(core: Core, run: FirstRun) -> auth.LoginResult:
    assert run.ticket is not None
    return await auth.redeem_ticket(core, run.ticket, PASSWORD, address=ADDRESS)


async def test_the_owner_comes_in_by_the_link_and_finds_a_place_to_work(core: Core) -> None:
    run = await bootstrap.ensure_first_run(core, EMAIL, None)
    assert run.created
    actor = (await redeemed(core, run)).actor
    assert (actor.role, actor.domain_id, actor.group_ids) == ("SUPERADMIN", run.domain_id, {run.group_id})
    assert (await groups.get(core, actor, run.group_id)).name == "default"
    grants = await resource_groups.grants(core, actor, [run.resource_group_id])
    assert grants == {run.resource_group_id: [run.domain_id]}
    assert await auth.login(core, EMAIL, PASSWORD, address=ADDRESS)


async def test_scripts_of_the_owner_have_credentials(core: Core) -> None:
    run = await bootstrap.ensure_first_run(core, EMAIL, None)
    result = await auth.login_with_keypair(core, run.access_key, run.secret_key, address=ADDRESS)
    assert result.actor.user_id == run.user_id
    for secret in (run.secret_key, run.ticket or "-"):
        assert secret not in repr(run)


async def test_an_unattended_start_has_its_password(core: Core) -> None:
    run = await bootstrap.ensure_first_run(core, EMAIL, PASSWORD)
    assert run.ticket is None
    assert await auth.login(core, EMAIL, PASSWORD, address=ADDRESS)


async def test_every_later_start_finds_all_there(core: Core) -> None:
    first = await bootstrap.ensure_first_run(core, EMAIL, PASSWORD)
    before = await counts(core)
    second = await bootstrap.ensure_first_run(core, EMAIL, "other-horse-3")
    assert await counts(core) == before == [1] * len(TABLES)
    assert (second.created, second.user_id, second.secret_key) == (False, first.user_id, first.secret_key)
    assert await auth.login(core, EMAIL, PASSWORD, address=ADDRESS)
    with pytest.raises(Unauthenticated):
        await auth.login(core, EMAIL, "other-horse-3", address=ADDRESS)


async def test_until_there_is_a_password_each_start_makes_a_link_and_the_first_one_used_voids_them(
    core: Core,
) -> None:
    runs = [await bootstrap.ensure_first_run(core, EMAIL, None) for _ in range(3)]
    await redeemed(core, runs[1])
    assert (await bootstrap.ensure_first_run(core, EMAIL, None)).ticket is None
    for run in (runs[0], runs[2]):
        with pytest.raises(Unauthenticated):
            await redeemed(core, run)


async def test_a_password_may_be_given_later(core: Core) -> None:
    await bootstrap.ensure_first_run(core, EMAIL, None)
    run = await bootstrap.ensure_first_run(core, EMAIL, PASSWORD)
    assert (run.ticket, run.created) == (None, False)
    assert await auth.login(core, EMAIL, PASSWORD, address=ADDRESS)


async def test_managers_that_start_at_once_make_one_of_each(core: Core) -> None:
    runs = await asyncio.gather(*(bootstrap.ensure_first_run(core, EMAIL, PASSWORD) for _ in range(5)))
    assert await counts(core) == [1] * len(TABLES)
    assert [run.created for run in runs].count(True) == 1
    assert len({run.user_id for run in runs}) == 1


async def test_what_an_administrator_changed_stays_changed(core: Core, make: Factories) -> None:
    run = await bootstrap.ensure_first_run(core, EMAIL, PASSWORD)
    actor = (await auth.login(core, EMAIL, PASSWORD, address=ADDRESS)).actor
    await resource_groups.revoke(core, actor, run.resource_group_id, [run.domain_id])
    await groups.edit(core, actor, run.group_id, groups.GroupChanges(name="renamed"))
    await users.create(
        core,
        actor,
        UserSpec(run.domain_id, "second@example.org", "second", role="SUPERADMIN", password=PASSWORD),
    )
    second = (await auth.login(core, "second@example.org", PASSWORD, address=ADDRESS)).actor
    await users.edit(core, second, run.user_id, UserChanges(active=False))
    again = await bootstrap.ensure_first_run(core, EMAIL, PASSWORD)
    assert (again.group_id, again.user_id, again.created) == (run.group_id, second.user_id, False)
    assert (await resource_groups.grants(core, second, [run.resource_group_id]))[run.resource_group_id] == []
    with pytest.raises(Unauthenticated):
        await auth.login(core, EMAIL, PASSWORD, address=ADDRESS)


@pytest.mark.parametrize(("email", "password"), [("nobody", None), (EMAIL, "short")])
async def test_a_start_with_a_bad_address_or_password_says_so(
    core: Core, email: str, password: str | None
) -> None:
    with pytest.raises(BadInput):
        await bootstrap.ensure_first_run(core, email, password)
    assert sum(await counts(core)) == 0


async def test_a_first_start_brings_presets_and_a_later_one_does_not_bring_back_what_was_deleted(
    core: Core,
) -> None:
    await bootstrap.ensure_first_run(core, EMAIL, PASSWORD)
    actor = (await auth.login(core, EMAIL, PASSWORD, address=ADDRESS)).actor
    page = await presets.page(core, actor, presets.PresetFilter(), [], PageArgs())
    assert {row.name for row in page.rows} == {"small", "medium", "large"}
    for row in page.rows:
        await presets.delete(core, actor, row.id)
    await bootstrap.ensure_first_run(core, EMAIL, PASSWORD)
    assert (await presets.total(core, actor, presets.PresetFilter())).count == 0
