"""Lists at the root, all that there are: what a page costs does not grow with what is on it."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from services.core import Core
from tests.api import worlds
from tests.api.operations import LISTS, operation
from tests.api.served import Matrix

#: A page with all fields of its things, and what these lead to by their ids.
MOST = 40
#: Of each session by itself, from its node: what it costs limits the number of them (`schema/limits.py`).
LOGS = re.compile(r" logs \{[^}]*\}")


async def test_a_page_costs_the_same_statements_however_many_rows_it_has(
    built: Matrix, count_statements: Callable[[Core], AbstractContextManager[list[str]]]
) -> None:
    costs: list[dict[str, int]] = []
    sizes: list[int] = []
    caller = built.world.caller(built.app, "superadmin")
    await caller("{ viewer { role } }")
    for _ in range(2):
        costs.append({})
        for name in LISTS.values():
            with count_statements(built.world.core) as statements:
                answer = await caller(LOGS.sub("", operation("Query", name, whole=True)))
            costs[-1][name] = len(statements)
            sizes.append(len(answer["data"][name]["nodes"]))
        await worlds.build(built.world.make)
    assert costs[0] == costs[1]
    assert all(more > few for few, more in zip(sizes, sizes[len(LISTS) :], strict=False)), (
        "the world has not grown"
    )
    assert max(costs[0].values()) < MOST, costs[0]
