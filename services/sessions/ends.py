"""What ends a running session, and when, if nobody does anything."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.core import Core
from services.db.tables import Session
from services.sessions.idle import standing
from services.sessions.lifetimes import lifetime
from services.sessions.terms import Terms


@dataclass(frozen=True)
class End:
    """MAX_DURATION: its own, that it was started with. UNUSED: if it stays unused from now on."""

    cause: Literal["MAX_DURATION", "MAX_LIFETIME", "UNUSED"]
    at: datetime


def expected_end(core: Core, session: Session, found: Terms | None) -> End | None:
    """The soonest; None when nothing ends it, or when it does not run."""
    if session.status != "RUNNING":
        return None
    idle = standing(core, session, found.idle if found else None).ends_at
    aged = lifetime(core, session, found).ends_at
    ends = [
        *([End("MAX_DURATION", session.ends_at)] if session.ends_at else []),
        *([End("MAX_LIFETIME", aged)] if aged else []),
        *([End("UNUSED", idle)] if idle else []),
    ]
    return min(ends, key=lambda end: end.at, default=None)
