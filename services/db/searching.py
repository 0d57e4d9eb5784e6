"""What a part of a text is found by in long tables, made when a manager starts and not described by `Base.metadata`.

    PostgreSQL   a GIN index of trigrams, where the extension pg_trgm is there or may be made; else the table is read
    SQLite       an FTS5 table of trigrams beside the table, kept by triggers: in the transaction of what it is about

Both tell letters of either case alike, in any script, as far as the database knows them. FTS5 goes by whole numbers; a
table's own rowid would not do, for VACUUM gives rows new ones: hence a table of ids and numbers.
"""
# ruff: noqa: S608  # the names are those below, and none comes from outside

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

#: Table → what is searched in it.
TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "users": ("email", "name", "full_name"),
    "keypairs": ("access_key",),
    "mails": ("recipient",),
}
_EXTENSION: Final = "pg_trgm"


def expression(table: str, row: str = "") -> str:
    """SQL of the texts of a row as one. Each is after two blanks, which no word begins with: so the beginning of one is
    found by trigrams, too, however short the word that is looked for.

    Args:
        row: how the row is called; by default as the table.
    """
    return " || ".join(f"'  ' || {row or table}.{column}" for column in TEXTS[table])


def install(connection: Connection) -> None:
    """Make what is missing, for the rows that there are. To be run after each migration: one that makes a table anew
    takes its triggers along."""
    if connection.dialect.name == "sqlite":
        for table in TEXTS:
            _install_sqlite(connection, table)
    else:
        _install_postgres(connection)


def missing(connection: Connection) -> list[str]:
    """Tables in which a part of a text is found by reading them whole."""
    if connection.dialect.name == "sqlite":
        return []
    there = _names(connection, "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()")
    return [table for table in TEXTS if f"ix_{table}_search" not in there]


def is_described(name: str | None, kind: str, _parents: Any) -> bool:
    """Alembic's `include_name`: not of what is made here."""
    parts = (name or "").split("_search", 1)
    if kind == "table":
        return len(parts) == 1 or parts[0] not in TEXTS
    return kind != "index" or (name or "") not in _INDEXES


def _install_postgres(connection: Connection) -> None:
    there = _names(connection, "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()")
    trigrams = _has_trigrams(connection)
    for table in TEXTS:
        if f"ix_{table}_id_beginning" not in there:
            connection.execute(
                text(f"CREATE INDEX ix_{table}_id_beginning ON {table} (id varchar_pattern_ops)")
            )
        if trigrams and f"ix_{table}_search" not in there:
            connection.execute(
                text(
                    f"CREATE INDEX ix_{table}_search ON {table} USING gin (({expression(table)}) gin_trgm_ops)"
                )
            )


def _has_trigrams(connection: Connection) -> bool:
    """Is the extension there, now at least? Whoever may create things in a database may make it (it is trusted)."""
    if connection.scalar(text("SELECT 1 FROM pg_extension WHERE extname = :name"), {"name": _EXTENSION}):
        return True
    available = text("SELECT 1 FROM pg_available_extensions WHERE name = :name")
    if not connection.scalar(available, {"name": _EXTENSION}):
        return False
    try:
        with connection.begin_nested():
            connection.execute(text(f"CREATE EXTENSION {_EXTENSION}"))
    except DBAPIError:
        # The role may not: `berth doctor` says who has to.
        return False
    return True


def _install_sqlite(connection: Connection, table: str) -> None:
    there = _names(connection, "SELECT name FROM sqlite_master WHERE type IN ('table', 'trigger')")
    index, numbers = f"{table}_search", f"{table}_search_numbers"
    if index not in there:
        statements = [
            f"CREATE TABLE {numbers} (number INTEGER PRIMARY KEY, id VARCHAR(255) NOT NULL UNIQUE)",
            f"CREATE VIRTUAL TABLE {index} USING fts5(text, content='', tokenize='trigram')",
            f"INSERT INTO {numbers} (id) SELECT id FROM {table} ORDER BY id",
            f"INSERT INTO {index} (rowid, text) SELECT number, {expression(table)} FROM {numbers} JOIN {table} USING (id)",
        ]
        for statement in statements:
            connection.exec_driver_sql(statement)
    for name, statement in _triggers(table, index, numbers).items():
        if name not in there:
            connection.exec_driver_sql(statement)


def _triggers(table: str, index: str, numbers: str) -> dict[str, str]:
    old, new = expression(table, "old"), expression(table, "new")
    number = f"(SELECT number FROM {numbers} WHERE id = old.id)"
    # An index without a text of its own forgets a row only when it is told what it was.
    forget = f"INSERT INTO {index} ({index}, rowid, text) VALUES ('delete', {number}, {old});"
    return {
        f"{index}_inserted": (
            f"CREATE TRIGGER {index}_inserted AFTER INSERT ON {table} BEGIN "
            f"INSERT INTO {numbers} (id) VALUES (new.id); "
            f"INSERT INTO {index} (rowid, text) SELECT number, {new} FROM {numbers} WHERE id = new.id; END"
        ),
        f"{index}_updated": (
            f"CREATE TRIGGER {index}_updated AFTER UPDATE OF {', '.join(TEXTS[table])} ON {table} "
            f"WHEN {old} <> {new} BEGIN {forget} "
            f"INSERT INTO {index} (rowid, text) VALUES ({number}, {new}); END"
        ),
        f"{index}_deleted": (
            f"CREATE TRIGGER {index}_deleted AFTER DELETE ON {table} BEGIN {forget} "
            f"DELETE FROM {numbers} WHERE id = old.id; END"
        ),
    }


def _names(connection: Connection, question: str) -> set[str]:
    return set(connection.execute(text(question)).scalars())


_INDEXES: Final = {f"ix_{table}_{what}" for table in TEXTS for what in ("search", "id_beginning")}
