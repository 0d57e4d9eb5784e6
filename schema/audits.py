"""The audit log: who changed what, when, from where."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.errors import ErrorCode
from schema.fields import refers, said
from schema.nodes import Node
from schema.paging import Direction
from services import audits
from services.db import tables

if TYPE_CHECKING:
    from schema.domains import Domain
    from schema.users import User


@strawberry.enum(description="What came of an attempt to change something.")
class AuditOutcome(Enum):
    DONE = strawberry.enum_value("DONE", description="It was done.")
    PARTLY = strawberry.enum_value("PARTLY", description="Of several objects, some were not done.")
    REFUSED = strawberry.enum_value("REFUSED", description="It was refused.")
    FAILED = strawberry.enum_value(
        "FAILED", description="The server failed, or took too long: it may have been done."
    )


@strawberry.type(description="Something that was asked for.")
class AuditArgument:
    path: str = said("Where in the input, such as `slots.0.amount`.")
    value: str = said("As a text; dots in the place of a secret, and the length of what is long.")


@strawberry.type(description="A field of a thing that was changed.")
class AuditChange:
    object: str = said("The thing's id, or `settings`.")
    field: str = said("Which field.")
    before: str | None = said("Before; null: nothing, dots: a secret.")
    after: str | None = said("After; null: nothing, dots: a secret.")


@strawberry.type(
    description="One attempt to change something, by whom, and what came of it. Nothing changes an event."
)
class AuditEvent(Node):
    row: strawberry.Private[tables.AuditEvent]
    at: datetime = said("When.")
    action: str = said(
        "The mutation; or what is none: `joinAgent`, `loginByProvider`, `berth link`, `first start`."
    )
    target_ids: list[str] = said("Ids of what it was about, also when that is gone.")
    address: str = said("From where; empty: from the manager's own machine.")
    user_agent: str = said("The program, as it calls itself.")
    request_id: str = said("The request, as logs and the header `X-Request-Id` have it.")
    outcome: AuditOutcome = said("What came of it.")
    code: ErrorCode | None = said("Why it was refused, of several the first; null: it was not.")
    arguments: list[AuditArgument] = said("What was asked for, without secrets.")
    changes: list[AuditChange] = said(
        "What it changed in things that were there, as far as they were read first; empty for new things."
    )

    @classmethod
    def of(cls, row: tables.AuditEvent) -> "AuditEvent":
        content = audits.content(row)
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            at=row.at,
            action=row.action,
            target_ids=content.targets,
            address=row.address,
            user_agent=row.user_agent,
            request_id=row.request_id,
            outcome=AuditOutcome(row.outcome),
            code=ErrorCode(row.code) if row.code else None,
            arguments=[AuditArgument(path=path, value=value) for path, value in content.arguments],
            changes=[
                AuditChange(object=change.object, field=name, before=before, after=after)
                for change in content.changes
                for name, before, after in [audits.told(change)]
            ],
        )

    user: Annotated["User", strawberry.lazy("schema.users")] | None = refers(
        "user_id", "Who; null when nobody was logged in, or it is not yours to see."
    )
    domain: Annotated["Domain", strawberry.lazy("schema.domains")] | None = refers(
        "domain_id", "The domain of who; null when nobody was logged in."
    )


@strawberry.input(description="Which audit events.")
class AuditEventFilter:
    user_id: strawberry.ID | None = said("By this user.", default=None)
    domain_id: strawberry.ID | None = said("By users of this domain.", default=None)
    action: str | None = said("This mutation.", default=None)
    target: str | None = said("About the thing with this id, also when it is gone.", default=None)
    outcome: AuditOutcome | None = said("Of which this came.", default=None)
    code: ErrorCode | None = said("Refused for this reason.", default=None)
    since: datetime | None = said("Not before this moment.", default=None)
    until: datetime | None = said("Before this moment.", default=None)
    search: str | None = said(
        "The beginning of an action, an address, a request's or an event's id; or a part of what was asked for or changed.",
        default=None,
    )


@strawberry.enum(description="What lists of audit events are ordered by.")
class AuditEventOrderField(Enum):
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of audit events.")
class AuditEventOrder:
    field: AuditEventOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)
