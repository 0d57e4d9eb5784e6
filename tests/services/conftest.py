"""A `Core` on an empty database, on SQLite and on PostgreSQL."""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings
from sqlalchemy import event
from sqlalchemy.engine import make_url

from agents.hub import Hub
from services.bus import LocalBus
from services.core import Core
from services.db import searching
from services.db.engine import open_database
from services.db.tables import Base
from services.keys import Keys
from services.progress import ProgressBook
from services.ratelimits import LocalCounters
from services.standings import StandingBook
from services.stats import StatsBook
from tests.conftest import require
from tests.factories import Clock, Factories

# How long an example takes says nothing on a busy machine.
settings.register_profile("services", deadline=None)
settings.load_profile("services")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no rows, to be copied."""
    path = tmp_path_factory.mktemp("template") / "berth.db"
    asyncio.run(create_tables(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template() -> Generator[str]:
    """The same on PostgreSQL: the name of a database to be cloned. One for each process of a run in parallel."""
    require("postgres")
    name = f"template_{uuid.uuid4().hex[:16]}"
    asyncio.run(execute(f"CREATE DATABASE {name}"))
    try:
        asyncio.run(create_tables(postgres_url(name)))
        yield name
    finally:
        asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"
        return
    require("postgres")
    name = f"test_{uuid.uuid4().hex[:16]}"
    await execute(f"CREATE DATABASE {name}")
    yield postgres_url(name)
    await execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def template(request: pytest.FixtureRequest) -> Path | str:
    """The database that a test's own is made from."""
    return request.getfixturevalue(f"{request.param}_template")


@pytest.fixture
async def database_url(template: Path | str, tmp_path: Path) -> AsyncGenerator[str]:
    """A database with all tables and no rows."""
    if isinstance(template, Path):
        path = tmp_path / "berth.db"
        shutil.copyfile(template, path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    name = f"test_{uuid.uuid4().hex[:16]}"
    await execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield postgres_url(name)
    finally:
        await execute(f"DROP DATABASE {name} WITH (FORCE)")


async def create_tables(url: str) -> None:
    db = open_database(url)
    async with db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(searching.install)
    if db.dialect == "sqlite":
        async with db.engine.connect() as connection:
            # All of it into the one file that is copied.
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    await db.close()


def postgres_url(name: str) -> str:
    server = make_url(os.environ["BERTH_TEST_DATABASE_URL"])
    return server.set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)


async def execute(statement: str) -> None:
    """Run one statement on the server's own database."""
    server = make_url(os.environ["BERTH_TEST_DATABASE_URL"]).set(drivername="postgresql")
    connection = await asyncpg.connect(server.render_as_string(hide_password=False))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def core(database_url: str) -> AsyncGenerator[Core]:
    bus = LocalBus()
    core = Core(
        db=open_database(database_url),
        bus=bus,
        hub=Hub(),
        keys=Keys.generate(),
        stats=StatsBook(bus),
        progress=ProgressBook(bus),
    )
    yield core
    await core.db.close()


@pytest.fixture
def make(core: Core) -> Factories:
    """`await make.user(role="SUPERADMIN")`: rows for a test."""
    return Factories(core)


@pytest.fixture
def clock(core: Core) -> Clock:
    """The core's clocks stand still and are moved by the test."""
    clock = Clock(core.now().replace(microsecond=0))
    core.now = clock.now
    core.standings = StandingBook(clock.monotonic)
    core.rates = LocalCounters(clock.monotonic)
    return clock


@pytest.fixture
def count_statements() -> Callable[[Core], AbstractContextManager[list[str]]]:
    """`with count_statements(core) as statements:` collects what the database is asked."""

    @contextmanager
    def counting(core: Core) -> Generator[list[str]]:
        statements: list[str] = []

        def note(_connection, _cursor, statement, *_rest) -> None:  # type: ignore[no-untyped-def]
            statements.append(statement)

        event.listen(core.db.engine.sync_engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(core.db.engine.sync_engine, "before_cursor_execute", note)

    return counting
