"""Registries: where images come from, and who may use them."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.context import Context, Info, Need
from schema.fields import ACTIONS, answered, asked, permitted_actions, said
from schema.nodes import Node
from schema.paging import Direction
from services.db import tables

if TYPE_CHECKING:
    from schema.domains import Domain
    from schema.groups import Group
    from schema.tasks import Task

RegistryGrantee = Annotated[
    Annotated["Domain", strawberry.lazy("schema.domains")]
    | Annotated["Group", strawberry.lazy("schema.groups")],
    strawberry.union("RegistryGrantee", description="Who may use a registry's images."),
]


@strawberry.enum(description="How a registry is asked for what it has.")
class RegistryKind(Enum):
    DOCKER = strawberry.enum_value("DOCKER", description="By its catalog (Docker Registry HTTP API v2).")
    DOCKER_HUB = strawberry.enum_value(
        "DOCKER_HUB", description="Docker Hub: by the namespaces that `projects` names."
    )
    HARBOR = strawberry.enum_value(
        "HARBOR", description="Harbor: by its projects, those that `projects` names or all."
    )


@strawberry.type(description="A domain or group may use a registry's images.")
class RegistryGrant:
    grantee_id: strawberry.Private[str]
    grantee: RegistryGrantee | None = asked(
        Need("id", lambda grant: grant.grantee_id), "Who; null when you may not see them."
    )


@strawberry.type(
    description="Where images come from. It governs every image whose reference begins with its host name: such an image "
    "may be used where its registry is allowed for the domain or the group."
)
class Registry(Node):
    row: strawberry.Private[tables.Registry]
    hostname: str = said("Unique; what the references of its images begin with.")
    url: str = said("Where it answers, with the scheme.")
    kind: RegistryKind = said("How it is asked for what it has.")
    active: bool = said("False: nobody may use its images for new sessions.")
    verify_tls: bool = said(
        "False: its certificate is not checked, by managers; nodes have a setting of their own."
    )
    has_password: bool = said("Is it asked with a password? The password itself is never given back.")
    scanned_at: datetime | None = said("When it was last looked through; null: never.")
    created_at: datetime = said("When it was made known.")

    @classmethod
    def of(cls, row: tables.Registry) -> "Registry":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            hostname=row.hostname,
            url=row.url,
            kind=RegistryKind(row.kind),
            active=row.active,
            verify_tls=row.verify_tls,
            has_password=row.password_encrypted is not None,
            scanned_at=row.scanned_at,
            created_at=row.created_at,
        )

    @answered(ACTIONS, "The user that it is asked as, empty for nobody; null when you may not know.")
    def username(self, actions: list[str], _context: Context) -> str | None:
        return self.row.username if "updateRegistry" in actions else None

    @answered(
        ACTIONS,
        "Projects or namespaces that are looked through; none: all that it lists; null when you may not know.",
    )
    def projects(self, actions: list[str], _context: Context) -> list[str] | None:
        return self.row.projects if "updateRegistry" in actions else None

    @answered(
        ACTIONS,
        "Other hosts to which it may send the manager, and its password: those that give out its tokens; null when you "
        "may not know.",
    )
    def trusted_hosts(self, actions: list[str], _context: Context) -> list[str] | None:
        return self.row.trusted_hosts if "updateRegistry" in actions else None

    @strawberry.field(description="Who may use its images; null when you may not know.")
    async def grants(self, info: Info) -> list[RegistryGrant] | None:
        if "updateRegistry" not in await info.context.actions(self.row):
            return None
        grantees = await info.context.each("registry_grants", self.row.id)
        return [RegistryGrant(grantee_id=grantee) for grantee in grantees]

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which registries; all given conditions hold together.")
class RegistryFilter:
    search: str | None = said("Part of the host name or address, or the beginning of the id.", default=None)
    active: bool | None = said("Only active (true) or inactive (false) ones.", default=None)


@strawberry.enum(description="What lists of registries are ordered by.")
class RegistryOrderField(Enum):
    HOSTNAME = strawberry.enum_value("HOSTNAME", description="By host name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of registries.")
class RegistryOrder:
    field: RegistryOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new registry.")
class CreateRegistryInput:
    hostname: str = said("The host of the address, with its port where it has one; for Docker Hub docker.io.")
    url: str = said("Where it answers: scheme and host, such as https://registry.example.org.")
    kind: RegistryKind = said("How it is asked for what it has.", default=RegistryKind.DOCKER)
    username: str = said("The user to ask it as.", default="")
    password: str = said("That user's password or token; kept sealed and never given back.", default="")
    projects: list[str] = said(
        "Projects or namespaces to look through; none: all that it lists. Docker Hub needs some.",
        default_factory=list,
    )
    trusted_hosts: list[str] = said(
        "Other hosts to which it may send the manager, and its password: those that give out its tokens.",
        default_factory=list,
    )
    verify_tls: bool = said("False: its certificate is not checked.", default=True)
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a registry; what is absent stays as it is.")
class UpdateRegistryInput:
    id: strawberry.ID = said("The registry.")
    url: str | None = said("Where it answers now; its host stays.", default=None)
    username: str | None = said("The user to ask it as.", default=None)
    password: strawberry.Maybe[str | None] = said("A new password; null: none any more.", default=None)
    projects: list[str] | None = said("All projects or namespaces anew.", default=None)
    trusted_hosts: list[str] | None = said("All trusted hosts anew.", default=None)
    verify_tls: bool | None = said("False: its certificate is not checked.", default=None)
    active: bool | None = said("False: nobody may use its images for new sessions.", default=None)


@strawberry.input(description="A registry to forget.")
class DeleteRegistryInput:
    id: strawberry.ID = said("The registry.")


@strawberry.input(description="Who may (or may no longer) use a registry's images.")
class RegistryGrantInput:
    id: strawberry.ID = said("The registry.")
    tenant_id: strawberry.ID = said("A domain or group.")


@strawberry.type(description="A registry was made known.")
class CreateRegistryPayload:
    registry: Registry = said("The new registry.")


@strawberry.type(description="A registry was changed.")
class UpdateRegistryPayload:
    registry: Registry = said("The registry as it is now.")


@strawberry.type(
    description="A registry was forgotten; its images are gone, or hidden where they are needed."
)
class DeleteRegistryPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")


@strawberry.type(description="A registry was allowed.")
class GrantRegistryPayload:
    registry: Registry = said("The registry as it is now.")


@strawberry.type(description="A registry is no longer allowed.")
class RevokeRegistryPayload:
    registry: Registry = said("The registry as it is now.")


@strawberry.input(description="Registries to look through.")
class RescanRegistriesInput:
    ids: list[strawberry.ID] | None = said("Which; null: all active ones.", default=None)


@strawberry.type(description="Registries are being looked through.")
class RescanRegistriesPayload:
    task: Annotated["Task", strawberry.lazy("schema.tasks")] = said(
        "Does it in the background; it has a line for each image that is new, changed, skipped (and why) or gone."
    )
