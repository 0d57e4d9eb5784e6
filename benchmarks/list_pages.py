"""Every list of the administrator's console in a database of a million users and a hundred thousand sessions, over the same
page of a small one.

    BERTH_TEST_DATABASE_URL=postgresql://… .venv/bin/python -m benchmarks.list_pages

A superadmin asks for the first 20 of each list at the root in each order that it has, with totals and all fields, and for the
page after these. Milliseconds are the least of some runs of the whole operation, without HTTP; `statements` must not depend on the size of
the database. `search` asks for parts of texts that many, few
or none have.
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from graphql import get_named_type
from sqlalchemy import Table, event, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.crowd import Crowd, databases, gather, open_core
from resolvers.context import RequestContext
from resolvers.root import make_schema
from services import ids
from services.core import Core
from services.db.tables import (
    AuditEvent,
    Base,
    GroupMember,
    Kernel,
    Keypair,
    Mail,
    Session,
    SessionEvent,
    User,
)
from services.permissions import Actor
from tests.api.operations import LISTS, SCHEMA, operation

#: Of each session by itself: what it costs limits the number of them (`schema/limits.py`).
LOGS = re.compile(r" logs \{[^}]*\}")
#: Parts of texts: all have it, one of ninety in a million, thirty, nobody; the beginnings of texts, and of ids.
SEARCHES = ("erson", "rson99", "aphod", "nobody", "pe", "usr_0000000000000000000000009")
_RARE = 30
#: Times what the same page of the small one takes.
MOST = 3
#: Rows multiplied in one statement.
_AT_ONCE = 100_000


@dataclass
class Figures:
    """Of one list in one order."""

    milliseconds: list[float] = field(default_factory=list[float])
    statements: int = 0
    rows: int = 0


async def multiply(
    connection: AsyncConnection, table: type[Base], template: str, count: int, key: str = "id", **values: str
) -> None:
    """Copy a row so many times.

    Args:
        template: value of `key` in the row to be copied.
        values: SQL of what differs, in which `n` is the number of the copy and `N` the same in 26 digits.
    """
    made: Table = table.__table__  # pyright: ignore[reportAssignmentType]
    postgres = connection.dialect.name == "postgresql"
    digits = "lpad(n::text, 26, '0')" if postgres else "printf('%026d', n)"
    numbered = {name: re.sub(r"\bN\b", digits, sql) for name, sql in values.items()}
    columns = [one.name for one in made.columns if not (one.autoincrement is True and one.name not in values)]
    picked = ", ".join(numbered.get(name, f"t.{name}") for name in columns)
    for start in range(1, count + 1, _AT_ONCE):
        end = min(start + _AT_ONCE - 1, count)
        series = (
            f"generate_series({start}::bigint, {end}) AS s(n)"
            if postgres
            else f"(WITH RECURSIVE c(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM c WHERE n < {end}) SELECT n FROM c) s"
        )
        await connection.execute(
            text(
                f"INSERT INTO {made.name} ({', '.join(columns)}) SELECT {picked} FROM {made.name} t, {series} WHERE t.{key} = :one"
            ),
            {"one": template},
        )


async def fill(core: Core, users: int, sessions: int) -> Actor:
    """So many of each, and as many rows of the audit and mails as sessions. Returns a superadmin."""
    crowd = await gather(core, users=10, agents=10)
    (first, *_) = await crowd.wait(10)
    chief = crowd.actors[0]
    async with core.db.write() as db:
        await db.execute(
            insert(AuditEvent), [{"id": ids.new("evt"), "action": "createUser", "user_id": chief.user_id}]
        )
        await db.execute(
            insert(Mail),
            [
                {
                    "id": ids.new("eml"),
                    "kind": "PASSWORD_RESET",
                    "recipient": "a@example.org",
                    "status": "SENT",
                    "expires_at": core.now(),
                }
            ],
        )
    async with core.db.engine.begin() as connection:
        await _multiply_all(connection, crowd, first, users, sessions)
    async with core.db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("ANALYZE"))
    return Actor(chief.user_id, crowd.domain, "SUPERADMIN", frozenset(), chief.keypair_id)


async def _multiply_all(
    connection: AsyncConnection, crowd: Crowd, session: str, users: int, sessions: int
) -> None:
    person = crowd.actors[0]
    await multiply(
        connection, User, person.user_id, users, id="'usr_' || N", email="'person' || n || '@example.org'",
        name="'person' || (n * 7919 % 1000003)", main_keypair_id="'key_' || N",
    )  # fmt: skip
    rare = {"email": "'zaphod' || n || '@example.org'", "name": "'Zaphod ' || n"}
    await multiply(connection, User, person.user_id, _RARE, id="'usr_1' || substr(N, 2)", **rare)
    await multiply(
        connection, Keypair, person.keypair_id or "", _RARE, id="'key_1' || substr(N, 2)",
        user_id="'usr_1' || substr(N, 2)", access_key="'AL' || N",
    )  # fmt: skip
    await multiply(
        connection, Keypair, person.keypair_id or "", users, id="'key_' || N", user_id="'usr_' || N",
        access_key="'AK' || N", query_count="n * 7919 % 1000003",
    )  # fmt: skip
    await multiply(connection, GroupMember, person.user_id, users, key="user_id", user_id="'usr_' || N")
    row = (await connection.execute(select(Kernel.id).where(Kernel.session_id == session))).scalar_one()
    await multiply(
        connection, Session, session, sessions, id="'ses_' || N", name="'person' || (n * 7919 % 1000003)", status="'TERMINATED'", stage="'TERMINATED'",
        user_id=f"'usr_' || {_digits(connection, f'1 + n * 7919 % {users}')}",
    )  # fmt: skip
    await multiply(
        connection, Kernel, row, sessions, id="'knl_' || N", session_id="'ses_' || N", status="'TERMINATED'"
    )
    await multiply(connection, SessionEvent, session, sessions, key="session_id", session_id="'ses_' || N")
    event_id = (await connection.execute(select(func.min(AuditEvent.id)))).scalar_one()
    content = """'{"arguments":[["input.name","person' || (n * 7919 % 1000003) || '"]]}'"""
    await multiply(connection, AuditEvent, event_id, sessions, id="'evt_' || N", content=content)
    mail_id = (await connection.execute(select(func.min(Mail.id)))).scalar_one()
    recipient = "'person' || (n * 7919 % 1000003) || '@example.org'"
    await multiply(connection, Mail, mail_id, sessions, id="'eml_' || N", recipient=recipient)


def _digits(connection: AsyncConnection, number: str) -> str:
    return (
        f"lpad(({number})::text, 26, '0')"
        if connection.dialect.name == "postgresql"
        else f"printf('%026d', {number})"
    )


def _asked(name: str, *arguments: str) -> str:
    """A page of the list with all fields of its things, and what these lead to by their ids."""
    about = SCHEMA.type_map["Query"].fields[name]  # type: ignore[attr-defined]
    declared = ", ".join(f"${one}: {about.args[one].type}" for one in arguments)
    given = ", ".join(f"{one}: ${one}" for one in arguments)
    whole = LOGS.sub("", operation("Query", name, whole=True))
    # The walks of the tests ask for more rows than one sees.
    return re.sub(
        r"first: \d+",
        "first: 20",
        re.sub(rf"^query {{ {name}\(", f"query ({declared}) {{ {name}({given}, ", whole),
    )


def pages() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """What is asked → the list, the operation and its variables."""
    found: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for name in LISTS.values():
        about = SCHEMA.type_map["Query"].fields[name]  # type: ignore[attr-defined]
        for order in get_named_type(about.args["orderBy"].type).fields["field"].type.of_type.values:
            for direction in ("ASC", "DESC"):
                variables = {"orderBy": [{"field": order, "direction": direction}]}
                found[f"{name} by {order} {direction}"] = name, _asked(name, "orderBy", "after"), variables
        if "search" in get_named_type(about.args["filter"].type).fields:
            for text in SEARCHES:
                found[f"{name} search {text!r}"] = name, _asked(name, "filter"), {"filter": {"search": text}}
    return found


@contextlib.contextmanager
def counted(core: Core) -> Generator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(core.db.engine.sync_engine, "before_cursor_execute", note)
    yield statements
    event.remove(core.db.engine.sync_engine, "before_cursor_execute", note)


async def measure(core: Core, viewer: Actor, runs: int) -> dict[str, Figures]:
    schema, result = make_schema(), dict[str, Figures]()

    async def ask(query: str, variables: dict[str, Any]) -> Any:
        async with RequestContext(core=core, actor=viewer) as context:
            answer = await schema.execute(query, variables, context_value=context)
        assert answer.errors is None, answer.errors
        return answer.data

    for what, (name, query, variables) in pages().items():
        figures = result[what] = Figures()
        with counted(core) as statements:
            first = (await ask(query, variables))[name]
        figures.statements, figures.rows = len(statements), len(first["nodes"])
        for _ in range(runs):
            began = time.perf_counter()
            await ask(query, variables)
            figures.milliseconds.append((time.perf_counter() - began) * 1e3)
        if first["pageInfo"]["hasNextPage"] and "orderBy" in variables:
            deeper = result[f"{what}, next"] = Figures()
            beyond = {**variables, "after": first["pageInfo"]["endCursor"]}
            with counted(core) as statements:
                deeper.rows = len((await ask(query, beyond))[name]["nodes"])
            deeper.statements = len(statements)
            for _ in range(runs):
                began = time.perf_counter()
                await ask(query, beyond)
                deeper.milliseconds.append((time.perf_counter() - began) * 1e3)
    return result


async def compare(kind: str, options: argparse.Namespace) -> None:
    found: list[dict[str, Figures]] = []
    for users, sessions in ((options.small, options.small), (options.users, options.sessions)):
        async with databases([kind]) as urls:
            core = open_core(urls[kind])
            began = time.perf_counter()
            viewer = await fill(core, users, sessions)
            print(
                f"{kind}: {users} users, {sessions} sessions made in {time.perf_counter() - began:.0f} s",
                flush=True,
            )
            found.append(await measure(core, viewer, options.runs))
            await core.db.close()
    small, large = found
    print(f"{'':>42} {'rows':>4} {'statements':>10} {'small ms':>9} {'large ms':>9} {'ratio':>6}")
    for what in [one for one in small if one in large]:
        few, many = small[what], large[what]
        before, after = min(few.milliseconds), min(many.milliseconds)
        mark = "" if after < MOST * before and many.statements <= few.statements else "  <-"
        print(
            f"{what:>42} {many.rows:>4} {few.statements:>4} {many.statements:>5} {before:>9.1f} {after:>9.1f} {after / before:>6.1f}{mark}"
        )
    summarise(kind, small, large)


def summarise(kind: str, small: dict[str, Figures], large: dict[str, Figures]) -> None:
    """A table for `MEASURED.md`: of each list the median page and the worst one, orders and searches by themselves. Pages that
    have rows in one database alone are not compared."""
    groups: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for what in [one for one in small if one in large and small[one].rows == large[one].rows]:
        name, _, how = what.partition(" ")
        key = name, "searches" if how.startswith("search") else "orders"
        before, after = min(small[what].milliseconds), min(large[what].milliseconds)
        groups.setdefault(key, []).append((before, after, how.removeprefix("by ").removeprefix("search ")))
    print(
        f"\n| {kind} | pages | small, median ms | large, median ms | largest ratio | of |\n|---|---|---|---|---|---|"
    )
    for (name, what), pages in groups.items():
        before, after = (statistics.median(page[side] for page in pages) for side in (0, 1))
        worst = max(pages, key=lambda page: page[1] / page[0])
        print(
            f"| {name}, {what} | {len(pages)} | {before:.0f} | {after:.0f} | {worst[1] / worst[0]:.1f} | {worst[2]} |"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=100, help="users and sessions of the small one")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for kind in options.databases:
        await compare(kind, options)


if __name__ == "__main__":
    asyncio.run(main())
