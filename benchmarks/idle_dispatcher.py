"""A cycle of the dispatcher when very many sessions wait and nothing has changed, on SQLite and on PostgreSQL.

    BERTH_TEST_DATABASE_URL=postgresql://… .venv/bin/python -m benchmarks.idle_dispatcher

The sessions ask for more than any agent has, so all of them wait. The first cycle reads, plans and writes why; of the
cycles that follow, the ones that nobody has asked for are measured, and what asking the database whether anything has
changed costs within them. Wall clock; beside it the processor time of this process, and `SELECT 1` as a baseline.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import text

from benchmarks.crowd import databases, gather, open_core
from services.scheduling.dispatch import Dispatcher


async def timed(work: Callable[[], Awaitable[object]], runs: int) -> tuple[float, float, float]:
    """(median, p99 of the wall clock, median of the processor time), milliseconds."""
    walls, owns = [], []
    for _ in range(runs):
        wall, own = time.perf_counter(), time.process_time()
        await work()
        owns.append((time.process_time() - own) * 1e3)
        walls.append((time.perf_counter() - wall) * 1e3)
    return statistics.median(walls), sorted(walls)[len(walls) * 99 // 100], statistics.median(owns)


async def measure(kind: str, url: str, options: argparse.Namespace) -> None:
    core = open_core(url)
    crowd = await gather(core, users=options.users, agents=options.agents)
    await crowd.wait(options.waiting, cpu=10**10)
    if kind == "postgres":
        async with core.db.engine.begin() as connection:
            await connection.exec_driver_sql("ANALYZE")
    dispatcher = Dispatcher(core)
    await dispatcher.take_duty()
    began = time.perf_counter()
    await dispatcher.cycle()
    first = (time.perf_counter() - began) * 1e3

    async def idle() -> None:
        assert not await dispatcher.cycle(())

    async def nothing() -> None:
        async with core.db.read() as db:
            await db.execute(text("SELECT 1"))

    await timed(idle, 20)
    for what, work in (("cycle", idle), ("SELECT 1", nothing)):
        median, late, own = await timed(work, options.runs)
        print(f"{kind:>9} {what:>9} {median:>9.2f} {late:>7.2f} {own:>8.2f} {first:>12.0f}", flush=True)
    await core.db.close()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    print(f"{'database':>9} {'what':>9} {'median ms':>9} {'p99':>7} {'own cpu':>8} {'first cycle':>12}")
    async with databases(options.databases) as urls:
        for kind, url in urls.items():
            await measure(kind, url, options)


if __name__ == "__main__":
    asyncio.run(main())
