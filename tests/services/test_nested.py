"""Lists within many parents, read at once, are what each is by itself."""

from typing import Any

import pytest

from services import groups, keypairs, nested, sessions, users
from services.core import Core
from services.db.tables import User
from services.errors import BadInput
from services.groups import GroupFilter
from services.keypairs import KeypairFilter
from services.paging import Order, PageArgs, Total
from services.permissions import Actor
from services.sessions import SessionFilter
from services.users import UserFilter
from tests.factories import Factories

ARGS = [PageArgs(), PageArgs(first=2), PageArgs(last=2), PageArgs(first=0), PageArgs(first=100)]
LISTS: dict[tuple[str, str], tuple[Any, Any]] = {
    ("groups", "user_id"): (groups, lambda parent: GroupFilter(member_id=parent)),
    ("groups", "domain_id"): (groups, lambda parent: GroupFilter(domain_id=parent)),
    ("users", "group_id"): (users, lambda parent: UserFilter(group_id=parent)),
    ("keypairs", "user_id"): (keypairs, lambda parent: KeypairFilter(user_id=parent)),
    ("sessions", "user_id"): (sessions, lambda parent: SessionFilter(user_id=parent)),
}


@pytest.fixture
async def parents(make: Factories) -> dict[str, list[str]]:
    """Two domains with groups of three, two, one and no members, who have some sessions and keypairs."""
    made: dict[str, list[str]] = {"user_id": [], "group_id": [], "domain_id": []}
    for _ in range(2):
        domain = await make.domain()
        people = [await make.user(domain=domain) for _ in range(3)]
        made["domain_id"].append(domain.id)
        made["user_id"] += [user.id for user in people]
        for number in range(4):
            group = await make.group(domain=domain, members=people[number:])
            made["group_id"].append(group.id)
            for user in people[number:]:
                await make.session(user=user, group=group, name="same" if number % 2 else f"n{number}")
        await make.keypair(user=people[0])
    return made


async def everybody(make: Factories, parents: dict[str, list[str]]) -> list[Actor]:
    domain = parents["domain_id"][0]
    async with make.core.db.read() as db:
        member = await db.get_one(User, parents["user_id"][0])
    return [
        await make.superadmin(),
        make.actor(await make.user(domain_id=domain, role="DOMAIN_ADMIN")),
        make.actor(member),
    ]


@pytest.mark.parametrize("name", LISTS, ids=lambda name: ".".join(name))
@pytest.mark.parametrize("args", ARGS, ids=str)
async def test_each_page_and_total_is_as_if_read_alone(
    core: Core, make: Factories, parents: dict[str, list[str]], name: tuple[str, str], args: PageArgs
) -> None:
    service, alone = LISTS[name]
    within = parents[name[1]]
    orders: list[list[Order]] = [[], [Order(service.ORDERS["CREATED_AT"])]]
    if "NAME" in service.ORDERS:
        orders.append([Order(service.ORDERS["NAME"], descending=True)])
    for actor in await everybody(make, parents):
        for order in orders:
            together = await nested.pages(core, actor, nested.LISTS[name], within, order, args)
            for parent in within:
                page = await service.page(core, actor, alone(parent), order, args)
                assert shown(together[parent]) == shown(page)
        totals = await nested.totals(core, actor, nested.LISTS[name], within)
        assert totals == {parent: await service.total(core, actor, alone(parent)) for parent in within}


async def test_a_page_goes_on_after_its_cursor(
    core: Core, make: Factories, parents: dict[str, list[str]]
) -> None:
    actor, within = await make.superadmin(), parents["user_id"]
    listed, order = nested.LISTS["sessions", "user_id"], [Order(sessions.ORDERS["NAME"])]
    first = await sessions.page(core, actor, SessionFilter(), order, PageArgs(first=4))
    args = PageArgs(first=2, after=first.cursors[-1])
    together = await nested.pages(core, actor, listed, within, order, args)
    assert any(page.rows for page in together.values())
    for parent in within:
        page = await sessions.page(core, actor, SessionFilter(user_id=parent), order, args)
        assert shown(together[parent]) == shown(page)


async def test_a_page_that_cannot_be_is_refused(core: Core, make: Factories) -> None:
    with pytest.raises(BadInput):
        await nested.pages(
            core,
            await make.superadmin(),
            nested.LISTS["sessions", "user_id"],
            ["usr_x"],
            [],
            PageArgs(first=101),
        )


def shown(page: Any) -> Any:
    return [row.id for row in page.rows], list(page.cursors), page.has_next, page.has_previous


async def test_no_more_rows_of_a_parent_are_counted_than_are_told(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.paging.COUNT_LIMIT_WITHIN", 3)
    large, small = await make.group(), await make.group()
    for _ in range(5):
        await make.member(large, await make.user())
    await make.member(small, await make.user())
    admin, within = await make.superadmin(), [large.id, small.id]
    totals = await nested.totals(core, admin, nested.LISTS["users", "group_id"], within)
    assert totals == {large.id: Total(3, exact=False), small.id: Total(1, exact=True)}
