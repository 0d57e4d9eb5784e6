"""Logging in and out, and who sees what of whom."""

import json
import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import PATIENCE, fill_in_login, launch, log_in, log_out, open_terminal
from tests.flow.cluster import EMAIL, PASSWORD, Cluster

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]
OTHER, OTHER_PASSWORD = "other@example.org", "battery-staple-7"
#: All that this tab can still tell: what is on the page and what is kept.
EVERYTHING = """async () => JSON.stringify({
  page: document.documentElement.outerHTML,
  browser: { ...localStorage }, tab: { ...sessionStorage },
  cookies: document.cookie, databases: await indexedDB.databases(), caches: await caches?.keys?.() ?? [],
})"""


@pytest.fixture
async def other(cluster: Cluster) -> str:
    """The id of a second user, in the same group as the owner."""
    owner = await cluster.client()
    answer = await owner("{ viewer { domain { id } groups { id } } }")
    create = "mutation($i: CreateUserInput!) { createUser(input: $i) { user { id } } }"
    made = await owner(
        create,
        i={
            "domainId": answer["viewer"]["domain"]["id"],
            "groupIds": [group["id"] for group in answer["viewer"]["groups"]],
            "email": OTHER,
            "name": "other",
            "password": OTHER_PASSWORD,
        },
    )
    return made["createUser"]["user"]["id"]


async def test_a_wrong_password_is_told_and_leads_nowhere(page: Page, cluster: Cluster) -> None:
    await page.goto(cluster.url)
    await fill_in_login(page, EMAIL, "not-this-one-1")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page).to_have_url(re.compile("/login"))


@pytest.mark.usefixtures("other")
async def test_the_next_user_finds_nothing_of_the_one_before(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await launch(page, "secret-of-the-owner")
    session = page.url.rsplit("/", 1)[1]
    terminal = await open_terminal(page)
    owner = await page.evaluate("localStorage['berth.owner']")
    assert owner.startswith("usr_")

    # The other tabs are logged out with this one.
    await log_out(page)
    await expect(terminal.get_by_role("button", name="Log in")).to_be_visible(timeout=PATIENCE)
    await expect(page).to_have_url(f"{cluster.url}/login")
    for tab in (page, terminal):
        left = await tab.evaluate(EVERYTHING)
        assert [one for one in ("secret-of-the-owner", session, owner, EMAIL) if one in left] == []
        assert json.loads(left)["cookies"] == ""

    # Nor is anything asked for, or told, that is the first one's.
    heard: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(str(frame))))
    await fill_in_login(page, OTHER, OTHER_PASSWORD)
    await expect(page.get_by_role("heading", name="Hello, other")).to_be_visible(timeout=PATIENCE)
    await expect(page.get_by_text("No session yet")).to_be_visible()
    await page.get_by_role("link", name="Sessions", exact=True).click()
    await expect(page.get_by_text("Nothing is running")).to_be_visible()
    await expect(page.get_by_role("link", name="Agents")).to_be_hidden()
    await page.goto(f"{cluster.url}/sessions/{session}")
    await expect(page.get_by_text("There is nothing here")).to_be_visible()
    await page.goto(f"{cluster.url}/sessions")
    client = await cluster.client()
    await client(
        "mutation($i: TerminateSessionsInput!) { terminateSessions(input: $i) { results { id } } }",
        i={"ids": [session]},
    )
    await launch(page, "of-the-other")
    assert "secret-of-the-owner" not in await page.evaluate(EVERYTHING)
    assert any("of-the-other" in frame for frame in heard)
    assert not any(session in frame for frame in heard)


@pytest.mark.usefixtures("other")
async def test_another_login_in_another_tab_takes_all_tabs_with_it(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await launch(page, "secret-of-the-owner")
    second = await page.context.new_page()
    await second.goto(f"{cluster.url}/login")
    await fill_in_login(second, OTHER, OTHER_PASSWORD)
    await expect(second.get_by_role("heading", name="Hello, other")).to_be_visible(timeout=PATIENCE)
    await expect(page.get_by_role("button", name="Account: other")).to_be_visible(timeout=PATIENCE)
    await expect(page.get_by_text("There is nothing here")).to_be_visible(timeout=PATIENCE)
    await expect(page.get_by_text("secret-of-the-owner")).to_have_count(0)


async def test_a_login_that_ended_leads_back_to_where_one_was(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await page.goto(f"{cluster.url}/agents")
    node = page.get_by_role("row", name=re.compile("node1"))
    # By then the login has been renewed: an answer under way would bring its cookie back.
    await expect(node).to_be_visible(timeout=PATIENCE)
    await page.context.clear_cookies()
    await page.reload()
    await fill_in_login(page, EMAIL, PASSWORD)
    await expect(node).to_be_visible(timeout=PATIENCE)


@pytest.mark.parametrize("environ", [{"BERTH_BROWSER_OPERATIONS": "console"}], indirect=True)
async def test_where_browsers_may_send_only_the_consoles_operations_all_of_it_works(
    page: Page, cluster: Cluster
) -> None:
    await log_in(page, cluster)
    await launch(page, "by-known-operations")
    terminal = await open_terminal(page)
    await expect(terminal).to_have_title(re.compile("by-known-operations"), timeout=PATIENCE)
    refused = await page.evaluate(
        """async () => (await (await fetch('/graphql', { method: 'POST',
             headers: { 'content-type': 'application/json' }, body: '{"query": "{ server { version } }"}' })).text())"""
    )
    assert "Browsers may send only the console's own operations" in refused
    await page.get_by_role("link", name="Agents").click()
    await expect(page.get_by_text("node1")).to_be_visible(timeout=PATIENCE)
    await log_out(page)
