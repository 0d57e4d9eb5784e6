"""Registries: what may be written of one, whose images they govern, and that their passwords stay where they are."""

from typing import Any

import pytest

from services import images, registries, sessions
from services.core import Core
from services.db.tables import Image, Registry
from services.errors import BadInput, Conflict, Forbidden, NotFound
from services.paging import PageArgs
from services.permissions import Actor
from services.registries import RegistryChanges, RegistrySpec
from services.sessions import SessionSpec
from tests.factories import Factories
from tests.services.world import World


def spec(**more: Any) -> RegistrySpec:
    usual: dict[str, Any] = {"hostname": "r.example", "url": "https://r.example"}
    return RegistrySpec(**usual | more)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"url": "r.example"}, "input.url"),
        ({"url": "ftp://r.example"}, "input.url"),
        ({"url": "https://user:pw@r.example"}, "input.url"),
        ({"url": "https://r.example/path"}, "input.url"),
        ({"url": "https://r.example?x"}, "input.url"),
        ({"url": "https://r.example:99999"}, "input.url"),
        ({"url": "https://r.example\n"}, None),
        ({"url": "https://r.ex\0ample"}, "input.url"),
        ({"url": "https://other.example"}, "input.hostname"),
        ({"url": "https://r.example:5000"}, "input.hostname"),
        ({"hostname": "r.example:5000"}, "input.hostname"),
        ({"hostname": "r.example:5000", "url": "http://r.example:5000"}, None),
        ({"hostname": "R.EXAMPLE"}, None),
        ({"hostname": "berth", "url": "https://berth"}, "input.hostname"),
        ({"hostname": "localhost", "url": "http://localhost"}, None),
        ({"hostname": "10.0.0.5:5000", "url": "http://10.0.0.5:5000"}, None),
        ({"hostname": "169.254.169.254", "url": "http://169.254.169.254"}, "input.url"),
        ({"hostname": "0.0.0.0:80", "url": "http://0.0.0.0:80"}, "input.url"),
        ({"hostname": "0xa9.0xfea9fe", "url": "http://0xa9.0xfea9fe"}, "input.url"),
        ({"hostname": "docker.io", "url": "https://index.docker.io"}, "input.hostname"),
        ({"hostname": "docker.io", "url": "https://index.docker.io", "kind": "DOCKER_HUB"}, "input.projects"),
        (
            {"hostname": "docker.io", "url": "https://index.docker.io", "kind": "DOCKER_HUB", "projects": ["a"]},
            None,
        ),
        ({"kind": "DOCKER_HUB", "projects": ["a"]}, "input.url"),
        ({"hostname": "docker.io", "url": "https://docker.io"}, "input.kind"),
        ({"kind": "GITHUB"}, "input.kind"),
        ({"username": "a:b"}, "input.username"),
        ({"password": "a\nb"}, "input.password"),
        ({"projects": ["Upper"]}, "input.projects.0"),
        ({"projects": ["../.."]}, "input.projects.0"),
        ({"projects": ["a/b-c__d.e"]}, None),
        ({"trusted_hosts": ["auth.example", "http://x"]}, "input.trustedHosts.1"),
        ({"trusted_hosts": ["169.254.169.254"]}, "input.trustedHosts.0"),
    ],
)  # fmt: skip
async def test_what_may_be_written_of_one(
    core: Core, make: Factories, given: dict[str, Any], path: str | None
) -> None:
    admin = await make.superadmin()
    if path is None:
        row = await registries.create(core, admin, spec(**given))
        assert row.hostname == row.hostname.lower()
        return
    with pytest.raises(BadInput) as refused:
        await registries.create(core, admin, spec(**given))
    assert path in [field for field, _ in refused.value.fields]


async def test_a_password_is_sealed_and_a_host_is_taken_once(core: Core, make: Factories) -> None:
    admin = await make.superadmin()
    asked = spec(username="robot", password="very-secret", idempotency_key="k")
    row = await registries.create(core, admin, asked)
    assert (await registries.create(core, admin, asked)).id == row.id
    assert row.password_encrypted is not None
    assert b"very-secret" not in row.password_encrypted
    assert core.keys.unseal(row.password_encrypted, row.id) == "very-secret"
    with pytest.raises(Conflict):
        await registries.create(core, admin, spec())

    kept = await registries.edit(core, admin, row.id, RegistryChanges(username="other", verify_tls=False))
    assert (kept.username, kept.verify_tls, kept.password_encrypted) == (
        "other",
        False,
        row.password_encrypted,
    )
    with pytest.raises(BadInput):
        await registries.edit(core, admin, row.id, RegistryChanges(url="https://elsewhere.example"))
    assert (
        await registries.edit(core, admin, row.id, RegistryChanges(password=None))
    ).password_encrypted is None


async def test_only_superadmins_govern_and_others_see_what_is_allowed_for_them(
    core: Core, make: Factories
) -> None:
    domain = await make.domain()
    group = await make.group(domain=domain)
    member = make.actor(await make.user(domain=domain, groups=[group]), [group])
    chief = make.actor(await make.user(domain=domain, role="DOMAIN_ADMIN"))
    registry = await make.registry(granted=[group])
    assert (await registries.get(core, member, registry.id)).id == registry.id
    with pytest.raises(NotFound):
        await registries.get(core, chief, registry.id)
    for actor in (member, chief):
        with pytest.raises(Forbidden):
            await registries.create(core, actor, spec())
        with pytest.raises((Forbidden, NotFound)):
            await registries.grant(core, actor, registry.id, domain.id)
    assert (await registries.of_grantees(core, member, [group.id, domain.id]))[domain.id] == []


@pytest.fixture
async def world(core: Core) -> World:
    return await World(core).build()


async def launch(world: World, actor: Actor, image: Image) -> Any:
    wanted = SessionSpec(world.group, world.resource_group, image.id, [("cpu", "1"), ("mem", str(2**28))])
    return await sessions.create(world.core, actor, wanted)


async def listed(core: Core, actor: Actor, **where: Any) -> set[str]:
    page = await images.page(core, actor, images.ImageFilter(**where), [], PageArgs())
    return {row.id for row in page.rows}


async def test_an_image_may_be_used_where_its_registry_is_allowed(
    core: Core, make: Factories, world: World
) -> None:
    user, admin = await world.user(), await world.user("SUPERADMIN")
    registry: Registry = await make.registry()
    local, governed = await make.image(), await make.image(registry_host=registry.hostname)

    async def may(actor: Actor) -> bool:
        try:
            await launch(world, actor, governed)
        except NotFound as refused:
            return refused.path != "input.imageId"
        return True

    # Nobody has to configure anything for what a node has of itself.
    await launch(world, user, local)
    assert await listed(core, user) == {local.id}
    assert await listed(core, admin) == {local.id, governed.id}
    assert await listed(core, admin, group_id=world.group) == {local.id}
    assert not await may(user)
    assert not await may(admin)
    for grantee in (world.group, world.domain):
        await registries.grant(core, admin, registry.id, grantee)
        await registries.grant(core, admin, registry.id, grantee)
        assert await listed(core, user) == {local.id, governed.id}
        assert await listed(core, admin, group_id=world.group) == {local.id, governed.id}
        assert await may(user)
        assert await may(admin)
        await registries.edit(core, admin, registry.id, RegistryChanges(active=False))
        assert not await may(admin)
        await registries.edit(core, admin, registry.id, RegistryChanges(active=True))
        await registries.revoke(core, admin, registry.id, grantee)
        assert not await may(admin)
    stranger = await make.group()
    await registries.grant(core, admin, registry.id, stranger.id)
    assert not await may(admin)


async def test_what_is_deleted_opens_nothing(core: Core, make: Factories, world: World) -> None:
    user, admin, agent = await world.user(), await world.user("SUPERADMIN"), await make.agent()
    registry = await make.registry(granted=[await make.domain()])
    gone, here = [
        await make.image(registry_host=registry.hostname, agents=agents) for agents in ([], [agent])
    ]
    assert await registries.delete(core, admin, registry.id) == registry.id
    assert await listed(core, admin) == {here.id}
    assert await listed(core, user) == set()
    with pytest.raises(NotFound):
        await launch(world, user, here)
    assert await make.fresh(gone) is None
    await images.edit(core, admin, here.id, active=True)
    await launch(world, user, here)
