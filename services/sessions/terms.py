"""What ends a session of itself: by the resource policy of its keypair and by its resource group; the stricter counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select

from services import permissions
from services.core import Core
from services.db.tables import Keypair, ResourceGroup, ResourcePolicy, Session
from services.options import END_WARNING
from services.permissions import Actor

_IDLE: Final = (
    ResourcePolicy.idle_timeout_seconds,
    ResourcePolicy.idle_cpu_percent,
    ResourcePolicy.idle_accelerator_percent,
    ResourceGroup.idle_timeout_seconds,
    ResourceGroup.idle_cpu_percent,
    ResourceGroup.idle_accelerator_percent,
)
#: Columns that `lifetime` is read from.
LIFETIME: Final = (ResourcePolicy.max_lifetime_seconds, ResourceGroup.max_lifetime_seconds)
#: Columns that terms are read from.
COLUMNS: Final = (*_IDLE, *LIFETIME)


@dataclass(frozen=True)
class Rule:
    """After how long an unused session ends, and what load counts as use, in percent of what it was given."""

    timeout: timedelta
    cpu_percent: int
    accelerator_percent: int
    #: Warned so long before the end.
    warning: timedelta


@dataclass(frozen=True)
class Terms:
    """None: unlimited. `lifetime` is counted from the start, and warned of `warning` before its end."""

    idle: Rule | None
    lifetime: timedelta | None
    warning: timedelta


def joined(query: Any) -> Any:
    """A `Select` about sessions, with what has the `COLUMNS`."""
    return (
        query.join(Keypair, Keypair.id == Session.keypair_id)
        .join(ResourcePolicy, ResourcePolicy.id == Keypair.policy_id)
        .join(ResourceGroup, ResourceGroup.id == Session.resource_group_id)
    )


def of(core: Core, numbers: Sequence[int]) -> Terms:
    """From the values of `COLUMNS`. The shorter timeout brings its own thresholds."""
    most = timedelta(seconds=core.options.value(END_WARNING))
    given = [tuple(numbers[:3]), tuple(numbers[3:6])]
    chosen = min((one for one in given if one[0] > 0), default=None)
    rule = None
    if chosen is not None:
        timeout = timedelta(seconds=chosen[0])
        rule = Rule(timeout, chosen[1], chosen[2], min(most, timeout / 2))
    longest = lifetime(numbers[6:])
    span = None if longest is None else timedelta(seconds=longest)
    return Terms(rule, span, most if span is None else min(most, span / 2))


def lifetime(numbers: Sequence[int]) -> int | None:
    """From the values of `LIFETIME`: the seconds that a session may run unless it is exempt; None: unlimited."""
    return min((one for one in numbers if one > 0), default=None)


async def find(core: Core, actor: Actor, session_ids: Sequence[str]) -> dict[str, list[Terms]]:
    """The terms of each of several sessions; none for one that the actor may not see."""
    result: dict[str, list[Terms]] = {session_id: [] for session_id in session_ids}
    query = joined(select(Session.id, *COLUMNS)).where(
        Session.id.in_(session_ids), permissions.visible(actor, Session)
    )
    async with core.db.read() as db:
        rows: Any = await db.execute(query)
        for session_id, *numbers in rows:
            result[session_id].append(of(core, numbers))
    return result
