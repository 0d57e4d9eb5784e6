"""Sessions and their kernels: made, moved, observed, ended, listed, watched."""

from services.sessions.batches import cancel_hopeless, end_overlong
from services.sessions.create import SessionSpec, create
from services.sessions.edit import edit
from services.sessions.ends import End, expected_end
from services.sessions.gates import dependencies, succeeded, unmet
from services.sessions.idle import end_unused, exempt, standing
from services.sessions.lifetimes import end_aged, lifetime
from services.sessions.read import (
    ORDERS,
    Log,
    SessionFilter,
    counts,
    find,
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
from services.sessions.terms import Rule as IdleRule
from services.sessions.terms import Terms
from services.sessions.terms import find as find_terms
from services.sessions.watch import SessionNotice, watch

__all__ = [
    "ORDERS",
    "End",
    "IdleRule",
    "Log",
    "SessionFilter",
    "SessionNotice",
    "SessionSpec",
    "Terms",
    "cancel_hopeless",
    "counts",
    "create",
    "dependencies",
    "edit",
    "end_aged",
    "end_overlong",
    "end_unused",
    "exempt",
    "expected_end",
    "fail_overdue",
    "find",
    "find_terms",
    "follow_log",
    "get",
    "kernels",
    "lifetime",
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
