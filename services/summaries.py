"""What there is just now, in numbers: for the first page that somebody sees."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import case, func, select

from services import groups, permissions, users
from services.core import Core
from services.db.tables import IS_LIVE, Agent, Session
from services.groups import GroupFilter
from services.permissions import Actor, Reach
from services.users import UserFilter


@dataclass(frozen=True)
class Summary:
    """None: not for this actor."""

    my_running: int
    my_others: int
    running: int
    others: int
    users: int | None
    groups: int
    #: Status → how many.
    agents: dict[str, int] | None


async def summary(core: Core, actor: Actor) -> Summary:
    """In a constant number of statements; each counts what is live, or stops at a bound."""
    permissions.require_role(actor, "read:session")
    own = case((Session.user_id == actor.user_id, 1), else_=0)
    counted: Counter[tuple[int, bool]] = Counter()
    async with core.db.read() as db:
        rows = await db.execute(
            select(Session.status, own, func.count())
            .where(permissions.visible(actor, Session), IS_LIVE)
            .group_by(Session.status, own)
        )
        for status, mine, number in rows:
            counted[mine, status == "RUNNING"] += number
        nodes = None
        if permissions.reach(actor, "read:agent") is Reach.EVERYTHING:
            found = await db.execute(select(Agent.status, func.count()).group_by(Agent.status))
            nodes = dict(found.all())
    governs = permissions.reach(actor, "read:user") is not Reach.MINE
    return Summary(
        my_running=counted[1, True],
        my_others=counted[1, False],
        running=counted[1, True] + counted[0, True],
        others=counted[1, False] + counted[0, False],
        users=(await users.total(core, actor, UserFilter(active=True))).count if governs else None,
        groups=(await groups.total(core, actor, GroupFilter(active=True))).count,
        agents=nodes,
    )
