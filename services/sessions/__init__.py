"""Sessions and their kernels: made, moved, observed, ended, listed, watched."""

from services.sessions.create import SessionSpec, create
from services.sessions.edit import edit
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
from services.sessions.terminate import Outcome, fail_overdue, terminate
from services.sessions.watch import SessionNotice, watch

__all__ = [
    "ORDERS",
    "Log",
    "Outcome",
    "SessionFilter",
    "SessionNotice",
    "SessionSpec",
    "counts",
    "create",
    "edit",
    "fail_overdue",
    "follow_log",
    "get",
    "kernels",
    "log",
    "many",
    "many_kernels",
    "page",
    "page_kernels",
    "terminate",
    "timelines",
    "total",
    "total_kernels",
    "watch",
]
