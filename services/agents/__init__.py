"""Agents: how they join, what they report, how they are listed and governed."""

from services.agents.link import AgentLinks, expire_leases, give_up_lost
from services.agents.membership import (
    Joined,
    NewToken,
    admit,
    authenticate,
    create_join_token,
    edit,
    join,
    remove,
)
from services.agents.read import (
    ORDERS,
    AgentFilter,
    AgentNotice,
    get,
    many,
    occupied,
    page,
    total,
    watch,
    watch_kernel_stats,
    watch_stats,
    watch_stats_of,
)
from services.agents.resources import follow_slots

__all__ = [
    "ORDERS",
    "AgentFilter",
    "AgentLinks",
    "AgentNotice",
    "Joined",
    "NewToken",
    "admit",
    "authenticate",
    "create_join_token",
    "edit",
    "expire_leases",
    "follow_slots",
    "get",
    "give_up_lost",
    "join",
    "many",
    "occupied",
    "page",
    "remove",
    "total",
    "watch",
    "watch_kernel_stats",
    "watch_stats",
    "watch_stats_of",
]
