"""What a client is told of its rate limit, and that each of its operations counts, over HTTP and over a websocket."""

from pathlib import Path

import httpx
import pytest

from services import auth
from services.core import Core
from tests.api.clients import URL, Caller, codes, serving
from tests.factories import PASSWORD, Clock, Factories

ASK = "{ viewer { keypair { requestCount rateLimit } } }"


async def test_answers_say_what_is_left_and_a_refusal_when_to_come_back(
    core: Core, make: Factories, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make.user(rate_limit=3)
    login = await auth.login(core, user.email, PASSWORD, address="192.0.2.1")
    bearer = {"authorization": f"Bearer {login.access_token}"}
    async with serving(core, tmp_path, monkeypatch) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:

            async def ask(headers: dict[str, str], query: str = ASK) -> httpx.Response:
                return await client.post("/graphql", json={"query": query}, headers=headers)

            nobody = await ask({}, "{ server { version } }")
            assert not [name for name in nobody.headers if name.startswith("ratelimit")]
            first, second = await ask(bearer), await ask(bearer, "{ nonsense")
            assert first.json()["data"]["viewer"]["keypair"] == {"requestCount": 1, "rateLimit": 3}
            assert [one.headers["ratelimit-remaining"] for one in (first, second)] == ["2", "1"]
            assert first.headers["ratelimit-limit"] == "3"
            assert first.headers["ratelimit-policy"] == "3;w=900"
            # A websocket's beginning is a request, and so is each operation on it.
            caller = Caller(app, login.access_token)
            subscribed = await caller.first_event(ASK)
            assert codes(subscribed) == {"RATE_LIMITED"}
            refused = await ask(bearer)
            assert (refused.status_code, refused.headers["ratelimit-remaining"]) == (429, "0")
            assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"]
            error = refused.json()["errors"][0]["extensions"]
            assert error["code"] == "RATE_LIMITED"
            assert 0 < error["retryAfter"] <= int(refused.headers["retry-after"])
