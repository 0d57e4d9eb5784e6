"""Usage totals: exactly what the records of sessions say, whoever adds them up, and whenever."""

import asyncio
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from agents.hub import Hub
from agents.protocol import KernelStats, NodeStats, Stats
from services.bus import LocalBus
from services.core import Core
from services.db.engine import open_database
from services.db.tables import Kernel, KernelMeter, Session, UsageTotal
from services.errors import BadInput
from services.keys import Keys
from services.progress import ProgressBook
from services.stats import StatsBook
from services.usage import periods, reports, rollup
from services.usage.meters import MeterBook
from services.usage.reports import Ask, Figures
from tests.factories import Clock, Factories

START = datetime(2026, 3, 30, 22, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@given(st.integers(0, 10**15), st.integers(0, 40 * 3_600_000_000))
def test_a_time_is_spread_over_hours_exactly(begin: int, length: int) -> None:
    parts = list(periods.spread(begin, begin + length))
    assert sum(duration for _, duration in parts) == length
    assert all(0 < duration <= 3_600_000_000 and hour == periods.floor_hour(hour) for hour, duration in parts)


@given(st.integers(0, 24 * 4000), st.integers(0, 24 * 4000))
def test_few_periods_cover_a_time_without_a_gap_or_an_overlap(first: int, hours: int) -> None:
    begin = datetime(2020, 1, 1, tzinfo=UTC) + first * HOUR
    end = begin + hours * HOUR
    covered = periods.cover(begin, end)
    assert len(covered) <= 2 * 23 + 2 * 30 + hours // (24 * 28) + 1
    at = begin
    for period in covered:
        assert periods.names(at)[{13: 0, 10: 1, 7: 2}[len(period)]] == period
        at = periods.next_month(at) if len(period) == 7 else at + (24 if len(period) == 10 else 1) * HOUR
    assert at == end


def record(kernel: Kernel, session: Session, now: datetime, begin: datetime, end: datetime) -> int:
    """Microseconds of a kernel within a time, from its own row."""
    if session.started_at is None:
        return 0
    until = kernel.terminated_at or now
    overlap = min(max(until, session.started_at), end) - max(session.started_at, begin)
    return max(overlap, timedelta()) // timedelta(microseconds=1)


async def world(make: Factories, dice: random.Random, kernels: int) -> None:
    """Sessions of two users in two groups that ran, run, or never did."""
    domain = await make.domain()
    groups = [await make.group(domain=domain) for _ in range(2)]
    people = [await make.user(domain=domain) for _ in range(2)]
    where = await make.resource_group()
    image = await make.image()
    for number in range(kernels):
        begun = START + timedelta(microseconds=dice.randrange(60 * 3_600_000_000))
        kind = dice.choice(["RUNNING", "TERMINATED", "TERMINATED", "ERROR", "CANCELLED"])
        session = await make.session(
            user=people[number % 2], group=groups[dice.randrange(2)], resource_group=where, image=image,
            status=kind, started_at=None if kind == "CANCELLED" else begun,
        )  # fmt: skip
        # An end that is before the beginning: a clock was set back.
        length = timedelta(microseconds=dice.randrange(-600_000_000, 50 * 3_600_000_000))
        for rank in range(dice.choice([1, 1, 3])):
            await make.kernel(
                session=session, rank=rank, slots={"cpu": dice.randrange(1, 64_000), "mem": dice.randrange(2**42)},
                terminated_at=None if kind == "RUNNING" else begun + length,
            )  # fmt: skip


async def expected(core: Core, begin: datetime, end: datetime) -> Counter[tuple[str, str]]:
    """(user, measure) → amount, from the records alone."""
    found: Counter[tuple[str, str]] = Counter()
    async with core.db.read() as db:
        for kernel, session in await db.execute(
            select(Kernel, Session).join(Session, Session.id == Kernel.session_id)
        ):
            duration = record(kernel, session, core.now(), begin, end)
            for slot, amount in rollup.measured(kernel).items():
                found[session.user_id, slot] += amount * duration
    return +found


async def reported(core: Core, admin: Any, begin: datetime, end: datetime) -> Counter[tuple[str, str]]:
    found = await reports.report(core, admin, Ask(begin, end, group_by="USER"))
    amounts = {(part.id, measure): n for part in found.parts for measure, n in part.total.amounts.items()}
    return +Counter(amounts)


def fresh(template: Path, folder: Path) -> Core:
    for left in folder.glob("berth.db-*"):
        left.unlink()
    shutil.copyfile(template, folder / "berth.db")
    bus = LocalBus()
    return Core(
        db=open_database(f"sqlite+aiosqlite:///{folder / 'berth.db'}"), bus=bus, hub=Hub(), keys=Keys.generate(),
        stats=StatsBook(bus), progress=ProgressBook(bus),
    )  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    rounds=st.lists(st.integers(-3, 40), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 24 * 40), max_size=5),
)
def test_any_partition_of_time_adds_up_to_what_the_records_say(
    sqlite_template: Path, tmp_path: Path, seed: int, rounds: list[int], cuts: list[int]
) -> None:
    """Whatever was added up when: clocks that step back, long absences, ends that come to light later."""

    async def tried() -> None:
        core = fresh(sqlite_template, tmp_path)
        try:
            await add_up(core)
        finally:
            await core.db.close()

    async def add_up(core: Core) -> None:
        clock = Clock(START + timedelta(minutes=17))
        core.now = clock.now
        other = replace(core, manager_id="other", now=core.now)
        make = Factories(core)
        await world(make, random.Random(seed), 6)
        admin = await make.superadmin()
        edges = sorted({0, 24 * 40, *cuts})
        for hours in rounds:
            clock.advance(hours * HOUR + timedelta(minutes=3))
            await rollup.roll_up(other if hours % 2 else core)
            whole: Counter[tuple[str, str]] = Counter()
            for first, last in itertools.pairwise(edges):
                begin, end = START + first * HOUR, START + last * HOUR
                part = await reported(core, admin, begin, end)
                assert part == await expected(core, begin, end)
                whole += part
            assert whole == await expected(core, START, START + 24 * 40 * HOUR)

    asyncio.run(tried())


async def test_a_clock_that_is_set_back_takes_off_what_is_not_yet_true(
    core: Core, make: Factories, clock: Clock
) -> None:
    """Of a kernel that runs on, by the report alone: what was added up stays until it is true again."""
    await make.kernel(session=await make.session(started_at=START, status="RUNNING"), status="RUNNING")
    admin = await make.superadmin()
    whole = START, START + timedelta(days=2)
    for minutes in (140, 89, 30, 200):
        clock.time = START + timedelta(minutes=minutes)
        await rollup.roll_up(core)
        assert await reported(core, admin, *whole) == await expected(core, *whole)


async def test_two_managers_at_once_add_each_kernel_once_and_leave_nothing_open(
    core: Core, make: Factories, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "_BATCH", 3)
    await world(make, random.Random(7), 12)
    admin = await make.superadmin()
    clock.time = START + timedelta(days=30)

    async def both(_core: Core, _name: str, _life: timedelta) -> int:
        return 1  # each believes to have the duty

    monkeypatch.setattr(rollup.leases, "acquire", both)
    other = replace(core, manager_id="other")
    await asyncio.gather(rollup.roll_up(core), rollup.roll_up(other))
    await rollup.roll_up(core)
    whole = START, START + timedelta(days=40)
    assert await reported(core, admin, *whole) == await expected(core, *whole)
    async with core.db.read() as db:
        left = await db.scalar(
            select(func.count()).select_from(Kernel).where(~Kernel.accounted, Kernel.status != "RUNNING")
        )
    assert left == 0
    assert await rollup.roll_up(core) == 0


async def test_an_end_that_was_before_what_is_added_already_is_taken_off_again(
    core: Core, make: Factories, clock: Clock
) -> None:
    session = await make.session(started_at=START)
    kernel = await make.kernel(session=session)
    admin = await make.superadmin()
    clock.time = START + 5 * HOUR
    await rollup.roll_up(core)
    async with core.db.write() as db:
        row = await db.get_one(Kernel, kernel.id)
        row.status, row.terminated_at = "TERMINATED", START + timedelta(minutes=90)
    whole = START, START + timedelta(days=2)
    for _ in range(2):
        assert await reported(core, admin, *whole) == await expected(core, *whole)
        await rollup.roll_up(core)
    assert (await make.fresh(kernel)).accounted


async def test_a_long_time_is_read_in_as_few_statements_and_rows_as_a_short_one(
    core: Core,
    make: Factories,
    clock: Clock,
    count_statements: Callable[[Core], AbstractContextManager[list[str]]],
) -> None:
    clock.time = START
    user = await make.user()
    session = await make.session(user=user, started_at=START - timedelta(days=3650), status="TERMINATED")
    await make.kernel(session=session, terminated_at=START - timedelta(hours=5))
    admin = await make.superadmin()
    await rollup.roll_up(core)

    async def statements(span: timedelta) -> int:
        with count_statements(core) as asked:
            found = await reports.report(core, admin, Ask(START - span, START, group_by="USER"))
        assert found.parts[0].total.amounts["sessions"] > 0
        return len(asked)

    assert await statements(timedelta(days=1)) == await statements(timedelta(days=3700))
    assert len(periods.cover(START - timedelta(days=3700), START)) < 250


@pytest.mark.parametrize("group_by", [None, "USER", "GROUP"])
@pytest.mark.parametrize("scope", [None, "user", "group", "domain", "resource_group"])
async def test_totals_are_found_by_an_index(
    sqlite_template: Path, tmp_path: Path, scope: str | None, group_by: Any
) -> None:
    """What is read is what is added up, however long the totals have become. SQLite says so of an empty table, too."""
    core = fresh(sqlite_template, tmp_path)
    core.now = Clock(START).now
    make = Factories(core)
    row = await getattr(make, scope)() if scope else None
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "usage_totals" in statement:
            asked.append((statement, parameters))

    event.listen(core.db.engine.sync_engine, "before_cursor_execute", note)
    ask = Ask(START - timedelta(days=3000), START, row.id if row else None, group_by)
    await reports.report(core, await make.superadmin(), ask)
    event.remove(core.db.engine.sync_engine, "before_cursor_execute", note)
    assert asked
    async with core.db.engine.connect() as connection:
        for statement, parameters in asked:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [step[3] for step in plan if "usage_totals" in step[3]]
            assert steps
            assert all(step.startswith("SEARCH") for step in steps), steps
    await core.db.close()


async def test_points_add_up_to_the_total_and_each_sees_their_own(
    core: Core, make: Factories, clock: Clock
) -> None:
    await world(make, random.Random(3), 10)
    clock.time = START + timedelta(days=4)
    await rollup.roll_up(core)
    admin = await make.superadmin()
    begin, end = START - timedelta(days=1), START + timedelta(days=5)
    for resolution in ("HOUR", "DAY", "MONTH"):
        ask = Ask(begin, end, resolution=resolution)
        (part,) = (await reports.report(core, admin, ask)).parts
        added: Counter[str] = Counter()
        for _, figures in part.points:
            added.update(figures.amounts)
        assert +added == +part.total.amounts
    assert (await reports.report(core, admin, Ask(begin, end))).parts[0].total.amounts["cpu"] > 0

    async with core.db.read() as db:
        session = (await db.scalars(select(Session).where(Session.started_at.is_not(None)).limit(1))).one()
    facts = {"user_id": session.user_id, "domain_id": session.domain_id}
    all_users = await expected(core, periods.floor_hour(begin), end + HOUR)
    own = {measure: n for (user, measure), n in all_users.items() if user == session.user_id}
    mine = replace(admin, role="USER", **facts)
    for ask in (Ask(begin, end), Ask(begin, end, session.domain_id)):
        (part,) = (await reports.report(core, mine, ask)).parts
        assert dict(+part.total.amounts) == own
    foreign = replace(admin, role="DOMAIN_ADMIN")
    (part,) = (await reports.report(core, foreign, Ask(begin, end))).parts
    assert +part.total.amounts == Counter()
    tenant = replace(foreign, domain_id=session.domain_id)
    found = await reports.report(core, tenant, Ask(begin, end, group_by="GROUP"))
    assert sum(part.total.amounts["cpu"] for part in found.parts) == sum(
        n for (_, measure), n in all_users.items() if measure == "cpu"
    )


@pytest.mark.parametrize(
    "ask",
    [
        Ask(START, START),
        Ask(START, START - HOUR),
        Ask(START, START + timedelta(days=9000)),
        Ask(START, START + timedelta(days=40), resolution="HOUR"),
        Ask(START - timedelta(days=200), START - timedelta(days=199), resolution="HOUR"),
        Ask(START, START + HOUR, scope_id="ses_01jd0000000000000000000000"),
        Ask(START, START + HOUR, scope_id="nonsense"),
    ],
)
async def test_a_time_that_makes_no_sense_is_refused(
    core: Core, make: Factories, clock: Clock, ask: Ask
) -> None:
    clock.time = START
    with pytest.raises(BadInput):
        await reports.report(core, await make.superadmin(), ask)


async def test_hours_are_forgotten_and_days_stay(core: Core, make: Factories, clock: Clock) -> None:
    session = await make.session(started_at=START, status="TERMINATED")
    await make.kernel(session=session, terminated_at=START + 30 * HOUR)
    admin = await make.superadmin()
    clock.time = START + timedelta(days=200)
    await rollup.roll_up(core)
    await rollup.purge(core)
    async with core.db.read() as db:
        kept = set(await db.scalars(select(UsageTotal.period)))
    assert kept == {"2026-03-30", "2026-03-31", "2026-04-01", "2026-03", "2026-04"}
    whole = START + timedelta(hours=5), START + timedelta(hours=7)
    assert (await reported(core, admin, *whole)) == await expected(
        core, *map(periods.floor_day, (whole[0], whole[1] + 20 * HOUR))
    )


async def test_what_is_really_used_is_added_up_across_managers_and_restarts(
    core: Core, make: Factories, clock: Clock
) -> None:
    clock.time = START
    session = await make.session(started_at=START)
    kernel = await make.kernel(session=session)
    admin = await make.superadmin()

    def sample(cpu: int, read: int, memory: int, **more: Any) -> Stats:
        stats = KernelStats(
            kernel.id, cpu_milliseconds=cpu, block_read_bytes=read, memory_bytes=memory, **more
        )
        return Stats(0.0, NodeStats(), (stats, KernelStats("knl_unknown", cpu_milliseconds=5)))

    async def used() -> Figures:
        return (await reports.report(core, admin, Ask(START, START + HOUR))).parts[0].total

    book = MeterBook(clock.monotonic)
    book.take(sample(1000, 10, 100))
    clock.advance(timedelta(seconds=2))
    book.take(sample(3000, 30, 500, accelerators={"cuda.device": 50.0}))
    await book.flush(core.db, clock.now())
    first = await used()
    assert (first.amounts["use:cpu"], first.amounts["io:read"], first.peaks["use:mem"]) == (
        3_000_000,
        30,
        500,
    )
    assert first.amounts["use:mem"] == 500 * 2_000_000
    assert (
        first.amounts["use:cuda.device"] == 50_000 * first.amounts["seen:cuda.device"] == 50_000 * 2_000_000
    )
    # Another manager goes on from what is written down; a sample after a long gap measures nothing of the gap.
    second = MeterBook(clock.monotonic)
    second.take(sample(4000, 30, 200))
    clock.advance(timedelta(minutes=5))
    second.take(sample(9000, 50, 200))
    await second.flush(core.db, clock.now())
    third = await used()
    assert (third.amounts["use:cpu"], third.amounts["io:read"], third.peaks["use:mem"]) == (
        9_000_000,
        50,
        500,
    )
    assert third.amounts["seen"] == 2_000_000
    # A counter that began anew.
    second.take(sample(100, 5, 200))
    await second.flush(core.db, clock.now())
    assert (await used()).amounts["use:cpu"] == 9_100_000
    async with core.db.write() as db:
        row = await db.get_one(Kernel, kernel.id)
        row.status, row.terminated_at = "TERMINATED", clock.now()
    clock.advance(timedelta(hours=1))
    await rollup.roll_up(core)
    async with core.db.read() as db:
        assert await db.scalar(select(func.count()).select_from(KernelMeter)) == 0


@pytest.mark.parametrize(
    ("zone", "resolution", "begin", "lengths"),
    [
        ("Asia/Seoul", "DAY", datetime(2026, 10, 20, 15, tzinfo=UTC), [24, 24, 24]),
        # The clocks go back on the second day.
        ("Europe/Berlin", "DAY", datetime(2026, 10, 23, 22, tzinfo=UTC), [24, 25, 24]),
        ("America/New_York", "MONTH", datetime(2026, 10, 1, 4, tzinfo=UTC), [31 * 24, 30 * 24 + 1]),
        ("UTC", "DAY", datetime(2026, 10, 20, tzinfo=UTC), [24, 24]),
    ],
)
async def test_days_and_months_are_those_of_a_time_zone(
    core: Core, make: Factories, clock: Clock, zone: str, resolution: Any, begin: datetime, lengths: list[int]
) -> None:
    """One processor that is used all the time: each point has the seconds that it lasts."""
    begun, end = begin - timedelta(days=1), begin + timedelta(hours=sum(lengths))
    clock.time = end + timedelta(days=2)
    admin = await make.superadmin()
    session = await make.session(status="TERMINATED", started_at=begun)
    await make.kernel(
        session=session, slots={"cpu": 1000}, status="TERMINATED", terminated_at=end + timedelta(days=1)
    )
    for moved in (False, True):
        if moved:
            await rollup.roll_up(core)
        ask = Ask(begin + timedelta(minutes=1), end - timedelta(minutes=1), None, None, resolution, zone)
        found = await reports.report(core, admin, ask)
        assert (found.begin, found.end) == (begin, end)
        (part,) = found.parts
        at = [begin + timedelta(hours=sum(lengths[:number])) for number in range(len(lengths))]
        assert [point for point, _ in part.points] == at
        assert [one.amounts["cpu"] for _, one in part.points] == [
            hours * 3600 * 10**6 * 1000 for hours in lengths
        ]


@pytest.mark.parametrize(
    ("zone", "resolution", "begin", "path", "message"),
    [
        ("Asia/Seul", "DAY", START, "timezone", "no such time zone"),
        ("../../etc/passwd", "DAY", START, "timezone", "no such time zone"),
        ("Asia", "DAY", START, "timezone", "no such time zone"),
        ("Asia/Kolkata", "DAY", START, "timezone", "do not begin with an hour of UTC"),
        ("Asia/Seoul", "HOUR", START, "timezone", "Days and months alone"),
        ("Asia/Seoul", None, START, "timezone", "Days and months alone"),
        ("Asia/Seoul", "MONTH", START - timedelta(days=3000), "from", "Hours, of which its days are made"),
        ("Asia/Seoul", "DAY", datetime(1, 1, 1, tzinfo=UTC), "from", "Between the years"),
    ],
)
async def test_a_time_zone_that_cannot_be_had_is_refused(
    core: Core, make: Factories, zone: str, resolution: Any, begin: datetime, path: str, message: str
) -> None:
    admin, ask = await make.superadmin(), Ask(begin, begin + timedelta(days=2), None, None, resolution, zone)
    with pytest.raises(BadInput, match=message) as refused:
        await reports.report(core, admin, ask)
    assert refused.value.path == path
