"""Committing a plan of 1,000 sessions with all its checks, on SQLite and on PostgreSQL.

    BERTH_TEST_DATABASE_URL=postgresql://… .venv/bin/python -m benchmarks.plan_commit

One transaction: the fence, the sessions that still wait as they did, agents, limits of keypair, user, group, domain and
resource group, the occupancies of all of them locked and written, sessions, kernels and timelines. The baseline writes
the same sessions, kernels and timelines in one transaction of the bare driver, three statements, and checks nothing. The two
take turns. Wall clock, the processor time of this process (SQLite's is in it), and that of PostgreSQL's, where its server
runs beside: what the machine does besides makes the first longer, the others hardly.
"""

import argparse
import asyncio
import contextlib
import gc
import sqlite3
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from benchmarks.crowd import Crowd, databases, gather, open_core
from services import leases
from services.core import Core
from services.db.tables import Kernel
from services.scheduling.commits import Placement, commit
from services.scheduling.dispatch import LEASE

Bare = Callable[[list[tuple[str, str, str]]], Awaitable[None]]


@contextlib.asynccontextmanager
async def bare_writer(url: str) -> AsyncGenerator[Bare]:
    """Writes (session, kernel, agent) as placed."""
    now = datetime.now(UTC)
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        database = sqlite3.connect(Path(parts.database or ""), isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA synchronous=NORMAL")

        def write(rows: list[tuple[str, str, str]]) -> None:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(
                "UPDATE sessions SET status='SCHEDULED', version=version+1, scheduled_at=?, phase_deadline=? "
                "WHERE id=? AND status='PENDING'",
                [(str(now), str(now), session) for session, _, _ in rows],
            )
            database.executemany(
                "UPDATE kernels SET status='SCHEDULED', agent_id=?, generation=generation+1 WHERE id=?",
                [(agent, kernel) for _, kernel, agent in rows],
            )
            database.executemany(
                "INSERT INTO session_events (session_id, at, status, code, message) VALUES (?, ?, 'SCHEDULED', '', '')",
                [(session, str(now)) for session, _, _ in rows],
            )
            database.execute("COMMIT")

        async def in_thread(rows: list[tuple[str, str, str]]) -> None:
            await asyncio.to_thread(write, rows)

        yield in_thread
        database.close()
        return
    connection = await asyncpg.connect(
        parts.set(drivername="postgresql").render_as_string(hide_password=False)
    )

    async def to_server(rows: list[tuple[str, str, str]]) -> None:
        async with connection.transaction():
            await connection.execute(
                "UPDATE sessions SET status='SCHEDULED', version=version+1, scheduled_at=$2, phase_deadline=$2 "
                "WHERE id = ANY($1::text[]) AND status='PENDING'",
                [session for session, _, _ in rows],
                now,
            )
            await connection.execute(
                "UPDATE kernels SET status='SCHEDULED', agent_id=t.agent, generation=generation+1 "
                "FROM unnest($1::text[], $2::text[]) AS t(kernel, agent) WHERE kernels.id = t.kernel",
                [kernel for _, kernel, _ in rows],
                [agent for _, _, agent in rows],
            )
            await connection.execute(
                "INSERT INTO session_events (session_id, at, status, code, message) "
                "SELECT id, $2, 'SCHEDULED', '', '' FROM unnest($1::text[]) AS t(id)",
                [session for session, _, _ in rows],
                now,
            )

    yield to_server
    await connection.close()


def processor_of(processes: list[int]) -> float:
    """Seconds; 0 for those of another machine."""
    files = [Path(f"/proc/{process}/schedstat") for process in processes]
    return sum(int(file.read_text().split()[0]) / 1e9 for file in files if file.exists())


async def backends(core: Core) -> list[int]:
    """PostgreSQL's processes for this database."""
    if core.db.dialect != "postgresql":
        return []
    async with core.db.read() as db:
        query = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        return list(await db.scalars(query))


async def timed(work: Callable[[], Awaitable[None]], servers: list[int]) -> tuple[float, float, float]:
    """(wall, processor, processor of the database) milliseconds."""
    gc.collect()
    gc.disable()
    wall, own, server = time.perf_counter(), time.process_time(), processor_of(servers)
    await work()
    took = time.perf_counter() - wall, time.process_time() - own, processor_of(servers) - server
    gc.enable()
    return took[0] * 1e3, took[1] * 1e3, took[2] * 1e3


async def placed(crowd: Crowd, size: int) -> dict[str, Placement]:
    ids = await crowd.wait(size)
    return {one: Placement(0, (crowd.agents[number % len(crowd.agents)],)) for number, one in enumerate(ids)}


async def measure(kind: str, url: str, options: argparse.Namespace) -> None:
    core = open_core(url)
    crowd = await gather(core, users=options.users, agents=options.agents)
    ours: list[tuple[float, float, float]] = []
    bare: list[tuple[float, float, float]] = []
    async with bare_writer(url) as writer:
        for number in range(options.runs + 2):
            plan = await placed(crowd, options.sessions)
            fence = await leases.acquire(core, LEASE, timedelta(minutes=1))
            assert fence is not None

            async def checked(plan: dict[str, Placement] = plan, fence: int = fence) -> None:
                done = await commit(core, LEASE, fence, plan)
                assert done is not None
                assert len(done) == options.sessions

            servers = await backends(core)
            spent = await timed(checked, servers)
            plan = await placed(crowd, options.sessions)
            async with core.db.read() as db:
                query = select(Kernel.session_id, Kernel.id).where(Kernel.status == "PENDING")
                kernels = {session: kernel for session, kernel in await db.execute(query)}  # noqa: C416
            rows = [(one, kernels[one], placement.agents[0]) for one, placement in plan.items()]
            base = await timed(lambda rows=rows: writer(rows), servers)
            # The first two prepare statements, and make the occupancies.
            if number >= 2:
                ours.append(spent)
                bare.append(base)
    for name, values in (("commit", ours), ("bare", bare)):
        walls = sorted(wall for wall, _, _ in values)
        print(
            f"{kind:>9} {name:>7} {statistics.median(walls):>9.1f} {walls[0]:>7.1f} {walls[-1]:>7.1f} "
            f"{statistics.median(own for _, own, _ in values):>11.1f} "
            f"{statistics.median(server for _, _, server in values):>14.1f}",
            flush=True,
        )
    ratio = statistics.median(wall for wall, _, _ in ours) / statistics.median(wall for wall, _, _ in bare)
    print(f"{kind:>9} ratio {ratio:.2f}")
    await core.db.close()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--sessions", type=int, default=1000, help="in the plan")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    print(
        f"{'database':>9} {'what':>7} {'median ms':>9} {'least':>7} {'most':>7} {'own cpu ms':>11} {'server cpu ms':>14}"
    )
    async with databases(options.databases) as urls:
        for kind, url in urls.items():
            await measure(kind, url, options)


if __name__ == "__main__":
    asyncio.run(main())
