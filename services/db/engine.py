"""Opening the database: SQLite (the default, nothing to install) or PostgreSQL, by URL."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from services import tracing, trail
from services.db.texts import fold


class Database:
    """Two ways in: `read` and `write`.

    On SQLite a write begins IMMEDIATE: writers queue up at their beginning, instead of one failing in the middle when
    it turns from reader to writer; readers go on beside them (WAL). Within this process they queue at a lock: SQLite's
    own waiting sleeps up to 100 ms at a time and knows no order, so that eight writers at once took half a second.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        self._read = async_sessionmaker(engine, expire_on_commit=False)
        self._write = async_sessionmaker(
            engine.execution_options(immediate=True),
            sync_session_class=trail.RecordedSession,
            expire_on_commit=False,
        )
        self._turn = asyncio.Lock() if self.dialect == "sqlite" else nullcontext()

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncSession]:
        """A session whose changes, were there any, would be lost."""
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncSession]:
        """One transaction: committed at the end of the block, undone by an exception. No other I/O inside.

        What a mutation commits takes its row of the audit along (`services/trail.py`).
        """
        with tracing.span("transaction"):
            async with self._turn, self._write.begin() as session:
                yield session
                committed = await trail.carry(session)
        if committed is not None:
            committed()

    async def close(self) -> None:
        await self.engine.dispose()


def open_database(url: str | URL, *, pool_size: int = 10) -> Database:
    """Open `sqlite+aiosqlite:///path` or `postgresql+asyncpg://user:password@host/name`."""
    url = make_url(url)
    if url.get_backend_name() != "sqlite":
        return Database(
            # Those that come and go with each burst would be made and closed all the time.
            create_async_engine(url, pool_size=2 * pool_size, max_overflow=0, pool_pre_ping=True)
        )
    engine = create_async_engine(url, connect_args={"timeout": 30}, pool_size=pool_size)
    event.listen(engine.sync_engine, "connect", _configure_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return Database(engine)


def insert_into(db: AsyncSession, table: type[Any]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows what to do when there is such a row already (`on_conflict_…`)."""
    return postgresql.insert(table) if db.get_bind().dialect.name == "postgresql" else sqlite.insert(table)


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = (
        None  # the driver shall not begin transactions on its own: _begin_sqlite does
    )
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    connection.create_function("folded", 1, fold, deterministic=True)


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
