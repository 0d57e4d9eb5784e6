"""Decisions a second of the scheduler, and of a plain loop over agents with Decimal slots, in one run.

A decision is a waiting session that was placed or refused. The workload: 5 slots, agents of 8 types with 0 to 78 %
of each in use, shapes drawn 60 times, in 2 architectures, 24 images of which each agent has some, 1,000 users (Zipf) with limits
of keypair, group and domain, 5 % gangs of 2 to 8 kernels. The baselines (`decimal_loops.py`) make the same kind of decisions
(filter, best fit, limits, gangs with rollback) on mappings of Decimals: `tracked` as such systems do it, `lean` with
all left out that can be. They are stopped after --seconds, so their rates are of the first, cheaper part of the queue. Rates count from the snapshot until all is decided. Beside them stand what
building the snapshot from rows costs, and what reading all placements and reasons from the plan costs.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.decimal_loops import Lean, Tracked
from scheduler import fast
from scheduler.engine import Scheduler, plan
from scheduler.fast import Fast
from scheduler.plan import Plan
from scheduler.plugins import placers, sequencers
from scheduler.snapshot import SESSIONS, Snapshot, SnapshotBuilder

GIB = 2**30
AGENT_TYPES = [
    {"cpu": 32_000, "mem": 128 * GIB},
    {"cpu": 64_000, "mem": 256 * GIB},
    {"cpu": 96_000, "mem": 768 * GIB},
    {"cpu": 128_000, "mem": 512 * GIB, "cuda.device": 8_000},
    {"cpu": 96_000, "mem": 1024 * GIB, "cuda.device": 16_000},
    {"cpu": 64_000, "mem": 256 * GIB, "cuda.device": 4_000},
    {"cpu": 64_000, "mem": 512 * GIB, "cuda.shares": 8_000},
    {"cpu": 48_000, "mem": 384 * GIB, "tpu.device": 4_000},
]
ARCHITECTURES = ("x86_64", "x86_64", "x86_64", "aarch64")


@dataclass
class Workload:
    agents: list[dict[str, object]] = field(default_factory=list)
    requests: list[dict[str, object]] = field(default_factory=list)
    limits: list[tuple[str, str, int, int | None]] = field(default_factory=list)


def make(agents: int, pending: int, shapes: int, images: int, seed: int) -> Workload:
    chance = random.Random(seed)
    work = Workload()
    names = [f"img_{number:02d}" for number in range(images)]
    for number in range(agents):
        capacity = AGENT_TYPES[number % len(AGENT_TYPES)]
        work.agents.append(
            {
                "id": f"agt_{number:06d}",
                "capacity": capacity,
                "used": {
                    slot: int(amount * chance.uniform(0, 0.78))
                    // (1000 if "device" in slot else 1)
                    * (1000 if "device" in slot else 1)
                    for slot, amount in capacity.items()
                },
                "architecture": chance.choice(ARCHITECTURES),
                "images": chance.sample(names, k=images // 3),
            }
        )
    kinds = [_shape(chance) for _ in range(shapes)]
    users = list(range(1000))
    weights = [1 / (rank + 1) for rank in users]
    for number, user in enumerate(chance.choices(users, weights, k=pending)):
        group = user % 50
        work.requests.append(
            {
                "id": f"ses_{number:06d}",
                "slots": chance.choice(kinds),
                "kernels": chance.randint(2, 8) if chance.random() < 0.05 else 1,
                "architecture": chance.choice(ARCHITECTURES),
                "image": chance.choice(names) if names else "",
                "scopes": (f"key_{user}", f"grp_{group}", f"dom_{group % 5}"),
                "queued": number,
            }
        )
    for user in users:
        work.limits.append((f"key_{user}", "cpu", chance.randint(0, 64_000), 400_000))
        work.limits.append((f"key_{user}", "cuda.device", 0, 32_000))
        work.limits.append((f"key_{user}", SESSIONS, chance.randint(0, 5), 100))
    for group in range(50):
        work.limits.append((f"grp_{group}", "mem", 0, agents * 16 * GIB))
        work.limits.append((f"grp_{group}", "cuda.device", 0, max(agents * 200, 32_000)))
    for domain in range(5):
        work.limits.append((f"dom_{domain}", "cpu", 0, agents * 20_000))
    return work


def _shape(chance: random.Random) -> dict[str, int]:
    shape = {
        "cpu": chance.choice((500, 1000, 2000, 4000, 8000)),
        "mem": chance.choice((1, 2, 4, 8, 16, 32)) * GIB,
    }
    kind = chance.random()
    if kind < 0.25:
        shape["cuda.device"] = chance.choice((1000, 2000, 4000))
    elif kind < 0.35:
        shape["cuda.shares"] = chance.choice((100, 250, 500))
    elif kind < 0.4:
        shape["tpu.device"] = 1000
    return shape


def snapshot_of(work: Workload) -> Snapshot:
    builder = SnapshotBuilder()
    for agent in work.agents:
        builder.agent(
            agent["id"],
            resource_group="rgp",
            architecture=agent["architecture"],
            capacity=agent["capacity"],
            used=agent["used"],
            images=agent["images"],
        )
    for request in work.requests:
        builder.request(
            request["id"],
            resource_group="rgp",
            slots=request["slots"],
            kernels=request["kernels"],
            architectures=(request["architecture"],),
            image_id=request["image"],
            scopes=request["scopes"],
            queued=request["queued"],
        )
    for scope, slot, used, cap in work.limits:
        builder.limit(scope, slot, used=used, cap=cap)
    return builder.build()


@dataclass
class Measured:
    """Seconds, medians."""

    #: To turn a snapshot into a plan.
    plan: float
    #: To read all placements and reasons of it.
    read: float
    made: Plan


#: Seconds; the thread's own where others use the machine too.
Clock = Callable[[], float]


def measure(
    snapshot: Snapshot, scheduler: Scheduler, engine: Fast | None, runs: int, clock: Clock
) -> Measured:
    planned, read, made = [], [], []
    for _ in range(runs):
        start = clock()
        made.append(plan(snapshot, {"rgp": scheduler}, engine))
        middle = clock()
        _ = made[-1].placements, made[-1].waiting
        planned.append(middle - start)
        read.append(clock() - middle)
    return Measured(statistics.median(planned), statistics.median(read), made[0])


def baseline_rate(loop: type[Tracked | Lean], work: Workload, seconds: float, clock: Clock) -> float:
    decisions = loop(work.agents, work.requests, work.limits).decisions()
    start = clock()
    made = 0
    for _ in decisions:
        made += 1
        if clock() - start > seconds:
            break
    return made / (clock() - start)


def show(size: str, options: argparse.Namespace) -> None:
    """A line for each sequencer, placer and engine; the engines must give one plan."""
    agents, pending = map(int, size.split("x"))
    work = make(agents, pending, options.shapes, options.images, options.seed)
    clock = time.thread_time if options.own_time else time.perf_counter
    start = clock()
    snapshot = snapshot_of(work)
    built = clock() - start
    tracked, lean = (baseline_rate(loop, work, options.seconds, clock) for loop in (Tracked, Lean))
    engines = {"compiled": fast.load()}
    if agents * pending <= options.plain_up_to:
        engines = {"plain": None, **engines}
    for sequencer in options.sequencers:
        for placer in options.placers:
            scheduler = Scheduler(sequencers.load(sequencer), placers.load(placer))
            plans = []
            for name in [one for one in engines if one in options.engines]:
                one = measure(
                    snapshot, scheduler, engines[name], options.runs if name == "compiled" else 1, clock
                )
                plans.append(list(one.made.placements.items()))
                rate = pending / one.plan
                print(
                    f"{agents:>7} {pending:>8} {sequencer:>5} {placer:>7} {name:>9} {len(plans[0]):>7} "
                    f"{built * 1e3:>12.1f} {one.plan * 1e3:>9.1f} {one.read * 1e3:>8.1f} {rate:>12,.0f} "
                    f"{tracked:>9,.1f} {rate / tracked:>8,.0f} {lean:>9,.1f} {rate / lean:>8,.0f}",
                    flush=True,
                )
            if any(other != plans[0] for other in plans):
                raise SystemExit("the engines gave different plans")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=[
            f"{agents}x{pending}"
            for agents in (100, 1000, 10_000, 100_000)
            for pending in (1000, 10_000, 100_000)
        ],
        metavar="AGENTSxPENDING",
        help="what to measure (default: all of 100 to 100,000 agents by 1,000 to 100,000 sessions)",
    )
    parser.add_argument("--sequencers", nargs="+", default=["fifo", "lifo", "drf"])
    parser.add_argument("--placers", nargs="+", default=["pack", "spread"])
    parser.add_argument("--engines", nargs="+", default=["plain", "compiled"], choices=["plain", "compiled"])
    parser.add_argument(
        "--plain-up-to",
        type=int,
        default=20_000_000,
        metavar="AGENTS*PENDING",
        help="where plain Python is measured too, once (default: %(default)s)",
    )
    parser.add_argument(
        "--shapes", type=int, default=60, help="distinct sets of slots drawn (default: %(default)s)"
    )
    parser.add_argument("--images", type=int, default=24, help="distinct images (default: %(default)s)")
    parser.add_argument(
        "--runs", type=int, default=3, help="the median of so many is shown (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each baseline (default: %(default)s)")
    parser.add_argument(
        "--own-time", action="store_true", help="processor time, on a machine that others use too"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{'agents':>7} {'pending':>8} {'order':>5} {'placer':>7} {'engine':>9} {'placed':>7} {'snapshot ms':>12} "
        f"{'plan ms':>9} {'read ms':>8} {'decisions/s':>12} {'tracked/s':>9} {'ratio':>8} {'lean/s':>9} {'ratio':>8}"
    )
    for size in options.sizes:
        show(size, options)


if __name__ == "__main__":
    main()
