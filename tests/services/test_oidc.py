"""Logging in by an identity provider, a real one in a process of its own, and everything that it can get wrong."""

import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select

from services import identity_providers, oidc, users
from services.auth import LoginResult, SecondFactor
from services.core import Core
from services.db.tables import Identity, IdentityProvider, Keypair, Mail, User
from services.errors import BadInput, Forbidden, NotFound, RateLimited, Unauthenticated, Unavailable
from services.identity_providers import ProviderChanges, ProviderSpec
from services.oidc.flow import LIFE
from tests.factories import Clock, Factories
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET

PROGRAM = Path(__file__).parents[1] / "oidc_provider.py"
KIM = {
    "sub": "kim-1",
    "email": "Kim@Example.org",
    "email_verified": True,
    "name": "Kim Kim",
    "locale": "ko-KR",
}


@pytest.fixture(scope="module")
def issuer() -> Generator[str]:
    with subprocess.Popen([sys.executable, PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@dataclass
class Browser:
    """Somebody who goes where they are sent, and keeps what they are given."""

    core: Core
    issuer: str
    http: httpx.AsyncClient
    cookie: str = field(default="", repr=False)

    async def sent(self, claims: dict[str, Any], fault: str = "", *, next_path: str = "/") -> dict[str, str]:
        """Press the button, be this person at the provider. Returns what one comes back with."""
        await self.http.post(f"{self.issuer}/next", json={"claims": claims, "fault": fault})
        begun = await oidc.begin(self.core, "campus", next_path=next_path, address="192.0.2.1")
        self.cookie = begun.cookie
        answer = await self.http.get(begun.url)
        assert answer.status_code == 302, answer.text
        where = urlsplit(answer.headers["location"])
        assert where.path == "/auth/oidc/campus/callback"
        return {name: values[0] for name, values in parse_qs(where.query).items()}

    async def back(self, answer: dict[str, str]) -> oidc.Finished:
        return await oidc.finish(
            self.core, "campus", self.cookie, answer, address="192.0.2.1", user_agent="Firefox on Linux"
        )

    async def log_in(self, claims: dict[str, Any], fault: str = "") -> LoginResult:
        login = (await self.back(await self.sent(claims, fault))).login
        assert isinstance(login, LoginResult)
        return login


@pytest.fixture
async def browser(core: Core, issuer: str) -> AsyncGenerator[Browser]:
    async with httpx.AsyncClient(trust_env=False) as http:
        yield Browser(core, issuer, http)


async def known(core: Core, make: Factories, issuer: str, **more: Any) -> IdentityProvider:
    """The provider, made known by a superadmin."""
    spec = ProviderSpec("campus", issuer, CLIENT_ID, CLIENT_SECRET, title="The Campus", **more)
    return await identity_providers.create(core, await make.superadmin(), spec)


async def user_of(core: Core, login: LoginResult) -> User:
    async with core.db.read() as db:
        return await db.get_one(User, login.actor.user_id)


async def test_a_user_is_found_by_the_verified_address_and_then_by_the_subject(
    core: Core, make: Factories, browser: Browser
) -> None:
    user = await make.user(email="kim@example.org")
    await known(core, make, browser.issuer)
    assert (await browser.log_in(KIM)).actor.user_id == user.id
    async with core.db.read() as db:
        identity = (await db.scalars(select(Identity))).one()
        told = list(await db.scalars(select(Mail.recipient).where(Mail.kind == "IDENTITY_LINKED")))
    assert (identity.issuer, identity.subject, identity.user_id) == (browser.issuer, "kim-1", user.id)
    assert told == ["kim@example.org"]
    assert (await browser.log_in({**KIM, "email": "kim.kim@example.org"})).actor.user_id == user.id
    await make.user(email="lee@example.org")
    assert (await browser.log_in({**KIM, "email": "lee@example.org"})).actor.user_id == user.id


async def test_who_has_no_account_gets_one_only_where_the_administrator_allows(
    core: Core, make: Factories, browser: Browser
) -> None:
    domain = await make.domain()
    group = await make.group(domain=domain)
    await make.policy(name="default")
    provider = await known(core, make, browser.issuer)
    with pytest.raises(Forbidden):
        await browser.log_in(KIM)
    changes = ProviderChanges(create_users=True, domain_id=domain.id, group_id=group.id)
    await identity_providers.edit(core, await make.superadmin(), provider.id, changes)
    login = await browser.log_in(KIM)
    user = await user_of(core, login)
    assert (user.email, user.full_name, user.role, user.domain_id) == (
        "kim@example.org",
        "Kim Kim",
        "USER",
        domain.id,
    )
    assert (user.language, user.email_verified, user.password_hash) == ("ko", True, None)
    assert login.actor.group_ids == {group.id}
    async with core.db.read() as db:
        assert (await db.get_one(Keypair, user.main_keypair_id)).user_id == user.id
    assert (await browser.log_in(KIM)).actor.user_id == user.id


async def test_claims_may_come_by_userinfo(core: Core, make: Factories, browser: Browser) -> None:
    user = await make.user(email="kim@example.org")
    await known(core, make, browser.issuer)
    assert (await browser.log_in(KIM, "by userinfo")).actor.user_id == user.id


@pytest.mark.parametrize(
    "fault",
    [
        "denied", "mix-up", "issuer", "audience", "expired", "nonce", "no nonce", "no subject", "unsigned", "symmetric",
        "signature", "userinfo",
    ],
)  # fmt: skip
async def test_what_a_provider_gets_wrong_opens_nothing(
    core: Core, make: Factories, browser: Browser, fault: str
) -> None:
    await make.user(email="kim@example.org")
    await known(core, make, browser.issuer)
    with pytest.raises(Unauthenticated, match="The Campus"):
        await browser.log_in(KIM, fault)
    async with core.db.read() as db:
        assert list(await db.scalars(select(Identity))) == []


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email": ""},
        {"email": "kim@example.org\nBcc: x@example.org"},
        {"email": "kim@other.example"},
        {"email": "kim@notexample.org"},
    ],
)
async def test_an_address_that_is_not_vouched_for_or_not_allowed_is_refused(
    core: Core, make: Factories, browser: Browser, claims: dict[str, Any]
) -> None:
    for email in ("kim@example.org", "kim@other.example", "kim@notexample.org"):
        await make.user(email=email)
    await known(core, make, browser.issuer, allowed_email_domains=["Example.org"])
    with pytest.raises(Forbidden):
        await browser.log_in({**KIM, **claims})
    assert await browser.log_in(KIM)


async def test_an_account_whose_address_nobody_verified_is_not_shared(
    core: Core, make: Factories, browser: Browser
) -> None:
    await make.user(email="kim@example.org", email_verified=False)
    await known(core, make, browser.issuer)
    with pytest.raises(Forbidden, match="verified"):
        await browser.log_in(KIM)


async def test_who_is_deactivated_stays_out(core: Core, make: Factories, browser: Browser) -> None:
    user = await make.user(email="kim@example.org")
    await known(core, make, browser.issuer)
    await browser.log_in(KIM)
    await users.deactivate(core, await make.superadmin(), [user.id])
    with pytest.raises(Forbidden):
        await browser.log_in(KIM)


async def test_the_second_factor_is_asked_for_all_the_same(
    core: Core, make: Factories, browser: Browser
) -> None:
    user = await make.user(email="kim@example.org")
    await make.totp(user)
    await known(core, make, browser.issuer)
    assert isinstance((await browser.back(await browser.sent(KIM))).login, SecondFactor)


async def test_an_answer_counts_once_in_the_browser_that_asked_and_not_for_long(
    core: Core, make: Factories, browser: Browser, clock: Clock
) -> None:
    await make.user(email="kim@example.org")
    await known(core, make, browser.issuer)
    answer = await browser.sent(KIM)
    thief = Browser(core, browser.issuer, browser.http)
    await thief.sent({**KIM, "sub": "thief", "email": "thief@example.org"})
    for cookie in ("", "zz", "00", "\ud800", thief.cookie):
        other = Browser(core, browser.issuer, browser.http, cookie)
        with pytest.raises(Unauthenticated, match="this browser"):
            await other.back(answer)
    with pytest.raises(Unauthenticated, match="this browser"):
        await browser.back({**answer, "state": "\ud800"})
    assert await browser.back(answer)
    with pytest.raises(Unauthenticated, match="The Campus"):
        await browser.back(answer)
    answer = await browser.sent(KIM)
    clock.advance(LIFE)
    with pytest.raises(Unauthenticated, match="this browser"):
        await browser.back(answer)


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("/sessions?x=1", "/sessions?x=1"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\r\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
async def test_one_comes_back_to_a_page_of_ours(
    core: Core, make: Factories, browser: Browser, asked: str, led: str
) -> None:
    await make.user(email="kim@example.org")
    await known(core, make, browser.issuer)
    assert (await browser.back(await browser.sent(KIM, next_path=asked))).next == led


async def test_an_unknown_provider_and_one_that_is_away_are_told_apart(
    core: Core, make: Factories, browser: Browser
) -> None:
    with pytest.raises(NotFound):
        await oidc.begin(core, "campus", next_path="/", address="192.0.2.1")
    provider = await known(core, make, browser.issuer)
    answer = await browser.sent(KIM, "down")
    with pytest.raises(Unavailable, match="The Campus"):
        await browser.back(answer)
    with pytest.raises(Unavailable):
        await browser.sent(KIM, "discovery")
    admin = await make.superadmin()
    await identity_providers.edit(core, admin, provider.id, ProviderChanges(issuer="http://127.0.0.1:9"))
    with pytest.raises(Unavailable):
        await oidc.begin(core, "campus", next_path="/", address="192.0.2.1")
    await identity_providers.edit(core, admin, provider.id, ProviderChanges(active=False))
    for name in ("campus", "\0", "\ud800"):
        with pytest.raises(NotFound):
            await oidc.begin(core, name, next_path="/", address="192.0.2.1")


async def test_nobody_begins_a_thousand_logins(
    core: Core, make: Factories, browser: Browser, clock: Clock
) -> None:
    for _ in range(60):
        with pytest.raises(NotFound):
            await oidc.begin(core, "none", next_path="/", address="192.0.2.1")
    with pytest.raises(RateLimited):
        await oidc.begin(core, "none", next_path="/", address="192.0.2.1")
    clock.advance(timedelta(minutes=2))
    with pytest.raises(NotFound):
        await oidc.begin(core, "none", next_path="/", address="192.0.2.1")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"issuer": "http://example.org"}, "input.issuer"),
        ({"issuer": "https://u:p@example.org"}, "input.issuer"),
        ({"issuer": "https://example.org:port"}, "input.issuer"),
        ({"issuer": "file:///etc/passwd"}, "input.issuer"),
        ({"client_id": ""}, "input.clientId"),
        ({"client_secret": "a b"}, "input.clientSecret"),
        ({"allowed_email_domains": ["ok.org", "@x"]}, "input.allowedEmailDomains.1"),
        ({"create_users": True}, "input.domainId"),
        ({"name": "a/b"}, "input.name"),
    ],
)
async def test_a_provider_that_cannot_be_is_refused(
    core: Core, make: Factories, wrong: dict[str, Any], path: str
) -> None:
    admin = await make.superadmin()
    spec = ProviderSpec(**{"name": "n", "issuer": "https://example.org", "client_id": "c", **wrong})
    with pytest.raises(BadInput) as refused:
        await identity_providers.create(core, admin, spec)
    assert refused.value.path == path


async def test_the_client_secret_is_sealed_and_can_be_taken_away(core: Core, make: Factories) -> None:
    row = await known(core, make, "https://example.org")
    assert CLIENT_SECRET.encode() not in (row.client_secret_sealed or b"")
    assert identity_providers.secret_of(core, row) == CLIENT_SECRET
    admin = await make.superadmin()
    kept = await identity_providers.edit(core, admin, row.id, ProviderChanges(title="Other"))
    assert identity_providers.secret_of(core, kept) == CLIENT_SECRET
    gone = await identity_providers.edit(core, admin, row.id, ProviderChanges(client_secret=None))
    assert identity_providers.secret_of(core, gone) is None
    group = await make.group()
    with pytest.raises(NotFound):
        await identity_providers.edit(core, admin, row.id, ProviderChanges(group_id=group.id))
    with pytest.raises(BadInput):
        await identity_providers.edit(core, admin, row.id, ProviderChanges(create_users=True))
