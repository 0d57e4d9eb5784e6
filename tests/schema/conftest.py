"""Operations against a database of their own, as any actor."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from strawberry import Schema

from resolvers.context import RequestContext
from resolvers.root import make_schema
from schema.errors import present_all
from services.core import Core
from services.permissions import Actor
from tests.services.conftest import (  # noqa: F401  # the same databases
    core,
    count_statements,
    database_url,
    make,
    postgres_template,
    sqlite_template,
    template,
)

Run = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def schema() -> Schema:
    return make_schema()


@pytest.fixture
def run(core: Core, schema: Schema) -> Run:  # noqa: F811
    """`await run(actor, "{ viewer { role } }", name=value)`: the answer as a client gets it."""
    return runner(core, schema)


def runner(core: Core, schema: Schema) -> Run:  # noqa: F811
    async def execute(actor: Actor | None, query: str, **variables: Any) -> dict[str, Any]:
        async with RequestContext(core, actor, introspection=True) as context:
            result = await schema.execute(query, variable_values=variables, context_value=context)
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = present_all(result.errors)
        return answer

    return execute
