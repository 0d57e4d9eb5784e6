"""What a change costs an index that is kept between cycles: one more session, and a cycle when nothing has changed.

The workload is that of `scheduler_decisions.py`. Latencies are of enqueueing one session and deciding, the Python calls
included, of those that are placed; wall clock and, for a machine that others use too, the thread's own processor time.
Garbage collection is off. `quiet` is the least p99 of any 1,000 in a row: what remains where nobody else is at work. So that the cluster does not fill
up, what was placed is released again, 500 sessions at a time, and what was refused is withdrawn; neither is measured.
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


#: Sessions before it is measured.
WARM = 12_000
#: Placed before they are released again.
KEPT = 500


def one_at_a_time(index: Index, requests: tuple[Request, ...]) -> tuple[list[float], list[float]]:
    """(wall microseconds, processor microseconds) of those that were placed, one after the other."""
    wall, own, kept = [], [], []
    gc.collect()
    gc.freeze()
    gc.disable()
    for request in requests:
        started, used = time.perf_counter_ns(), time.thread_time_ns()
        index.enqueue(request)
        placed = index.decide(0)
        spent, took = time.thread_time_ns() - used, time.perf_counter_ns() - started
        if placed:
            own.append(spent / 1e3)
            wall.append(took / 1e3)
            kept.append(request.session_id)
        else:
            index.withdraw(request.session_id)
        if len(kept) == KEPT:
            for session_id in kept:
                index.release(session_id)
            kept = []
            index.decide(0)
    gc.enable()
    return wall, own


def part_of(values: list[float], part: int) -> float:
    return sorted(values)[len(values) * part // 100]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--sequencers", nargs="+", default=["fifo", "drf"])
    parser.add_argument("--sessions", type=int, default=15_000, help="that come one after the other")
    parser.add_argument("--waiting", type=int, default=100_000, help="for the cycle without a change")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    engine = fast.load()
    names = " ".join(f"{f'{clock} p{part}':>8}" for clock in ("wall", "own") for part in (50, 90, 99))
    print(f"{'agents':>7} {'order':>5} {names} {'quiet':>8} {'placed':>7}   (microseconds)")
    for agents in options.agents:
        snapshot, requests = empty(agents, options.sessions + WARM, options.seed)
        for name in options.sequencers:
            scheduler = Scheduler(sequencers.load(name), placers.load("pack"))
            index = open_index(snapshot, "rgp", scheduler, engine)
            # The tables know most users and shapes by then, as they do on any other day.
            one_at_a_time(index, requests[:WARM])
            wall, own = one_at_a_time(index, requests[WARM:])
            figures = " ".join(
                f"{part_of(values, part):>8.1f}" for values in (wall, own) for part in (50, 90, 99)
            )
            quiet = min(part_of(own[at : at + 1000], 99) for at in range(0, len(own) - 999, 1000))
            print(f"{agents:>7} {name:>5} {figures} {quiet:>8.1f} {len(own):>7}", flush=True)
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
