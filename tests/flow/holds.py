"""Statuses that pass too quickly to kill anybody in them are held by the database: it refuses to let a session leave."""

from sqlalchemy import text

from services.db.engine import open_database

_SQLITE = (
    "CREATE TABLE held (status TEXT)",
    """CREATE TRIGGER held_by_test BEFORE UPDATE OF status ON sessions
    WHEN NEW.status <> OLD.status AND OLD.status IN (SELECT status FROM held)
    BEGIN SELECT RAISE(ABORT, 'held by the test'); END""",
)
_POSTGRES = (
    "CREATE TABLE held (status TEXT)",
    """CREATE FUNCTION held_by_test() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.status <> OLD.status AND OLD.status IN (SELECT status FROM held) THEN RAISE 'held by the test'; END IF;
    RETURN NEW; END $$""",
    """CREATE TRIGGER held_by_test BEFORE UPDATE OF status ON sessions
    FOR EACH ROW EXECUTE FUNCTION held_by_test()""",
)


class Hold:
    """Holds sessions of a cluster's database in one status."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    async def close(self, status: str) -> None:
        """From now on no session leaves `status`."""
        statements = _SQLITE if self._url.startswith("sqlite") else _POSTGRES
        await self._run(*statements, f"INSERT INTO held VALUES ('{status}')")

    async def open(self) -> None:
        await self._run("DELETE FROM held")

    async def _run(self, *statements: str) -> None:
        database = open_database(self._url)
        try:
            async with database.write() as db:
                for statement in statements:
                    await db.execute(text(statement))
        finally:
            await database.close()
