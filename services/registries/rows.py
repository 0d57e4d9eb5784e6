"""Registries that are known: where they answer, with which password, and which domains and groups may use their images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import delete as delete_from
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import idempotency, ids, permissions, trail
from services import inputs as usual
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import (
    AgentImage,
    Base,
    Domain,
    Group,
    Image,
    ImageAlias,
    Registry,
    RegistryGrant,
    Session,
)
from services.errors import BadInput, Conflict, NotFound, Problems
from services.filters import Conditions, equal, linked, searched
from services.nouns import Noun, amend
from services.permissions import Actor, Reach
from services.registries import inputs
from services.registries.inputs import DOCKER_HUB_HOST

__all__ = ["DOCKER_HUB_HOST"]

KINDS: Final = ("DOCKER", "DOCKER_HUB", "HARBOR")
_GRANTEES: Final[dict[str, type[Base]]] = {"dom": Domain, "grp": Group}


@dataclass(frozen=True)
class RegistryFilter:
    #: Part of the host name or address, or the beginning of an id.
    search: str | None = None
    active: bool | None = None
    #: Only those allowed for this domain or group itself.
    grantee_id: str | None = None


@dataclass(frozen=True)
class RegistrySpec:
    hostname: str
    url: str
    kind: str = "DOCKER"
    username: str = ""
    #: Empty: it is asked without one.
    password: str = ""
    projects: Sequence[str] = ()
    trusted_hosts: Sequence[str] = ()
    verify_tls: bool = True
    idempotency_key: str | None = None


@dataclass(frozen=True)
class RegistryChanges:
    """None (where None means something: UNSET): as it is. The host name stays: images are named by it."""

    url: str | None = None
    username: str | None = None
    #: None or empty: from now on without one.
    password: str | UnsetType | None = UNSET
    projects: Sequence[str] | None = None
    trusted_hosts: Sequence[str] | None = None
    verify_tls: bool | None = None
    active: bool | None = None


ORDERS: Final = {"HOSTNAME": Registry.hostname, "CREATED_AT": Registry.id}


def _conditions(where: RegistryFilter) -> Conditions:
    return [
        *searched(where.search, Registry.id, Registry.hostname, Registry.url),
        *equal(Registry.active, where.active),
        *linked(Registry.id, RegistryGrant.registry_id, RegistryGrant.grantee_id, where.grantee_id),
    ]


_noun = Noun(Registry, "reg", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def grants(core: Core, actor: Actor, registry_ids: Sequence[str]) -> dict[str, list[str]]:
    """Registry → ids of the domains and groups that may use its images; only the actor's own for whom sees not all."""
    result: dict[str, list[str]] = {one: [] for one in registry_ids}
    query = (
        select(RegistryGrant.registry_id, RegistryGrant.grantee_id)
        .where(RegistryGrant.registry_id.in_([one for one in result if ids.kind(one) == "reg"]))
        .order_by(RegistryGrant.grantee_id)
    )
    if permissions.reach(actor, "read:registry") is not Reach.EVERYTHING:
        query = query.where(RegistryGrant.grantee_id.in_(actor.grantee_ids))
    async with core.db.read() as db:
        for registry_id, grantee_id in await db.execute(query):
            result[registry_id].append(grantee_id)
    return result


async def of_grantees(core: Core, actor: Actor, grantee_ids: Sequence[str]) -> dict[str, list[Registry]]:
    """Domain or group → registries that are allowed for it itself, by host name, as far as the actor sees them."""
    result: dict[str, list[Registry]] = {one: [] for one in grantee_ids}
    async with core.db.read() as db:
        rows = await db.execute(
            select(RegistryGrant.grantee_id, Registry)
            .join(Registry, Registry.id == RegistryGrant.registry_id)
            .where(RegistryGrant.grantee_id.in_(grantee_ids), permissions.visible(actor, Registry))
            .order_by(Registry.hostname)
        )
        for grantee_id, registry in rows:
            result[grantee_id].append(registry)
    return result


async def create(core: Core, actor: Actor, spec: RegistrySpec) -> Registry:
    """Make a registry known, allowed for nobody yet: from now on it governs the images of its host.

    Raises:
        BadInput, Forbidden, Conflict.
    """
    permissions.require_role(actor, "createRegistry")
    problems = Problems()
    usual.check_idempotency_key(spec.idempotency_key, problems)
    if spec.kind not in KINDS:
        problems.add("input.kind", f"One of {', '.join(KINDS)}.")
    hostname = inputs.check_hostname(spec.hostname, problems)
    url = inputs.check_url(spec.url, hostname, spec.kind, problems)
    inputs.check_credentials(spec.username, spec.password, problems)
    projects = inputs.check_projects(spec.projects, spec.kind, problems)
    trusted = inputs.check_trusted_hosts(spec.trusted_hosts, problems)
    problems.check()
    taken = Conflict(f"There is a registry {hostname!r} already.", path="input.hostname")

    async def make(db: AsyncSession) -> Registry:
        if await db.scalar(select(Registry.id).where(Registry.hostname == hostname)) is not None:
            raise taken
        registry_id = ids.new("reg")
        row = Registry(
            id=registry_id,
            hostname=hostname,
            url=url,
            kind=spec.kind,
            username=spec.username,
            password_encrypted=core.keys.seal(spec.password, registry_id) if spec.password else None,
            projects=projects,
            trusted_hosts=trusted,
            verify_tls=spec.verify_tls,
            active=True,
            created_at=core.now(),
        )
        db.add(row)
        return row

    row, _ = await idempotency.once(core, actor, "createRegistry", spec, Registry, make, taken=taken)
    return row


async def edit(core: Core, actor: Actor, registry_id: str, changes: RegistryChanges) -> Registry:
    """Change a registry. Its host name, and so which images it governs, stays.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    problems = Problems()
    async with core.db.write() as db:
        row = await _noun.take(db, actor, registry_id, "updateRegistry")
        password = changes.password if isinstance(changes.password, str) else None
        inputs.check_credentials(changes.username, password, problems)
        if changes.url is not None:
            row.url = inputs.check_url(changes.url, row.hostname, row.kind, problems)
        if changes.projects is not None:
            row.projects = inputs.check_projects(changes.projects, row.kind, problems)
        if changes.trusted_hosts is not None:
            row.trusted_hosts = inputs.check_trusted_hosts(changes.trusted_hosts, problems)
        problems.check()
        amend(row, changes, "username", "verify_tls", "active")
        if changes.password is not UNSET:
            row.password_encrypted = core.keys.seal(password, row.id) if password else None
        return row


async def delete(core: Core, actor: Actor, registry_id: str) -> str:
    """Forget a registry and its images. Returns its id.

    Images that a node has or a session was made from are kept and hidden: nothing governs them any more, so whether
    everybody may use them is for `updateImage` to say.

    Raises:
        NotFound, Forbidden.
    """

    async def with_images(db: AsyncSession, registry: Registry) -> None:
        of_it = Image.registry_host == registry.hostname
        needed = [Image.id.in_(select(AgentImage.image_id)), Image.id.in_(select(Session.image_id))]
        unneeded = select(Image.id).where(of_it, ~needed[0], ~needed[1])
        await db.execute(delete_from(ImageAlias).where(ImageAlias.image_id.in_(unneeded)))
        # Of a thousand images it is told how many there were.
        gone = delete_from(Image).where(of_it, ~needed[0], ~needed[1]).returning(Image.id)
        forgotten = len((await db.scalars(gone)).all())
        kept = update(Image).where(of_it).values(active=False, scanned_digest=None).returning(Image.id)
        hidden = len((await db.scalars(kept)).all())
        grants = delete_from(RegistryGrant).where(RegistryGrant.registry_id == registry.id)
        taken = sorted(await db.scalars(grants.returning(RegistryGrant.grantee_id)))
        for name, count in (("images_forgotten", forgotten), ("images_hidden", hidden)):
            if count:
                trail.note(registry.id, name, count, None)
        if taken:
            trail.note(registry.id, "grants", taken, None)

    return (await _noun.delete(core, actor, registry_id, "deleteRegistry", first=with_images)).id


async def grant(core: Core, actor: Actor, registry_id: str, grantee_id: str) -> Registry:
    """Let a domain or group use a registry's images; who may already still may.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    _check_grantee(grantee_id)
    async with core.db.write() as db:
        row = await _noun.take(db, actor, registry_id, "grantRegistry")
        table = _GRANTEES[ids.kind(grantee_id) or ""]
        if await db.get(table, grantee_id) is None:
            kind = ids.KINDS[ids.kind(grantee_id) or ""]
            raise NotFound(f"There is no {kind} {grantee_id!r}.", path="input.tenantId")
        new = await db.scalar(
            insert_into(db, RegistryGrant)
            .values(registry_id=row.id, grantee_id=grantee_id)
            .on_conflict_do_nothing()
            .returning(RegistryGrant.grantee_id)
        )
        if new is not None:
            trail.note(row.id, "grants", None, new)
        return row


async def revoke(core: Core, actor: Actor, registry_id: str, grantee_id: str) -> Registry:
    """Take it back. What runs or waits goes on; nothing new is made from its images there.

    Raises:
        BadInput, NotFound, Forbidden.
    """
    _check_grantee(grantee_id)
    async with core.db.write() as db:
        row = await _noun.take(db, actor, registry_id, "revokeRegistry")
        gone = await db.scalar(
            delete_from(RegistryGrant)
            .where(RegistryGrant.registry_id == row.id, RegistryGrant.grantee_id == grantee_id)
            .returning(RegistryGrant.grantee_id)
        )
        if gone is not None:
            trail.note(row.id, "grants", gone, None)
        return row


def _check_grantee(grantee_id: str) -> None:
    if ids.kind(grantee_id) not in _GRANTEES:
        raise BadInput("An id of a domain or group.", path="input.tenantId")
