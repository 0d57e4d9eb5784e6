"""Limits that stand one above another, the same for everybody who checks them: what a scope may have at most.

They are checked when a session is put into the queue (what could never fit is refused), when a preset is offered, when
a plan is made, and last, under the occupancies' locks, in the transaction that gives a session its node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services import slots
from services.db.tables import Domain, Group, Keypair, ResourceGroup, ResourcePolicy, Session, Slots, User
from services.errors import QuotaExceeded
from services.occupancy import SESSIONS

#: The pseudo-slot of containers of one session, which has a limit and no account.
KERNELS: Final = "kernels"
#: Columns of a session that name whose limits it counts for.
SCOPES: Final = ("keypair_id", "user_id", "group_id", "domain_id", "resource_group_id")
#: Of those, whose sessions at once are counted.
COUNTING_SESSIONS: Final = ("keypair_id", "user_id", "resource_group_id")


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
    return Limit(group.id, f"the group {group.name!r}", dict(group.total_slots))


def of_domain(domain: Domain) -> Limit:
    return Limit(domain.id, f"the domain {domain.name!r}", dict(domain.total_slots))


def of_resource_group(group: ResourceGroup) -> Limit:
    most = _with_sessions(group.total_slots, group.max_concurrent_sessions)
    return Limit(group.id, f"the resource group {group.name!r}", most, group.max_kernels_per_session)


def scopes(session: Session) -> tuple[str, ...]:
    """All whose limits a session counts for."""
    return tuple(getattr(session, name) for name in SCOPES)


def counting_sessions(session: Session) -> tuple[str, ...]:
    """Those in whose account a session is one of the sessions at once."""
    return tuple(getattr(session, name) for name in COUNTING_SESSIONS)


async def of_sessions(db: AsyncSession, sessions: Iterable[Session]) -> dict[str, Limit]:
    """Scope → its limit, for all scopes of these sessions."""
    scoped = list(sessions)
    if not scoped:
        return {}
    policies = await db.execute(
        select(Keypair.id, ResourcePolicy)
        .join(ResourcePolicy, ResourcePolicy.id == Keypair.policy_id)
        .where(Keypair.id.in_({one.keypair_id for one in scoped}))
    )
    found = [of_policy(keypair_id, policy) for keypair_id, policy in policies]
    users = await db.scalars(select(User).where(User.id.in_({one.user_id for one in scoped})))
    found += map(of_user, users)
    groups = await db.scalars(select(Group).where(Group.id.in_({one.group_id for one in scoped})))
    found += map(of_group, groups)
    domains = await db.scalars(select(Domain).where(Domain.id.in_({one.domain_id for one in scoped})))
    found += map(of_domain, domains)
    nodes = await db.scalars(
        select(ResourceGroup).where(ResourceGroup.id.in_({one.resource_group_id for one in scoped}))
    )
    found += map(of_resource_group, nodes)
    return {limit.scope_id: limit for limit in found}


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


def wanted(session: Session, limits: Mapping[str, Limit]) -> dict[tuple[str, str], tuple[int, int | None]]:
    """(scope, slot) → (what placing the session takes of it, the most), for all its scopes."""
    result: dict[tuple[str, str], tuple[int, int | None]] = {}
    for scope_id in scopes(session):
        most = limits[scope_id].slots if scope_id in limits else {}
        for slot, amount in session.slots.items():
            result[scope_id, slot] = amount, most.get(slot)
    for scope_id in counting_sessions(session):
        most = limits[scope_id].slots if scope_id in limits else {}
        result[scope_id, SESSIONS] = 1, most.get(SESSIONS)
    return result


def allows_kernels(session: Session, limits: Mapping[str, Limit], kernels: int) -> bool:
    """May a session have so many containers? Limits may have become tighter since it was put into the queue."""
    caps = [limits[scope_id].kernels for scope_id in scopes(session) if scope_id in limits]
    return all(cap is None or kernels <= cap for cap in caps)


def _with_sessions(total: Slots, sessions: int | None) -> Slots:
    return dict(total) if sessions is None else {**total, SESSIONS: sessions}
