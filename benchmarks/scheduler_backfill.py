"""Waiting times with a reservation for the head of the queue, without one, and where the head blocks all others.

32 agents with 8 GPUs; sessions of 1 to 32 GPUs (the larger ones gangs of whole agents) arrive at random (Poisson), last a
log-normal time and promise one to four times of it. `strict` is what a queue does that nobody may pass, `skip` lets pass
whoever fits, `easy` is `Scheduler(backfill=True)`. Means over seeds; large sessions have 16 GPUs or more.
"""

import argparse
import random
from statistics import fmean

from scheduler import fast
from scheduler.engine import Scheduler
from scheduler.indexes import Index, Placed, open_index
from scheduler.plugins import placers, sequencers
from scheduler.queues import Request, Shape
from scheduler.simulation import Arrival, Replay, simulate
from scheduler.snapshot import Snapshot, SnapshotBuilder

AGENTS, GPUS = 32, 8
LARGE = 16
SIZES = {1: 40, 2: 20, 4: 15, 8: 15, 16: 7, 32: 3}


class Strict:
    """An index that is shown one session at a time: the next is shown when the one before was placed."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._queue: list[Request] = []

    def enqueue(self, request: Request) -> None:
        self._queue.append(request)

    def withdraw(self, session_id: str) -> None:
        self._queue = [one for one in self._queue if one.session_id != session_id]

    def release(self, session_id: str) -> None:
        self._index.release(session_id)

    def decide(self, now: int) -> list[Placed]:
        placed: list[Placed] = []
        while self._queue:
            head = self._queue[0]
            self._index.enqueue(head)
            decided = self._index.decide(now)
            if not decided:
                self._index.withdraw(head.session_id)
                break
            placed += decided
            del self._queue[0]
        return placed


def cluster() -> Snapshot:
    builder = SnapshotBuilder()
    for number in range(AGENTS):
        builder.agent(
            f"agt_{number:02d}", resource_group="rgp", architecture="x86_64", capacity={"gpu": GPUS}, used={}
        )
    return builder.build()


def trace(load: float, count: int, seed: int) -> list[Arrival]:
    chance = random.Random(seed)
    sizes = chance.choices(list(SIZES), list(SIZES.values()), k=count)
    lengths = [max(60, int(chance.lognormvariate(8.0, 1.2))) for _ in sizes]
    work = fmean([size * length for size, length in zip(sizes, lengths, strict=True)])
    pause = work / (AGENTS * GPUS * load)
    arrivals, now = [], 0.0
    for number, (size, length) in enumerate(zip(sizes, lengths, strict=True)):
        now += chance.expovariate(1 / pause)
        request = Request(
            session_id=f"ses_{number:05d}",
            resource_group="rgp",
            shape=Shape((min(size, GPUS),)),
            kernels=max(1, size // GPUS),
            queued=number,
            max_duration=int(length * chance.uniform(1, 4)) + 1,
        )
        arrivals.append(Arrival(int(now), length, request))
    return arrivals


def replayed(arrivals: list[Arrival], policy: str) -> Replay:
    scheduler = Scheduler(sequencers.load("fifo"), placers.load("pack"), backfill=policy == "easy")
    index = open_index(cluster(), "rgp", scheduler, fast.load())
    return simulate(Strict(index) if policy == "strict" else index, arrivals)


def large(arrivals: list[Arrival]) -> list[Arrival]:
    return [one for one in arrivals if one.request.shape.needs[0] * one.request.kernels >= LARGE]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loads", nargs="+", type=float, default=[0.85, 1.1])
    parser.add_argument("--sessions", type=int, default=4000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    print(
        f"{'load':>5} {'policy':>7} {'utilisation':>12} {'mean wait min':>14} {'large: mean':>12} {'longest':>8}"
    )
    for load in options.loads:
        for policy in ("strict", "skip", "easy"):
            rows = []
            for seed in options.seeds:
                arrivals = trace(load, options.sessions, seed)
                replay = replayed(arrivals, policy)
                used = replay.utilisation((AGENTS * GPUS,), arrivals[-1].at)[0]
                waits = replay.waits(large(arrivals))
                rows.append((used, fmean(replay.waits(arrivals)) / 60, fmean(waits) / 60, max(waits) / 60))
            used, mean, mean_large, longest = (fmean(column) for column in zip(*rows, strict=True))
            print(
                f"{load:>5} {policy:>7} {used:>12.3f} {mean:>14.1f} {mean_large:>12.1f} {longest:>8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
