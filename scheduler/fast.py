"""The compiled engine, where the extra `fast` is installed."""

import importlib
import importlib.util
import logging
from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast

from scheduler import machine_code
from scheduler.cycles import Members
from scheduler.limits import Ledger
from scheduler.plan import Decided
from scheduler.protocols import Placer, Sequencer
from scheduler.queues import Request
from scheduler.snapshot import Snapshot

log = logging.getLogger(__name__)


class FastGroups(Protocol):
    def decide(
        self, resource_group: str, members: Members, sequencer: Sequencer, placer: Placer, *, backfill: bool
    ) -> Decided | None:
        """Go through a cycle; None where it cannot with these plug-ins or amounts, and has done nothing."""
        ...


class FastIndex(Protocol):
    """See `scheduler.indexes.Index`."""

    def enqueue(self, request: Request) -> None: ...

    def withdraw(self, session_id: str) -> None: ...

    def release(self, session_id: str) -> None: ...

    def decide(self, now: int) -> list[tuple[str, tuple[str, ...]]]: ...


class Fast(Protocol):
    """The module `scheduler.compiled.entry`."""

    def open_groups(self, snapshot: Snapshot, ledger: Ledger) -> FastGroups:
        """The resource groups of a snapshot, to be decided one after the other."""
        ...

    def open_index(
        self,
        snapshot: Snapshot,
        members: Members,
        requests: Sequence[Request],
        sequencer: Sequencer,
        placer: Placer,
        *,
        backfill: bool,
    ) -> FastIndex | None:
        """One resource group to be kept; None where it cannot with these plug-ins or amounts."""
        ...


def needs_compiling() -> bool:
    """Would `load` take long, for this version has not run on this machine yet?

    It compiles in the process then, which cannot be stopped. `python -m scheduler.fast` does it in one of its own.
    """
    return importlib.util.find_spec("numba") is not None and not machine_code.complete()


@cache
def load() -> Fast | None:
    """Import and warm it: seconds when a version runs for the first time on a machine, half a second later.

    None where the extra is not installed, or cannot be used here; the scheduler then decides the same in plain Python.
    """
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        entry = importlib.import_module("scheduler.compiled.entry")
        entry.warm()
        machine_code.completed()
        return cast("Fast", entry)
    except Exception:
        log.exception("the compiled scheduler cannot be used; plain Python decides the same, more slowly")
        return None


if __name__ == "__main__":
    load()
