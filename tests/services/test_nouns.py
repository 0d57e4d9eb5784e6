"""What the lists of all governed nouns promise: scope, pages, search, constant cost."""

import base64
import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from services import (
    agents,
    announcements,
    domains,
    groups,
    identity_providers,
    ids,
    images,
    invitations,
    keypairs,
    mails,
    policies,
    presets,
    registries,
    resource_groups,
    sessions,
    tasks,
    users,
)
from services.core import Core
from services.errors import BadInput, NotFound
from services.paging import COUNT_LIMIT, Order, PageArgs
from tests.factories import Factories


@dataclass(frozen=True)
class Case:
    module: ModuleType
    where: Any
    #: Of which factory its rows are.
    kind: str

    async def row(self, make: Factories, text: str) -> Any:
        """Make one row that has a text in what is searched."""
        if self.kind == "keypair":
            access_key = text.upper() + ids.new("key")[4:].upper()
            return await make.keypair(access_key=access_key, last_used_at=next(_USED))
        if self.kind in ("user", "agent", "image", "session", "mail"):
            return await getattr(make, self.kind)(name=f"{text}-{ids.new('usr')[4:]}")
        if self.kind == "announcement":
            return await make.announcement(domain=await make.domain(), text=f"about {text}")
        if self.kind == "registry":
            return await make.registry(hostname=f"{text}-{ids.new('usr')[4:]}.example")
        if self.kind == "task":
            return await make.task(message=f"about {text}")
        return await getattr(make, self.kind)(description=f"about {text}")


_NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
#: Never, at the same moment, a moment later: what an order has to put up with.
_USED = itertools.cycle([None, _NOW, _NOW + timedelta(microseconds=1), _NOW, _NOW + timedelta(days=1)])


def cursor(*values: object) -> str:
    """A cursor as nobody was given."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


CASES = {
    "domains": Case(domains, domains.DomainFilter, "domain"),
    "groups": Case(groups, groups.GroupFilter, "group"),
    "users": Case(users, users.UserFilter, "user"),
    "keypairs": Case(keypairs, keypairs.KeypairFilter, "keypair"),
    "announcements": Case(announcements, announcements.AnnouncementFilter, "announcement"),
    "presets": Case(presets, presets.PresetFilter, "preset"),
    "policies": Case(policies, policies.PolicyFilter, "policy"),
    "resource_groups": Case(resource_groups, resource_groups.ResourceGroupFilter, "resource_group"),
    "agents": Case(agents, agents.AgentFilter, "agent"),
    "images": Case(images, images.ImageFilter, "image"),
    "mails": Case(mails, mails.MailFilter, "mail"),
    "registries": Case(registries, registries.RegistryFilter, "registry"),
    "identity_providers": Case(identity_providers, identity_providers.ProviderFilter, "identity_provider"),
    "invitations": Case(invitations, invitations.InvitationFilter, "invitation"),
    "tasks": Case(tasks, tasks.TaskFilter, "task"),
    "sessions": Case(sessions, sessions.SessionFilter, "session"),
}
#: Of which everybody sees all.
_PUBLIC = ("presets", "images")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


async def test_pages_forwards_and_backwards_give_every_row_once(
    core: Core, make: Factories, case: Case
) -> None:
    admin = await make.superadmin()
    made = {(await case.row(make, "needle")).id for _ in range(7)}
    module, where = case.module, case.where(search="needle")
    for name, column in module.ORDERS.items():
        for descending in (False, True):
            order = [Order(column, descending)]
            forwards: list[str] = []
            args = PageArgs(first=3)
            while True:
                page = await module.page(core, admin, where, order, args)
                forwards += [row.id for row in page.rows]
                if not page.has_next:
                    break
                args = PageArgs(first=3, after=page.cursors[-1])
            backwards: list[str] = []
            args = PageArgs(last=3)
            while True:
                page = await module.page(core, admin, where, order, args)
                backwards = [row.id for row in page.rows] + backwards
                if not page.has_previous:
                    break
                args = PageArgs(last=3, before=page.cursors[0])
            assert forwards == backwards, (name, descending)
            assert set(forwards) == made
            assert len(forwards) == 7
    total = await module.total(core, admin, where)
    assert (total.count, total.exact) == (7, True)


async def test_search_finds_by_text_and_by_id_and_takes_no_wildcards(
    core: Core, make: Factories, case: Case
) -> None:
    admin = await make.superadmin()
    row, _other = await case.row(make, "needle"), await case.row(make, "hay")

    async def found(text: str) -> list[str]:
        page = await case.module.page(core, admin, case.where(search=text), [], PageArgs())
        return [one.id for one in page.rows]

    assert await found("needle") == [row.id]
    assert await found("NEEDLE") == [row.id]
    assert await found(row.id.upper()) == [row.id]
    for nothing in ("need%e", "_" * 200, "needle\0", "\ud800", "' OR 1=1 --"):
        assert await found(nothing) == []


async def test_a_page_costs_the_same_for_one_row_and_for_many(
    core: Core,
    make: Factories,
    case: Case,
    count_statements,  # type: ignore[no-untyped-def]
) -> None:
    admin = await make.superadmin()

    async def cost() -> int:
        with count_statements(core) as statements:
            page = await case.module.page(core, admin, case.where(), [], PageArgs(first=50))
            await case.module.many(core, admin, [row.id for row in page.rows])
            await case.module.total(core, admin, case.where())
        return len([one for one in statements if one.startswith("SELECT")])

    await case.row(make, "one")
    few = await cost()
    for _ in range(10):
        await case.row(make, "more")
    assert await cost() == few == 3


@pytest.mark.parametrize(
    "row_id", ["", "nothing", "\0", "\ud800", "usr_", "ses_01jd0000000000000000000000", "x" * 5000]
)
async def test_an_id_that_cannot_be_is_answered_like_one_that_is_not(
    core: Core, make: Factories, row_id: str
) -> None:
    admin = await make.superadmin()
    for case in CASES.values():
        with pytest.raises(NotFound):
            await case.module.get(core, admin, row_id)


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name not in _PUBLIC])
async def test_a_foreign_row_is_answered_like_one_that_is_not(
    core: Core, make: Factories, case: Case
) -> None:
    stranger = make.actor(await make.user())
    row = await case.row(make, "needle")
    with pytest.raises(NotFound) as foreign:
        await case.module.get(core, stranger, row.id)
    with pytest.raises(NotFound) as absent:
        await case.module.get(core, stranger, ids.new(row.id[:3]))
    assert foreign.value.message == absent.value.message
    page = await case.module.page(core, stranger, case.where(search="needle"), [], PageArgs())
    assert list(page.rows) == []
    assert (await case.module.total(core, stranger, case.where(search="needle"))).count == 0


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (PageArgs(first=101), "first"),
        (PageArgs(first=-1), "first"),
        (PageArgs(last=101), "last"),
        (PageArgs(first=1, last=1), "last"),
        (PageArgs(after="nonsense"), "after"),
        (PageArgs(after="\ud800"), "after"),
        (PageArgs(before="WzFd"), "before"),
        (PageArgs(after=cursor()), "after"),
        (PageArgs(after=cursor("a")), "after"),
        (PageArgs(after=cursor("a", "b", "c")), "after"),
        (PageArgs(after=cursor("\0", "x")), "after"),
        (PageArgs(after=cursor("a", "\0")), "after"),
        (PageArgs(after=cursor(None, "x")), "after"),
        (PageArgs(after=cursor(1, "x")), "after"),
        (PageArgs(after="W" * 100_000), "after"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(
    core: Core, make: Factories, args: PageArgs, path: str
) -> None:
    admin = await make.superadmin()
    with pytest.raises(BadInput) as refused:
        await users.page(core, admin, users.UserFilter(), [Order(users.ORDERS["NAME"])], args)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUERY_COUNT", 10**30),
        ("QUERY_COUNT", True),
        ("QUERY_COUNT", "1"),
        ("QUERY_COUNT", 1.5),
        ("LAST_USED_AT", "yesterday"),
        ("LAST_USED_AT", "9999-12-31T23:59:59-23:00"),
        ("LAST_USED_AT", 5),
    ],
)
async def test_a_cursor_with_a_value_of_another_kind_is_refused(
    core: Core, make: Factories, name: str, value: object
) -> None:
    admin = await make.superadmin()
    with pytest.raises(BadInput):
        await keypairs.page(
            core,
            admin,
            keypairs.KeypairFilter(),
            [Order(keypairs.ORDERS[name])],
            PageArgs(after=cursor(value, "x")),
        )


async def test_a_cursor_of_another_order_is_refused(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    await make.keypair()
    by_use = [Order(keypairs.ORDERS["LAST_USED_AT"])]
    page = await keypairs.page(core, admin, keypairs.KeypairFilter(), by_use, PageArgs(first=1))
    with pytest.raises(BadInput):
        await keypairs.page(
            core,
            admin,
            keypairs.KeypairFilter(),
            [Order(keypairs.ORDERS["QUERY_COUNT"])],
            PageArgs(after=page.cursors[0]),
        )


async def test_a_total_above_the_limit_says_that_it_is_not_exact(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert COUNT_LIMIT == 10_000
    monkeypatch.setattr("services.paging.COUNT_LIMIT", 3)
    admin = await make.superadmin()
    for _ in range(5):
        await make.policy()
    total = await policies.total(core, admin, policies.PolicyFilter())
    assert (total.count, total.exact) == (3, False)
