"""Domains: tenants, each with users and groups of its own and limits that hold for all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids, inputs, permissions, slots
from services.bus import Wake
from services.core import Core
from services.db.tables import Domain
from services.errors import Conflict, NotFound, Problems
from services.filters import Conditions, equal, searched
from services.nouns import Named, amend
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


@dataclass(frozen=True)
class DomainChanges:
    """None (where None means something: UNSET): as it is."""

    name: str | None = None
    description: str | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    active: bool | None = None
    max_concurrent_sessions: int | UnsetType | None = UNSET


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
    problems.check()

    async def make(_: AsyncSession) -> Domain:
        return Domain(
            id=ids.new("dom"),
            name=spec.name,
            description=spec.description,
            active=True,
            total_slots=limits,
            max_concurrent_sessions=spec.max_concurrent_sessions,
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
    problems.check()
    async with _noun.change(core, actor, domain_id, "updateDomain", changes) as domain:
        if changes.total_slots is not None:
            domain.total_slots = limits
        amend(domain, changes, "max_concurrent_sessions")
        if changes.active is not None:
            _set_active(actor, domain, active=changes.active)
    _tell(core, changes.active)
    # What waits may fit now.
    await core.bus.publish(Wake())
    return domain


async def deactivate(core: Core, actor: Actor, domain_id: str) -> Domain:
    """Close a domain: its users are logged out and cannot log in. What runs goes on until it ends.

    Raises:
        NotFound, Forbidden, Conflict: it is the actor's own.
    """
    async with core.db.write() as db:
        domain = await _noun.take(db, actor, domain_id, "deactivateDomain")
        _set_active(actor, domain, active=False)
    _tell(core, False)
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


def _set_active(actor: Actor, domain: Domain, *, active: bool) -> None:
    if not active and domain.id == actor.domain_id:
        raise Conflict(
            "This is your own domain: you would lock yourself out. Ask a superadmin of another one."
        )
    domain.active = active


def _tell(core: Core, active: bool | None) -> None:
    """A domain may have very many users: other managers notice when their cached checks have had their time."""
    if active is not None:
        core.standings.clear()
