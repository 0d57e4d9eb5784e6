"""Groups: of one domain, with members of that domain."""

import asyncio
from collections import Counter

import pytest

from services import auth, groups, users
from services.core import Core
from services.db.tables import Group
from services.errors import BadInput, Conflict, Forbidden, NotFound
from services.groups import GroupChanges, GroupFilter, GroupSpec
from services.paging import PageArgs
from services.users import UserFilter
from tests.factories import PASSWORD, Factories


async def members(core: Core, make: Factories, group: Group) -> set[str]:
    admin = await make.superadmin()
    page = await users.page(core, admin, UserFilter(group_id=group.id), [], PageArgs())
    return {user.id for user in page.rows}


async def test_an_administrator_of_the_domain_makes_and_changes_its_groups(
    core: Core, make: Factories
) -> None:
    admin = await make.user(role="DOMAIN_ADMIN")
    actor = make.actor(admin)
    group = await groups.create(core, actor, GroupSpec(admin.domain_id, "lab", total_slots=[("cpu", "8")]))
    assert (group.domain_id, group.total_slots, group.active) == (admin.domain_id, {"cpu": 8000}, True)
    await groups.edit(core, actor, group.id, GroupChanges(name="lab-2", description="d", total_slots=[]))
    changed = await make.fresh(group)
    assert (changed.name, changed.description, changed.total_slots) == ("lab-2", "d", {})
    await groups.deactivate(core, actor, group.id)
    assert not (await make.fresh(group)).active


async def test_but_not_those_of_another_domain(core: Core, make: Factories) -> None:
    actor, foreign = make.actor(await make.user(role="DOMAIN_ADMIN")), await make.group()
    with pytest.raises(NotFound):
        await groups.create(core, actor, GroupSpec(foreign.domain_id, "lab"))
    with pytest.raises(NotFound):
        await groups.edit(core, actor, foreign.id, GroupChanges(name="mine"))
    with pytest.raises(NotFound):
        await groups.deactivate(core, actor, foreign.id)
    with pytest.raises(NotFound):
        await groups.add_members(core, actor, foreign.id, [actor.user_id])


async def test_a_user_sees_the_own_groups_and_changes_none(core: Core, make: Factories) -> None:
    user = await make.user()
    mine = await make.group(domain_id=user.domain_id, members=[user])
    await make.group(domain_id=user.domain_id)
    actor = make.actor(user, [mine])
    page = await groups.page(core, actor, GroupFilter(), [], PageArgs())
    assert [group.id for group in page.rows] == [mine.id]
    for forbidden in (
        groups.create(core, actor, GroupSpec(user.domain_id, "lab")),
        groups.edit(core, actor, mine.id, GroupChanges(name="mine")),
        groups.deactivate(core, actor, mine.id),
        groups.add_members(core, actor, mine.id, [user.id]),
        groups.remove_members(core, actor, mine.id, [user.id]),
    ):
        with pytest.raises(Forbidden):
            await forbidden


async def test_a_name_is_taken_once_in_a_domain_and_free_in_another(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    one, two = await make.domain(), await make.domain()
    await groups.create(core, admin, GroupSpec(one.id, "lab"))
    await groups.create(core, admin, GroupSpec(two.id, "lab"))
    other = await make.group(domain=one)
    with pytest.raises(Conflict):
        await groups.create(core, admin, GroupSpec(one.id, "lab"))
    with pytest.raises(Conflict):
        await groups.edit(core, admin, other.id, GroupChanges(name="lab"))


async def test_of_many_who_want_a_name_at_once_one_gets_it(core: Core, make: Factories) -> None:
    admin, domain = await make.superadmin(), await make.domain()
    outcomes = await asyncio.gather(
        *(groups.create(core, admin, GroupSpec(domain.id, "lab")) for _ in range(6)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {Group: 1, Conflict: 5}


async def test_members_come_and_go_and_their_next_request_knows(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    group = await make.group(domain_id=user.domain_id)
    token = (await auth.login(core, user.email, PASSWORD, address="192.0.2.1")).access_token
    assert group.id not in (await auth.authenticate_bearer(core, token)).group_ids
    await groups.add_members(core, admin, group.id, [user.id])
    await groups.add_members(core, admin, group.id, [user.id, user.id])
    assert group.id in (await auth.authenticate_bearer(core, token)).group_ids
    assert await members(core, make, group) == {user.id}
    await groups.remove_members(core, admin, group.id, [user.id])
    assert group.id not in (await auth.authenticate_bearer(core, token)).group_ids
    assert await members(core, make, group) == set()


async def test_members_are_of_the_groups_domain(core: Core, make: Factories) -> None:
    admin, stranger = await make.superadmin(), await make.user()
    group = await make.group()
    with pytest.raises(BadInput):
        await groups.add_members(core, admin, group.id, [stranger.id])
    assert await members(core, make, group) == set()


@pytest.mark.parametrize(
    "user_ids", [[], ["nobody"], ["usr_01jd0000000000000000000000"], ["\0"], ["x"] * 501]
)
async def test_members_are_users(core: Core, make: Factories, user_ids: list[str]) -> None:
    group = await make.group()
    with pytest.raises((BadInput, NotFound)) as refused:
        await groups.add_members(core, await make.superadmin(), group.id, user_ids)
    assert refused.value.path == "input.userIds"


async def test_a_superior_is_not_moved_about(core: Core, make: Factories) -> None:
    domain = await make.domain()
    superior = await make.user(domain=domain, role="SUPERADMIN")
    actor = make.actor(await make.user(domain=domain, role="DOMAIN_ADMIN"))
    group = await make.group(domain=domain, members=[superior])
    with pytest.raises(Forbidden):
        await groups.remove_members(core, actor, group.id, [superior.id])
    assert await members(core, make, group) == {superior.id}


async def test_two_who_add_the_same_members_at_once_do_not_wait_for_each_other(
    core: Core, make: Factories
) -> None:
    admin, group = await make.superadmin(), await make.group()
    people = [(await make.user(domain_id=group.domain_id)).id for _ in range(6)]
    await asyncio.gather(
        *(
            groups.add_members(core, admin, group.id, people if turn % 2 else people[::-1])
            for turn in range(6)
        )
    )
    assert await members(core, make, group) == set(people)


async def test_the_groups_of_many_users_cost_one_statement(
    core: Core, make: Factories, count_statements
) -> None:  # type: ignore[no-untyped-def]
    domain = await make.domain()
    people = [await make.user(domain=domain) for _ in range(5)]
    one, two = (
        await make.group(domain=domain, members=people),
        await make.group(domain=domain, members=people[:1]),
    )
    admin = await make.superadmin()
    with count_statements(core) as statements:
        found = await groups.of_users(core, admin, [user.id for user in people])
    assert len([one for one in statements if one.startswith("SELECT")]) == 1
    assert [group.id for group in found[people[0].id]] == [one.id, two.id]
    assert [group.id for group in found[people[4].id]] == [one.id]
    peer = make.actor(people[1], [one])
    seen = await groups.of_users(core, peer, [people[0].id])
    assert [group.id for group in seen[people[0].id]] == [one.id]
