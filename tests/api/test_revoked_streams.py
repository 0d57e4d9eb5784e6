"""An open websocket ends when its user is shut out: at once, by a hint, also of another manager."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from server import graphql_ws
from server.client import Credentials
from services import auth, users
from services.core import Core
from services.standings import StandingBook
from tests.api.clients import URL, Caller, codes, serving
from tests.factories import PASSWORD, SECRET_KEY, Factories

#: Waited for what must come; nothing is measured.
PATIENCE = 60


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_subscription_ends_with_its_users_standing(
    core: Core, make: Factories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    # Only a hint can end it: the next look by itself would come in an hour.
    monkeypatch.setattr(graphql_ws, "STANDING_INTERVAL", 3600.0)
    admin, user = await make.superadmin(), await make.user()
    login = await auth.login(core, user.email, PASSWORD, address="192.0.2.1")
    acting = dataclasses.replace(core, standings=StandingBook()) if elsewhere else core
    listening = asyncio.Event()
    watch = core.standings.watch

    def watched(user_id: str) -> Any:
        listening.set()
        return watch(user_id)

    monkeypatch.setattr(core.standings, "watch", watched)
    async with serving(core, tmp_path, monkeypatch) as app:
        following = asyncio.create_task(auth.follow_revocations(core))
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {
            "type": "websocket", "path": "/graphql", "raw_path": b"/graphql", "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8080")], "subprotocols": ["graphql-transport-ws"],
            "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip
        connection = asyncio.ensure_future(app(scope, sent.get, received.put))

        def send(**message: Any) -> None:
            sent.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

        sent.put_nowait({"type": "websocket.connect"})
        send(type="connection_init", payload={"accessToken": login.access_token})
        send(type="subscribe", id="1", payload={"query": "subscription { sessionEvents { cursor } }"})
        async with asyncio.timeout(PATIENCE):
            await listening.wait()
            (outcome,) = await users.deactivate(acting, admin, [user.id])
            assert outcome.error is None
            while (message := await received.get())["type"] != "websocket.close":
                pass
            await connection
        assert message["code"] == 4403
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_program_opens_a_connection_by_a_signature_and_no_login(
    core: Core, make: Factories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make.user()
    await make.totp(user)
    keypair = await make.keypair(user=user)
    signs = Credentials(URL, keypair.access_key, SECRET_KEY)
    question = "{ viewer { user { id } keypair { id } } }"
    async with serving(core, tmp_path, monkeypatch) as app:
        answer = await Caller(app, token := signs.sign("GET", "/graphql", b"")).first_event(question)
        assert answer["data"]["viewer"] == {"user": {"id": user.id}, "keypair": {"id": keypair.id}}
        for refused in (token, signs.sign("POST", "/graphql", b""), signs.sign("GET", "/other", b"")):
            assert codes(await Caller(app, refused).first_event(question)) == {"UNAUTHENTICATED"}
