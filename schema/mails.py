"""Mails: what the installation sends, and what became of it."""

from datetime import datetime
from enum import Enum

import strawberry

from schema.errors import Problem
from schema.fields import permitted_actions, said
from schema.nodes import Node
from schema.paging import Direction
from services.db import tables


@strawberry.enum(description="What became of a mail.")
class MailStatus(Enum):
    QUEUED = strawberry.enum_value("QUEUED", description="It is sent as soon as the mail server takes it.")
    SENT = strawberry.enum_value("SENT", description="The mail server has it, or it is in the outbox folder.")
    FAILED = strawberry.enum_value(
        "FAILED", description="The server refused it, or it became old before it could be sent."
    )


@strawberry.type(
    description="A mail of the installation. What it says is not shown: there may be a link in it."
)
class Mail(Node):
    row: strawberry.Private[tables.Mail]
    kind: str = said("What it tells, such as `PASSWORD_RESET`.")
    recipient: str = said("To whom.")
    status: MailStatus = said("What became of it.")
    attempts: int = said("How often it was tried.")
    last_error: str | None = said("Why the last attempt failed; null when none did.")
    next_at: datetime | None = said("When it is tried next; null when it is not.")
    created_at: datetime = said("When it was written.")
    sent_at: datetime | None = said("When it was sent; null when it was not.")

    @classmethod
    def of(cls, row: tables.Mail) -> "Mail":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            kind=row.kind,
            recipient=row.recipient,
            status=MailStatus(row.status),
            attempts=row.attempts,
            last_error=row.last_error or None,
            next_at=row.next_at if row.status == "QUEUED" else None,
            created_at=row.created_at,
            sent_at=row.sent_at,
        )

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which mails; all given conditions hold together.")
class MailFilter:
    search: str | None = said(
        "Part of the recipient's address (of less than three letters, its beginning), or the beginning of the id.",
        default=None,
    )
    status: MailStatus | None = said("Only those of this status.", default=None)


@strawberry.enum(description="What lists of mails are ordered by.")
class MailOrderField(Enum):
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")
    NEXT_AT = strawberry.enum_value("NEXT_AT", description="By the time of the next, or last, attempt.")


@strawberry.input(description="An order of mails.")
class MailOrder:
    field: MailOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="Several mails.")
class MailsInput:
    ids: list[strawberry.ID] = said("The mails.")


@strawberry.type(description="What became of one of several mails.")
class MailResult:
    id: strawberry.ID = said("The mail's id as it was given.")
    mail: Mail | None = said("The mail as it is now; null when it was not done.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="Mails are tried again, each for itself.")
class RetryMailsPayload:
    results: list[MailResult] = said("One for each id.")
