"""Groups: projects of a domain."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.closing import RemainingSessions
from schema.context import Context, Info
from schema.errors import Problem
from schema.fields import USED, answered, belongs, permitted_actions, refers, said
from schema.nodes import Node
from schema.paging import After, Before, Connection, Direction, First, Last, page_args
from schema.slots import SlotInput, SlotLimit
from services.db import tables

if TYPE_CHECKING:
    from schema.domains import Domain
    from schema.registries import Registry
    from schema.users import User

Members = Connection[Annotated["User", strawberry.lazy("schema.users")]]


@strawberry.type(description="A project of one domain; each session belongs to one.")
class Group(Node):
    row: strawberry.Private[tables.Group]
    name: str = said("Unique in its domain.")
    description: str = said("For people.")
    active: bool = said("False once it was deactivated: nothing can be launched in it.")
    max_concurrent_sessions: int | None = said("All its sessions at once; null: unlimited.")
    allowed_storage_hosts: list[str] = said(
        "Storage hosts that its members may use, beside those of their resource policies."
    )
    created_at: datetime = said("When it was made.")

    @classmethod
    def of(cls, row: tables.Group) -> "Group":
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

    domain: Annotated["Domain", strawberry.lazy("schema.domains")] = refers(
        "domain_id", "The domain that it belongs to.", always=True
    )

    @answered(USED, "What all its sessions together may occupy, and do.")
    def total_slots(self, used: dict[str, int], _context: Context) -> list[SlotLimit]:
        return SlotLimit.all(self.row.total_slots, used)

    @answered(USED, "Its sessions that occupy a node now.")
    def concurrent_sessions(self, used: dict[str, int], _context: Context) -> int:
        return used.get("sessions", 0)

    @strawberry.field(description="Its members, as far as you see them.")
    def members(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Members:
        return info.context.page("users", page_args(first, after, last, before), group_id=self.row.id)

    registries: list[Annotated["Registry", strawberry.lazy("schema.registries")]] = belongs(
        "registries", "Registries that are allowed for it itself, as far as you see them."
    )

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which groups; all given conditions hold together.")
class GroupFilter:
    search: str | None = said("Part of the name or description, or the beginning of the id.", default=None)
    active: bool | None = said("Only active (true) or deactivated (false) ones.", default=None)
    domain_id: strawberry.ID | None = said("Only those of this domain.", default=None)
    user_id: strawberry.ID | None = said("Only those that this user is a member of.", default=None)


@strawberry.enum(description="What lists of groups are ordered by.")
class GroupOrderField(Enum):
    NAME = strawberry.enum_value("NAME", description="By name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of groups.")
class GroupOrder:
    field: GroupOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new group.")
class CreateGroupInput:
    domain_id: strawberry.ID = said("The domain that it belongs to.")
    name: str = said("Unique in its domain.")
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


@strawberry.input(description="Changes of a group; what is absent stays as it is.")
class UpdateGroupInput:
    id: strawberry.ID = said("The group.")
    name: str | None = said("A new name.", default=None)
    description: str | None = said("A new description.", default=None)
    total_slots: list[SlotInput] | None = said("All limits anew; unlimited where not given.", default=None)
    max_concurrent_sessions: strawberry.Maybe[int | None] = said(
        "All its sessions at once; null: unlimited.", default=None
    )
    allowed_storage_hosts: list[str] | None = said("All its storage hosts anew.", default=None)
    active: bool | None = said("True brings a deactivated group back.", default=None)


@strawberry.input(description="The same changes of several groups; what is absent stays as it is.")
class UpdateGroupsInput:
    ids: list[strawberry.ID] = said("The groups.")
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


@strawberry.input(description="A group to deactivate.")
class DeactivateGroupInput:
    id: strawberry.ID = said("The group.")
    sessions: RemainingSessions = said("What becomes of its sessions.", default=RemainingSessions.KEEP)


@strawberry.input(description="Users to add to a group, or to take from it.")
class GroupMembersInput:
    id: strawberry.ID = said("The group.")
    user_ids: list[strawberry.ID] = said("Users of the group's domain.")


@strawberry.type(description="A group was made.")
class CreateGroupPayload:
    group: Group = said("The new group.")


@strawberry.type(description="A group was changed.")
class UpdateGroupPayload:
    group: Group = said("The group as it is now.")


@strawberry.type(description="What became of one of several groups.")
class GroupResult:
    id: strawberry.ID = said("The group's id as it was given.")
    group: Group | None = said("The group as it is now; null when it was not done.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="Groups were changed, each for itself.")
class UpdateGroupsPayload:
    results: list[GroupResult] = said("One for each id.")


@strawberry.type(description="A group was deactivated.")
class DeactivateGroupPayload:
    group: Group = said("The group as it is now.")


@strawberry.type(description="Members were added.")
class AddGroupMembersPayload:
    group: Group = said("The group as it is now.")


@strawberry.type(description="Members were taken away.")
class RemoveGroupMembersPayload:
    group: Group = said("The group as it is now.")
