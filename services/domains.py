"""Domains: tenants, each with users and groups of its own and limits that hold for all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import idempotency, ids, inputs, permissions, slots
from services.bus import Wake
from services.core import Core
from services.db.tables import Domain
from services.errors import Conflict, Problems
from services.nouns import Noun
from services.permissions import Actor


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


@dataclass(frozen=True)
class DomainChanges:
    """None: as it is."""

    name: str | None = None
    description: str | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    active: bool | None = None


ORDERS: Final = {"NAME": Domain.name, "CREATED_AT": Domain.id}


def _conditions(where: DomainFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if where.active is not None:
        found.append(Domain.active == where.active)
    if where.search:
        text = inputs.searchable(where.search)
        found.append(
            or_(
                Domain.name.icontains(text, autoescape=True),
                Domain.description.icontains(text, autoescape=True),
                Domain.id.startswith(text.lower(), autoescape=True),
            )
        )
    return found


_noun = Noun(Domain, "dom", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: DomainSpec) -> Domain:
    """Make a domain.

    Raises:
        BadInput, Forbidden, Conflict.
    """
    permissions.require_role(actor, "createDomain")
    problems = Problems()
    inputs.check_name(spec.name, problems)
    inputs.check_description(spec.description, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    limits = slots.parse(spec.total_slots, problems, "input.totalSlots")
    problems.check()

    async def make(db: AsyncSession) -> Domain:
        await _check_free(db, spec.name)
        domain = Domain(
            id=ids.new("dom"),
            name=spec.name,
            description=spec.description,
            active=True,
            total_slots=limits,
            created_at=core.now(),
        )
        db.add(domain)
        return domain

    domain, _ = await idempotency.once(
        core, actor, "createDomain", spec, Domain, make, taken=_taken(spec.name)
    )
    return domain


async def edit(core: Core, actor: Actor, domain_id: str, changes: DomainChanges) -> Domain:
    """Change a domain. Lower limits end nothing that runs; they hold for what starts from now on.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    if changes.name is not None:
        inputs.check_name(changes.name, problems)
    if changes.description is not None:
        inputs.check_description(changes.description, problems)
    limits = slots.parse(changes.total_slots or (), problems, "input.totalSlots")
    problems.check()
    try:
        async with core.db.write() as db:
            domain = await _noun.take(db, actor, domain_id, "updateDomain")
            if changes.name is not None and changes.name != domain.name:
                await _check_free(db, changes.name)
                domain.name = changes.name
            if changes.description is not None:
                domain.description = changes.description
            if changes.total_slots is not None:
                domain.total_slots = limits
            if changes.active is not None:
                _set_active(actor, domain, active=changes.active)
    except IntegrityError as error:
        raise idempotency.clash(error, _taken(changes.name or "")) from error
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


async def _check_free(db: AsyncSession, name: str) -> None:
    if await db.scalar(select(Domain.id).where(Domain.name == name)) is not None:
        raise _taken(name)


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a domain named {name!r} already. Choose another name.", path="input.name")
