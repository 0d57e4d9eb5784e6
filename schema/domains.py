"""Domains: tenants."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.closing import RemainingSessions
from schema.context import Context, Info
from schema.errors import Problem
from schema.fields import USED, answered, belongs, permitted_actions, said
from schema.nodes import Node
from schema.paging import After, Before, Connection, Direction, First, Last, page_args
from schema.slots import SlotInput, SlotLimit
from services.db import tables

if TYPE_CHECKING:
    from schema.groups import Group
    from schema.registries import Registry
    from schema.users import User

Groups = Connection[Annotated["Group", strawberry.lazy("schema.groups")]]
Users = Connection[Annotated["User", strawberry.lazy("schema.users")]]


@strawberry.type(description="A tenant: users and groups, and what they may use together.")
class Domain(Node):
    row: strawberry.Private[tables.Domain]
    name: str = said("Unique.")
    description: str = said("For people.")
    active: bool = said("False once it was deactivated: nobody of it can log in or launch anything.")
    max_concurrent_sessions: int | None = said("All its sessions at once; null: unlimited.")
    allowed_storage_hosts: list[str] = said(
        "Storage hosts that its members may use, beside those of their resource policies."
    )
    created_at: datetime = said("When it was made.")

    @classmethod
    def of(cls, row: tables.Domain) -> "Domain":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            description=row.description,
            active=row.active,
            max_concurrent_sessions=row.max_concurrent_sessions,
            allowed_storage_hosts=row.allowed_storage_hosts,
            created_at=row.created_at,
        )

    @answered(USED, "What all its sessions together may occupy, and do.")
    def total_slots(self, used: dict[str, int], _context: Context) -> list[SlotLimit]:
        return SlotLimit.all(self.row.total_slots, used)

    @answered(USED, "Its sessions that occupy a node now.")
    def concurrent_sessions(self, used: dict[str, int], _context: Context) -> int:
        return used.get("sessions", 0)

    @strawberry.field(description="Its groups, as far as you see them.")
    def groups(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Groups:
        return info.context.page("groups", page_args(first, after, last, before), domain_id=self.row.id)

    @strawberry.field(description="Its users, as far as you see them.")
    def users(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Users:
        return info.context.page("users", page_args(first, after, last, before), domain_id=self.row.id)

    registries: list[Annotated["Registry", strawberry.lazy("schema.registries")]] = belongs(
        "registries", "Registries that are allowed for it itself, as far as you see them."
    )

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which domains; all given conditions hold together.")
class DomainFilter:
    search: str | None = said("Part of the name or description, or the beginning of the id.", default=None)
    active: bool | None = said("Only active (true) or deactivated (false) ones.", default=None)


@strawberry.enum(description="What lists of domains are ordered by.")
class DomainOrderField(Enum):
    NAME = strawberry.enum_value("NAME", description="By name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of domains.")
class DomainOrder:
    field: DomainOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new domain.")
class CreateDomainInput:
    name: str = said("Unique; letters, digits, dots, hyphens and underscores.")
    description: str = said("For people.", default="")
    total_slots: list[SlotInput] = said(
        "Limits of all its sessions together; unlimited where not given.", default_factory=list
    )
    max_concurrent_sessions: int | None = said("All its sessions at once; null: unlimited.", default=None)
    allowed_storage_hosts: list[str] = said(
        "Storage hosts that its members may use, beside those of their resource policies.",
        default_factory=list,
    )
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a domain; what is absent stays as it is.")
class UpdateDomainInput:
    id: strawberry.ID = said("The domain.")
    name: str | None = said("A new name.", default=None)
    description: str | None = said("A new description.", default=None)
    total_slots: list[SlotInput] | None = said("All limits anew; unlimited where not given.", default=None)
    max_concurrent_sessions: strawberry.Maybe[int | None] = said(
        "All its sessions at once; null: unlimited.", default=None
    )
    allowed_storage_hosts: list[str] | None = said("All its storage hosts anew.", default=None)
    active: bool | None = said("True brings a deactivated domain back.", default=None)


@strawberry.input(description="The same changes of several domains; what is absent stays as it is.")
class UpdateDomainsInput:
    ids: list[strawberry.ID] = said("The domains.")
    description: str | None = said("A new description.", default=None)
    total_slots: list[SlotInput] | None = said("All limits anew; unlimited where not given.", default=None)
    max_concurrent_sessions: strawberry.Maybe[int | None] = said(
        "All sessions of each at once; null: unlimited.", default=None
    )
    allowed_storage_hosts: list[str] | None = said("All storage hosts anew.", default=None)
    active: bool | None = said("False deactivates them, true brings them back.", default=None)
    sessions: RemainingSessions = said(
        "With `active: false`: what becomes of their sessions.", default=RemainingSessions.KEEP
    )


@strawberry.input(description="A domain to deactivate.")
class DeactivateDomainInput:
    id: strawberry.ID = said("The domain.")
    sessions: RemainingSessions = said("What becomes of its sessions.", default=RemainingSessions.KEEP)


@strawberry.type(description="A domain was made.")
class CreateDomainPayload:
    domain: Domain = said("The new domain.")


@strawberry.type(description="A domain was changed.")
class UpdateDomainPayload:
    domain: Domain = said("The domain as it is now.")


@strawberry.type(description="What became of one of several domains.")
class DomainResult:
    id: strawberry.ID = said("The domain's id as it was given.")
    domain: Domain | None = said("The domain as it is now; null when it was not done.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="Domains were changed, each for itself.")
class UpdateDomainsPayload:
    results: list[DomainResult] = said("One for each id.")


@strawberry.type(description="A domain was deactivated.")
class DeactivateDomainPayload:
    domain: Domain = said("The domain as it is now.")
