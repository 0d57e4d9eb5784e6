"""Limits that stand one above another, the same for everybody who checks them: what a scope may have at most.

They are checked when a session is put into the queue (what could never fit is refused), when a preset is offered, when
a plan is made, and last, under the occupancies' locks, in the transaction that gives a session its node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, cast, literal, null, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services import slots
from services.db import bulk
from services.db.tables import Domain, Group, Keypair, ResourceGroup, ResourcePolicy, Session, Slots, User
from services.errors import QuotaExceeded
from services.scheduling.occupancy import SESSIONS, Caps, Wants

#: The pseudo-slot of containers of one session, which has a limit and no account.
KERNELS: Final = "kernels"
#: Columns of a session that name whose limits it counts for.
SCOPES: Final = ("keypair_id", "user_id", "group_id", "domain_id", "resource_group_id")
#: Of those, whose sessions at once are counted: all of them.
COUNTING_SESSIONS: Final = SCOPES
_scopes_of: Final = attrgetter(*SCOPES)
_counting_of: Final = attrgetter(*COUNTING_SESSIONS)


class Counted(NamedTuple):
    """What of a session says whose limits it counts for, and how much."""

    id: str
    keypair_id: str
    user_id: str
    group_id: str
    domain_id: str
    resource_group_id: str
    slots: Slots


@dataclass(frozen=True)
class Limit:
    scope_id: str
    #: As a sentence calls it.
    whose: str
    #: Slot (or the pseudo-slot `sessions`) → the most; what is not named is unlimited.
    slots: Slots
    #: Containers of one session; None: unlimited.
    kernels: int | None = None


def of_policy(keypair_id: str, policy: ResourcePolicy) -> Limit:
    most = _with_sessions(policy.total_slots, policy.max_concurrent_sessions)
    return Limit(keypair_id, f"your resource policy {policy.name!r}", most, policy.max_kernels_per_session)


def of_user(user: User) -> Limit:
    return Limit(
        user.id, f"the user {user.name!r}", _with_sessions(user.total_slots, user.max_concurrent_sessions)
    )


def of_group(group: Group) -> Limit:
    most = _with_sessions(group.total_slots, group.max_concurrent_sessions)
    return Limit(group.id, f"the group {group.name!r}", most)


def of_domain(domain: Domain) -> Limit:
    most = _with_sessions(domain.total_slots, domain.max_concurrent_sessions)
    return Limit(domain.id, f"the domain {domain.name!r}", most)


def of_resource_group(group: ResourceGroup) -> Limit:
    most = _with_sessions(group.total_slots, group.max_concurrent_sessions)
    return Limit(group.id, f"the resource group {group.name!r}", most, group.max_kernels_per_session)


def scopes(session: Session | Counted) -> tuple[str, ...]:
    """All whose limits a session counts for."""
    return _scopes_of(session)


def counting_sessions(session: Session | Counted) -> tuple[str, ...]:
    """Those in whose account a session is one of the sessions at once."""
    return _counting_of(session)


async def of_sessions(db: AsyncSession, sessions: Iterable[Session | Counted]) -> dict[str, Limit]:
    """Scope → its limit, for all scopes of these sessions. One statement, however many they are."""
    scoped = list(sessions)
    if not scoped:
        return {}

    def those(attribute: InstrumentedAttribute[str], name: str) -> ColumnElement[bool]:
        return bulk.among(db, attribute, sorted({getattr(one, name) for one in scoped}))

    rows = await db.execute(
        union_all(
            select(*_columns(Keypair.id, ResourcePolicy, "your resource policy"))
            .join(ResourcePolicy, ResourcePolicy.id == Keypair.policy_id)
            .where(those(Keypair.id, "keypair_id")),
            select(*_columns(User.id, User, "the user")).where(those(User.id, "user_id")),
            select(*_columns(Group.id, Group, "the group")).where(those(Group.id, "group_id")),
            select(*_columns(Domain.id, Domain, "the domain")).where(those(Domain.id, "domain_id")),
            select(*_columns(ResourceGroup.id, ResourceGroup, "the resource group")).where(
                those(ResourceGroup.id, "resource_group_id")
            ),
        )
    )
    return {
        row[0]: Limit(row[0], f"{row[1]} {row[2]!r}", _with_sessions(row[3], row[4]), row[5])
        for row in rows.all()
    }


def _columns(
    scope_id: InstrumentedAttribute[str],
    table: type[Domain | Group | User | ResourceGroup | ResourcePolicy],
    whose: str,
) -> list[Any]:
    """What a limit is made of; what a table does not limit is null."""
    nothing = cast(null(), BigInteger)
    return [
        scope_id,
        literal(whose),
        table.name,
        table.total_slots,
        getattr(table, "max_concurrent_sessions", nothing),
        getattr(table, "max_kernels_per_session", nothing),
    ]


def check(limit: Limit, amounts: Slots, kernels: int) -> None:
    """Refuse what could never fit within a limit, even if nothing else ran.

    Args:
        amounts: of the whole session.

    Raises:
        QuotaExceeded: with the limit named.
    """
    for name, amount in amounts.items():
        if amount > limit.slots.get(name, amount):
            raise QuotaExceeded(
                f"The session asks for {slots.describe(name, amount)}; {limit.whose} allows "
                f"{slots.describe(name, limit.slots[name])} in all. Ask for less, or ask an administrator for more.",
                slot=name,
                whose=limit.whose,
                asked=slots.render(name, amount),
                limit=slots.render(name, limit.slots[name]),
                path="input.slots",
            )
    if limit.slots.get(SESSIONS) == 0:
        raise QuotaExceeded(
            f"{limit.whose[:1].upper()}{limit.whose[1:]} allows no sessions. Ask an administrator.",
            slot=SESSIONS,
            whose=limit.whose,
            asked="1",
            limit="0",
        )
    if limit.kernels is not None and kernels > limit.kernels:
        raise QuotaExceeded(
            f"The session asks for {kernels} containers; {limit.whose} allows {limit.kernels} in one session. "
            "Ask for fewer, or ask an administrator for more.",
            slot=KERNELS,
            whose=limit.whose,
            asked=str(kernels),
            limit=str(limit.kernels),
            path="input.clusterSize",
        )


def wanted(session: Session | Counted, amounts: Slots, *, sessions: int = 1) -> Wants:
    """What placing so many sessions like this one takes of all their scopes: `amounts` all together."""
    wants = [(scope_id, amounts) for scope_id in scopes(session)]
    wants += [(scope_id, {SESSIONS: sessions}) for scope_id in counting_sessions(session)]
    return wants


def caps(limits: Mapping[str, Limit]) -> Caps:
    return {scope_id: limit.slots for scope_id, limit in limits.items()}


def allows_kernels(session: Session | Counted, limits: Mapping[str, Limit], kernels: int) -> bool:
    """May a session have so many containers? Limits may have become tighter since it was put into the queue."""
    most = [limits[scope_id].kernels for scope_id in scopes(session) if scope_id in limits]
    return all(cap is None or kernels <= cap for cap in most)


def _with_sessions(total: Slots, sessions: int | None) -> Slots:
    return dict(total) if sessions is None else {**total, SESSIONS: sessions}
