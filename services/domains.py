"""Domains: tenants, each with users and groups of its own and limits that hold for all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services import closing, ids, inputs, permissions, slots
from services.auth import standing
from services.bus import Revoked, Wake
from services.core import Core
from services.db.tables import Domain
from services.errors import Conflict, NotFound, Problems
from services.filters import Conditions, equal, searched
from services.nouns import Named, amend
from services.outcomes import Outcome, each
from services.permissions import Actor, Subject


@dataclass(frozen=True)
class DomainFilter:
    active: bool | None = None
    #: Part of the name or description, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class DomainSpec:
    name: str
    description: str = ""
    #: Limits by slot, amounts as the client wrote them; a slot that is not named is unlimited.
    total_slots: Sequence[tuple[str, str]] = ()
    idempotency_key: str | None = None
    #: None: unlimited.
    max_concurrent_sessions: int | None = None
    #: Storage hosts that its members may use beside those of their policies.
    allowed_storage_hosts: Sequence[str] = ()


@dataclass(frozen=True)
class DomainChanges:
    """None (where None means something: UNSET): as it is."""

    name: str | None = None
    description: str | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    active: bool | None = None
    max_concurrent_sessions: int | UnsetType | None = UNSET
    allowed_storage_hosts: Sequence[str] | None = None
    #: With `active=False`: its sessions end, what waits too; else they go on.
    end_sessions: bool = False


ORDERS: Final = {"NAME": Domain.name, "CREATED_AT": Domain.id}


def _conditions(where: DomainFilter) -> Conditions:
    return [
        *equal(Domain.active, where.active),
        *searched(where.search, Domain.id, Domain.name, Domain.description),
    ]


_noun = Named(Domain, "dom", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: DomainSpec) -> Domain:
    """Make a domain.

    Raises:
        BadInput, Forbidden, Conflict.
    """
    permissions.require_role(actor, "createDomain")
    problems = Problems()
    inputs.check_title(spec, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    limits = slots.parse(spec.total_slots, problems, "input.totalSlots")
    inputs.check_sessions(spec.max_concurrent_sessions, problems)
    inputs.check_storage_hosts(spec.allowed_storage_hosts, problems)
    problems.check()

    async def make(_: AsyncSession) -> Domain:
        return Domain(
            id=ids.new("dom"),
            name=spec.name,
            description=spec.description,
            active=True,
            total_slots=limits,
            max_concurrent_sessions=spec.max_concurrent_sessions,
            allowed_storage_hosts=list(spec.allowed_storage_hosts),
            created_at=core.now(),
        )

    return await _noun.create(core, actor, "createDomain", spec, make)


async def edit(core: Core, actor: Actor, domain_id: str, changes: DomainChanges) -> Domain:
    """Change a domain. Lower limits end nothing that runs; they hold for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    inputs.check_title(changes, problems)
    limits = slots.parse(changes.total_slots or (), problems, "input.totalSlots")
    inputs.check_sessions(changes.max_concurrent_sessions, problems)
    inputs.check_storage_hosts(changes.allowed_storage_hosts, problems)
    problems.check()
    elsewhere = 0

    async def count(db: AsyncSession) -> None:
        nonlocal elsewhere
        elsewhere = await standing.lock_superadmins(db, but_domain=domain_id)

    first = count if changes.active is False else None
    async with _noun.change(core, actor, domain_id, "updateDomain", changes, first=first) as domain:
        if changes.total_slots is not None:
            domain.total_slots = limits
        if changes.allowed_storage_hosts is not None:
            domain.allowed_storage_hosts = list(changes.allowed_storage_hosts)
        amend(domain, changes, "max_concurrent_sessions")
        if changes.active is not None:
            _check_closing(actor, domain, elsewhere, active=changes.active)
            _set_active(core, domain, active=changes.active, end_sessions=changes.end_sessions)
    if changes.active is not None:
        await _tell(core, domain)
    # What waits may fit now.
    await core.bus.publish(Wake(anew=True))
    return domain


async def edit_all(
    core: Core, actor: Actor, domain_ids: Sequence[str], changes: DomainChanges
) -> list[Outcome[Domain]]:
    """Change domains in the same way, each for itself."""
    permissions.require_role(actor, "updateDomains")
    return await each(domain_ids, lambda domain_id: edit(core, actor, domain_id, changes))


async def deactivate(core: Core, actor: Actor, domain_id: str, *, end_sessions: bool = False) -> Domain:
    """Close a domain: its users are logged out and cannot log in.

    Args:
        end_sessions: its sessions end as well, what waits too; else they go on.

    Raises:
        NotFound, Forbidden, Conflict: it is the actor's own, or nobody who governs everything would be left.
    """
    async with core.db.write() as db:
        elsewhere = await standing.lock_superadmins(db, but_domain=domain_id)
        domain = await _noun.take(db, actor, domain_id, "deactivateDomain")
        _check_closing(actor, domain, elsewhere, active=False)
        _set_active(core, domain, active=False, end_sessions=end_sessions)
    await _tell(core, domain)
    return domain


async def require(db: AsyncSession, actor: Actor, domain_id: str, action: str) -> None:
    """Check that the actor may do something within a domain.

    Raises:
        NotFound: the domain does not exist or is not the actor's to see.
        Forbidden.
    """
    known = None
    if ids.kind(domain_id) == "dom":
        known = await db.scalar(
            select(Domain.id).where(Domain.id == domain_id, permissions.visible(actor, Domain))
        )
    if known is None:
        raise NotFound("There is no such domain, or it is not yours to see.", path="input.domainId")
    permissions.require(actor, action, Subject(domain_id=domain_id))


def _check_closing(actor: Actor, domain: Domain, elsewhere: int, *, active: bool) -> None:
    """
    Args:
        elsewhere: superadmins of other domains who may come in; they are locked.
    """
    if active:
        return
    if domain.id == actor.domain_id:
        raise Conflict(
            "This is your own domain: you would lock yourself out. Ask a superadmin of another one."
        )
    if domain.active and elsewhere < 1:
        raise Conflict("The last active superadmin is of this domain. Make another one elsewhere first.")


def _set_active(core: Core, domain: Domain, *, active: bool, end_sessions: bool) -> None:
    domain.active = active
    domain.sessions_ending_since = core.now() if end_sessions and not active else None


async def _tell(core: Core, domain: Domain) -> None:
    """What anybody's login is worth may have changed; what runs may have to end."""
    core.standings.clear()
    await core.bus.publish(Revoked(user_id=domain.id))
    await closing.begin(core, domain)
