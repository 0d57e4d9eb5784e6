"""Images as people choose them: by short names, put together by language; and as administrators clean them up."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from agents.protocol import RemoveImage
from services import images, sessions, tasks
from services.core import Core
from services.db.tables import AgentImage, Image
from services.errors import BadInput, Conflict, Forbidden, NotFound
from services.paging import PageArgs
from services.permissions import Actor
from services.sessions import SessionSpec
from tests.factories import Clock, Factories
from tests.services.test_networks import Nodes
from tests.services.world import World


@pytest.fixture
async def world(core: Core) -> World:
    return await World(core).build()


async def test_a_short_name_stands_for_one_image_in_lists_and_new_sessions(
    core: Core, make: Factories, world: World
) -> None:
    user, admin = await world.user(), await world.user("SUPERADMIN")
    one, other = await make.image(), await make.image()

    async def called(alias: str) -> list[str]:
        page = await images.page(core, user, images.ImageFilter(alias=alias), [], PageArgs())
        return [row.id for row in page.rows]

    async def launch(**more: Any) -> str:
        usual: dict[str, Any] = {"image_id": "", "slots": [("cpu", "1"), ("mem", str(2**28))]}
        spec = SessionSpec(world.group, world.resource_group, **usual | more)
        return (await sessions.create(core, user, spec)).image_id

    await images.edit(core, admin, one.id, aliases=["torch", "torch", "pytorch"])
    assert await images.aliases(core, user, [one.id, other.id]) == {
        one.id: ["pytorch", "torch"],
        other.id: [],
    }
    assert await called("torch") == [one.id]
    found = await images.page(core, user, images.ImageFilter(search="YTOR"), [], PageArgs())
    assert [row.id for row in found.rows] == [one.id]
    assert await launch(image_alias="torch") == one.id
    with pytest.raises(Conflict):
        await images.edit(core, admin, other.id, aliases=["new", "torch"])
    assert await called("new") == []
    await images.edit(core, admin, one.id, aliases=[])
    await images.edit(core, admin, other.id, aliases=["torch"])
    assert await launch(image_alias="torch") == other.id
    for wrong in ({"image_alias": "nobody"}, {"image_alias": "\0"}):
        with pytest.raises(NotFound) as refused:
            await launch(**wrong)
        assert refused.value.path == "input.imageAlias"
    for both in ({}, {"image_id": one.id, "image_alias": "torch"}):
        with pytest.raises(BadInput) as unclear:
            await launch(**both)
        assert unclear.value.path == "input.imageId"
    with pytest.raises(BadInput):
        await images.edit(core, admin, one.id, aliases=["no good"])
    # A short name opens nothing.
    await make.registry(hostname="closed.example")
    closed = await make.image(registry_host="closed.example", aliases=["closed"])
    with pytest.raises(NotFound):
        await launch(image_alias="closed")
    await images.forget(core, admin, [closed.id])
    assert await make.fresh(closed) is None


async def test_environments_are_languages_with_their_versions_newest_first(
    core: Core, make: Factories
) -> None:
    domain = await make.domain()
    group = await make.group(domain=domain)
    user = make.actor(await make.user(domain=domain, groups=[group]), [group])
    for language, version, more in (
        ("Python", "3.9", {}),
        ("Python", "3.11", {}),
        ("Python", "3.11", {"architecture": "aarch64"}),
        ("Python", "latest", {}),
        ("R", "4", {}),
        ("Julia", "1", {"active": False}),
        ("Secret", "1", {"registry_host": "closed.example"}),
    ):
        await make.image(language=language, version=version, **more)
    registry = await make.registry(hostname="closed.example")
    found = await images.environments(core, user)
    assert [(one.name, [(v.name, len(v.images)) for v in one.versions]) for one in found] == [
        ("Python", [("3.11", 2), ("3.9", 1), ("latest", 1)]),
        ("R", [("4", 1)]),
    ]
    admin = await make.superadmin()
    assert "Secret" in [one.name for one in await images.environments(core, admin)]
    assert "Secret" not in [one.name for one in await images.environments(core, admin, group.id)]
    assert registry.active


class Cleaner:
    def __init__(self, core: Core, admin: Actor) -> None:
        self.core, self.admin = core, admin

    async def __call__(self, **more: Any) -> tuple[dict[str, str], dict[str, int]]:
        """Reference → outcome, and the summary."""
        task = await images.clean_up(self.core, self.admin, **{"unused_days": 30, **more})
        runner = tasks.Runner(self.core, [images.CLEAN_UP])
        await runner.look()
        await runner.idle()
        assert (await tasks.get(self.core, self.admin, task.id)).status == "SUCCEEDED"
        asked = tasks.Lines(task.id)
        lines = (await tasks.lines(self.core, self.admin, [asked]))[asked]
        summary = (await tasks.get(self.core, self.admin, task.id)).summary
        return {line.subject.split(":")[0]: line.outcome for line in lines}, dict(summary)


async def test_what_nobody_used_for_long_is_removed_and_nothing_else(
    core: Core, make: Factories, clock: Clock, world: World
) -> None:
    admin = await make.superadmin()
    old, then = core.now() - timedelta(days=60), core.now() - timedelta(days=40)
    node, away = await make.agent(name="n1"), await make.agent(name="n2", status="LOST")
    nodes = Nodes(node.id)
    core.hub = nodes  # type: ignore[assignment]

    async def image(name: str, **more: Any) -> Image:
        values: dict[str, Any] = {"reference": f"{name}:1", "size": 100, "scanned_digest": "sha256:1"}
        return await make.image(agents=[node, away], **values | more)

    _, local, busy, recent, since, new = [
        await image(name, **({"scanned_digest": None} if name == "local" else {}))
        for name in ("unused", "local", "busy", "recent", "since", "new")
    ]
    async with core.db.write() as db:
        for row in await db.scalars(select(AgentImage).where(AgentImage.image_id != new.id)):
            row.since = old
        for row in await db.scalars(select(AgentImage).where(AgentImage.image_id == new.id)):
            row.since = core.now() - timedelta(days=1)
    for what, ended in ((recent, core.now() - timedelta(days=5)), (since, then)):
        session = await make.session(image=what, status="TERMINATED", created_at=old)
        await make.kernel(session=session, agent=node, terminated_at=ended)
    await make.session(image=busy, status="PENDING")

    clean = Cleaner(core, admin)
    planned = {"unused": "PLANNED", "since": "PLANNED", "local": "SKIPPED"}
    assert await clean(dry_run=True) == (planned, {"PLANNED": 2, "bytesFreed": 200, "SKIPPED": 1})
    assert nodes.heard == []
    assert (await clean(dry_run=True, unused_days=50))[0] == {"unused": "PLANNED", "local": "SKIPPED"}
    assert await clean(dry_run=True, agent_ids=[away.id]) == ({}, {})

    outcomes, summary = await clean()
    assert outcomes == {"unused": "DONE", "since": "DONE", "local": "SKIPPED"}
    assert summary == {"DONE": 2, "bytesFreed": 200, "SKIPPED": 1}
    assert {command.image for _, command in nodes.took(RemoveImage)} == {"unused:1", "since:1"}
    async with core.db.read() as db:
        left = set(await db.scalars(select(AgentImage.image_id).where(AgentImage.agent_id == node.id)))
    assert left == {local.id, busy.id, recent.id, new.id}
    assert (await clean(include_local=True))[0] == {"local": "DONE"}
    assert (await clean(unused_days=0))[0] == {"recent": "DONE", "new": "DONE"}


async def test_who_may_clean_up_and_what(core: Core, make: Factories) -> None:
    chief = make.actor(await make.user(role="DOMAIN_ADMIN"))
    with pytest.raises(Forbidden):
        await images.clean_up(core, chief, unused_days=30)
    admin = await make.superadmin()
    with pytest.raises(BadInput):
        await images.clean_up(core, admin, unused_days=-1)
    with pytest.raises(NotFound):
        await images.clean_up(core, admin, unused_days=30, agent_ids=["agt_nowhere"])
