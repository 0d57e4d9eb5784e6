"""Announcements."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.context import Info
from schema.fields import permitted_actions, refers, said
from schema.nodes import Node
from schema.paging import Direction
from services import announcements
from services.db import tables

if TYPE_CHECKING:
    from schema.domains import Domain


@strawberry.enum(description="How much an announcement matters.")
class Severity(Enum):
    INFO = strawberry.enum_value("INFO", description="Good to know.")
    WARNING = strawberry.enum_value("WARNING", description="Something may get in the way of work.")
    CRITICAL = strawberry.enum_value("CRITICAL", description="Something has to be done, or will stop.")


@strawberry.type(description="What administrators want everybody to read, for a time.")
class Announcement(Node):
    row: strawberry.Private[tables.Announcement]
    severity: Severity = said("How much it matters.")
    title: str = said("One line.")
    text: str = said("Markdown; what looks like HTML in it is text.")
    starts_at: datetime = said("From when it is shown.")
    ends_at: datetime | None = said("Until when; null: until it is changed or deleted.")
    created_at: datetime = said("When it was written.")
    updated_at: datetime = said("When it was last changed.")

    @classmethod
    def of(cls, row: tables.Announcement) -> "Announcement":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            severity=Severity(row.severity),
            title=row.title,
            text=row.text,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    domain: Annotated["Domain", strawberry.lazy("schema.domains")] | None = refers(
        "domain_id", "Whose users see it; null: everybody."
    )

    @strawberry.field(description="Is it shown now?")
    def active(self, info: Info) -> bool:
        return announcements.is_on(self.row, info.context.core.now())

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which announcements; all given conditions hold together.")
class AnnouncementFilter:
    active: bool | None = said(
        "Only those that are shown now (true), or not yet or not any more (false).", default=None
    )
    severity: Severity | None = said("Only those of this severity.", default=None)
    domain_id: strawberry.ID | None = said("Only those for this domain.", default=None)
    search: str | None = said("Part of the title or text, or the beginning of the id.", default=None)


@strawberry.enum(description="What lists of announcements are ordered by.")
class AnnouncementOrderField(Enum):
    STARTS_AT = strawberry.enum_value("STARTS_AT", description="By when they begin.")
    SEVERITY = strawberry.enum_value("SEVERITY", description="By severity, in the order of the alphabet.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of announcements.")
class AnnouncementOrder:
    field: AnnouncementOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new announcement.")
class CreateAnnouncementInput:
    title: str = said("One line of at most 200 characters.")
    text: str = said("Markdown, at most 16,384 characters.", default="")
    severity: Severity = said("How much it matters.", default=Severity.INFO)
    domain_id: strawberry.ID | None = said(
        "Whose users see it; null: everybody, which only a superadmin announces to.", default=None
    )
    starts_at: datetime | None = said("From when it is shown; by default now.", default=None)
    ends_at: datetime | None = said("Until when; null: until it is changed or deleted.", default=None)
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of an announcement; what is absent stays as it is.")
class UpdateAnnouncementInput:
    id: strawberry.ID = said("The announcement.")
    title: str | None = said("A new title.", default=None)
    text: str | None = said("A new text.", default=None)
    severity: Severity | None = said("Another severity.", default=None)
    starts_at: datetime | None = said("Another beginning.", default=None)
    ends_at: strawberry.Maybe[datetime | None] = said(
        "Another end; null: until it is changed or deleted.", default=None
    )


@strawberry.input(description="An announcement to delete.")
class DeleteAnnouncementInput:
    id: strawberry.ID = said("The announcement.")


@strawberry.type(description="Something was announced.")
class CreateAnnouncementPayload:
    announcement: Announcement = said("The new announcement.")


@strawberry.type(description="An announcement was changed.")
class UpdateAnnouncementPayload:
    announcement: Announcement = said("The announcement as it is now.")


@strawberry.type(description="An announcement was deleted.")
class DeleteAnnouncementPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")
