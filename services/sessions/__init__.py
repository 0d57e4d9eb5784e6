"""Sessions and their kernels: made, moved, observed, ended, listed, watched."""

from services.sessions.batches import cancel_hopeless, end_overlong
from services.sessions.create import SessionSpec, create
from services.sessions.edit import edit
from services.sessions.gates import dependencies, succeeded, unmet
from services.sessions.idle import Rule as IdleRule
from services.sessions.idle import end_unused, exempt, standing
from services.sessions.idle import rules as idle_rules
from services.sessions.read import (
    ORDERS,
    Log,
    SessionFilter,
    counts,
    follow_log,
    get,
    kernels,
    log,
    many,
    many_kernels,
    page,
    page_kernels,
    timelines,
    total,
    total_kernels,
)
from services.sessions.terminate import fail_overdue, terminate
from services.sessions.watch import SessionNotice, watch

__all__ = [
    "ORDERS",
    "IdleRule",
    "Log",
    "SessionFilter",
    "SessionNotice",
    "SessionSpec",
    "cancel_hopeless",
    "counts",
    "create",
    "dependencies",
    "edit",
    "end_overlong",
    "end_unused",
    "exempt",
    "fail_overdue",
    "follow_log",
    "get",
    "idle_rules",
    "kernels",
    "log",
    "many",
    "many_kernels",
    "page",
    "page_kernels",
    "standing",
    "succeeded",
    "terminate",
    "timelines",
    "total",
    "total_kernels",
    "unmet",
    "watch",
]
