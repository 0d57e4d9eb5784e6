"""Resource policies: limits of keypairs; one that is in use stays."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from services import keypairs, policies
from services.core import Core
from services.db.tables import ResourcePolicy
from services.errors import BadInput, Conflict, Forbidden, NotFound
from services.keypairs import KeypairChanges
from services.paging import PageArgs
from services.policies import PolicyChanges, PolicyFilter, PolicySpec
from tests.factories import Factories


async def test_a_policy_is_made_changed_and_deleted(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    spec = PolicySpec("students", "d", [("cpu", "4")], 3, 2, 3600)
    policy = await policies.create(core, admin, spec)
    assert (policy.total_slots, policy.max_concurrent_sessions) == ({"cpu": 4000}, 3)
    await policies.edit(core, admin, policy.id, PolicyChanges(idle_timeout_seconds=0, total_slots=[]))
    changed: ResourcePolicy = await make.fresh(policy)
    assert (changed.total_slots, changed.max_concurrent_sessions, changed.max_kernels_per_session) == (
        {},
        3,
        2,
    )
    assert changed.idle_timeout_seconds == 0
    assert await policies.delete(core, admin, policy.id) == policy.id
    with pytest.raises(NotFound):
        await policies.get(core, admin, policy.id)


async def test_unlimited_is_not_the_same_as_not_given(core: Core, make: Factories) -> None:
    admin, policy = await make.superadmin(), await make.policy(max_concurrent_sessions=3)
    await policies.edit(core, admin, policy.id, PolicyChanges(name="renamed"))
    assert (await make.fresh(policy)).max_concurrent_sessions == 3
    await policies.edit(core, admin, policy.id, PolicyChanges(max_concurrent_sessions=None))
    assert (await make.fresh(policy)).max_concurrent_sessions is None


async def test_all_wrong_fields_are_named_together(core: Core, make: Factories) -> None:
    spec = PolicySpec(" ", "\0", [("mem", "-1")], -1, 0, 10**12)
    with pytest.raises(BadInput) as refused:
        await policies.create(core, await make.superadmin(), spec)
    assert [path for path, _ in refused.value.fields] == [
        "input.name",
        "input.description",
        "input.totalSlots.0.amount",
        "input.maxConcurrentSessions",
        "input.maxKernelsPerSession",
        "input.idleTimeoutSeconds",
    ]


async def test_a_policy_in_use_is_not_deleted(core: Core, make: Factories) -> None:
    admin, keypair = await make.superadmin(), await make.keypair()
    with pytest.raises(Conflict, match="in use"):
        await policies.delete(core, admin, keypair.policy_id)


async def test_of_many_who_want_a_name_at_once_one_gets_it(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    outcomes = await asyncio.gather(
        *(policies.create(core, admin, PolicySpec("students")) for _ in range(6)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {ResourcePolicy: 1, Conflict: 5}


async def test_a_user_sees_the_policies_of_the_own_keypairs(core: Core, make: Factories) -> None:
    mine, _other = await make.policy(), await make.policy()
    actor = make.actor(await make.user(policy=mine))
    page = await policies.page(core, actor, PolicyFilter(), [], PageArgs())
    assert [policy.id for policy in page.rows] == [mine.id]


@pytest.mark.parametrize("role", ["DOMAIN_ADMIN", "USER"])
async def test_only_a_superadmin_governs_policies(core: Core, make: Factories, role: str) -> None:
    policy = await make.policy()
    actor = make.actor(await make.user(role=role, policy=policy))
    with pytest.raises(Forbidden):
        await policies.create(core, actor, PolicySpec("students"))
    with pytest.raises(Forbidden):
        await policies.edit(core, actor, policy.id, PolicyChanges(max_concurrent_sessions=None))
    with pytest.raises(Forbidden):
        await policies.delete(core, actor, policy.id)


async def test_keypairs_are_given_a_policy_all_or_none(core: Core, make: Factories) -> None:
    admin, policy = await make.superadmin(), await make.policy()
    rows = [await make.keypair() for _ in range(3)]
    ids = [one.id for one in rows]
    assigned = await policies.assign(core, admin, policy.id, [*ids, ids[0]])
    assert [(one.id, one.policy_id) for one in assigned] == [(one, policy.id) for one in ids]
    other = await make.policy()
    with pytest.raises(NotFound):
        await policies.assign(core, admin, other.id, [*ids, "key_01jd0000000000000000000000"])
    with pytest.raises(BadInput):
        await policies.assign(core, admin, other.id, [])
    with pytest.raises(Forbidden):
        await policies.assign(core, make.actor(await make.user(role="DOMAIN_ADMIN")), other.id, ids)
    assert [(await make.fresh(one)).policy_id for one in rows] == [policy.id] * 3


async def test_a_policy_is_deleted_or_assigned_and_never_both(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    for number in range(6):
        policy, keypair = await make.policy(), await make.keypair()
        give = (
            policies.assign(core, admin, policy.id, [keypair.id])
            if number % 2
            else keypairs.edit(core, admin, keypair.id, KeypairChanges(policy_id=policy.id))
        )
        outcomes = await asyncio.gather(give, policies.delete(core, admin, policy.id), return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, BaseException)]
        assert len(refused) == 1
        assert isinstance(refused[0], Conflict | NotFound)
        kept = await make.fresh(policy)
        assert ((await make.fresh(keypair)).policy_id == policy.id) == (kept is not None)


async def test_folders_of_a_policy_are_limited_by_hosts_size_and_number(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    folders: dict[str, Any] = {
        "allowed_storage_hosts": ["local", "nfs-1"],
        "max_folder_bytes": 2**40,
        "max_folders": 0,
    }
    made = await policies.create(core, admin, PolicySpec("folders", **folders))
    assert {name: getattr(await make.fresh(made), name) for name in folders} == folders
    await policies.edit(core, admin, made.id, PolicyChanges(description="changed"))
    assert (await make.fresh(made)).allowed_storage_hosts == ["local", "nfs-1"]
    await policies.edit(core, admin, made.id, PolicyChanges(allowed_storage_hosts=None, max_folders=None))
    changed = await make.fresh(made)
    assert (changed.allowed_storage_hosts, changed.max_folder_bytes, changed.max_folders) == (
        None,
        2**40,
        None,
    )
    wrong: dict[str, Any] = {"allowed_storage_hosts": ["a b", "x", "x"], "max_folders": -1}
    with pytest.raises(BadInput) as refused:
        await policies.create(core, admin, PolicySpec("wrong", **wrong))
    assert {path for path, _ in refused.value.fields} == {
        "input.allowedStorageHosts", "input.allowedStorageHosts.0", "input.maxFolders",
    }  # fmt: skip
