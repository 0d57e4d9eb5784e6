"""Root fields about the audit log: reading only."""

import strawberry

from resolvers.listings import listing
from schema import audits as types
from schema.audits import AuditEvent
from services import audits


@strawberry.type
class AuditQueries:
    audit_events = listing(
        "audits",
        audits.ORDERS,
        of=AuditEvent,
        filter=types.AuditEventFilter,
        order=types.AuditEventOrder,
        description="Who changed what, the newest first: all for superadmins, of their domain's people for its "
        "administrators, the own for everybody else.",
    )
