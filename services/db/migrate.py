"""Bringing a database to the newest schema, when a manager starts; several may start at once."""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL

from services.db import searching
from services.db.engine import open_database

MIGRATIONS: Final = Path(__file__).parent / "migrations"
#: Of the lock that managers of one PostgreSQL database take, one after the other.
_LOCK: Final = 0x62657274685F30


async def upgrade(database_url: str | URL) -> None:
    """Run the migrations that the database has not had. All of them, or none: they are one transaction.

    Managers that start at the same time wait for each other and find the work done.

    Raises:
        alembic.util.CommandError: the database is newer than this release.
    """
    db = open_database(database_url, pool_size=1)
    if db.dialect == "sqlite":
        # A table that is rebuilt must not take the rows with it that refer to it; they are checked at the end.
        event.listen(db.engine.sync_engine, "connect", _without_foreign_keys)
    try:
        # On SQLite the transaction begins IMMEDIATE, which is the lock.
        async with db.engine.execution_options(immediate=True).begin() as connection:
            if db.dialect == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(_upgrade)
            if db.dialect == "sqlite":
                await connection.run_sync(_check_foreign_keys)
    finally:
        await db.close()


def make_config(connection: Connection | None = None) -> Config:
    """Alembic's settings: no file of its own, everything is said here."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(make_config(connection), "head")
    searching.install(connection)


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise RuntimeError(f"A migration would leave rows that refer to nothing: {broken[:5]}")


def _without_foreign_keys(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=OFF")
    cursor.close()


def main() -> None:
    """`python -m services.db.migrate URL`: for operators who migrate before they start managers."""
    asyncio.run(upgrade(sys.argv[1]))


if __name__ == "__main__":
    main()
