"""Limits that stand one above another, the same for everybody who checks them: what a scope may have at most.

They are checked when a session is put into the queue (what could never fit is refused), when a preset is offered, when
a plan is made, and last, under the occupancies' locks, in the transaction that gives a session its node.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.db.tables import Domain, Group, Keypair, ResourcePolicy, Session, Slots
from services.occupancy import SESSIONS

#: Columns of a session that name whose limits it counts for.
SCOPES: Final = ("keypair_id", "group_id", "domain_id")
#: Of those, whose sessions at once are counted.
COUNTING_SESSIONS: Final = (Session.keypair_id,)


@dataclass(frozen=True)
class Limit:
    scope_id: str
    #: As a sentence calls it.
    whose: str
    #: Slot (or the pseudo-slot `sessions`) → the most; what is not named is unlimited.
    slots: Slots


def of_policy(keypair_id: str, policy: ResourcePolicy) -> Limit:
    most = _with_sessions(policy.total_slots, policy.max_concurrent_sessions)
    return Limit(keypair_id, f"your resource policy {policy.name!r}", most)


def of_group(group: Group) -> Limit:
    return Limit(group.id, f"the group {group.name!r}", dict(group.total_slots))


def of_domain(domain: Domain) -> Limit:
    return Limit(domain.id, f"the domain {domain.name!r}", dict(domain.total_slots))


def scopes(session: Session) -> tuple[str, ...]:
    """All whose limits a session counts for."""
    return tuple(getattr(session, name) for name in SCOPES)


async def of_sessions(db: AsyncSession, sessions: Iterable[Session]) -> dict[str, Limit]:
    """Scope → its limit, for all scopes of these sessions."""
    scoped = list(sessions)
    policies = await db.execute(
        select(Keypair.id, ResourcePolicy)
        .join(ResourcePolicy, ResourcePolicy.id == Keypair.policy_id)
        .where(Keypair.id.in_({one.keypair_id for one in scoped}))
    )
    found = [of_policy(keypair_id, policy) for keypair_id, policy in policies]
    for group in await db.scalars(select(Group).where(Group.id.in_({one.group_id for one in scoped}))):
        found.append(of_group(group))  # noqa: PERF401  # as its neighbours
    for domain in await db.scalars(select(Domain).where(Domain.id.in_({one.domain_id for one in scoped}))):
        found.append(of_domain(domain))  # noqa: PERF401
    return {limit.scope_id: limit for limit in found}


def _with_sessions(total: Slots, sessions: int | None) -> Slots:
    return dict(total) if sessions is None else {**total, SESSIONS: sessions}
