"""Migrations lead to exactly the tables that the code knows, on both databases, however many managers start."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError

from services import ids
from services.db import searching
from services.db.engine import Database, open_database
from services.db.migrate import MIGRATIONS, upgrade
from services.db.tables import Base, Domain, Group

ROOT = Path(__file__).resolve().parents[3]


async def asked(url: str, question: Any) -> Any:
    db = open_database(url)
    try:
        async with db.engine.connect() as connection:
            return await connection.run_sync(question)
    finally:
        await db.close()


def differences(connection: Connection) -> list[Any]:
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": searching.is_described,
    }
    return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)


_COLUMNS = """
SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'public'
"""
_INDEXES = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""


def catalogue(connection: Connection) -> set[tuple[Any, ...]]:
    """All that the database itself says of its tables: checks and partial indexes too, which Alembic compares not."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        found = {(name, *clauses(sql)) for name, sql in rows}
    else:
        queries = (_COLUMNS, _INDEXES, _CONSTRAINTS)
        found = {tuple(row) for query in queries for row in connection.execute(text(query))}
    found = {row for row in found if not row[0].startswith("alembic")}
    assert len(found) > len(Base.metadata.tables)
    return found


def clauses(sql: str) -> list[str]:
    """The parts of a CREATE statement, without regard to blanks, quotes and order."""
    parts, depth = [""], 0
    for character in "".join(sql.split()).replace('"', ""):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 1:
            parts.append("")
        else:
            parts[-1] += character
    parts[-1] = parts[-1].removesuffix(")")
    return [parts[0].split("(", 1)[0], *sorted([parts[0].split("(", 1)[1], *parts[1:]])]


async def test_migrations_make_what_the_tables_say(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    assert await asked(empty_database_url, differences) == []


async def test_the_database_itself_sees_no_difference(empty_database_url: str) -> None:
    db = open_database(empty_database_url)
    async with db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(searching.install)
        made = await connection.run_sync(catalogue)
        await connection.run_sync(Base.metadata.drop_all)
    await db.close()
    await upgrade(empty_database_url)
    assert await asked(empty_database_url, catalogue) == made


async def test_a_second_start_changes_nothing(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    before = await asked(empty_database_url, catalogue)
    await upgrade(empty_database_url)
    assert await asked(empty_database_url, catalogue) == before


async def test_managers_that_start_at_once_wait_for_each_other(empty_database_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_database_url) for _ in range(5)))
    assert await asked(empty_database_url, differences) == []


async def test_data_is_kept(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    db = open_database(empty_database_url)
    async with db.write() as session:
        session.add(Domain(id="dom_1", name="kept"))
    await upgrade(empty_database_url)
    async with db.read() as session:
        assert (await session.get_one(Domain, "dom_1")).name == "kept"
    await db.close()


async def test_a_database_of_a_newer_release_is_left_alone(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    db = open_database(empty_database_url)
    async with db.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CommandError):
        await upgrade(empty_database_url)
    await db.close()


async def test_a_migration_that_fails_leaves_nothing_behind(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (id integer)")
        raise RuntimeError("in the middle")

    monkeypatch.setattr("services.db.migrate._upgrade", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        await upgrade(empty_database_url)
    assert await asked(empty_database_url, lambda connection: inspect(connection).get_table_names()) == []


async def test_rows_that_refer_to_nothing_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite only: there, foreign keys are off while tables are rebuilt."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'berth.db'}"
    await upgrade(url)

    def careless(connection: Connection) -> None:
        connection.exec_driver_sql(
            "INSERT INTO groups "
            "(id, domain_id, name, description, active, total_slots, allowed_storage_hosts, created_at) "
            "VALUES ('grp_1', 'dom_none', 'g', '', 1, '{}', '[]', '2026-01-01')"
        )

    monkeypatch.setattr("services.db.migrate._upgrade", careless)
    with pytest.raises(RuntimeError, match="refer to nothing"):
        await upgrade(url)
    assert await asked(url, lambda c: c.exec_driver_sql("SELECT count(*) FROM groups").scalar()) == 0


async def test_a_migrated_database_holds_to_its_foreign_keys(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    db = open_database(empty_database_url)
    with pytest.raises(IntegrityError):
        await _add(db, Group(id=ids.new("grp"), domain_id=ids.new("dom"), name="g"))
    await db.close()


async def _add(db: Database, row: Base) -> None:
    async with db.write() as session:
        session.add(row)


def test_revisions_are_one_line_without_gaps() -> None:
    names = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))
    assert [name[:4] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)]


@pytest.mark.parametrize("arguments", [(), ("--first", "message")])
def test_the_script_that_writes_them_wants_a_message_or_first(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/make-migration", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "give a message, or --first" in done.stderr
