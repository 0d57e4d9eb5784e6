"""Only the console's operations from browsers, where the operator wants it so."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from server import app as application
from server.config import Config
from server.listening import CannotServe
from server.trusted import TrustedDocuments

URL = "http://127.0.0.1:8080"
KNOWN = "query Who($id: ID!, $n: Int) { node(id: $id) { id ...Part } server { version time } } fragment Part on Session { name }"
#: As a client's cache prints it: typenames added, another order, other white space.
PRINTED = """
fragment Part on Session { __typename name }
query Who($n: Int, $id: ID!) { server { time version __typename } node(id: $id) { ...Part id __typename } }
"""
BROWSER = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "dist" / "operations.json"
    path.parent.mkdir()
    server = "query Version { server { version features } }"
    path.write_text(json.dumps({"sha256:1": KNOWN, "sha256:2": server}))
    return path


def test_a_document_is_known_by_what_it_asks_for(manifest: Path) -> None:
    trusted = TrustedDocuments(manifest)
    assert KNOWN in trusted
    assert PRINTED in trusted
    for other in (
        KNOWN.replace("version", "url"),
        KNOWN.replace("id: $id", 'id: "ses_1"'),
        KNOWN.replace("Part on Session", "Part on Agent"),
        KNOWN + " query Other { server { version } }",
        "{",
        "{ a " * 5000,
        "query Version { server { version } } " + " " * 40_000,
    ):
        assert other not in trusted, other[:80]


@pytest.fixture
async def app(tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Starlette]:
    monkeypatch.setattr(application, "CONSOLE", manifest.parent)
    app = application.make_app(
        Config(data_dir=tmp_path / "data", public_url=URL, browser_operations="console")
    )
    async with app.router.lifespan_context(app):
        yield app


async def test_browsers_are_held_to_it_and_scripts_are_not(app: Starlette) -> None:
    version, time = "query Version { server { __typename version features } }", "{ server { time } }"
    answer = await over_http(app, version, BROWSER)
    assert answer["data"]["server"]["features"] == ["PASSWORD_RESET"]
    assert "data" in await over_http(app, version, BROWSER | {"origin": URL})
    assert "data" in await over_http(app, time, {})
    for headers in (BROWSER, {"origin": URL}):
        answer = await over_http(app, time, headers)
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert "data" not in answer
    assert (await over_websocket(app, time, [(b"origin", URL.encode())]))["type"] == "error"
    assert (await over_websocket(app, time, []))["type"] == "next"


async def over_http(app: Starlette, query: str, headers: dict[str, str]) -> dict[str, Any]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL, headers=headers) as http:
        return (await http.post("/graphql", json={"query": query})).json()


async def over_websocket(app: Starlette, query: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """The first answer to an operation."""
    scope = {
        "type": "websocket",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8080"), *headers],
        "subprotocols": ["graphql-transport-ws"],
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    task = asyncio.ensure_future(app(scope, sent.get, received.put))
    messages = [{"type": "connection_init"}, {"type": "subscribe", "id": "1", "payload": {"query": query}}]
    sent.put_nowait({"type": "websocket.connect"})
    for message in messages:
        sent.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
    try:
        async with asyncio.timeout(10):
            while True:
                event = await received.get()
                answer = json.loads(event.get("text") or "{}")
                if answer.get("id") == "1":
                    return answer
    finally:
        sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await task


async def test_without_a_console_it_says_why_it_cannot_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "CONSOLE", tmp_path)
    app = application.make_app(
        Config(data_dir=tmp_path / "data", public_url=URL, browser_operations="console")
    )
    with pytest.raises(CannotServe, match="operations"):
        async with app.router.lifespan_context(app):
            pass


def test_host_names_come_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_ALLOWED_HOSTS", "a.example, b.example,")
    assert Config().allowed_hosts == ["a.example", "b.example"]
