"""What the pages say is true: examples run, tables match the code, links lead somewhere."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from server.cli import COMMANDS, load
from server.config import Config
from services.errors import Unauthenticated
from services.options import OPTIONS
from services.tokens import key_id, read_request

ROOT = Path(__file__).resolve().parents[2]
ACCESS_KEY, SECRET_KEY = "AKEXAMPLE", "an-example-of-a-secret-key-of-forty-chars"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("[a-z]*/README.md"))]


def block(page: str, language: str, containing: str) -> str:
    """The one fenced block of a page that contains something."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    (only,) = [text for text in found if containing in text]
    return only


class Recorder(HTTPServer):
    """Keeps the one request that it is sent, and answers with a GraphQL result."""

    seen: tuple[str, str, str, bytes]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Recorder)
        body = self.rfile.read(int(self.headers["content-length"]))
        token = self.headers["authorization"].removeprefix("Bearer ")
        self.server.seen = (token, self.command, self.path, body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": {"viewer": {"role": "USER"}}}')

    def log_message(self, *_arguments: object) -> None:
        """Nothing on the console of the tests."""


def sent_by_the_example() -> tuple[str, str, str, bytes]:
    names: dict[str, Any] = {}
    exec(compile(block("docs/api.md", "python", "def graphql("), "docs/api.md", "exec"), names)
    with Recorder(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = names["graphql"](
            f"http://127.0.0.1:{server.server_port}",
            ACCESS_KEY,
            SECRET_KEY,
            "{ viewer { role } }",
            {"a": "ä"},
        )
        thread.join()
    assert answer == {"data": {"viewer": {"role": "USER"}}}
    return server.seen


def test_the_ten_lines_of_the_api_page_sign_a_request_that_the_manager_takes() -> None:
    token, method, path, body = sent_by_the_example()
    assert json.loads(body) == {"query": "{ viewer { role } }", "variables": {"a": "ä"}}
    assert key_id(token) == ACCESS_KEY
    given: dict[str, Any] = {"access_key": ACCESS_KEY, "method": method, "target": path, "skew": timedelta(0)}
    now = datetime.now(UTC)
    claims = read_request(token, SECRET_KEY, body=body, now=now, **given)
    assert claims.void_at > now
    with pytest.raises(Unauthenticated):
        read_request(token, SECRET_KEY, body=body + b" ", now=now, **given)


def test_the_example_is_as_long_as_the_page_says_people_can_bear() -> None:
    code = block("docs/api.md", "python", "def graphql(").partition("def graphql(")[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10


def test_the_table_of_settings_names_every_setting_and_no_other() -> None:
    table = (ROOT / "docs/operator.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(Config.model_fields)


def test_the_table_of_settings_has_the_defaults() -> None:
    table = (ROOT / "docs/operator.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    said = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE))
    defaults = {
        name: str(default).lower().removesuffix(".0")
        for name, field in Config.model_fields.items()
        if name in said and name != "data_dir"
        if (default := field.get_default(call_default_factory=False)) is not None
    }
    assert len(defaults) >= 10
    assert {name: said[name].lower() for name in defaults} == defaults


def test_the_page_for_administrators_names_every_runtime_setting_with_its_default() -> None:
    table = (ROOT / "docs/admin.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:4]]
        for line in table.splitlines()
        if line.startswith("| `")
    ]
    said = {key.strip("`"): default for key, default, _ in rows}
    shown = {
        key: "a text"
        if one.longest > 255
        else str(one.default).lower()
        if isinstance(one.default, bool)
        else one.default
        for key, one in OPTIONS.items()
    }
    assert said == {key: "none" if value == "" else f"`{value}`" for key, value in shown.items()}


def operations(page: Path) -> list[str]:
    """GraphQL of a page: its fenced blocks, and what is given to `berth graphql` in quotes."""
    text = page.read_text()
    fenced = re.findall(r"^```graphql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [*fenced, *re.findall(r"berth graphql '([^']*[{][^']*)'", text)]


OPERATIONS = [(page.name, one) for page in PAGES for one in operations(page)] + [
    (f"berth {name}", one)
    for name in ("graphql", "up")
    for one in re.findall(r"berth graphql '([^']*[{][^']*)'", load(name, COMMANDS[name]).epilog or "")
]


@pytest.mark.parametrize(("where", "operation"), OPERATIONS)
def test_operations_of_the_pages_are_valid(where: str, operation: str) -> None:
    schema = build_schema((ROOT / "schema/schema.graphql").read_text())
    assert not validate(schema, parse(operation)), where


def test_there_are_operations_to_validate() -> None:
    assert len(OPERATIONS) >= 7


def links(page: Path) -> list[str]:
    """The files that a page links to."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    return [target for target in targets if "://" not in target]


LINKS = [(page, target) for page in PAGES for target in links(page)]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=lambda one: str(one).removeprefix(f"{ROOT}/"))
def test_links_to_files_lead_somewhere(page: Path, target: str) -> None:
    assert (page.parent / target).exists()


def test_there_are_links_to_follow() -> None:
    assert len(LINKS) >= 10


def test_every_folder_has_its_page() -> None:
    for name in (
        "server",
        "resolvers",
        "schema",
        "services",
        "scheduler",
        "agents",
        "tests",
        "docs",
        "docker",
        "benchmarks",
    ):
        page = ROOT / name / "README.md"
        assert page.exists(), name
        assert len(page.read_text().splitlines()) <= 90, f"{page} is longer than a page"
