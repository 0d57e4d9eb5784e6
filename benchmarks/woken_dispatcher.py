"""A cycle of the dispatcher that one session has woken, when very many wait, on SQLite and on PostgreSQL.

    BERTH_TEST_DATABASE_URL=postgresql://… .venv/bin/python -m benchmarks.woken_dispatcher

All agents are full, the rest waits. Then, one at a time, a session comes (and waits too) or ends (and another one gets its
room). Wall clock of the cycle in milliseconds, its reading, its commit and what it writes of reasons included; p10 is what
remains where nobody else is at work. Beside it the processor time of this process, and how long reading everything takes.
"""

import argparse
import asyncio
import statistics
import time

from sqlalchemy import select, update

from benchmarks.crowd import GIB, databases, gather, open_core
from services import sessions
from services.bus import Wake
from services.db.tables import Agent, ResourceGroup, Session
from services.scheduling.dispatch import Dispatcher


async def measure(kind: str, url: str, sequencer: str, options: argparse.Namespace) -> None:
    core = open_core(url)
    crowd = await gather(core, users=options.users, agents=options.agents)
    async with core.db.write() as db:
        await db.execute(
            update(Agent)
            .where(Agent.id.in_(crowd.agents))
            .values(slots={"cpu": 4000, "mem": 64 * GIB}, schedulable=True)
        )
        await db.execute(
            update(ResourceGroup).where(ResourceGroup.id == crowd.resource_group).values(sequencer=sequencer)
        )
    await crowd.wait(options.waiting)
    if kind == "postgres":
        async with core.db.engine.begin() as connection:
            await connection.exec_driver_sql("ANALYZE")
    dispatcher = Dispatcher(core)
    await dispatcher.take_duty()
    await dispatcher.warm()
    began = time.perf_counter()
    await dispatcher.cycle()
    first = (time.perf_counter() - began) * 1e3
    while await dispatcher.cycle((Wake(),)):
        pass

    async def come() -> None:
        await crowd.wait(1)

    async def end() -> None:
        async with core.db.read() as db:
            one = (
                await db.execute(
                    select(Session.id, Session.user_id)
                    .where(Session.status == "SCHEDULED", Session.resource_group_id == crowd.resource_group)
                    .order_by(Session.id)
                    .limit(1)
                )
            ).one()
        actor = next(actor for actor in crowd.actors if actor.user_id == one.user_id)
        await sessions.terminate(core, actor, [one.id], force=True)

    for what, change in (("comes", come), ("ends", end)):
        walls, owns = list[float](), list[float]()
        for _ in range(options.runs + 5):
            await change()
            await dispatcher.take_duty()
            wall, own = time.perf_counter(), time.process_time()
            await dispatcher.cycle((Wake(),))
            walls.append((time.perf_counter() - wall) * 1e3)
            owns.append((time.process_time() - own) * 1e3)
        walls, owns = walls[5:], owns[5:]
        quiet, late = (sorted(walls)[len(walls) * part // 100] for part in (10, 99))
        print(
            f"{kind:>9} {sequencer:>5} {what:>6} {quiet:>7.1f} {statistics.median(walls):>9.1f} {late:>7.1f} "
            f"{statistics.median(owns):>8.1f} {first:>12.0f}",
            flush=True,
        )
    await core.db.close()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--sequencers", nargs="+", default=["fifo", "drf"])
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    print(
        f"{'database':>9} {'order':>5} {'one':>6} {'p10':>7} {'median ms':>9} {'p99':>7} {'own cpu':>8} {'first cycle':>12}"
    )
    for sequencer in options.sequencers:
        async with databases(options.databases) as urls:
            for kind, url in urls.items():
                await measure(kind, url, sequencer, options)


if __name__ == "__main__":
    asyncio.run(main())
