"""What is too large is refused before it costs anything; what the console needs is not."""

import pytest
from graphql import get_introspection_query
from strawberry import Schema

from resolvers.context import RequestContext
from resolvers.root import make_schema
from schema import limits
from schema.errors import present_all
from schema.limits import Limits
from services.core import Core
from services.permissions import Actor
from tests.factories import Factories
from tests.schema.conftest import Run


def fragments(levels: int) -> str:
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(levels))
    return f"{{ ...F0 }} {chain} fragment F{levels} on Query {{ __typename }}"


def nested(levels: int) -> str:
    return (
        "{ viewer { user { domain {" + "users { nodes { domain {" * levels + " id " + "}" * (3 * levels + 4)
    )


TOO_LARGE = {
    "a document of very many tokens": ("{" + " a" * 5000 + "}", "tokens"),
    "selections nested too deeply": (nested(3), "levels deep"),
    "one field under many names": ("{" + " ".join(f"a{n}: __typename" for n in range(16)) + "}", "aliases"),
    "one field again and again": ("{" + "viewer { role } " * 100 + "}", "aliases"),
    "pages within pages": (
        "{ domains(first: 100) { nodes { users(first: 100) { nodes { sessions(first: 100) { nodes { id } } } } } } }",
        "objects in the worst case",
    ),
    "pages within pages, backwards": (
        "{ domains(last: 100) { nodes { users(last: 100) { nodes { sessions(last: 100) { nodes { id } } } } } } }",
        "objects in the worst case",
    ),
    "the logs of a whole page": ("{ sessions(first: 100) { nodes { logs { text } } } }", "worst case"),
    "the histories of a whole page": (
        "{ sessions(first: 100) { nodes { statsHistory { cpuPercent } } } }",
        "worst case",
    ),
    "the lines of a whole page of tasks": (
        "{ tasks(first: 100) { nodes { lines(first: 500) { subject } } } }",
        "worst case",
    ),
    "one report after the other": (
        "{" + " ".join(f"r{n}: usageReport {{ csv parts {{ id }} }}" for n in range(6)) + "}",
        "worst case",
    ),
    "introspection of types of types": (
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
        "introspection depth",
    ),
    "a cycle of fragments": ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "itself"),
}


@pytest.mark.parametrize(("query", "word"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_an_operation_that_is_too_large_is_refused_before_it_is_validated(
    schema: Schema, query: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if word not in ("itself", "introspection depth"):  # which validation itself finds
        monkeypatch.setattr(limits, "validate_document", lambda *_: pytest.fail("it was validated"))
    result = await schema.execute(query, context_value=RequestContext(None, None))  # type: ignore[arg-type]
    assert result.data is None
    errors = present_all(result.errors or [])
    assert any(word in error["message"] for error in errors), errors
    assert {error["extensions"]["code"] for error in errors} == {"BAD_USER_INPUT"}


async def test_fragments_that_double_are_measured_once(schema: Schema) -> None:
    """2^60 fields: measured one by one, this would not end."""
    result = await schema.execute(fragments(60), context_value=RequestContext(None, None))  # type: ignore[arg-type]
    assert result.data == {"__typename": "Query"}


@pytest.mark.parametrize(("first", "refused"), [(100, True), (10, False)])
async def test_a_page_size_in_a_variable_counts_as_what_it_is(
    run: Run, make: Factories, first: int, refused: bool
) -> None:
    query = """query Pages($first: Int!) { domains(first: $first) { nodes { users(first: $first) { nodes {
               keypairs(first: $first) { nodes { id } } } } } } }"""
    answer = await run(await make.superadmin(), query, first=first)
    assert ("errors" in answer) == refused


async def test_a_page_size_in_a_default_counts_too(run: Run, make: Factories) -> None:
    query = """query Pages($n: Int = 100) { domains(first: $n) { nodes { users(first: $n) { nodes {
               keypairs(first: $n) { nodes { id } } } } } } }"""
    actor = await make.superadmin()
    assert "worst case" in (await run(actor, query))["errors"][0]["message"]
    assert "errors" not in await run(actor, query, n=5)


@pytest.mark.parametrize("size", ["first: 101", "last: 101", "first: -1", "first: 5, last: 5", 'after: "x"'])
async def test_a_page_that_cannot_be_is_refused_with_the_argument(
    run: Run, make: Factories, size: str
) -> None:
    answer = await run(await make.superadmin(), f"{{ users({size}) {{ nodes {{ id }} }} }}")
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["path"][0] in size


async def test_limits_are_settings() -> None:
    small = make_schema(Limits(tokens=10, depth=2))
    for query in ("{ viewer { role } viewer { role } server { url } }", "{ viewer { user { id } } }"):
        result = await small.execute(query, context_value=RequestContext(None, None))  # type: ignore[arg-type]
        assert result.errors


async def test_introspection_is_for_those_the_context_allows_it(schema: Schema, core: Core) -> None:
    actor = Actor("usr_x", "dom_x", "USER")
    for allowed in (True, False, True):
        context = RequestContext(core, actor, introspection=allowed)
        result = await schema.execute(get_introspection_query(), context_value=context)
        assert (result.errors is None) == allowed
    hidden = RequestContext(core, None, introspection=False)
    result = await schema.execute("{ __typename server { version } }", context_value=hidden)
    assert result.errors is None


async def test_an_unknown_field_suggests_nothing(run: Run) -> None:
    answer = await run(None, "{ viewr { role } }")
    assert "viewer" not in answer["errors"][0]["message"]


async def test_of_several_operations_the_request_must_say_which(run: Run) -> None:
    answer = await run(None, "query A { __typename } query B { server { version } }")
    assert "operation name" in answer["errors"][0]["message"]
