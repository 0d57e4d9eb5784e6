"""Registries looked through, each a real one: open, behind a password, behind a token server."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from services import images, registries, tasks
from services.core import Core
from services.db.tables import AgentImage, Image, Task
from services.errors import Conflict, Forbidden
from services.permissions import Actor
from services.registries import RegistryChanges, scan
from services.registries.client import RegistryClient
from tests.factories import Factories
from tests.services.registries.served import (
    OCI_IMAGE,
    OURS,
    PASSWORD,
    USER,
    Registry,
    registry,
    registry_with_tokens,
)

pytestmark = pytest.mark.registry


@pytest.fixture
async def admin(make: Factories) -> Actor:
    return await make.superadmin()


class Scanner:
    """Rescans a registry, and reads what came of it."""

    def __init__(self, core: Core, make: Factories, admin: Actor) -> None:
        self.core, self.make, self.admin = core, make, admin
        self.row: Any = None

    async def know(self, served: Registry, **more: Any) -> None:
        self.row = await self.make.registry(hostname=served.host, url=served.url, **more)

    async def scan(self) -> Task:
        task = await registries.rescan(self.core, self.admin, [self.row.id])
        runner = tasks.Runner(self.core, [registries.RESCAN])
        await runner.look()
        await runner.idle()
        return await tasks.get(self.core, self.admin, task.id)

    async def lines(self, task: Task) -> dict[str, tuple[str, str]]:
        """Subject, without the host → outcome, and the reason's code or sentence."""
        asked = tasks.Lines(task.id, first=500)
        found = (await tasks.lines(self.core, self.admin, [asked]))[asked]
        host = self.row.hostname
        return {
            line.subject.removeprefix(f"{host}/"): (line.outcome, line.message.partition(":")[0])
            for line in found
        }

    async def images(self) -> dict[tuple[str, str], Image]:
        async with self.core.db.read() as db:
            rows = await db.scalars(select(Image).where(Image.registry_host == self.row.hostname))
            return {(f"{row.namespace}/{row.name}:{row.tag}", row.architecture): row for row in rows}


@pytest.fixture
def scanner(core: Core, make: Factories, admin: Actor) -> Scanner:
    return Scanner(core, make, admin)


async def test_all_that_carries_our_labels_is_found_and_what_is_wrong_is_told(
    scanner: Scanner, tmp_path: Path
) -> None:
    async with registry(tmp_path) as served:
        await scanner.know(served)
        digest = await served.push(
            "berth/python",
            "3.11",
            {**OURS, "berth.min.cpu": "0.5", "berth.service-ports": "jupyter:http:8888"},
        )
        older = {
            "ai.backend.kernelspec": "1",
            "ai.backend.runtime-type": "r",
            "ai.backend.envs.corecount": "N",
        }
        await served.push("r/deep/path/r-base", "4", older, kind=OCI_IMAGE)
        await served.push_index("berth/many", "1", {"amd64": OURS, "arm64": OURS})
        await served.push("library/debian", "12", {"maintainer": "x"})
        await served.push("library/plain", "1", None)
        await served.push("berth/windows", "1", os="windows")
        await served.push("berth/odd", "1", {**OURS, "berth.min.mem": "much"})
        await served.push("berth/odd", "2", {**OURS, "berth.service-ports": "a:http:99999"})
        await served.push("berth/odd", "3", {**OURS, "berth.environment": "x" * 101})
        await served.push("berth/broken", "1", config={"Labels": ["no", "map"]})
        await served.push("berth/chart", "1", kind=OCI_IMAGE, architecture="")
        task = await scanner.scan()
    assert task.status == "SUCCEEDED", task.error_message
    assert dict(task.summary) == {"ADDED": 4, "SKIPPED": 8}
    assert (task.current, task.total) == (9, 9)
    assert await scanner.lines(task) == {
        "berth/python:3.11": ("ADDED", ""),
        "r/deep/path/r-base:4": ("ADDED", ""),
        "berth/many:1": ("ADDED", ""),
        "library/debian:12": ("SKIPPED", "NO_LABELS"),
        "library/plain:1": ("SKIPPED", "NO_LABELS"),
        "berth/windows:1": ("SKIPPED", "BROKEN_MANIFEST"),
        "berth/odd:1": ("SKIPPED", "LABEL_NONSENSE"),
        "berth/odd:2": ("SKIPPED", "LABEL_NONSENSE"),
        "berth/odd:3": ("SKIPPED", "LABEL_NONSENSE"),
        "berth/broken:1": ("SKIPPED", "BROKEN_MANIFEST"),
        "berth/chart:1": ("SKIPPED", "BROKEN_MANIFEST"),
    }
    found = await scanner.images()
    assert found.keys() == {
        ("berth/python:3.11", "x86_64"),
        ("r/deep/path/r-base:4", "x86_64"),
        ("berth/many:1", "x86_64"),
        ("berth/many:1", "aarch64"),
    }
    python = found["berth/python:3.11", "x86_64"]
    assert (python.reference, python.digest) == (f"{served.host}/berth/python:3.11", digest)
    assert (python.language, python.version, python.minimum_slots) == ("Python", "3.11", {"cpu": 500})
    assert python.service_ports == [{"name": "jupyter", "protocol": "http", "port": 8888}]
    assert python.size > 0
    assert found["r/deep/path/r-base:4", "x86_64"].environment_names == ["N"]


async def test_what_changed_and_what_vanished_is_told_and_nothing_twice(
    scanner: Scanner, tmp_path: Path, core: Core, make: Factories, admin: Actor
) -> None:
    async with registry(tmp_path) as served:
        await scanner.know(served)
        for tag in ("1", "2", "3", "4"):
            await served.push("berth/python", tag)
        await scanner.scan()
        again = await scanner.scan()
        assert [tuple(one) for one in again.summary] == [("UNCHANGED", 4)]
        assert await scanner.lines(again) == {}

        before = {name: row.id for (name, _), row in (await scanner.images()).items()}
        await images.edit(core, admin, before["berth/python:1"], minimum_slots=[("cpu", "2")])
        await make.session(image=await make.fresh(Image(id=before["berth/python:3"])))
        agent = await make.agent()
        async with core.db.write() as db:
            db.add(AgentImage(agent_id=agent.id, image_id=before["berth/python:4"]))
        await served.push("berth/python", "1", {**OURS, "berth.min.cpu": "0.1", "berth.base": "new"})
        for tag in ("2", "3", "4"):
            await served.forget_tag("berth/python", tag)
        changed = await scanner.scan()
        assert await scanner.lines(changed) == {
            "berth/python:1": ("CHANGED", ""),
            "berth/python:2": ("VANISHED", ""),
            "berth/python:3": ("VANISHED", ""),
            "berth/python:4": ("VANISHED", ""),
        }
        found = {name: row for (name, _), row in (await scanner.images()).items()}
        assert (found["berth/python:1"].base, found["berth/python:1"].minimum_slots) == ("new", {"cpu": 2000})
        assert "berth/python:2" not in found
        assert (found["berth/python:3"].active, found["berth/python:3"].vanished) == (False, True)
        assert found["berth/python:4"].active

        await served.push("berth/python", "3")
        back = await scanner.scan()
        assert await scanner.lines(back) == {"berth/python:3": ("CHANGED", "")}
        row = await make.fresh(found["berth/python:3"])
        assert (row.id, row.active, row.vanished) == (before["berth/python:3"], True, False)

        # A registry that does not answer has not lost its images.
        known = await scanner.images()
        assert served.process is not None
        served.process.stop()
        gone = await scanner.scan()
        assert (gone.status, gone.error_code) == ("FAILED", "UNAVAILABLE")
        assert await scanner.lines(gone) == {served.host: ("FAILED", "UNREACHABLE")}
        assert (await scanner.images()).keys() == known.keys()


async def test_a_password_opens_it_and_a_wrong_one_is_told(
    scanner: Scanner, tmp_path: Path, core: Core, admin: Actor
) -> None:
    async with registry(tmp_path, password=True) as served:
        await scanner.know(served, username=USER, password=PASSWORD)
        await served.push("berth/python", "1")
        assert (await scanner.scan()).status == "SUCCEEDED"
        assert len(await scanner.images()) == 1
        for changes in (RegistryChanges(password="wrong"), RegistryChanges(password=None)):
            await registries.edit(core, admin, scanner.row.id, changes)
            refused = await scanner.scan()
            assert refused.status == "FAILED"
            assert await scanner.lines(refused) == {served.host: ("FAILED", "WRONG_PASSWORD")}
            assert len(await scanner.images()) == 1


async def test_tokens_are_fetched_where_the_administrator_allows_it(
    scanner: Scanner, tmp_path: Path, core: Core, admin: Actor
) -> None:
    async with registry_with_tokens(tmp_path) as (served, tokens):
        await scanner.know(served, username=USER, password=PASSWORD)
        await served.push("berth/python", "1")
        refused = await scanner.scan()
        assert await scanner.lines(refused) == {served.host: ("FAILED", "ELSEWHERE")}
        # Whom nobody trusts was not asked, let alone with the password.
        assert tokens.asked == []
        await registries.edit(core, admin, scanner.row.id, RegistryChanges(trusted_hosts=[tokens.host]))
        assert (await scanner.scan()).status == "SUCCEEDED"
        assert len(await scanner.images()) == 1
        assert {scope for scope, _ in tokens.asked} == {
            "", "registry:catalog:*", "repository:berth/python:pull",
        }  # fmt: skip
        assert all(known for _, known in tokens.asked)
        await registries.edit(core, admin, scanner.row.id, RegistryChanges(password="wrong"))
        assert await scanner.lines(await scanner.scan()) == {served.host: ("FAILED", "WRONG_PASSWORD")}


async def test_one_that_fails_does_not_hold_up_the_others(
    scanner: Scanner, tmp_path: Path, core: Core, make: Factories, admin: Actor
) -> None:
    async with registry(tmp_path) as served:
        await served.push("a/one", "1")
        await served.push("b/two", "1")
        broken = await make.registry(hostname="127.0.0.1:1", url="http://127.0.0.1:1")
        await make.registry(active=False)
        await scanner.know(served, projects=["b"])
        task = await registries.rescan(core, admin)
        assert (await registries.rescan(core, admin)).id == task.id
        runner = tasks.Runner(core, [registries.RESCAN])
        await runner.look()
        await runner.idle()
        now = await tasks.get(core, admin, task.id)
        assert now.status == "SUCCEEDED"
        assert await scanner.lines(now) == {
            "b/two:1": ("ADDED", ""),
            broken.hostname: ("FAILED", "UNREACHABLE"),
        }
        assert (await make.fresh(scanner.row)).scanned_at is not None
        assert (await make.fresh(broken)).scanned_at is None


async def test_what_is_deleted_meanwhile_leaves_no_image_that_nothing_governs(
    scanner: Scanner, tmp_path: Path, core: Core, admin: Actor
) -> None:
    async with registry(tmp_path) as served:
        await served.push("berth/python", "1")
        await scanner.know(served)

        class Deleting(RegistryClient):
            async def tags(self, repository: str) -> list[str]:
                await registries.delete(core, admin, scanner.row.id)
                return await super().tags(repository)

        task = await registries.rescan(core, admin, [scanner.row.id])
        runner = tasks.Runner(core, [scan.kind(lambda _, row: Deleting(row.url))])
        await runner.look()
        await runner.idle()
        assert await scanner.lines(task) == {served.host: ("FAILED", "NOT_THERE")}
        assert await scanner.images() == {}


async def test_who_may_and_what_there_must_be(core: Core, make: Factories, admin: Actor) -> None:
    with pytest.raises(Conflict):
        await registries.rescan(core, admin)
    with pytest.raises(Conflict):
        await registries.rescan(core, admin, [(await make.registry(active=False)).id])
    chief = make.actor(await make.user(role="DOMAIN_ADMIN"))
    with pytest.raises(Forbidden):
        await registries.rescan(core, chief)
