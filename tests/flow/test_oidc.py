"""A browser logs in by an identity provider: a real manager, a real provider, real redirects and cookies."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.flow.cluster import Client, Cluster
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET

PROGRAM = Path(__file__).parents[1] / "oidc_provider.py"
KIM = {"sub": "kim-1", "email": "kim@example.org", "email_verified": True, "preferred_username": "kim"}
CREATE = (
    "mutation($i: CreateIdentityProviderInput!)"
    " { createIdentityProvider(input: $i) { identityProvider { redirectUrl hasClientSecret } } }"
)
REFRESH = "mutation { refreshLogin(input: {}) { viewer { user { email role emailVerified } logins { device current } } } }"


async def test_from_the_button_to_the_console_and_what_is_told_when_it_fails(root: Path) -> None:
    cluster = Cluster(root, "process", f"sqlite+aiosqlite:///{root / 'berth.db'}")
    with subprocess.Popen([sys.executable, PROGRAM], stdout=subprocess.PIPE, text=True) as provider:
        assert provider.stdout is not None
        issuer = provider.stdout.readline().strip()
        try:
            await cluster.start_manager()
            await make_known(await cluster.client(), issuer, cluster.url)
            async with httpx.AsyncClient(
                trust_env=False, headers={"user-agent": "Firefox on Linux"}
            ) as browser:
                await logs_in(browser, cluster.url, issuer)
                await is_refused(browser, cluster.url, issuer)
                await is_in_the_audit(await cluster.client())
                provider.terminate()
                provider.wait(60)
                away = await browser.get(f"{cluster.url}/auth/oidc/campus")
                assert (away.status_code, away.headers["retry-after"]) == (503, "30")
                assert "The Campus" in away.text
        finally:
            cluster.manager.kill()
            provider.terminate()


async def make_known(admin: Client, issuer: str, url: str) -> None:
    domain = (await admin("{ viewer { domain { id } } }"))["viewer"]["domain"]["id"]
    given = {"name": "campus", "title": "The Campus", "issuer": issuer, "clientId": CLIENT_ID}
    made = await admin(
        CREATE, i={**given, "clientSecret": CLIENT_SECRET, "createUsers": True, "domainId": domain}
    )
    assert made["createIdentityProvider"]["identityProvider"] == {
        "redirectUrl": f"{url}/auth/oidc/campus/callback",
        "hasClientSecret": True,
    }


async def press(browser: httpx.AsyncClient, url: str, issuer: str, fault: str = "") -> httpx.Response:
    """From the button to the manager's answer at the end."""
    await browser.post(f"{issuer}/next", json={"claims": KIM, "fault": fault})
    begun = await browser.get(f"{url}/auth/oidc/campus", params={"next": "/sessions"})
    assert begun.status_code == 303, begun.text
    there = await browser.get(begun.headers["location"])
    assert there.status_code == 302, there.text
    return await browser.get(there.headers["location"])


async def logs_in(browser: httpx.AsyncClient, url: str, issuer: str) -> None:
    asked = await browser.post(
        f"{url}/graphql", json={"query": "{ server { loginProviders { title url } } }"}
    )
    (button,) = asked.json()["data"]["server"]["loginProviders"]
    assert button == {"title": "The Campus", "url": f"{url}/auth/oidc/campus"}
    back = await press(browser, url, issuer)
    assert (back.status_code, back.headers["location"]) == (303, "/sessions")
    cookies = " ".join(back.headers.get_list("set-cookie"))
    assert "HttpOnly" in cookies
    assert "SameSite=Strict" in cookies
    assert "access" not in back.text
    answer = (await browser.post(f"{url}/graphql", json={"query": REFRESH})).json()
    viewer: dict[str, Any] = answer["data"]["refreshLogin"]["viewer"]
    assert viewer["user"] == {"email": "kim@example.org", "role": "USER", "emailVerified": True}
    assert [one["device"] for one in viewer["logins"] if one["current"]] == ["Firefox on Linux"]


async def is_in_the_audit(admin: Client) -> None:
    query = (
        '{ auditEvents(filter: { action: "loginByProvider" }, orderBy: [{ field: CREATED_AT, direction: ASC }])'
        " { nodes { outcome user { email } } } }"
    )
    done, *refused = (await admin(query))["auditEvents"]["nodes"]
    assert done == {"outcome": "DONE", "user": {"email": "kim@example.org"}}
    assert [one["outcome"] for one in refused] == ["REFUSED", "REFUSED"]


async def is_refused(browser: httpx.AsyncClient, url: str, issuer: str) -> None:
    refused = await press(browser, url, issuer, "signature")
    assert refused.status_code == 401
    assert "berth-refresh" not in " ".join(refused.headers.get_list("set-cookie"))
    unknown = await browser.get(f"{url}/auth/oidc/other")
    assert unknown.status_code == 404
    assert urlsplit(str(unknown.url)).path == "/auth/oidc/other"
    stale = await browser.get(f"{url}/auth/oidc/campus/callback", params={"code": "x", "state": "<script>"})
    assert stale.status_code == 401
    assert "<script>" not in stale.text
    assert "frame-ancestors 'none'" in stale.headers["content-security-policy"]
