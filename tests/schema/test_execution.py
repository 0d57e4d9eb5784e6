"""Whatever is asked, the compiled execution answers what graphql-core answers."""

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any

import pytest
import strawberry
from graphql import GraphQLObjectType
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry import Schema
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from resolvers.root import make_schema
from schema.execution import PageExecutor
from schema.limits import Limits
from services.core import Core
from tests.factories import Factories
from tests.schema import cluster
from tests.schema.conftest import Run, runner
from tests.schema.selections import everything

LIMITLESS = Limits(tokens=10**6, depth=100, introspection_depth=100, aliases=1000, cost=10**15)
LISTS = (
    "domains", "groups", "users", "keypairs", "resourcePolicies",
    "resourceGroups", "agents", "images", "sessions",
)  # fmt: skip


@pytest.fixture(scope="module")
def compiled() -> Schema:
    return make_schema(LIMITLESS)


@pytest.fixture(scope="module")
def plain() -> Schema:
    schema = make_schema(LIMITLESS)
    schema.execution_context_class = StrawberryGraphQLCoreExecutionContext
    return schema


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("role", ["admin", "user"])
async def test_a_page_of_everything_is_the_same(
    name: str, role: str, core: Core, make: Factories, compiled: Schema, plain: Schema
) -> None:
    built = await cluster.build(make)
    actor = getattr(built, role)
    kind = compiled._schema.type_map["Query"].fields[name].type.of_type
    assert isinstance(kind, GraphQLObjectType)
    query = f"{{ {name} {{ {everything(kind, 2)} }} }}"

    answers = [steady(await runner(core, one)(actor, query)) for one in (compiled, plain)]

    assert answers[0] == answers[1]
    assert list(walk(answers[0])) == list(walk(answers[1])), "the order of fields differs"
    assert "errors" not in answers[0]
    if role == "admin" or name not in ("agents",):
        assert answers[0]["data"][name]["nodes"]


PAGES = {
    "sessions": """{ sessions(first: 100) { totalCount edges { node {
        id name allowedActions user { id email domain { id } } group { id } image { id reference }
        keypair { id isMain } resourceGroup { id name } kernels { id agent { id name } } events { id }
        stats { cpuPercent } } } } }""",
    "agents": """{ agents(first: 100) { nodes { id resourceGroup { id name } slots { name used } allowedActions
        images { id installed } kernels(first: 2) { totalCount nodes { id session { id user { id } } } } } } }""",
    "users": """{ users(first: 100) { nodes { id domain { name } mainKeypair { id usage { used } }
        groups { totalCount nodes { id name } } keypairs(last: 1) { nodes { id policy { name } } }
        sessions(first: 3) { totalCount nodes { id } } } } }""",
    "domains": """{ domains(first: 10) { nodes { id totalSlots { used } groups(first: 3) {
        nodes { id members(first: 3) { totalCount nodes { id } } } } users(first: 2) { nodes { id } } } } }""",
    "resourceGroups": """{ resourceGroups(first: 100) { nodes { id capacity { used } agents { totalCount }
        grants { grantee { ... on Domain { id } ... on User { id domain { id } } } } } } }""",
    "images": "{ images(first: 100) { nodes { id installed agents { totalCount nodes { id } } } } }",
    "policies": "{ resourcePolicies(first: 100) { nodes { id allowedActions totalSlots { amount } } } }",
}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_costs_the_same_statements_however_many_rows_it_has(
    name: str,
    run: Run,
    core: Core,
    make: Factories,
    count_statements: Callable[[Core], AbstractContextManager[list[str]]],
) -> None:
    counts: list[int] = []
    for more in (2, 3):
        for _ in range(more):
            built = await cluster.build(make, sessions=3)
        with count_statements(core) as statements:
            assert "errors" not in await run(built.admin, PAGES[name])
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert counts[0] < 50


def steady(answer: Any) -> Any:
    """Without what passes between two looks."""
    if isinstance(answer, dict):
        return {
            name: steady(value)
            for name, value in answer.items()
            if name not in ("time", "elapsedSeconds", "remainingSeconds")
        }
    return [steady(one) for one in answer] if isinstance(answer, list) else answer


def walk(answer: Any) -> Any:
    if isinstance(answer, dict):
        yield list(answer)
        for value in answer.values():
            yield from walk(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from walk(value)


# A schema in which everything may be something else than it should be.


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


strawberry.enum(Colour)


@strawberry.type
class Leaf:
    name: str
    size: int | None
    share: float | None
    colour: Colour | None


@strawberry.type
class Branch:
    label: str | None
    leaf: Leaf
    maybe: Leaf | None
    leaves: list[Leaf]
    holes: list[Leaf | None] | None
    grid: list[list[int]] | None

    @strawberry.field
    def loud(self) -> str | None:
        return self.label.upper() if self.label else None

    @strawberry.field
    async def slow(self) -> str | None:
        return self.label


STRANGE = (
    st.none()
    | st.text(max_size=3)
    | st.integers(-(2**33), 2**33)
    | st.booleans()
    | st.sampled_from([1.5, math.nan, math.inf, Colour.RED, "red", ValueError("bad"), object, (), [1]])
)


def often(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, usual, STRANGE)


LEAVES = st.builds(
    Leaf,
    name=often(st.text(max_size=3)),
    size=often(st.integers(0, 9)),
    share=often(st.floats(allow_nan=False, allow_infinity=False)),
    colour=often(st.sampled_from(Colour)),
)
BRANCHES = st.builds(
    Branch,
    label=often(st.text(max_size=3)),
    leaf=often(LEAVES),
    maybe=often(LEAVES),
    leaves=often(st.lists(LEAVES, max_size=3)),
    holes=often(st.lists(st.none() | LEAVES, max_size=3)),
    grid=often(st.lists(st.lists(often(st.integers(0, 9)), max_size=2), max_size=2)),
)
_TREE = "__typename name size share colour"
QUERIES = (
    f"{{ branches {{ __typename label loud leaf {{ {_TREE} }} maybe {{ {_TREE} }} leaves {{ {_TREE} }} }} }}",
    f"{{ branches {{ slow label holes {{ {_TREE} }} grid leaf {{ name alias: name }} again: leaf {{ size }} }} }}",
    "{ branches { ...F @include(if: true) leaf @skip(if: true) { name } } } fragment F on Branch { loud label }",
    f"{{ branch {{ label leaves {{ {_TREE} }} grid }} }}",
)


@settings(max_examples=150, deadline=None)
@given(branches=st.lists(often(BRANCHES), max_size=3), query=st.sampled_from(QUERIES))
def test_values_that_are_not_what_they_should_be_give_the_same_errors(
    branches: list[Any], query: str
) -> None:
    @strawberry.type
    class Query:
        @strawberry.field
        def branches(self) -> list[Branch | None]:
            return branches

        @strawberry.field
        def branch(self) -> Branch | None:
            return branches[0] if branches else None

    answers: list[Any] = []
    for executor in (PageExecutor, StrawberryGraphQLCoreExecutionContext):
        schema = strawberry.Schema(Query, execution_context_class=executor)
        schema.process_errors = lambda *_: None  # type: ignore[method-assign]
        result = asyncio.run(schema.execute(query))
        answers.append((repr(result.data), sorted(str(error.formatted) for error in result.errors or [])))
    assert answers[0] == answers[1]
