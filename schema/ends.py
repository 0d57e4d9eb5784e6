"""What ends a running session of itself, and when."""

from datetime import datetime
from enum import Enum

import strawberry

from schema.fields import said
from services import sessions
from services.core import Core
from services.db import tables


@strawberry.enum(description="Why an unused session is ended, or is not.")
class IdleReason(Enum):
    IN_USE = strawberry.enum_value("IN_USE", description="It is in use, or was a moment ago.")
    UNUSED = strawberry.enum_value("UNUSED", description="It is not in use; its time runs.")
    EXEMPT = strawberry.enum_value("EXEMPT", description="An administrator lets it go on unused.")
    NO_LIMIT = strawberry.enum_value("NO_LIMIT", description="Unused sessions are not ended where it runs.")


@strawberry.type(description="How a running session stands with the time for which it may be unused.")
class SessionIdle:
    reason: IdleReason = said("Why it will be ended, or will not.")
    since: datetime = said("When it was last in use, as far as it is known.")
    timeout_seconds: int | None = said("For so long it may be unused; null: for ever.")
    remaining_seconds: int | None = said("When it stays unused it ends after so long; null: never.")

    @classmethod
    def of(cls, core: Core, row: tables.Session, terms: sessions.Terms | None) -> "SessionIdle":
        rule = terms.idle if terms else None
        found = sessions.standing(core, row, rule)
        return cls(
            reason=IdleReason(found.reason),
            since=found.used_at,
            timeout_seconds=int(rule.timeout.total_seconds()) if rule and found.ends_at else None,
            remaining_seconds=_left(core, found.ends_at),
        )


@strawberry.enum(description="Why a session is ended for its age, or is not.")
class LifetimeReason(Enum):
    LIMITED = strawberry.enum_value("LIMITED", description="It ends when it is so old, used or not.")
    EXEMPT = strawberry.enum_value("EXEMPT", description="An administrator lets it go on.")
    NO_LIMIT = strawberry.enum_value(
        "NO_LIMIT", description="Sessions may get as old as they like where it runs."
    )


@strawberry.type(
    description="How a running session stands with its maximum lifetime, which counts from its start."
)
class SessionLifetime:
    reason: LifetimeReason = said("Why it will be ended, or will not.")
    limit_seconds: int | None = said(
        "The shorter of its keypair's policy's and its resource group's maximum; null: there is none."
    )
    ends_at: datetime | None = said("When it is ended, used or not; null: never.")
    remaining_seconds: int | None = said("It is ended after so long; null: never.")

    @classmethod
    def of(cls, core: Core, row: tables.Session, terms: sessions.Terms | None) -> "SessionLifetime":
        found = sessions.lifetime(core, row, terms)
        return cls(
            reason=LifetimeReason(found.reason),
            limit_seconds=None if found.limit is None else int(found.limit.total_seconds()),
            ends_at=found.ends_at,
            remaining_seconds=_left(core, found.ends_at),
        )


@strawberry.enum(description="What ends a session of itself.")
class SessionEndCause(Enum):
    MAX_DURATION = strawberry.enum_value(
        "MAX_DURATION", description="The maximum duration that it was started with."
    )
    MAX_LIFETIME = strawberry.enum_value(
        "MAX_LIFETIME", description="The maximum lifetime of its keypair's policy or its resource group."
    )
    UNUSED = strawberry.enum_value("UNUSED", description="Nobody uses it.")


@strawberry.type(description="What ends a running session first, if nobody does anything from now on.")
class SessionEnd:
    cause: SessionEndCause = said("What ends it.")
    at: datetime = said("When.")
    remaining_seconds: int = said("How long it still goes on.")

    @classmethod
    def of(cls, core: Core, row: tables.Session, terms: sessions.Terms | None) -> "SessionEnd | None":
        found = sessions.expected_end(core, row, terms)
        if found is None:
            return None
        return cls(
            cause=SessionEndCause(found.cause), at=found.at, remaining_seconds=_left(core, found.at) or 0
        )


def _left(core: Core, moment: datetime | None) -> int | None:
    return None if moment is None else max(0, int((moment - core.now()).total_seconds()))
