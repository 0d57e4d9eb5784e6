"""What a change costs an index that is kept between cycles: one more session, and a cycle when nothing has changed.

The workload is that of `scheduler_decisions.py`. Latencies are of enqueueing one session and deciding, the Python calls
included; wall clock and, for a machine that others use too, the thread's own processor time.
"""

import argparse
import gc
import time

from benchmarks.scheduler_decisions import make, snapshot_of
from scheduler import fast
from scheduler.engine import Scheduler
from scheduler.indexes import Index, open_index
from scheduler.plugins import placers, sequencers
from scheduler.queues import Request
from scheduler.snapshot import Snapshot


def empty(agents: int, pending: int, seed: int) -> tuple[Snapshot, tuple[Request, ...]]:
    """A cluster with nothing waiting, and the sessions that will come."""
    work = make(agents, pending, 60, 24, seed)
    requests = snapshot_of(work).requests
    work.requests = []
    return snapshot_of(work), requests


def one_at_a_time(index: Index, requests: tuple[Request, ...]) -> tuple[list[float], list[float], int]:
    """(wall microseconds, processor microseconds, how many were placed), sorted."""
    wall, own, placed = [], [], 0
    gc.collect()
    gc.disable()
    for request in requests:
        started, used = time.perf_counter(), time.thread_time()
        index.enqueue(request)
        placed += len(index.decide(0))
        own.append((time.thread_time() - used) * 1e6)
        wall.append((time.perf_counter() - started) * 1e6)
    gc.enable()
    return sorted(wall), sorted(own), placed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--sequencers", nargs="+", default=["fifo", "drf"])
    parser.add_argument("--waiting", type=int, default=100_000, help="for the cycle without a change")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    engine = fast.load()
    print(
        f"{'agents':>7} {'order':>5} {'p50 us':>8} {'p99 us':>8} {'own p50':>8} {'own p99':>8} {'placed':>7}"
    )
    for agents in options.agents:
        snapshot, requests = empty(agents, 22_000, options.seed)
        for name in options.sequencers:
            scheduler = Scheduler(sequencers.load(name), placers.load("pack"))
            index = open_index(snapshot, "rgp", scheduler, engine)
            # The tables know most users and shapes by then, as they do on any other day.
            one_at_a_time(index, requests[:12_000])
            wall, own, placed = one_at_a_time(index, requests[12_000:])
            at = len(wall) // 2, len(wall) * 99 // 100
            figures = " ".join(f"{values[place]:>8.1f}" for values in (wall, own) for place in at)
            print(f"{agents:>7} {name:>5} {figures} {placed:>7}", flush=True)
    work = make(1000, options.waiting, 60, 24, options.seed)
    for request in work.requests:
        request["slots"] = {**request["slots"], "cpu": 10**9}
    snapshot = snapshot_of(work)
    for name in options.sequencers:
        index = open_index(snapshot, "rgp", Scheduler(sequencers.load(name), placers.load("pack")), engine)
        index.decide(0)
        started = time.perf_counter()
        index.decide(1)
        print(
            f"{options.waiting} wait, {name}, nothing changed: {(time.perf_counter() - started) * 1e3:.3f} ms"
        )


if __name__ == "__main__":
    main()
