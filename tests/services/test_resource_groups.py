"""Resource groups: how their queue is run, and who may use them."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import select

from services import resource_groups
from services.bus import Wake
from services.core import Core
from services.db.tables import JoinToken, ResourceGroup
from services.errors import BadInput, Conflict, Forbidden, NotFound
from services.paging import PageArgs
from services.resource_groups import ResourceGroupChanges, ResourceGroupFilter, ResourceGroupSpec
from tests.factories import Factories


async def test_one_is_made_changed_and_deleted(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    spec = ResourceGroupSpec(
        "gpu", "d", placer_options={"prefer_cached_images": False}, lost_session_grace_seconds=60
    )
    group = await resource_groups.create(core, admin, spec)
    assert (group.sequencer, group.placer, group.active) == ("fifo", "pack", True)
    await make.join_token(resource_group=group)
    await resource_groups.grant(core, admin, group.id, [admin.user_id])
    async with core.bus.subscribe(Wake) as heard:
        await resource_groups.edit(core, admin, group.id, ResourceGroupChanges(active=False))
        assert heard.drain() == [Wake(anew=True)]
    changed: ResourceGroup = await make.fresh(group)
    assert (changed.active, changed.placer_options) == (False, {"prefer_cached_images": False})
    assert changed.lost_session_grace_seconds == 60
    await resource_groups.edit(core, admin, group.id, ResourceGroupChanges(lost_session_grace_seconds=None))
    assert (await make.fresh(group)).lost_session_grace_seconds is None
    assert await resource_groups.delete(core, admin, group.id) == group.id
    assert await make.fresh(group) is None
    async with core.db.read() as db:
        assert list(await db.scalars(select(JoinToken.created_by))) == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"sequencer": "nothing"}, "input.sequencer"),
        ({"placer": "nothing"}, "input.placer"),
        ({"sequencer_options": {"unknown": 1}}, "input.sequencerOptions"),
        ({"placer_options": {"weights": {"cpu": -1}}}, "input.placerOptions"),
        ({"placer_options": {"weights": {"\0": 1}}}, "input.placerOptions"),
        ({"placer_options": {"weights": {"x" * 20_000: 1}}}, "input.placerOptions"),
        ({"placer_options": {1: object()}}, "input.placerOptions"),
        ({"lost_session_grace_seconds": -1}, "input.lostSessionGraceSeconds"),
        ({"name": "-"}, "input.name"),
    ],
)
async def test_what_the_scheduler_could_not_use_is_refused(
    core: Core, make: Factories, changes: dict[str, object], path: str
) -> None:
    admin, group = await make.superadmin(), await make.resource_group()
    with pytest.raises(BadInput) as refused:
        await resource_groups.create(core, admin, ResourceGroupSpec(**{"name": "gpu", **changes}))
    assert refused.value.path == path
    with pytest.raises(BadInput) as refused:
        await resource_groups.edit(core, admin, group.id, ResourceGroupChanges(**changes))
    assert refused.value.path == path
    fresh = await make.fresh(group)
    assert (fresh.name, fresh.sequencer, fresh.placer_options) == (group.name, "fifo", {})


async def test_options_replace_all_options(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    group = await make.resource_group(placer_options={"prefer_cached_images": False, "weights": {"cpu": 2}})
    await resource_groups.edit(
        core, admin, group.id, ResourceGroupChanges(placer_options={"weights": {"mem": 1}})
    )
    assert (await make.fresh(group)).placer_options == {"weights": {"mem": 1}}
    await resource_groups.edit(core, admin, group.id, ResourceGroupChanges(placer="pack"))
    assert (await make.fresh(group)).placer_options == {"weights": {"mem": 1}}


async def test_one_with_a_past_is_not_deleted(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    had_agent, had_session = await make.resource_group(), await make.resource_group()
    await make.agent(resource_group=had_agent, status="TERMINATED")
    await make.session(resource_group=had_session, status="TERMINATED")
    for group in (had_agent, had_session):
        with pytest.raises(Conflict, match="Deactivate"):
            await resource_groups.delete(core, admin, group.id)


async def test_of_many_who_want_a_name_at_once_one_gets_it(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    outcomes = await asyncio.gather(
        *(resource_groups.create(core, admin, ResourceGroupSpec("gpu")) for _ in range(6)),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in outcomes) == {ResourceGroup: 1, Conflict: 5}


async def test_a_grant_lets_it_be_seen_and_taking_it_back_hides_it(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    group = await make.group(domain_id=user.domain_id, members=[user])
    actor = make.actor(user, [group])
    for grantee_id in (user.id, user.domain_id, group.id):
        target = await make.resource_group()
        with pytest.raises(NotFound):
            await resource_groups.get(core, actor, target.id)
        await resource_groups.grant(core, admin, target.id, [grantee_id])
        await resource_groups.grant(core, admin, target.id, [grantee_id, grantee_id])
        assert (await resource_groups.get(core, actor, target.id)).id == target.id
        page = await resource_groups.page(
            core, admin, ResourceGroupFilter(grantee_id=grantee_id), [], PageArgs()
        )
        assert [row.id for row in page.rows] == [target.id]
        await resource_groups.revoke(core, admin, target.id, [grantee_id])
        with pytest.raises(NotFound):
            await resource_groups.get(core, actor, target.id)


async def test_a_user_learns_of_no_grants_to_others(core: Core, make: Factories) -> None:
    admin, user, other = await make.superadmin(), await make.user(), await make.user()
    target = await make.resource_group(granted=[user, other])
    hidden = await make.resource_group(granted=[other])
    wanted = [target.id, hidden.id, "nothing"]
    mine = await resource_groups.grants(core, make.actor(user), wanted)
    assert mine == {target.id: [user.id], hidden.id: [], "nothing": []}
    everything = await resource_groups.grants(core, admin, wanted)
    assert everything == {target.id: sorted([user.id, other.id]), hidden.id: [other.id], "nothing": []}


@pytest.mark.parametrize(
    ("grantee_ids", "error"),
    [
        ([], BadInput),
        (["x"] * 501, BadInput),
        (["key_01jd0000000000000000000000"], BadInput),
        (["\0"], BadInput),
        (["dom_01jd0000000000000000000000"], NotFound),
        (["grp_01jd0000000000000000000000"], NotFound),
        (["usr_01jd0000000000000000000000"], NotFound),
    ],
)
async def test_grantees_are_domains_groups_or_users(
    core: Core, make: Factories, grantee_ids: list[str], error: type[Exception]
) -> None:
    admin, group = await make.superadmin(), await make.resource_group()
    with pytest.raises(error):
        await resource_groups.grant(core, admin, group.id, grantee_ids)
    assert (await resource_groups.grants(core, admin, [group.id]))[group.id] == []


@pytest.mark.parametrize("role", ["DOMAIN_ADMIN", "USER"])
async def test_only_a_superadmin_governs_them(core: Core, make: Factories, role: str) -> None:
    user = await make.user(role=role)
    actor, group = make.actor(user), await make.resource_group(granted=[user])
    for forbidden in (
        resource_groups.create(core, actor, ResourceGroupSpec("gpu")),
        resource_groups.edit(core, actor, group.id, ResourceGroupChanges(active=False)),
        resource_groups.delete(core, actor, group.id),
        resource_groups.grant(core, actor, group.id, [user.domain_id]),
        resource_groups.revoke(core, actor, group.id, [user.id]),
    ):
        with pytest.raises(Forbidden):
            await forbidden


def test_installed_schedulers_say_what_options_they_take() -> None:
    found = {(one.kind, one.name): one for one in resource_groups.schedulers()}
    assert {("SEQUENCER", "fifo"), ("PLACER", "pack")} <= set(found)
    assert all(one.problem == "" for one in found.values())
    schema = found["PLACER", "pack"].options_schema
    assert schema is not None
    assert "prefer_cached_images" in str(schema)
