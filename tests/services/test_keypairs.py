"""Keypairs: shown once, limited by who governs them, kept as long as history needs them."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import select

from services import auth, keypairs
from services.bus import Revoked
from services.core import Core
from services.db.tables import Keypair, User
from services.errors import BadInput, Conflict, Forbidden, NotFound, Unauthenticated
from services.keypairs import OWN_KEYPAIRS, KeypairChanges, KeypairFilter, KeypairSpec, NewKeypair
from services.paging import PageArgs
from tests.factories import SECRET_KEY, Factories


async def test_a_keypair_logs_in_with_the_secret_that_was_shown(core: Core, make: Factories) -> None:
    admin, user, policy = await make.superadmin(), await make.user(), await make.policy()
    new = await keypairs.create(core, admin, KeypairSpec(user.id, policy.id, rate_limit=7))
    assert (new.keypair.policy_id, new.keypair.rate_limit, new.keypair.user_id) == (policy.id, 7, user.id)
    result = await auth.login_with_keypair(core, new.keypair.access_key, new.secret_key, address="192.0.2.1")
    assert result.actor.user_id == user.id


async def test_the_secret_is_kept_encrypted_and_said_nowhere(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    new = await keypairs.create(core, admin, KeypairSpec(user.id, secret_key=SECRET_KEY))
    async with core.db.read() as db:
        sealed = (
            await db.scalars(select(Keypair.secret_encrypted).where(Keypair.id == new.keypair.id))
        ).one()
    assert SECRET_KEY.encode() not in sealed
    assert SECRET_KEY not in repr(new)
    assert SECRET_KEY not in repr(KeypairSpec(user.id, secret_key=SECRET_KEY))


async def test_keys_may_be_given(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    spec = KeypairSpec(user.id, access_key="AKIA1234567890ABCDEF", secret_key="s" * 32)
    new = await keypairs.create(core, admin, spec)
    assert (new.keypair.access_key, new.secret_key) == ("AKIA1234567890ABCDEF", "s" * 32)
    with pytest.raises(Conflict) as refused:
        await keypairs.create(core, admin, spec)
    assert refused.value.path == "input.accessKey"


async def test_of_many_who_want_an_access_key_at_once_one_gets_it(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    spec = KeypairSpec(user.id, access_key="AKIA1234567890ABCDEF")
    outcomes = await asyncio.gather(
        *(keypairs.create(core, admin, spec) for _ in range(6)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {NewKeypair: 1, Conflict: 5}


async def test_all_wrong_fields_are_named_together(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    spec = KeypairSpec(user.id, rate_limit=0, access_key="short", secret_key="with a space" * 4)
    with pytest.raises(BadInput) as refused:
        await keypairs.create(core, admin, spec)
    assert [path for path, _ in refused.value.fields] == [
        "input.accessKey",
        "input.secretKey",
        "input.rateLimit",
    ]


async def test_a_user_does_not_outgrow_limits_by_making_keypairs(core: Core, make: Factories) -> None:
    wide = await make.policy()
    user = await make.user(rate_limit=50)
    actor = make.actor(user)
    with pytest.raises(Forbidden):
        await keypairs.create(core, actor, KeypairSpec(user.id, policy_id=wide.id))
    with pytest.raises(Forbidden):
        await keypairs.create(core, actor, KeypairSpec(user.id, rate_limit=10**6))
    async with core.db.read() as db:
        main = (await db.scalars(select(Keypair).where(Keypair.id == user.main_keypair_id))).one()
    for _ in range(OWN_KEYPAIRS - 1):
        new = (await keypairs.create(core, actor, KeypairSpec(user.id))).keypair
        assert (new.policy_id, new.rate_limit) == (main.policy_id, 50)
    with pytest.raises(Forbidden):
        await keypairs.create(core, actor, KeypairSpec(user.id))
    with pytest.raises(Forbidden):
        await keypairs.edit(core, actor, main.id, KeypairChanges(policy_id=wide.id))


async def test_nobody_makes_a_keypair_for_a_stranger_or_a_superior(core: Core, make: Factories) -> None:
    domain = await make.domain()
    superior = await make.user(domain=domain, role="SUPERADMIN")
    peer = await make.user(domain=domain)
    admin = make.actor(await make.user(domain=domain, role="DOMAIN_ADMIN"))
    assert await keypairs.create(core, admin, KeypairSpec(peer.id))
    with pytest.raises(Forbidden):
        await keypairs.create(core, admin, KeypairSpec(superior.id))
    for user_id in ((await make.user()).id, "nobody", "\0"):
        with pytest.raises(NotFound):
            await keypairs.create(core, admin, KeypairSpec(user_id))
    with pytest.raises(NotFound):
        await keypairs.create(core, make.actor(peer), KeypairSpec(superior.id))


async def test_an_edit_changes_policy_and_rate(core: Core, make: Factories) -> None:
    admin, keypair, policy = await make.superadmin(), await make.keypair(), await make.policy()
    await keypairs.edit(core, admin, keypair.id, KeypairChanges(policy.id, 5))
    changed = await make.fresh(keypair)
    assert (changed.policy_id, changed.rate_limit) == (policy.id, 5)
    with pytest.raises(NotFound) as refused:
        await keypairs.edit(core, admin, keypair.id, KeypairChanges("pol_01jd0000000000000000000000"))
    assert refused.value.path == "input.policyId"


async def test_a_deactivated_keypair_ends_its_logins_and_comes_back(core: Core, make: Factories) -> None:
    user = await make.user()
    keypair = await make.keypair(user=user)
    actor = make.actor(user)
    result = await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address="192.0.2.1")
    by_password = await auth.login(core, user.email, "right-horse-1", address="192.0.2.1")
    assert await auth.authenticate_bearer(core, result.access_token)
    async with core.bus.subscribe(Revoked) as heard:
        (outcome,) = await keypairs.deactivate(core, actor, [keypair.id, keypair.id])
        assert heard.drain() == [Revoked(user.id)]
    assert outcome.row is not None
    assert not outcome.row.active
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, result.access_token)
    assert await auth.authenticate_bearer(core, by_password.access_token)
    await keypairs.activate(core, actor, [keypair.id])
    assert await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address="192.0.2.1")


async def test_many_are_answered_each_for_itself(core: Core, make: Factories) -> None:
    user, foreign = await make.user(), await make.keypair()
    mine = await make.keypair(user=user)
    outcomes = await keypairs.deactivate(core, make.actor(user), [foreign.id, mine.id, "nothing"])
    assert [type(outcome.error) for outcome in outcomes] == [NotFound, type(None), NotFound]
    assert (await make.fresh(foreign)).active
    assert not (await make.fresh(mine)).active


async def test_a_keypair_without_history_is_deleted(core: Core, make: Factories) -> None:
    user = await make.user()
    keypair = await make.keypair(user=user)
    await make.nonce(keypair_id=keypair.id)
    assert await keypairs.delete(core, make.actor(user), keypair.id) == keypair.id
    assert await make.fresh(keypair) is None


async def test_one_that_made_a_session_or_is_the_main_one_stays(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    keypair = await make.keypair(user=user)
    await make.session(user=user, keypair_id=keypair.id, status="TERMINATED")
    with pytest.raises(Conflict, match="Sessions"):
        await keypairs.delete(core, admin, keypair.id)
    with pytest.raises(Conflict, match="main"):
        await keypairs.delete(core, admin, user.main_keypair_id or "")


async def test_a_user_chooses_the_main_keypair_and_then_deletes_the_old_one(
    core: Core, make: Factories
) -> None:
    user = await make.user(rate_limit=50)
    second = await make.keypair(user=user, rate_limit=60)
    actor = make.actor(user)
    result = await auth.login(core, user.email, "right-horse-1", address="192.0.2.1")
    assert (await auth.authenticate_bearer(core, result.access_token)).keypair_id == user.main_keypair_id
    async with core.bus.subscribe(Revoked) as heard:
        await keypairs.set_main(core, actor, second.id)
        assert heard.drain() == [Revoked(user.id)]
    assert (await auth.authenticate_bearer(core, result.access_token)).keypair_id == second.id
    assert await keypairs.delete(core, actor, user.main_keypair_id or "") == user.main_keypair_id
    with pytest.raises(Conflict, match="main"):
        await keypairs.delete(core, actor, second.id)


async def test_what_is_not_active_or_not_ones_own_becomes_no_main_keypair(
    core: Core, make: Factories
) -> None:
    user, stranger = await make.user(), await make.user()
    dead = await make.keypair(user=user, active=False)
    with pytest.raises(Conflict):
        await keypairs.set_main(core, make.actor(user), dead.id)
    with pytest.raises(NotFound):
        await keypairs.set_main(core, make.actor(stranger), dead.id)
    assert (await make.fresh(user)).main_keypair_id == user.main_keypair_id


async def test_a_keypair_is_deleted_or_becomes_the_main_one_and_never_both(
    core: Core, make: Factories
) -> None:
    for _ in range(5):
        user = await make.user()
        keypair, actor = await make.keypair(user=user), make.actor(user)
        await asyncio.gather(
            keypairs.set_main(core, actor, keypair.id),
            keypairs.delete(core, actor, keypair.id),
            return_exceptions=True,
        )
        main = (await make.fresh(user)).main_keypair_id
        kept = await make.fresh(keypair)
        assert (main == keypair.id) == (kept is not None)


async def test_what_was_made_and_asked_with_it_is_counted(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keypairs, "COUNTED", 3)
    user = await make.user()
    idle, busy = await make.keypair(user=user), await make.keypair(user=user)
    group = await make.group(domain_id=user.domain_id)
    for number in range(2):
        await make.session(user=user, keypair_id=busy.id, group=group)
        assert await keypairs.session_counts(core, [idle.id, busy.id]) == {idle.id: 0, busy.id: number + 1}
    for _ in range(2):
        await make.session(user=user, keypair_id=busy.id, group=group, status="TERMINATED")
    assert await keypairs.session_counts(core, [busy.id]) == {busy.id: 3}
    result = await auth.login_with_keypair(core, busy.access_key, SECRET_KEY, address="192.0.2.1")
    await auth.authenticate_bearer(core, result.access_token)
    assert await keypairs.request_counts(core, [idle.id, busy.id]) == {idle.id: 0, busy.id: 1}


async def test_filters_narrow_the_list(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user(name="someone")
    idle = await make.keypair(user=user, active=False)

    async def found(where: KeypairFilter) -> list[str]:
        return [row.id for row in (await keypairs.page(core, admin, where, [], PageArgs())).rows]

    assert set(await found(KeypairFilter(user_id=user.id))) == {idle.id, user.main_keypair_id}
    assert await found(KeypairFilter(user_id=user.id, active=False)) == [idle.id]
    assert await found(KeypairFilter(policy_id=idle.policy_id)) == [idle.id]
    assert idle.id in await found(KeypairFilter(search="someone@"))
    assert await found(KeypairFilter(user_id="\0")) == []


async def test_the_first_keypair_becomes_the_main_one(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    async with core.db.write() as db:
        row = await db.get(User, user.id)
        assert row is not None
        row.main_keypair_id = None
    new = await keypairs.create(core, admin, KeypairSpec(user.id))
    assert (await make.fresh(user)).main_keypair_id == new.keypair.id
