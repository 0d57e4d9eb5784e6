"""The built-in orders of a queue."""

from collections.abc import Iterable

from scheduler.protocols import Cycle, PluginOptions
from scheduler.snapshot import Request


class FifoOptions(PluginOptions, frozen=True, kw_only=True):
    """First in, first out has nothing to choose."""


class Fifo:
    """Higher priority first; among equals, who waits longest.

    One that does not fit lets smaller ones pass. Without a reservation for the head of the queue a large session may
    wait for long in a busy cluster; raise its priority and let the others end, or drain an agent for it.
    """

    Options = FifoOptions

    def __init__(self, options: FifoOptions, /) -> None:
        self.options = options

    def order(self, cycle: Cycle) -> Iterable[Request]:
        return sorted(cycle.requests, key=_turn)


def _turn(request: Request) -> tuple[int, int, str]:
    return -request.priority, request.queued, request.session_id
