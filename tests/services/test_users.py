"""Users: who makes them, who changes what of whom, and that nobody is locked out of the whole."""

import asyncio
from collections import Counter

import pytest

from services import auth, users
from services.bus import Revoked
from services.core import Core
from services.db.tables import User
from services.errors import BadInput, BerthError, Conflict, Forbidden, NotFound, Unauthenticated
from services.paging import PageArgs
from services.permissions import ROLES
from services.users import NewUser, UserChanges, UserFilter, UserSpec
from tests.factories import PASSWORD, Factories

ADDRESS = "192.0.2.1"


async def test_a_new_user_has_a_keypair_and_logs_in(core: Core, make: Factories) -> None:
    admin, default = await make.superadmin(), await make.policy(name="default")
    group = await make.group()
    spec = UserSpec(
        group.domain_id,
        "New@Example.org",
        "새 사용자",
        password=PASSWORD,
        group_ids=[group.id],
        must_change_password=True,
    )
    new = await users.create(core, admin, spec)
    assert (new.user.email, new.user.role, new.ticket) == ("new@example.org", "USER", None)
    assert (new.keypair.policy_id, new.user.main_keypair_id) == (default.id, new.keypair.id)
    result = await auth.login(core, "new@example.org", PASSWORD, address=ADDRESS)
    assert result.actor.must_change_password
    assert result.actor.group_ids == frozenset([group.id])
    assert await auth.login_with_keypair(core, new.keypair.access_key, new.secret_key, address=ADDRESS)


async def test_without_a_password_there_is_a_link_to_choose_one(core: Core, make: Factories) -> None:
    admin, domain = await make.superadmin(), await make.domain()
    new = await users.create(core, admin, UserSpec(domain.id, "new@example.org", "new"))
    assert new.ticket is not None
    assert new.ticket not in repr(new)
    result = await auth.redeem_ticket(core, new.ticket, PASSWORD, address=ADDRESS)
    assert result.actor.user_id == new.user.id


async def test_all_wrong_fields_are_named_together(core: Core, make: Factories) -> None:
    spec = UserSpec("", "nobody", " ", "a\nb", "\0", password="short", role="GOD", idempotency_key="")
    with pytest.raises(BadInput) as refused:
        await users.create(core, await make.superadmin(), spec)
    assert list(dict.fromkeys(path for path, _ in refused.value.fields)) == [
        "input.email",
        "input.name",
        "input.fullName",
        "input.description",
        "input.idempotencyKey",
        "input.role",
        "input.password",
    ]


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "@b",
        "a@",
        "a b@c.d",
        "a@b..c",
        "a@-b",
        "a@b\n.c",
        "é@b.c",
        "a" * 65 + "@b.c",
        "a@" + "b" * 300,
        "\ud800@b.c",
        "a@b.c\0",
    ],
)
async def test_what_is_no_address_is_refused(core: Core, make: Factories, email: str) -> None:
    with pytest.raises(BadInput) as refused:
        await users.create(core, await make.superadmin(), UserSpec((await make.domain()).id, email, "new"))
    assert refused.value.path == "input.email"


@pytest.mark.parametrize("role", ["DOMAIN_ADMIN", "USER"])
async def test_only_a_superadmin_makes_and_shuts_out_users(core: Core, make: Factories, role: str) -> None:
    user = await make.user(role=role)
    peer = await make.user(domain_id=user.domain_id)
    actor = make.actor(user)
    with pytest.raises(Forbidden):
        await users.create(core, actor, UserSpec(user.domain_id, "new@example.org", "new"))
    for outcome in (
        *await users.deactivate(core, actor, [peer.id]),
        *await users.reactivate(core, actor, [peer.id]),
    ):
        assert isinstance(outcome.error, Forbidden if role == "DOMAIN_ADMIN" else (Forbidden, NotFound))
    with pytest.raises((Forbidden, NotFound)):
        await users.edit(core, actor, peer.id, UserChanges(active=False))
    assert (await make.fresh(peer)).active


async def test_groups_are_of_the_users_domain(core: Core, make: Factories) -> None:
    admin, domain, foreign = await make.superadmin(), await make.domain(), await make.group()
    with pytest.raises(NotFound) as refused:
        await users.create(core, admin, UserSpec(domain.id, "new@example.org", "new", group_ids=[foreign.id]))
    assert refused.value.path == "input.groupIds"
    page = await users.page(core, admin, UserFilter(search="new@example.org"), [], PageArgs())
    assert list(page.rows) == []


async def test_an_address_is_taken_once_in_all_domains(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    one, two = await make.domain(), await make.domain()
    await users.create(core, admin, UserSpec(one.id, "new@example.org", "new"))
    with pytest.raises(Conflict) as refused:
        await users.create(core, admin, UserSpec(two.id, "NEW@example.org", "new"))
    assert refused.value.path == "input.email"


async def test_of_many_who_want_an_address_at_once_one_gets_it(core: Core, make: Factories) -> None:
    admin, domain = await make.superadmin(), await make.domain()
    spec = UserSpec(domain.id, "new@example.org", "new")
    outcomes = await asyncio.gather(
        *(users.create(core, admin, spec) for _ in range(6)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {NewUser: 1, Conflict: 5}


async def test_an_administrator_of_the_domain_changes_its_users(core: Core, make: Factories) -> None:
    admin = await make.user(role="DOMAIN_ADMIN")
    peer = await make.user(domain_id=admin.domain_id)
    group = await make.group(domain_id=admin.domain_id)
    changes = UserChanges(
        name="renamed",
        full_name="Full Name",
        description="d",
        role="DOMAIN_ADMIN",
        must_change_password=True,
        group_ids=[group.id],
    )
    changed = await users.edit(core, make.actor(admin), peer.id, changes)
    assert (changed.name, changed.full_name, changed.description) == ("renamed", "Full Name", "d")
    assert (changed.role, changed.must_change_password) == ("DOMAIN_ADMIN", True)
    page = await users.page(core, await make.superadmin(), UserFilter(group_id=group.id), [], PageArgs())
    assert [user.id for user in page.rows] == [peer.id]


#: Each thing that can be set of a user.
EVERY_CHANGE = {
    "name": UserChanges(name="set"),
    "full_name": UserChanges(full_name="set"),
    "description": UserChanges(description="set"),
    "password": UserChanges(password="other-horse-3"),
    "must_change_password": UserChanges(must_change_password=True),
    "role": UserChanges(role="SUPERADMIN"),
    "active": UserChanges(active=False),
    "domain_id": UserChanges(domain_id="dom_01jd0000000000000000000000"),
    "group_ids": UserChanges(group_ids=[]),
    "total_slots": UserChanges(total_slots=[]),
    "max_concurrent_sessions": UserChanges(max_concurrent_sessions=None),
}


def test_every_change_is_tried() -> None:
    assert set(EVERY_CHANGE) == set(UserChanges.__dataclass_fields__)


@pytest.mark.parametrize("changed", EVERY_CHANGE)
async def test_nothing_of_a_superior_or_a_stranger_is_set(core: Core, make: Factories, changed: str) -> None:
    domain = await make.domain()
    for role in ("DOMAIN_ADMIN", "USER"):
        actor = make.actor(await make.user(domain=domain, role=role))
        for target in (await make.user(domain=domain, role="SUPERADMIN"), await make.user()):
            with pytest.raises((Forbidden, NotFound)):
                await users.edit(core, actor, target.id, EVERY_CHANGE[changed])
            fresh = await make.fresh(target)
            columns = [column.key for column in User.__table__.columns]
            assert all(getattr(fresh, name) == getattr(target, name) for name in columns)


async def test_only_a_superadmin_moves_users_to_another_domain(core: Core, make: Factories) -> None:
    admin = await make.user(role="DOMAIN_ADMIN")
    peer, other = await make.user(domain_id=admin.domain_id), await make.domain()
    old = await make.group(domain_id=admin.domain_id, members=[peer])
    new = await make.group(domain=other)
    with pytest.raises(Forbidden):
        await users.edit(core, make.actor(admin), peer.id, UserChanges(domain_id=other.id))
    superadmin = await make.superadmin()
    moved = await users.edit(core, superadmin, peer.id, UserChanges(domain_id=other.id, group_ids=[new.id]))
    assert moved.domain_id == other.id
    for group, members in ((old, []), (new, [peer.id])):
        page = await users.page(core, superadmin, UserFilter(group_id=group.id), [], PageArgs())
        assert [user.id for user in page.rows] == members


async def test_who_has_live_sessions_is_not_moved(core: Core, make: Factories) -> None:
    admin, user, other = await make.superadmin(), await make.user(), await make.domain()
    session = await make.session(user=user)
    with pytest.raises(Conflict) as refused:
        await users.edit(core, admin, user.id, UserChanges(domain_id=other.id))
    assert refused.value.path == "input.domainId"
    assert session.domain_id == (await make.fresh(user)).domain_id


@pytest.mark.parametrize(
    "changes",
    [
        UserChanges(role="DOMAIN_ADMIN"),
        UserChanges(password="other-horse-3"),
        UserChanges(active=False),
    ],
)
async def test_what_a_login_stands_on_ends_it_when_it_changes(
    core: Core, make: Factories, changes: UserChanges
) -> None:
    admin, user = await make.superadmin(), await make.user()
    result = await auth.login(core, user.email, PASSWORD, address=ADDRESS)
    assert await auth.authenticate_bearer(core, result.access_token)
    async with core.bus.subscribe(Revoked) as heard:
        changed = await users.edit(core, admin, user.id, changes)
        assert heard.drain() == [Revoked(user.id)]
    assert changed.epoch == user.epoch + 1
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, result.access_token)
    with pytest.raises(Unauthenticated):
        await auth.refresh(core, result.refresh_token)


async def test_what_it_does_not_stand_on_leaves_it(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    result = await auth.login(core, user.email, PASSWORD, address=ADDRESS)
    same = UserChanges(name="renamed", role="USER", active=True, domain_id=user.domain_id)
    await users.edit(core, admin, user.id, same)
    assert await auth.authenticate_bearer(core, result.access_token)


async def test_a_user_comes_back_without_the_old_logins(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    result = await auth.login(core, user.email, PASSWORD, address=ADDRESS)
    await users.deactivate(core, admin, [user.id])
    with pytest.raises(Unauthenticated):
        await auth.login(core, user.email, PASSWORD, address=ADDRESS)
    (outcome,) = await users.reactivate(core, admin, [user.id])
    assert outcome.row is not None
    assert outcome.row.active
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, result.access_token)
    assert await auth.login(core, user.email, PASSWORD, address=ADDRESS)


async def test_many_are_answered_each_for_itself(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    outcomes = await users.deactivate(core, admin, [user.id, admin.user_id, "nobody", user.id])
    assert [type(outcome.error) for outcome in outcomes] == [type(None), Conflict, NotFound]


async def test_nobody_shuts_themselves_out_or_lowers_themselves(core: Core, make: Factories) -> None:
    admin, _second = await make.superadmin(), await make.superadmin()
    with pytest.raises(Conflict):
        await users.edit(core, admin, admin.user_id, UserChanges(active=False))
    with pytest.raises(Conflict):
        await users.edit(core, admin, admin.user_id, UserChanges(role="USER"))


async def test_two_superadmins_who_shut_each_other_out_leave_one(core: Core, make: Factories) -> None:
    one, two = await make.superadmin(), await make.superadmin()
    outcomes = await asyncio.gather(
        users.deactivate(core, one, [two.user_id]), users.deactivate(core, two, [one.user_id])
    )
    assert Counter(type(outcome.error) for (outcome,) in outcomes) == {type(None): 1, Conflict: 1}
    page = await users.page(core, one, UserFilter(role="SUPERADMIN", active=True), [], PageArgs())
    assert len(page.rows) == 1


async def test_superadmins_who_lower_each_other_in_a_ring_leave_one(core: Core, make: Factories) -> None:
    ring = [await make.superadmin() for _ in range(4)]
    outcomes = await asyncio.gather(
        *(users.edit(core, ring[n], ring[(n + 1) % 4].user_id, UserChanges(role="USER")) for n in range(4)),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in outcomes) == {User: 3, Conflict: 1}
    page = await users.page(core, ring[0], UserFilter(role="SUPERADMIN", active=True), [], PageArgs())
    assert len(page.rows) == 1


async def test_a_domain_has_users_of_every_role_to_filter(core: Core, make: Factories) -> None:
    domain, admin = await make.domain(), await make.superadmin()
    made = {role: await make.user(domain=domain, role=role, active=role != "USER") for role in ROLES}
    for role, user in made.items():
        page = await users.page(core, admin, UserFilter(domain_id=domain.id, role=role), [], PageArgs())
        assert [row.id for row in page.rows] == [user.id]
    page = await users.page(core, admin, UserFilter(domain_id=domain.id, active=False), [], PageArgs())
    assert [row.id for row in page.rows] == [made["USER"].id]


async def test_an_administrator_sees_the_domain_and_a_user_oneself(core: Core, make: Factories) -> None:
    domain = await make.domain()
    people = [await make.user(domain=domain) for _ in range(3)]
    admin = await make.user(domain=domain, role="DOMAIN_ADMIN")
    await make.user()
    page = await users.page(core, make.actor(admin), UserFilter(), [], PageArgs())
    assert {row.id for row in page.rows} == {admin.id, *(user.id for user in people)}
    page = await users.page(core, make.actor(people[0]), UserFilter(), [], PageArgs())
    assert [row.id for row in page.rows] == [people[0].id]


async def test_a_refused_change_changes_nothing(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    with pytest.raises(BerthError):
        await users.edit(
            core, admin, user.id, UserChanges(name="renamed", role="DOMAIN_ADMIN", group_ids=["no"])
        )
    fresh = await make.fresh(user)
    assert (fresh.name, fresh.role, fresh.epoch) == (user.name, user.role, user.epoch)
