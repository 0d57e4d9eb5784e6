"""Work in the background: started by a mutation, done by one manager, followed by whoever started it.

    start ──▶ PENDING ──claim──▶ RUNNING ──▶ SUCCEEDED
                 ▲  │                 │  ├──▶ FAILED       an error, or its manager is gone and it cannot begin again
                 │  └──cancel──▶ CANCELLED ◀──┘ cancel
                 └───────── its manager stopped or is gone, and it may begin again

    rows      what there is, starting and cancelling, following
    run       what the work itself is given: telling how far it is, writing only while the task is still ours
    runner    claims tasks, renews their leases, takes over those of managers that are gone

A manager has a task for the time of a lease. What the work writes (`Run.write`) is guarded in the same transaction by the
task's row: its manager, its attempt, its lease. So a manager that was paused and wakes up late writes nothing.
"""

from services.tasks.rows import (
    LIVE,
    ORDERS,
    Lines,
    TaskFilter,
    cancel,
    get,
    lines,
    many,
    page,
    purge,
    start,
    total,
    watch,
)
from services.tasks.run import Pull, Run, TaskLost
from services.tasks.runner import Kind, Runner, release_all

__all__ = [
    "LIVE",
    "ORDERS",
    "Kind",
    "Lines",
    "Pull",
    "Run",
    "Runner",
    "TaskFilter",
    "TaskLost",
    "cancel",
    "get",
    "lines",
    "many",
    "page",
    "purge",
    "release_all",
    "start",
    "total",
    "watch",
]
