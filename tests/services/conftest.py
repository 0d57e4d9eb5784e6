"""A `Core` on an empty database, on SQLite and on PostgreSQL."""

import os
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from agents.hub import Hub
from services.bus import LocalBus
from services.core import Core
from services.db.engine import open_database
from services.db.tables import Base
from services.keys import Keys
from services.progress import ProgressBook
from services.stats import StatsBook
from tests.conftest import require


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'berth.db'}"
        return
    require("postgres")
    server = make_url(os.environ["BERTH_TEST_DATABASE_URL"]).set(drivername="postgresql")
    name = f"test_{uuid.uuid4().hex[:16]}"
    connection = await asyncpg.connect(server.render_as_string(hide_password=False))
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        yield server.set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


@pytest.fixture
async def core(database_url: str) -> AsyncGenerator[Core]:
    db = open_database(database_url)
    async with db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    bus = LocalBus()
    yield Core(
        db=db,
        bus=bus,
        hub=Hub(),
        keys=Keys.generate(),
        stats=StatsBook(bus),
        progress=ProgressBook(bus),
    )
    await db.close()


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
