"""One table of permissions, two readings of it: what SQL lets through and what Python allows are the same."""

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from services import permissions, sessions, subjects, users
from services.core import Core
from services.db.tables import (
    Agent,
    Announcement,
    AuditEvent,
    Base,
    Domain,
    Group,
    Identity,
    IdentityProvider,
    Image,
    Invitation,
    Kernel,
    Keypair,
    Login,
    Mail,
    Registry,
    ResourceGroup,
    ResourcePolicy,
    ResourcePreset,
    Session,
    Task,
    User,
)
from services.errors import BerthError, Forbidden, NotFound
from services.permissions import ACTIONS_ON, RANK, READ, ROLES, TABLE, Actor, Reach, Subject
from services.users import UserChanges
from tests.factories import Factories


async def populate(core: Core, make: Factories, seed: int) -> list[Actor]:
    """Two domains full of everything, tied together at random. Returns everybody who may ask."""
    chance = random.Random(seed)
    domains = [await make.domain() for _ in range(2)]
    policies = [await make.policy() for _ in range(3)]
    groups = [await make.group(domain=chance.choice(domains)) for _ in range(4)]
    people: list[tuple[User, list[Group]]] = []
    for role in (*ROLES, *ROLES, "USER", "USER"):
        domain = chance.choice(domains)
        own = [group for group in groups if group.domain_id == domain.id and chance.random() < 0.5]
        people.append(
            (await make.user(domain=domain, groups=own, role=role, policy=chance.choice(policies)), own)
        )
    for user, _ in people:
        await make.login(user=user)
        await make.identity(user=user)
        await make.audit_event(user=user)
        if chance.random() < 0.5:
            await make.keypair(user=user, policy=chance.choice(policies))
    grantees = [*domains, *groups, *(user for user, _ in people)]
    resource_groups = [await make.resource_group(granted=chance.sample(grantees, k)) for k in (0, 1, 2, 3)]
    agents = [await make.agent(resource_group=chance.choice(resource_groups)) for _ in range(3)]
    images = [
        await make.image(agents=chance.sample(agents, 2), active=active) for active in (True, False, False)
    ]
    tenants = [*domains, *groups]
    registries = [await make.registry(granted=chance.sample(tenants, k), active=k < 3) for k in (0, 1, 2, 3)]
    images += [await make.image(registry_host=registry.hostname) for registry in registries]
    for user, own in people:
        # Some are in a group that their user has left since.
        for group in chance.sample([*own, *groups], 2):
            session = await make.session(
                user=user,
                group=group,
                image=chance.choice(images),
                resource_group=chance.choice(resource_groups),
            )
            await make.kernel(session=session, agent=chance.choice(agents))
        await make.task(user=user)
    await make.preset()
    await make.mail()
    later = make.core.now() + timedelta(days=1)
    for domain in (None, *domains):
        await make.announcement(domain=domain, author_id=people[0][0].id)
        await make.announcement(domain=domain, author_id=people[0][0].id, starts_at=later)
        await make.announcement(
            domain=domain, author_id=people[0][0].id, ends_at=make.core.now() - timedelta(minutes=1)
        )
    await make.identity_provider()
    for domain in domains:
        await make.invitation(domain=domain)
    actors = [make.actor(user, own) for user, own in people]
    return [*actors, *(make.actor(user, own, must_change_password=True) for user, own in people[:3])]


@pytest.mark.parametrize("seed", range(3))
async def test_sql_and_python_agree_on_every_table_action_and_actor(
    core: Core, make: Factories, seed: int
) -> None:
    actors = await populate(core, make, seed)
    outcomes: set[bool] = set()
    async with core.db.read() as db:
        for table, read in READ.items():
            rows: list[Any] = list((await db.scalars(select(table))).all())
            assert rows, table
            for actor in actors:
                whose = await subjects.of(db, actor, rows)
                for action in (read, *ACTIONS_ON.get(table, ())):
                    by_sql = set(
                        await db.scalars(select(table.id).where(permissions.visible(actor, table, action)))
                    )  # type: ignore[attr-defined]
                    by_python = {row.id for row in rows if permissions.allows(actor, action, whose[row.id])}
                    assert by_sql == by_python, (actor.role, action)
                    outcomes |= {row.id in by_sql for row in rows}
    assert outcomes == {True, False}


async def test_whose_rows_are_costs_one_statement_however_many(
    core: Core, make: Factories, count_statements
) -> None:  # type: ignore[no-untyped-def]
    actors = await populate(core, make, 7)
    for table in ACTIONS_ON:
        async with core.db.read() as db:
            rows: list[Base] = list((await db.scalars(select(table))).all())
        with count_statements(core) as statements:
            allowed = await subjects.allowed_actions(core, actors[1], rows)
        assert len(statements) <= 2, statements  # BEGIN may be one
        assert len(allowed) == len(rows)


async def test_what_is_listed_as_allowed_is_what_is_allowed(core: Core, make: Factories) -> None:
    domain = await make.domain()
    admin = await make.user(domain=domain, role="DOMAIN_ADMIN")
    peer, superior = await make.user(domain=domain), await make.user(domain=domain, role="SUPERADMIN")
    allowed = await subjects.allowed_actions(core, make.actor(admin), [admin, peer, superior])
    assert allowed[peer.id] == ["updateUser", "updateUsers", "resetTotp", "createKeypair"]
    assert allowed[superior.id] == []
    assert allowed[admin.id] == ["updateUser", "updateUsers", "resetTotp", "createKeypair"]


def test_every_action_on_an_object_is_in_the_table() -> None:
    listed = {action for actions in ACTIONS_ON.values() for action in actions} | set(READ.values())
    assert listed <= set(TABLE)
    assert set(TABLE) - listed == {
        "confirmTotp",
        "cleanUpImages",
        "createIdentityProvider",
        "createDomain",
        "disableTotp",
        "startTotp",
        "updateProfile",
        "createAnnouncement",
        "createResourcePolicy",
        "createRegistry",
        "createResourceGroup",
        "createResourcePreset",
        "recalculateUsage",
        "read:setting",
        "updateSettings",
        "regenerateRecoveryCodes",
        "generateSshKeypair",
        "setSshPublicKeys",
        "read:usage",
    }


def test_who_ranks_higher_is_allowed_no_less() -> None:
    order = [Reach.NOTHING, Reach.MINE, Reach.DOMAIN, Reach.EVERYTHING]
    for action, reaches in TABLE.items():
        superadmin, admin, user = (order.index(reach) for reach in reaches)
        assert superadmin >= admin >= user, action


@pytest.mark.parametrize("action", TABLE)
def test_before_a_new_password_nothing_but_reading_ones_own(action: str) -> None:
    actor = Actor("usr_1", "dom_1", "SUPERADMIN", must_change_password=True)
    foreign = Subject("dom_2", "grp_2", "usr_2")
    assert not permissions.allows(actor, action, foreign)
    if not action.startswith("read:"):
        assert permissions.reach(actor, action) is Reach.NOTHING
        with pytest.raises(Forbidden, match="password"):
            permissions.require(actor, action, foreign)


def test_what_may_not_be_known_is_answered_like_what_is_not_there() -> None:
    actor = Actor("usr_1", "dom_1", "USER")
    with pytest.raises(NotFound):
        permissions.require(actor, "terminateSessions", Subject("dom_2", "grp_2", "usr_2"), visible=False)
    with pytest.raises(Forbidden):
        permissions.require(actor, "terminateSessions", Subject("dom_1", "grp_2", "usr_2"), visible=True)


async def test_rank_rises_only_by_a_superior(core: Core, make: Factories) -> None:
    """Every role sets every role on everybody, in the own and another domain."""
    home, abroad = await make.domain(), await make.domain()
    await make.superadmin(domain=home)
    done = 0
    for role in ROLES:
        actor_row = await make.user(domain=home, role=role)
        for domain in (home, abroad):
            for old in ROLES:
                for new in ROLES:
                    target = await make.user(domain=domain, role=old)
                    try:
                        await users.edit(core, make.actor(actor_row), target.id, UserChanges(role=new))
                    except BerthError:
                        assert (await make.fresh(target)).role == old
                        continue
                    done += 1
                    assert (await make.fresh(target)).role == new
                    assert role != "USER"
                    assert RANK[old] <= RANK[role]
                    assert RANK[new] <= RANK[role]
                    assert role == "SUPERADMIN" or domain is home
    # A superadmin all 18, an administrator of the domain the 4 among users and peers at home.
    assert done == 22


async def test_an_administrator_of_a_domain_does_not_end_a_superiors_session(
    core: Core, make: Factories
) -> None:
    domain = await make.domain()
    group = await make.group(domain=domain)
    admin = make.actor(await make.user(domain=domain, role="DOMAIN_ADMIN"))
    for role, allowed in (("SUPERADMIN", False), ("DOMAIN_ADMIN", True), ("USER", True)):
        session = await make.session(user=await make.user(domain=domain, role=role), group=group)
        await make.kernel(session=session)
        (outcome,) = await sessions.terminate(core, admin, [session.id])
        assert isinstance(outcome.error, Forbidden) is not allowed
        assert (
            "terminateSessions" in (await subjects.allowed_actions(core, admin, [session]))[session.id]
        ) is allowed


def test_tables_without_a_reading_rule_are_not_read_by_actors() -> None:
    """A new noun needs a line in READ before `visible` lets anything of it through."""
    assert set(READ) == {
        Domain,
        Group,
        User,
        Login,
        Mail,
        Invitation,
        Identity,
        IdentityProvider,
        Keypair,
        ResourcePolicy,
        ResourceGroup,
        ResourcePreset,
        AuditEvent,
        Agent,
        Announcement,
        Image,
        Registry,
        Task,
        Session,
        Kernel,
    }
