"""How errors reach a client: a code, the field, what to do; nothing of the inside."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError

from resolvers.root import Schema
from schema.errors import ErrorCode, present, present_all
from services.errors import (
    BadInput,
    BerthError,
    Conflict,
    Forbidden,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from tests.factories import Factories
from tests.schema.conftest import Run

SDL = Path(__file__).parents[2] / "schema" / "schema.graphql"
SECRET = "postgresql://berth:hunter2@db/berth"


def wrapped(error: Exception) -> GraphQLError:
    return GraphQLError(str(error), original_error=error)


RAISED: list[tuple[BerthError, dict[str, Any]]] = [
    (BadInput("Wrong.", path="input.name"), {"code": "BAD_USER_INPUT", "path": ["input", "name"]}),
    (Unauthenticated("Log in."), {"code": "UNAUTHENTICATED"}),
    (Forbidden("No."), {"code": "FORBIDDEN"}),
    (NotFound("None."), {"code": "NOT_FOUND"}),
    (Conflict("Taken.", path="input.name"), {"code": "CONFLICT", "path": ["input", "name"]}),
    (
        QuotaExceeded("Too much.", slot="cpu", asked="4", limit="2", whose="the group"),
        {"code": "QUOTA_EXCEEDED", "slot": "cpu", "asked": "4", "limit": "2", "whose": "the group"},
    ),
    (RateLimited("Slow down.", retry_after=3.5), {"code": "RATE_LIMITED", "retryAfter": 3.5}),
    (
        Unavailable("Later.", part="agt_x", retry_after=5),
        {"code": "UNAVAILABLE", "part": "agt_x", "retryAfter": 5},
    ),
]


@pytest.mark.parametrize(("error", "extensions"), RAISED, ids=[error.code for error, _ in RAISED])
def test_what_services_raise_keeps_its_code_and_what_it_says(
    error: BerthError, extensions: dict[str, Any]
) -> None:
    presented = present(wrapped(error))
    presented["extensions"].pop("help", None)
    assert presented == {"message": error.message, "extensions": extensions}


HELP: dict[str, tuple[GraphQLError, str | None]] = {
    "a wrong field": (wrapped(BadInput("Wrong.", path="input.name")), "`path`"),
    "a wrong operation": (GraphQLError("Syntax Error."), "`/graphql`"),
    "nobody": (wrapped(Unauthenticated("Log in.")), "`refreshLogin`"),
    "not allowed": (wrapped(Forbidden("No.")), "`allowedActions`"),
    "not there": (wrapped(NotFound("None.")), None),
    "taken": (wrapped(Conflict("Taken.")), "what is there now"),
    "too much": (wrapped(QuotaExceeded("Too much.", slot="cpu")), "`limit` of `slot`"),
    "too often": (wrapped(RateLimited("Slow down.", retry_after=3.5)), "`retryAfter` seconds"),
    "not now": (wrapped(Unavailable("Later.", part="node")), "later"),
    "not now, but soon": (wrapped(Unavailable("Later.", part="node", retry_after=5)), "`retryAfter` seconds"),
    "a surprise": (wrapped(RuntimeError(SECRET)), "`id`"),
    "an error that knows better": (wrapped(Forbidden("No.", help="Do that.")), "Do that."),
}


@pytest.mark.parametrize(("error", "help_"), HELP.values(), ids=HELP)
def test_an_error_says_what_to_do_next(error: GraphQLError, help_: str | None) -> None:
    told = present(error)["extensions"].get("help")
    assert (help_ is None and told is None) or (help_ is not None and told is not None and help_ in told)


def test_what_help_refers_to_is_there() -> None:
    """A word in backquotes is beside the code, or in the schema."""
    names = {*re.findall(r"\w+", SDL.read_text()), "limit", "slot", "whose", "part"}
    presented = [present(error)["extensions"] for error, _ in HELP.values()]
    referred = [
        (word, extensions)
        for extensions in presented
        for word in re.findall(r"`(\w+)`", extensions.get("help", ""))
    ]
    assert referred
    assert [word for word, extensions in referred if word not in extensions.keys() | names] == []


def test_every_code_is_helped_or_known_to_need_none() -> None:
    helped = {present(error)["extensions"]["code"] for error, help_ in HELP.values() if help_}
    assert {code.value for code in ErrorCode} - helped == {"NOT_FOUND"}


def test_several_wrong_fields_become_an_error_each() -> None:
    error = BadInput("Both.", fields=[("input.a", "A is wrong."), ("input.b.0", "B is wrong.")])
    presented = present_all([wrapped(error)])
    assert all("`path`" in one["extensions"]["help"] for one in presented)
    assert [(one["message"], one["extensions"]["path"]) for one in presented] == [
        ("A is wrong.", ["input", "a"]),
        ("B is wrong.", ["input", "b", "0"]),
    ]


def test_a_surprise_is_masked_and_logged_under_the_id_that_the_caller_gets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        presented = present(wrapped(RuntimeError(SECRET)))
    assert SECRET not in str(presented)
    assert presented["extensions"]["code"] == "INTERNAL"
    assert presented["extensions"]["id"] in caplog.text
    assert SECRET in caplog.text


@strawberry.type
class Query:
    @strawberry.field
    def secret(self) -> str:
        raise ConnectionError(SECRET)

    @strawberry.field
    def nothing(self) -> str:
        return None  # type: ignore[return-value]

    @strawberry.field
    def refused(self) -> str | None:
        raise Forbidden("No.")


@pytest.mark.parametrize("field", ["secret", "nothing"])
async def test_a_field_that_fails_says_nothing_of_the_inside(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = await Schema(Query).execute(f"{{ {field} }}")
    (error,) = present_all(result.errors or [])
    assert error["path"] == [field]
    assert error["extensions"].keys() == {"code", "id", "help"}
    assert SECRET not in str(error)
    assert len(caplog.records) == 1


async def test_what_a_client_does_wrong_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    schema = Schema(Query)
    for query in ("{ refused }", "{ unknown }", "{", "query ($n: Int!) { refused }"):
        result = await schema.execute(query)
        assert present_all(result.errors or [])
    assert caplog.records == []


WRONG_INPUTS = [
    ("query ($v: SessionFilter) { sessions(filter: $v) { nodes { id } } }", {"createdAfter": "yesterday"}),
    ("query ($v: SessionFilter) { sessions(filter: $v) { nodes { id } } }", {"createdAfter": "2026-01-01T00:00:00"}),
    ("query ($v: SessionFilter) { sessions(filter: $v) { nodes { id } } }", {"createdAfter": 7}),
    ("query ($v: SessionFilter) { sessions(filter: $v) { nodes { id } } }", {"statusIn": ["NOPE"]}),
    ("query ($v: SessionFilter) { sessions(filter: $v) { nodes { id } } }", {"unknown": 1}),
    ("query ($v: Int) { sessions(first: $v) { nodes { id } } }", 2**40),
    ("query ($v: ID!) { node(id: $v) { id } }", "nothing"),
    ("query ($v: ID!) { node(id: $v) { id } }", "ses_\0"),
    ("query ($v: String) { sessions(after: $v) { nodes { id } } }", "%%%"),
    ("query ($v: String) { sessions(after: $v) { nodes { id } } }", "WyJ4IiwgMV0"),
    (
        "mutation ($v: UpdateResourceGroupInput!) { updateResourceGroup(input: $v) { resourceGroup { id } } }",
        {"id": 1.5},
    ),
    (
        "mutation ($v: CreateSessionInput!) { createSession(input: $v) { session { id } } }",
        {
            "groupId": "grp_x", "resourceGroupId": "rgp_x", "imageId": "img_x",
            "slots": [{"name": "cpu", "amount": "NaN"}], "sharedMemory": "-1",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("query", "value"), WRONG_INPUTS)
async def test_wrong_input_is_the_callers_fault(run: Run, make: Factories, query: str, value: Any) -> None:
    answer = await run(await make.superadmin(), query, v=value)
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"BAD_USER_INPUT"}


async def test_a_foreign_id_and_an_unknown_one_answer_alike(run: Run, make: Factories) -> None:
    session = await make.session()
    stranger = make.actor(await make.user())
    query = "query ($id: ID!) { node(id: $id) { id } }"
    unknown = session.id[:-4] + "0000"
    assert (
        await run(stranger, query, id=session.id)
        == await run(stranger, query, id=unknown)
        == {"data": {"node": None}}
    )
