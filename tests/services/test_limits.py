"""Limits at every level hold: in the queue, in the plan, and in the transaction that gives a session its node."""

import asyncio
import random
import runpy
from dataclasses import dataclass, field
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, delete, select, update

from services import ids, leases, resource_groups, sessions, users
from services.core import Core
from services.db.migrate import MIGRATIONS
from services.db.tables import Kernel, Occupancy, ResourceGroup, ResourcePolicy, Session, User
from services.errors import Forbidden, QuotaExceeded
from services.permissions import Actor
from services.resource_groups import ResourceGroupChanges, ResourceGroupSpec
from services.scheduling import dispatch as dispatch_module
from services.scheduling import limits
from services.scheduling.dispatch import Dispatcher
from services.scheduling.kept import Kept
from services.scheduling.limits import KERNELS, Limit
from services.scheduling.occupancy import SESSIONS
from services.users import UserChanges
from tests.factories import Factories
from tests.services.world import World, ledger_is_true

GIB = 2**30
SCOPES = ("user", "resource group", "group", "domain")


async def limited(core: Core, scope: str, **most: Any) -> tuple[World, Actor]:
    """A world in which one scope may have so much."""
    named = {"total_slots": most.get("slots", {}), "max_concurrent_sessions": most.get("concurrent")}
    if scope != "user":
        prefix = scope.replace(" ", "_")
        values = {
            f"{prefix}_slots": named["total_slots"],
            f"{prefix}_concurrent": named["max_concurrent_sessions"],
        }
        world = await World(core).build(**values)
        return world, await world.user()
    world = await World(core).build()
    return world, await world.user(**named)


@pytest.mark.parametrize("scope", SCOPES)
async def test_what_can_never_fit_is_refused_at_once_with_the_limit_named(core: Core, scope: str) -> None:
    world, actor = await limited(core, scope, slots={"cpu": 2000})
    await world.agent()
    with pytest.raises(QuotaExceeded) as refused:
        await world.launch(actor, cpu="3")
    assert (refused.value.extra["slot"], refused.value.extra["limit"]) == ("cpu", "2")
    assert f"the {scope} '" in refused.value.message
    await world.launch(actor, cpu="2")


@pytest.mark.parametrize("scope", SCOPES)
async def test_where_no_session_may_be_none_waits(core: Core, scope: str) -> None:
    world, actor = await limited(core, scope, concurrent=0)
    await world.agent()
    with pytest.raises(QuotaExceeded) as refused:
        await world.launch(actor)
    assert refused.value.extra["slot"] == SESSIONS


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("slot", ["cpu", SESSIONS])
async def test_what_does_not_fit_now_waits_with_the_limit_as_the_reason_until_there_is_room(
    core: Core, scope: str, slot: str
) -> None:
    most = {"slots": {"cpu": 1000}} if slot == "cpu" else {"concurrent": 1}
    world, actor = await limited(core, scope, **most)
    await world.agent()
    first, second = await world.launch(actor), await world.launch(actor)
    await world.dispatch()
    reason = (await world.session(second.id)).pending_reason
    assert reason is not None
    assert (reason["code"], reason["slot"]) == ("LIMIT_REACHED", slot)
    assert reason["cap"] == (1000 if slot == "cpu" else 1)
    whose = {"resource group": world.resource_group, "group": world.group, "domain": world.domain}
    assert reason["scope"] == whose.get(scope, actor.user_id)
    await sessions.terminate(core, actor, [first.id], force=True)
    await world.dispatch()
    assert (await world.session(second.id)).status == "SCHEDULED"
    assert await ledger_is_true(core)


async def test_a_users_limit_is_over_all_keypairs(core: Core, make: Factories) -> None:
    world = await World(core).build()
    actor, _ = await world.user(max_concurrent_sessions=1), await world.agent()
    async with core.db.read() as db:
        user, policy = await db.get_one(User, actor.user_id), await db.get_one(ResourcePolicy, world.policy)
    other = await make.keypair(user=user, policy=policy)
    await world.launch(actor)
    await world.launch(Actor(actor.user_id, actor.domain_id, actor.role, actor.group_ids, other.id))
    await world.dispatch()
    async with core.db.read() as db:
        statuses = sorted(await db.scalars(select(Session.status)))
    assert statuses == ["PENDING", "SCHEDULED"]


async def test_a_limit_that_is_lowered_holds_for_what_waits(core: Core, make: Factories) -> None:
    world, admin = await World(core).build(), await make.superadmin()
    actor, _ = await world.user(), await world.agent()
    session = await world.launch(actor, cpu="2")
    await users.edit(core, admin, actor.user_id, UserChanges(total_slots=[("cpu", "1")]))
    await world.dispatch()
    assert (await world.session(session.id)).status == "PENDING"
    await users.edit(core, admin, actor.user_id, UserChanges(total_slots=[]))
    changes = ResourceGroupChanges(total_slots=[("mem", "1")])
    await resource_groups.edit(core, admin, world.resource_group, changes)
    await world.dispatch()
    assert (await world.session(session.id)).status == "PENDING"
    await resource_groups.edit(
        core, admin, world.resource_group, ResourceGroupChanges(total_slots=[], max_concurrent_sessions=1)
    )
    await world.dispatch()
    assert (await world.session(session.id)).status == "SCHEDULED"


def test_more_containers_than_a_limit_allows_are_refused_with_the_limit_named() -> None:
    limit = Limit("rgp_1", "the resource group 'r'", {}, kernels=2)
    limits.check(limit, {"cpu": 1000}, kernels=2)
    limits.check(Limit("usr_1", "the user 'u'", {}), {"cpu": 1000}, kernels=99)
    with pytest.raises(QuotaExceeded) as refused:
        limits.check(limit, {"cpu": 1000}, kernels=3)
    assert refused.value.extra == {
        "slot": KERNELS, "whose": "the resource group 'r'", "asked": "3", "limit": "2",
    }  # fmt: skip


@pytest.mark.parametrize(("policy", "nodes"), [(1, None), (2, 1), (1, 2)])
async def test_a_session_with_more_containers_than_its_limits_allow_by_now_gets_no_node(
    core: Core, policy: int, nodes: int | None
) -> None:
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session, single = await world.launch(actor), await world.launch(actor)
    async with core.db.write() as db:
        db.add(Kernel(id=ids.new("knl"), session_id=session.id, rank=1, hostname="sub1", slots=session.slots))
        await db.execute(update(Session).where(Session.id == session.id).values(cluster_size=2))
        await db.execute(update(ResourcePolicy).values(max_kernels_per_session=policy))
        await db.execute(update(ResourceGroup).values(max_kernels_per_session=nodes))
    await world.dispatch()
    assert (await world.session(session.id)).status == "PENDING"
    assert (await world.session(single.id)).status == "SCHEDULED"
    assert await ledger_is_true(core)


async def test_limits_are_set_read_and_lifted(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    spec = ResourceGroupSpec(
        "gpu", total_slots=[("cpu", "8")], max_concurrent_sessions=3, max_kernels_per_session=2
    )
    group = await resource_groups.create(core, admin, spec)
    assert (group.total_slots, group.max_concurrent_sessions, group.max_kernels_per_session) == (
        {"cpu": 8000}, 3, 2,
    )  # fmt: skip
    await resource_groups.edit(core, admin, group.id, ResourceGroupChanges(name="renamed"))
    assert (await make.fresh(group)).max_concurrent_sessions == 3
    lifted = ResourceGroupChanges(total_slots=[], max_concurrent_sessions=None, max_kernels_per_session=None)
    await resource_groups.edit(core, admin, group.id, lifted)
    fresh: ResourceGroup = await make.fresh(group)
    assert (fresh.total_slots, fresh.max_concurrent_sessions, fresh.max_kernels_per_session) == (
        {}, None, None,
    )  # fmt: skip
    await users.edit(
        core, admin, user.id, UserChanges(total_slots=[("cpu", "1.5")], max_concurrent_sessions=2)
    )
    limited_user: User = await make.fresh(user)
    assert (limited_user.total_slots, limited_user.max_concurrent_sessions) == ({"cpu": 1500}, 2)


async def test_nobody_but_a_superadmin_lifts_the_own_limits(core: Core, make: Factories) -> None:
    domain = await make.domain()
    admin = await make.user(domain=domain, role="DOMAIN_ADMIN", max_concurrent_sessions=1)
    user = await make.user(domain=domain)
    for changes in (UserChanges(max_concurrent_sessions=None), UserChanges(total_slots=[])):
        with pytest.raises(Forbidden, match="own limits"):
            await users.edit(core, make.actor(admin), admin.id, changes)
        await users.edit(core, make.actor(admin), user.id, changes)
    assert (await make.fresh(admin)).max_concurrent_sessions == 1


@pytest.mark.parametrize(
    ("revision", "scopes", "slots"),
    [
        ("limits_of_users_and_resource_groups", ("user", "resource_group"), ("cpu", "mem", SESSIONS)),
        ("lifetimes_backfill_and_faults", ("group", "domain"), (SESSIONS,)),
    ],
)
async def test_what_runs_when_the_limits_come_counts_for_them(
    core: Core, revision: str, scopes: tuple[str, ...], slots: tuple[str, ...]
) -> None:
    """A database of before has no such accounts: the migration opens them, or the end of a session would go below nought."""
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    session = await world.launch(actor)
    for _ in range(2):
        await world.launch(actor, cpu="0.5")
    await world.dispatch()
    await world.launch(actor)
    async with core.db.write() as db:
        await db.execute(
            delete(Occupancy).where(
                Occupancy.scope_id.in_(
                    [actor.user_id if one == "user" else getattr(world, one) for one in scopes]
                ),
                Occupancy.slot.in_(slots),
            )
        )
    assert not await ledger_is_true(core)

    def open_accounts(connection: Connection) -> None:
        path = MIGRATIONS / "versions"
        with Operations.context(MigrationContext.configure(connection)):
            runpy.run_path(str(next(path.glob(f"*_{revision}.py"))))["_open_accounts"]()

    async with core.db.engine.begin() as connection:
        await connection.run_sync(open_accounts)
    assert await ledger_is_true(core)
    await sessions.terminate(core, actor, [session.id], force=True)
    assert await ledger_is_true(core)


@dataclass
class Crowd:
    """Sessions of three users, with limits at every level that were drawn at random."""

    world: World
    caps: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    #: Committed states that were looked at.
    looks: int = 0

    async def look(self) -> None:
        """No account is beyond its limit in what is committed now: one statement sees one state."""
        async with self.world.core.db.read() as db:
            rows = await db.execute(select(Occupancy.scope_id, Occupancy.slot, Occupancy.used))
            over = [(*key, used) for *key, used in rows if used > self.caps.get((key[0], key[1]), used)]
        assert over == []
        self.looks += 1


async def crowd(core: Core, chance: random.Random) -> tuple[Crowd, list[Session], list[Actor]]:
    def slots() -> dict[str, int]:
        drawn = {"cpu": chance.randint(3, 12) * 500, "mem": chance.randint(3, 12) * GIB // 4}
        return {slot: amount for slot, amount in drawn.items() if chance.random() < 0.6}

    def count() -> int | None:
        return chance.choice((None, 2, 3, 5))

    world = await World(core).build(
        policy_slots=slots(),
        group_slots=slots(),
        domain_slots=slots(),
        resource_group_slots=slots(),
        resource_group_concurrent=count(),
        group_concurrent=count(),
        domain_concurrent=count(),
        concurrent=count(),
    )
    found = Crowd(world)
    actors = [await world.user(total_slots=slots(), max_concurrent_sessions=count()) for _ in range(3)]
    for _ in range(2):
        await world.agent(cpu=4000, mem=2 * GIB)
    made: list[Session] = []
    for _ in range(14):
        try:
            cpu, mem = chance.choice(("0.5", "1", "1.5")), chance.choice((GIB // 4, GIB // 2))
            made.append(await world.launch(chance.choice(actors), cpu, mem))
        except QuotaExceeded:
            continue
    async with core.db.read() as db:
        for limit in (await limits.of_sessions(db, made)).values():
            found.caps |= {(limit.scope_id, slot): most for slot, most in limit.slots.items()}
    return found, made, actors


@pytest.mark.parametrize("planned", ["with limits in mind", "as if there were none"])
@pytest.mark.parametrize("seed", range(4))
async def test_no_limit_is_exceeded_at_any_committed_state(
    core: Core, seed: int, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dispatchers that all believe to have the duty, sessions that end meanwhile, and one who looks all the time.

    Planned as if there were no limits, only the committing transactions stand between a plan and too much.
    """

    async def always(*_: object) -> bool:
        return True

    def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(leases, "holds", always)
    monkeypatch.setattr(dispatch_module, "_COMMIT", 2)
    if planned == "as if there were none":
        monkeypatch.setattr(Kept, "_enter_scope", nothing)
    chance = random.Random(seed)
    found, made, actors = await crowd(core, chance)
    ending = chance.sample(made, len(made) // 3)

    async def dispatch() -> None:
        dispatcher = Dispatcher(core)
        await dispatcher.take_duty()
        for _ in range(4):
            await dispatcher.cycle()

    async def end() -> None:
        for session in ending:
            owner = next(actor for actor in actors if actor.user_id == session.user_id)
            await sessions.terminate(core, owner, [session.id], force=True)

    async def watch() -> None:
        while not done.is_set():
            await found.look()

    done = asyncio.Event()
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(dispatch() for _ in range(4)), end())
    done.set()
    await watching
    await found.look()
    assert found.looks > 2
    assert await ledger_is_true(core)
    async with core.db.read() as db:
        placed = (await db.scalars(select(Session.id).where(Session.status == "SCHEDULED"))).all()
    assert placed
