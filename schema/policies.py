"""Resource policies: limits of keypairs."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.fields import permitted_actions, said
from schema.nodes import Node
from schema.paging import Direction
from schema.scalars import ByteSize
from schema.slots import SlotInput, SlotLimit
from services.db import tables

if TYPE_CHECKING:
    from schema.keypairs import Keypair


@strawberry.type(description="Limits of the keypairs that refer to it.")
class ResourcePolicy(Node):
    row: strawberry.Private[tables.ResourcePolicy]
    name: str = said("Unique.")
    description: str = said("For people.")
    total_slots: list[SlotLimit] = said(
        "What all sessions of one keypair together may occupy; `used` is not counted here."
    )
    max_concurrent_sessions: int | None = said("Sessions of one keypair at once; null: unlimited.")
    max_kernels_per_session: int = said("Containers of one session.")
    idle_timeout_seconds: int = said("An unused session ends after so long; 0: never.")
    idle_cpu_percent: int = said(
        "CPU load above it counts as use, in percent of what a session was given; 100: none does."
    )
    idle_accelerator_percent: int = said(
        "Accelerator load above it counts as use, in percent of what a session was given; 100: none does."
    )
    max_lifetime_seconds: int = said(
        "A session is ended when it has run for so long, used or not, or for the time of its resource group if that is shorter; 0: never."
    )
    allowed_storage_hosts: list[str] | None = said(
        "Storage hosts that folders may be on, beside those of the domain and the group; null: all."
    )
    max_folder_bytes: ByteSize | None = said("Of one folder; null: unlimited.")
    max_folders: int | None = said("Folders of one user; null: unlimited.")
    created_at: datetime = said("When it was made.")

    @classmethod
    def of(cls, row: tables.ResourcePolicy) -> "ResourcePolicy":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            description=row.description,
            total_slots=SlotLimit.all(row.total_slots, {}),
            max_concurrent_sessions=row.max_concurrent_sessions,
            max_kernels_per_session=row.max_kernels_per_session,
            idle_timeout_seconds=row.idle_timeout_seconds,
            idle_cpu_percent=row.idle_cpu_percent,
            idle_accelerator_percent=row.idle_accelerator_percent,
            max_lifetime_seconds=row.max_lifetime_seconds,
            allowed_storage_hosts=row.allowed_storage_hosts,
            max_folder_bytes=None if row.max_folder_bytes is None else ByteSize(row.max_folder_bytes),
            max_folders=row.max_folders,
            created_at=row.created_at,
        )

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which policies.")
class ResourcePolicyFilter:
    search: str | None = said("Part of the name or description, or the beginning of the id.", default=None)


@strawberry.enum(description="What lists of resource policies are ordered by.")
class ResourcePolicyOrderField(Enum):
    NAME = strawberry.enum_value("NAME", description="By name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of resource policies.")
class ResourcePolicyOrder:
    field: ResourcePolicyOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new resource policy.")
class CreateResourcePolicyInput:
    name: str = said("Unique.")
    description: str = said("For people.", default="")
    total_slots: list[SlotInput] = said("Limits; unlimited where not given.", default_factory=list)
    max_concurrent_sessions: int | None = said("Sessions at once; null: unlimited.", default=None)
    max_kernels_per_session: int = said("Containers of one session.", default=1)
    idle_timeout_seconds: int | None = said(
        "An unused session ends after so long, at least 60; 0: never; null: as the settings say.",
        default=None,
    )
    idle_cpu_percent: int = said(
        "CPU load above it counts as use, in percent of what a session was given; 100: none does.", default=5
    )
    idle_accelerator_percent: int = said(
        "Accelerator load above it counts as use, in percent of what a session was given; 100: none does.",
        default=5,
    )
    max_lifetime_seconds: int = said(
        "A session is ended when it has run for so long, at least 60; 0: never.", default=0
    )
    allowed_storage_hosts: list[str] | None = said(
        "Storage hosts that folders may be on, beside those of the domain and the group; null: all.",
        default=None,
    )
    max_folder_bytes: ByteSize | None = said("Of one folder; null: unlimited.", default=None)
    max_folders: int | None = said("Folders of one user; null: unlimited.", default=None)
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a policy; what is absent stays as it is.")
class UpdateResourcePolicyInput:
    id: strawberry.ID = said("The policy.")
    name: str | None = said("A new name.", default=None)
    description: str | None = said("A new description.", default=None)
    total_slots: list[SlotInput] | None = said("All limits anew; unlimited where not given.", default=None)
    max_concurrent_sessions: strawberry.Maybe[int | None] = said(
        "Sessions at once; null: unlimited.", default=None
    )
    max_kernels_per_session: int | None = said("Containers of one session.", default=None)
    idle_timeout_seconds: int | None = said(
        "An unused session ends after so long, at least 60; 0: never.", default=None
    )
    idle_cpu_percent: int | None = said(
        "CPU load above it counts as use, in percent of what a session was given; 100: none does.",
        default=None,
    )
    idle_accelerator_percent: int | None = said(
        "Accelerator load above it counts as use, in percent of what a session was given; 100: none does.",
        default=None,
    )
    max_lifetime_seconds: int | None = said(
        "A session is ended when it has run for so long, at least 60; 0: never.", default=None
    )
    allowed_storage_hosts: strawberry.Maybe[list[str] | None] = said(
        "All storage hosts anew; null: all there are.", default=None
    )
    max_folder_bytes: strawberry.Maybe[ByteSize | None] = said(
        "Of one folder; null: unlimited.", default=None
    )
    max_folders: strawberry.Maybe[int | None] = said("Folders of one user; null: unlimited.", default=None)


@strawberry.input(description="Keypairs that are to have a resource policy.")
class AssignResourcePolicyInput:
    id: strawberry.ID = said("The policy.")
    keypair_ids: list[strawberry.ID] = said("At most 500 keypairs.")


@strawberry.input(description="A policy to delete.")
class DeleteResourcePolicyInput:
    id: strawberry.ID = said("A policy that no keypair refers to.")


@strawberry.type(description="A policy was made.")
class CreateResourcePolicyPayload:
    resource_policy: ResourcePolicy = said("The new policy.")


@strawberry.type(description="A policy was changed.")
class UpdateResourcePolicyPayload:
    resource_policy: ResourcePolicy = said("The policy as it is now.")


@strawberry.type(description="Keypairs have a policy now.")
class AssignResourcePolicyPayload:
    resource_policy: ResourcePolicy = said("The policy.")
    keypairs: list[Annotated["Keypair", strawberry.lazy("schema.keypairs")]] = said(
        "The keypairs as they are now."
    )


@strawberry.type(description="A policy was deleted.")
class DeleteResourcePolicyPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")
