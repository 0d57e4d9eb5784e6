"""Asking the scheduler, so that a plug-in at fault stops its own resource group and no other.

What raises, or breaks its contract, the scheduler itself finds (`scheduler.faults`). What takes too long is found here:
resource groups with plug-ins of others are planned by themselves, each in a thread that is given up when its time is
over. Python cannot end a thread; it is asked to stop, and as long as it does not, its resource group is not planned
again. After that it is tried again after a pause, or at once with other settings.
"""

import asyncio
import ctypes
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from scheduler.engine import Scheduler, decide
from scheduler.estimates import estimated
from scheduler.fast import Fast
from scheduler.plan import Decided, Plan, SchedulerFailed, Waiting
from scheduler.plugins import PluginError, placers, sequencers
from scheduler.snapshot import Snapshot
from services.core import Core
from services.db.tables import ResourceGroup

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = timedelta(seconds=60)
_LONGEST_PAUSE: Final = timedelta(minutes=10)
#: Characters of a fault that are kept.
_LONGEST_MESSAGE: Final = 500


@dataclass(frozen=True)
class Planned:
    plan: Plan
    #: Of those that wait, the ones of whose start something is known.
    estimates: dict[str, Waiting]
    #: Resource group that was planned → what is wrong with its scheduler.
    faults: dict[str, SchedulerFailed | None]


class _TooSlow(BaseException):
    """Raised in a thread that is to stop; not an `Exception`, which a plug-in may catch."""


@dataclass
class _Work:
    """One resource group being planned in a thread of its own."""

    thread: threading.Thread
    done: asyncio.Event
    decided: dict[str, Decided] = field(default_factory=dict[str, Decided])
    error: BaseException | None = None


@dataclass
class _Suspect:
    """A resource group whose plug-in took too long."""

    settings: tuple[Any, ...]
    failure: SchedulerFailed
    work: _Work
    pause: timedelta
    again_at: datetime


class Planner:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._suspects: dict[str, _Suspect] = {}

    async def plan(
        self, snapshot: Snapshot, groups: Mapping[str, ResourceGroup], compiled: Fast | None
    ) -> Planned:
        """Decide about every waiting session.

        Args:
            groups: all that have waiting sessions, and maybe others.
        """
        waiting = sorted(snapshot.queue.resource_groups.present())
        foreign = [one for one in waiting if not built_in(groups[one])]
        ours = {one: groups[one] for one in waiting if one not in foreign}
        decided: dict[str, Decided] = {}
        if ours:
            decided |= await asyncio.to_thread(lambda: decide(snapshot, _load(ours), compiled))
        for group_id in foreign:
            decided |= await self._apart(snapshot, groups[group_id])
        faults = {group_id: _fault(one) for group_id, one in decided.items()}
        made = Plan([decided[group_id] for group_id in waiting])
        patient = {one for one in waiting if groups[one].backfill and faults[one] is None}
        estimates = await asyncio.to_thread(estimated, snapshot, made, patient) if patient else {}
        return Planned(made, estimates, faults)

    async def _apart(self, snapshot: Snapshot, group: ResourceGroup) -> dict[str, Decided]:
        """One resource group, in its own time."""
        suspect = self._suspects.get(group.id)
        if suspect is not None and self._rests(suspect, group):
            return _failed(snapshot, group, suspect.failure)
        work = _start(lambda: decide(snapshot, _load({group.id: group})))
        limit = self._core.settings.plan_limit
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await work.done.wait()
        except TimeoutError:
            return _failed(snapshot, group, self._suspect(group, work, suspect, limit))
        if work.error is not None:
            message = f"{type(work.error).__name__}: {work.error}"
            return _failed(snapshot, group, SchedulerFailed(plugin=_called(group), message=message))
        self._suspects.pop(group.id, None)
        return work.decided

    def _rests(self, suspect: _Suspect, group: ResourceGroup) -> bool:
        if suspect.work.thread.is_alive():
            return True
        return suspect.settings == _settings(group) and self._core.now() < suspect.again_at

    def _suspect(
        self, group: ResourceGroup, work: _Work, before: _Suspect | None, limit: timedelta
    ) -> SchedulerFailed:
        _ask_to_stop(work.thread)
        again = before is not None and before.settings == _settings(group)
        pause = min(before.pause * 2, _LONGEST_PAUSE) if before and again else _FIRST_PAUSE
        message = f"It took longer than {limit.total_seconds():g} seconds."
        failure = SchedulerFailed(plugin=_called(group), message=message)
        self._suspects[group.id] = _Suspect(_settings(group), failure, work, pause, self._core.now() + pause)
        return failure


def as_stored(
    fault: SchedulerFailed | None, before: dict[str, Any] | None, now: datetime
) -> dict[str, Any] | None:
    """A fault as a resource group keeps it: the same one since its first moment."""
    if fault is None:
        return None
    found = {"plugin": fault.plugin, "message": fault.message[:_LONGEST_MESSAGE]}
    since = before["since"] if before and found.items() <= before.items() else now.isoformat()
    return {**found, "since": since}


def built_in(group: ResourceGroup) -> bool:
    """Are its sequencer and its placer ours?"""
    return sequencers.built_in(group.sequencer) and placers.built_in(group.placer)


def _settings(group: ResourceGroup) -> tuple[Any, ...]:
    return group.sequencer, group.sequencer_options, group.placer, group.placer_options


def _called(group: ResourceGroup) -> str:
    """Which plug-in it must be: ours keep their time."""
    named = {"sequencer": (sequencers, group.sequencer), "placer": (placers, group.placer)}
    return " or ".join(
        f"{kind} {name}" for kind, (registry, name) in named.items() if not registry.built_in(name)
    )


def _load(groups: Mapping[str, ResourceGroup]) -> dict[str, Scheduler | SchedulerFailed]:
    """Make the plug-ins that each resource group has chosen."""
    schedulers: dict[str, Scheduler | SchedulerFailed] = {}
    for group_id, group in groups.items():
        try:
            schedulers[group_id] = Scheduler(
                sequencers.load(group.sequencer, group.sequencer_options),
                placers.load(group.placer, group.placer_options),
                backfill=group.backfill,
            )
        except PluginError as error:
            schedulers[group_id] = error.reason
    return schedulers


def _failed(snapshot: Snapshot, group: ResourceGroup, failure: SchedulerFailed) -> dict[str, Decided]:
    return decide(snapshot, {group.id: failure})


def _fault(decided: Decided) -> SchedulerFailed | None:
    """A resource group at fault places nothing, and all its sessions say why."""
    _, first = next(iter(decided.waiting(0, 1)), ("", None))
    return first.reason if first and isinstance(first.reason, SchedulerFailed) else None


def _start(work: Callable[[], dict[str, Decided]]) -> _Work:
    """A daemon, so that one that hangs does not keep the process from ending."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            started.decided = work()
        except BaseException as error:  # a plug-in may raise anything
            started.error = error
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:
            # Given up, and nobody is there any more.
            return

    started = _Work(threading.Thread(target=run, name="planning", daemon=True), done)
    started.thread.start()
    return started


def _ask_to_stop(thread: threading.Thread) -> None:
    """The exception is raised when the thread next runs Python: a loop ends at once, what waits for a system call later."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_TooSlow))
