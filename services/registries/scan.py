"""Looking through registries: what they have that carries the product's labels becomes an image here.

The registry's answer is anybody's. One image that is not as it should be is skipped with its reason, one registry that
does not answer is told with its reason, and the rest is done. Nothing is taken for gone that was not looked for: only of a
list that was read to its end, and of a repository whose tags were, is what is missing missing.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids, permissions, tasks
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import AgentImage, Image, ImageAlias, Registry, Session, Task
from services.errors import Conflict, Unavailable
from services.images import labels
from services.permissions import Actor
from services.registries import credentials, rows
from services.registries.client import RegistryClient
from services.registries.faults import NotThere, RegistryFault, Unreachable
from services.registries.inputs import DOCKER_HUB_HOST
from services.registries.manifests import Found

#: Tags of one repository that are read at once; the client bounds what is asked at once.
_TAGS_AT_ONCE: Final = 16
_LONGEST_REFERENCE: Final = 512

Connect = Callable[[Core, Registry], RegistryClient]


async def rescan(core: Core, actor: Actor, registry_ids: Sequence[str] | None = None) -> Task:
    """Have registries looked through, in the background; None: all active ones. One that is being looked through already
    is the task that is returned.

    Raises:
        NotFound, Forbidden; Conflict: there is none, or one is inactive.
    """
    permissions.require_role(actor, "rescanRegistries")
    if registry_ids is None:
        async with core.db.read() as db:
            found = (
                await db.scalars(select(Registry).where(Registry.active).order_by(Registry.hostname))
            ).all()
        lock = "rescan:all"
    else:
        found = [
            await rows.get(core, actor, registry_id, path="input.ids")
            for registry_id in sorted(set(registry_ids))
        ]
        lock = f"rescan:{found[0].id}" if len(found) == 1 else None
    if not found:
        raise Conflict("There is no active registry. Make one known with createRegistry.")
    for registry in found:
        if not registry.active:
            raise Conflict(f"{registry.hostname} is inactive. Make it active first.", path="input.ids")
    arguments = {"registries": [registry.id for registry in found]}
    return await tasks.start(core, actor, "RESCAN_REGISTRIES", arguments, lock=lock)


def connect(core: Core, registry: Registry) -> RegistryClient:
    """
    Raises:
        ValueError: its password cannot be read any more.
    """
    return RegistryClient(
        registry.url,
        registry.kind,
        known=credentials.of(core, registry),
        projects=registry.projects,
        trusted=registry.trusted_hosts,
        verify_tls=registry.verify_tls,
    )


def kind(connect: Connect = connect) -> tasks.Kind:
    """The kind of task that rescans."""

    async def work(run: tasks.Run) -> None:
        async with run.core.db.read() as db:
            found = (
                await db.scalars(
                    select(Registry)
                    .where(Registry.id.in_(run.arguments["registries"]), Registry.active)
                    .order_by(Registry.hostname)
                )
            ).all()
        faults = [
            fault
            for registry in found
            if (fault := await _Scan(run, registry).carry_out(connect)) is not None
        ]
        if faults and len(faults) == len(found):
            raise Unavailable("No registry could be looked through: " + " ".join(faults))

    return tasks.Kind("RESCAN_REGISTRIES", work, restartable=True)


@dataclass
class _Repository:
    """What is known of one repository after it was looked through."""

    path: str
    #: Reference → its images.
    found: dict[str, list[Found]] = field(default_factory=dict[str, list[Found]])
    #: References that are there, and could not be read: what was known of them stays.
    kept: set[str] = field(default_factory=set[str])
    #: False: its tags could not be listed.
    complete: bool = True


class _Scan:
    """One registry, looked through."""

    def __init__(self, run: tasks.Run, registry: Registry) -> None:
        self._run = run
        self._registry = registry

    async def carry_out(self, connect: Connect) -> str | None:
        """Look through it. Returns why that could not be done."""
        run, registry = self._run, self._registry
        run.advance(message=f"{registry.hostname}: asking what it has")
        try:
            client = connect(run.core, registry)
        except ValueError:
            return self._failed("Its password was sealed with a key that is gone. Give it anew.")
        try:
            await client.check()
            paths = [path async for path in client.repositories()]
            run.advance(0, len(paths))
            for number, path in enumerate(paths):
                run.advance(number, message=f"{registry.hostname}: {path}")
                await self._write(await self._look_through(client, path))
            await self._finish(paths)
            run.advance(len(paths))
        except RegistryFault as fault:
            return self._failed(fault.message, fault.code)
        finally:
            await client.close()
        return None

    def _failed(self, message: str, code: str = "") -> str:
        said = f"{code}: {message}" if code else message
        self._run.note("FAILED", self._registry.hostname, said)
        return f"{self._registry.hostname}: {message}"

    async def _look_through(self, client: RegistryClient, path: str) -> _Repository:
        repository = _Repository(path)
        try:
            tags = await client.tags(path)
        except Unreachable:
            raise
        except NotThere:
            return repository  # all its tags are gone
        except RegistryFault as fault:
            repository.complete = False
            self._skip(path, fault)
            return repository
        for start in range(0, len(tags), _TAGS_AT_ONCE):
            some = tags[start : start + _TAGS_AT_ONCE]
            answers = await asyncio.gather(
                *(client.images(path, tag) for tag in some), return_exceptions=True
            )
            for tag, answer in zip(some, answers, strict=True):
                self._take(repository, tag, answer)
        return repository

    def _take(self, repository: _Repository, tag: str, answer: list[Found] | BaseException) -> None:
        reference = self._reference(repository.path, tag)
        if isinstance(answer, Unreachable) or (
            isinstance(answer, BaseException) and not isinstance(answer, RegistryFault)
        ):
            raise answer
        if isinstance(answer, NotThere):
            return  # it went while we looked
        if isinstance(answer, RegistryFault):
            repository.kept.add(reference)
            self._skip(reference, answer)
            return
        usable: list[Found] = []
        for image in answer:
            if not labels.is_ours(image.labels):
                self._run.note(
                    "SKIPPED", reference, f"NO_LABELS: It carries no labels of ours ({image.architecture})."
                )
            elif nonsense := labels.nonsense(image.labels):
                repository.kept.add(reference)
                self._run.note("SKIPPED", reference, f"LABEL_NONSENSE: {'; '.join(nonsense)}")
            elif len(reference) > _LONGEST_REFERENCE:
                self._run.note("SKIPPED", reference, f"TOO_LONG: More than {_LONGEST_REFERENCE} characters.")
            else:
                usable.append(image)
        repository.found[reference] = usable

    def _skip(self, subject: str, fault: RegistryFault) -> None:
        self._run.note("SKIPPED", subject, f"{fault.code}: {fault.message}")

    def _reference(self, path: str, tag: str) -> str:
        """As engines name it: Docker Hub's without a host, and its own images without a namespace."""
        if self._registry.hostname == DOCKER_HUB_HOST:
            return f"{path.removeprefix('library/')}:{tag}"
        return f"{self._registry.hostname}/{path}:{tag}"

    async def _write(self, repository: _Repository) -> None:
        """What was found in a repository, in one transaction that is ours or is not done."""
        parts = labels.split(self._reference(repository.path, "x"))
        noted: list[tuple[str, str]] = []
        async with self._run.write() as db:
            await self._still_known(db)
            rows = await db.scalars(
                select(Image).where(
                    Image.registry_host == self._registry.hostname,
                    Image.namespace == parts.namespace,
                    Image.name == parts.name,
                )
            )
            known = {(row.reference, row.architecture): row for row in rows}
            new: list[dict[str, Any]] = []
            for reference, images in repository.found.items():
                for image in images:
                    row = known.pop((reference, image.architecture), None)
                    if row is None:
                        new.append(_values(self._run.core, reference, image))
                        noted.append(("ADDED", reference))
                    elif _change(row, image):
                        noted.append(("CHANGED", reference))
                    else:
                        self._run.count("UNCHANGED")
            if new:
                await db.execute(insert_into(db, Image).on_conflict_do_nothing(), new)
            if repository.complete:
                gone = [
                    row
                    for row in known.values()
                    if row.scanned_digest is not None and row.reference not in repository.kept
                ]
                await _vanish(db, gone)
                noted += [("VANISHED", row.reference) for row in gone]
        for outcome, reference in noted:
            self._run.note(outcome, reference)

    async def _finish(self, paths: Sequence[str]) -> None:
        """Repositories that are not listed any more, now that the list is known to be whole."""
        listed = {labels.split(self._reference(path, "x"))[1:3] for path in paths}
        async with self._run.write() as db:
            await self._still_known(db)
            rows = await db.scalars(
                select(Image).where(
                    Image.registry_host == self._registry.hostname, Image.scanned_digest.is_not(None)
                )
            )
            gone = [row for row in rows if (row.namespace, row.name) not in listed and self._in_scope(row)]
            await _vanish(db, gone)
            await db.execute(
                update(Registry)
                .where(Registry.id == self._registry.id)
                .values(scanned_at=self._run.core.now())
            )
        for row in gone:
            self._run.note("VANISHED", row.reference)

    async def _still_known(self, db: AsyncSession) -> None:
        """What governs the images stays until they are written: else they would be open to everybody."""
        known = await db.scalar(
            select(Registry.id).where(Registry.id == self._registry.id, Registry.active).with_for_update()
        )
        if known is None:
            raise NotThere("The registry was deleted or made inactive meanwhile.")

    def _in_scope(self, row: Image) -> bool:
        path = f"{row.namespace}/{row.name}" if row.namespace else row.name
        return not self._registry.projects or any(
            path == project or path.startswith(f"{project}/") for project in self._registry.projects
        )


def _values(core: Core, reference: str, image: Found) -> dict[str, Any]:
    parts, described = labels.split(reference), labels.describe(image.labels, *labels.split(reference)[2:])
    return {
        "id": ids.new("img"),
        "reference": reference,
        "architecture": image.architecture,
        "registry_host": parts.registry,
        "namespace": parts.namespace,
        "name": parts.name,
        "tag": parts.tag,
        "digest": image.digest,
        "scanned_digest": image.digest,
        "size": image.size,
        "labels": image.labels,
        "language": described.language,
        "version": described.version,
        "base": described.base,
        "minimum_slots": described.minimum_slots,
        "service_ports": described.service_ports,
        "environment_names": described.environment_names,
        "minimum_edited": False,
        "active": True,
        "vanished": False,
        "created_at": core.now(),
    }


def _change(row: Image, image: Found) -> bool:
    """Make a row say what its registry says now. Returns whether that was something else."""
    same = row.digest == image.digest and row.scanned_digest == image.digest and not row.vanished
    if row.vanished:
        row.active, row.vanished = True, False
    if row.digest != image.digest:
        row.size = image.size
    described = labels.describe(image.labels, row.name, row.tag)
    row.digest = row.scanned_digest = image.digest
    row.labels = image.labels
    row.language, row.version, row.base = described.language, described.version, described.base
    row.service_ports, row.environment_names = described.service_ports, described.environment_names
    if not row.minimum_edited:
        row.minimum_slots = described.minimum_slots
    return not same


async def _vanish(db: AsyncSession, gone: Sequence[Image]) -> None:
    """What its registry has no more: nodes that have it go on; else it is forgotten, or hidden for the sake of history."""
    if not gone:
        return
    await db.flush()
    image_ids = [row.id for row in gone]
    here = set(await db.scalars(select(AgentImage.image_id).where(AgentImage.image_id.in_(image_ids))))
    used = set(await db.scalars(select(Session.image_id).where(Session.image_id.in_(image_ids)).distinct()))
    away = [one for one in image_ids if one not in here]
    hidden = [one for one in away if one in used]
    lost = [one for one in away if one not in used]
    await db.execute(update(Image).where(Image.id.in_(image_ids)).values(scanned_digest=None))
    await db.execute(
        update(Image).where(Image.id.in_(hidden), Image.active).values(active=False, vanished=True)
    )
    try:
        async with db.begin_nested():
            await db.execute(delete(ImageAlias).where(ImageAlias.image_id.in_(lost)))
            await db.execute(delete(Image).where(Image.id.in_(lost)))
    except IntegrityError:
        # A session was made from one of them just now.
        await db.execute(update(Image).where(Image.id.in_(lost)).values(active=False, vanished=True))


RESCAN: Final = kind()

__all__ = ["RESCAN", "connect", "kind", "rescan"]
