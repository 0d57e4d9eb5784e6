"""The application itself, without a socket: requests as ASGI messages, on a manager that does nothing by itself."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from server import app as application
from server.config import Config
from server.manager import Manager
from services import bootstrap, ids
from services.agents import AgentLinks
from services.commands import Commands
from services.core import Core
from services.scheduling.dispatch import Dispatcher

URL = "http://127.0.0.1:8080"
IDS = re.compile(rf"\b(?:{'|'.join(ids.KINDS)})_[{ids.ALPHABET}]{{{ids.LENGTH}}}\b")


@asynccontextmanager
async def serving(core: Core, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Starlette]:
    """The application over this core. None of a manager's duties run: what a test made stays as it is."""

    @asynccontextmanager
    async def still(config: Config) -> AsyncGenerator[Manager]:
        links = AgentLinks(core)
        first_run = bootstrap.FirstRun(
            domain_id="", group_id="", policy_id="", resource_group_id="", user_id="", email="", access_key="",
            secret_key="", ticket=None, created=False,
        )  # fmt: skip
        yield Manager(config, core, links, Commands(core, links), Dispatcher(core), first_run)

    monkeypatch.setattr(application.manager, "running", still)
    app = application.make_app(Config(data_dir=data_dir, public_url=URL, query_timeout=60))
    async with app.router.lifespan_context(app):
        yield app


@dataclass
class Caller:
    """Somebody with a token (or none) who remembers every id and every text that came back."""

    app: Starlette
    token: str = field(repr=False, default="")
    #: Ids in answers that this caller had not sent.
    told: set[str] = field(default_factory=set[str])
    texts: list[str] = field(default_factory=list[str], repr=False)

    async def __call__(self, query: str, **variables: Any) -> dict[str, Any]:
        """An operation's answer; over HTTP, so no exception gets out."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=URL, headers=self._headers()) as client:
            response = await client.post("/graphql", json={"query": query, "variables": variables})
        return self._remember(response.text, variables)

    async def first_event(self, query: str, **variables: Any) -> dict[str, Any]:
        """The first result of a subscription, over a websocket."""
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {
            "type": "websocket",
            "path": "/graphql",
            "raw_path": b"/graphql",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8080")],
            "subprotocols": ["graphql-transport-ws"],
            "client": ("127.0.0.1", 1),
            "state": {},
        }
        task = asyncio.ensure_future(self.app(scope, sent.get, received.put))
        payload = {"accessToken": self.token} if self.token else {}
        asked = {"query": query, "variables": variables}
        sent.put_nowait({"type": "websocket.connect"})
        sent.put_nowait(_frame(type="connection_init", payload=payload))
        sent.put_nowait(_frame(type="subscribe", id="1", payload=asked))
        try:
            return self._remember(await asyncio.wait_for(_answer(received), 60), variables)
        finally:
            sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await task

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def _remember(self, text: str, variables: dict[str, Any]) -> dict[str, Any]:
        self.texts.append(text)
        self.told |= set(IDS.findall(text)) - set(IDS.findall(json.dumps(variables)))
        return json.loads(text)


def codes(answer: dict[str, Any]) -> set[str]:
    """Codes of an answer's errors, those of single objects too."""
    found = {error["extensions"]["code"] for error in answer.get("errors", ())}
    for payload in (answer.get("data") or {}).values():
        for result in payload.get("results", ()) if isinstance(payload, dict) else ():
            found |= {result["error"]["code"]} if result["error"] else set()
    return found


def _frame(**message: Any) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": json.dumps(message)}


async def _answer(received: "asyncio.Queue[dict[str, Any]]") -> str:
    """The payload of the first `next`, or the errors of an `error`, as HTTP would give them; no data at the end of a
    stream that had nothing; UNAUTHENTICATED for a refused connection."""
    while True:
        message = await received.get()
        if message["type"] == "websocket.close":
            code = {4403: "UNAUTHENTICATED"}.get(message["code"], f"closed with {message['code']}")
            return json.dumps({"errors": [{"message": message["reason"], "extensions": {"code": code}}]})
        content = json.loads(message.get("text") or "{}")
        if content.get("type") == "next":
            return json.dumps(content["payload"])
        if content.get("type") == "complete":
            return json.dumps({"data": None})
        if content.get("type") == "error":
            return json.dumps({"errors": content["payload"]})
