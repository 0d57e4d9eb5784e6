"""What becomes of sessions when their user, group or domain is deactivated."""

from enum import Enum

import strawberry


@strawberry.enum(description="What becomes of the sessions of what is deactivated.")
class RemainingSessions(Enum):
    KEEP = strawberry.enum_value("KEEP", description="They go on until they end; those that wait, too.")
    TERMINATE = strawberry.enum_value(
        "TERMINATE",
        description="They are ended: the first hundred before the answer, the others within seconds of it.",
    )
