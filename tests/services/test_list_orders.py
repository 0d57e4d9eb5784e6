"""Long lists are read in the order of an index, in each order that may be asked for: no page sorts a whole table."""

import re
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import event, text

from services import audits
from services.core import Core
from services.paging import Order, PageArgs
from services.permissions import Actor
from tests.factories import Factories
from tests.services.test_nouns import CASES, Case

#: Of which there are few on any cluster (at most as many as it has nodes, images or groups): an index would only cost.
FEW = {
    "agents": ("STATUS", "LAST_CONTACT_AT"),
    "announcements": ("STARTS_AT", "SEVERITY"),
    "groups": ("NAME",),
    "images": ("LANGUAGE", "SIZE"),
    "invitations": ("EXPIRES_AT",),
}
#: How a plan says that it sorts all. What has the same value in an indexed column may be sorted among itself.
_SORTS = re.compile(r"(?<!Incremental )Sort  \(|TEMP B-TREE FOR ORDER BY")


async def asked(core: Core, actor: Actor, module: ModuleType, where: Any, order: list[Order], args: PageArgs):  # type: ignore[no-untyped-def]
    """A page, and what the database was asked for it."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        statements.append((statement, parameters))

    event.listen(core.db.engine.sync_engine, "before_cursor_execute", note)
    try:
        page = await module.page(core, actor, where, order, args)
    finally:
        event.remove(core.db.engine.sync_engine, "before_cursor_execute", note)
    return page, [one for one in statements if one[0].startswith("SELECT")]


async def plan(core: Core, statement: str, parameters: Any) -> str:
    """How the database would do it on large tables: sorting and reading all are what it does only when it must."""
    async with core.db.engine.connect() as connection:
        if core.db.dialect == "postgresql":
            for name in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
                await connection.execute(text(f"SET LOCAL {name} = off"))
        explain = "EXPLAIN" if core.db.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
        rows = await connection.exec_driver_sql(f"{explain} {statement}", parameters)
        return "\n".join(" ".join(map(str, row)) for row in rows)


@pytest.mark.parametrize("name", [*CASES, "audits"])
async def test_each_order_of_a_long_list_is_that_of_an_index(core: Core, make: Factories, name: str) -> None:
    admin = await make.superadmin()
    module: Any = audits if name == "audits" else CASES[name].module
    where = audits.AuditFilter() if name == "audits" else CASES[name].where()
    for _ in range(2):
        await _row(core, make, name)
    unhelped: set[str] = set()
    for field, column in module.ORDERS.items():
        for descending in (False, True):
            order = [Order(column, descending)]
            page, first = await asked(core, admin, module, where, order, PageArgs(first=1))
            assert page.has_next
            _, after = await asked(
                core, admin, module, where, order, PageArgs(first=1, after=page.cursors[0])
            )
            assert len(first) == len(after) == 1
            plans = [await plan(core, *statement) for statement in (*first, *after)]
            if any(map(_SORTS.search, plans)):
                unhelped.add(field)
    assert unhelped == set(FEW.get(name, ()))


async def _row(core: Core, make: Factories, name: str) -> None:
    if name == "audits":
        await make.audit_event()
        return
    case: Case = CASES[name]
    await case.row(make, "one")
