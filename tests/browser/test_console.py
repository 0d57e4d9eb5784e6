"""From the login to typing in a terminal, as a new user would; no accessibility violation on the way."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.flow.cluster import EMAIL, PASSWORD, Cluster

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]
AXE = Path(__file__).parents[2] / "webui/node_modules/axe-core/axe.min.js"
#: What may take long on a busy machine (milliseconds).
PATIENCE = 60_000


async def violations(page: Page) -> list[str]:
    """Rules of WCAG 2.2 A and AA that the page breaks, each with the first element that breaks it."""
    # Evaluated, not added as a script: the page's policy rightly refuses scripts that are not its own.
    await page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = await page.evaluate("tags => axe.run({ runOnly: tags })", tags)
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]


async def log_in(page: Page, cluster: Cluster) -> None:
    await page.goto(cluster.url)
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_role("textbox", name="Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)


async def launch(page: Page) -> None:
    await page.get_by_role("link", name="Start a session").first.click()
    await page.get_by_role("textbox", name="Name").fill("from-the-browser")
    await page.get_by_role("button", name="Launch").click()
    await expect(page.get_by_role("link", name="Open terminal")).to_be_visible(timeout=PATIENCE)


async def test_a_wrong_password_is_told_and_leads_nowhere(page: Page, cluster: Cluster) -> None:
    await page.goto(cluster.url)
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_role("textbox", name="Password").fill("not-this-one-1")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await violations(page) == []


async def test_from_the_login_to_typing_in_a_terminal_that_survives_a_reload(
    page: Page, cluster: Cluster
) -> None:
    await log_in(page, cluster)
    assert await violations(page) == []
    await launch(page)
    assert await violations(page) == []
    async with page.context.expect_page() as opening:
        await page.get_by_role("link", name="Open terminal").click()
    terminal = await opening.value
    await terminal.locator(".xterm-helper-textarea").wait_for()
    await terminal.locator(".xterm-helper-textarea").press_sequentially("MARK=kept; echo $((6*7))-answer\n")
    rows = terminal.locator(".xterm-accessibility-tree")
    await expect(rows).to_contain_text("42-answer", timeout=PATIENCE)

    await terminal.reload()
    await expect(rows).to_contain_text("42-answer", timeout=PATIENCE)
    await terminal.locator(".xterm-helper-textarea").press_sequentially("echo $MARK-after\n")
    await expect(rows).to_contain_text("kept-after", timeout=PATIENCE)


async def test_the_list_is_live_and_ends_sessions_after_a_question(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await launch(page)
    await page.get_by_role("link", name="Sessions", exact=True).click()
    row = page.get_by_role("row", name=re.compile("from-the-browser"))
    await expect(row).to_contain_text("Running")
    assert await violations(page) == []
    await row.get_by_role("button", name=re.compile("Terminate")).click()
    await page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    await expect(page.get_by_text("Nothing is running")).to_be_visible(timeout=PATIENCE)
    await page.get_by_role("tab", name="Finished").click()
    await expect(page.get_by_role("row", name=re.compile("from-the-browser"))).to_contain_text("Ended")


async def test_it_says_that_the_connection_is_lost_and_comes_back_by_itself(
    page: Page, cluster: Cluster
) -> None:
    await log_in(page, cluster)
    await page.get_by_role("link", name="Sessions", exact=True).click()
    await expect(page.get_by_text("Nothing is running")).to_be_visible(timeout=PATIENCE)
    cluster.manager.kill()
    lost = page.get_by_text("The connection to the server is lost")
    await expect(lost).to_be_visible(timeout=PATIENCE)
    await cluster.start_manager()
    await expect(lost).to_be_hidden(timeout=PATIENCE)


async def test_the_agents_page_shows_nodes_and_drains_them(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await page.get_by_role("link", name="Agents").click()
    await expect(page.get_by_role("row", name=re.compile("node1"))).to_contain_text("Connected")
    assert await violations(page) == []
    switch = page.get_by_role("switch", name=re.compile("node1"))
    await switch.click(force=True)
    await expect(switch).not_to_be_checked()
    await page.get_by_role("button", name="Add a node").click()
    await expect(page.get_by_text("berth agent join")).to_be_visible()


async def test_it_speaks_korean_and_has_a_dark_face(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("menuitem", name="한국어").click()
    await expect(page.get_by_role("link", name="세션", exact=True)).to_be_visible()
    await page.get_by_role("button", name="계정").click()
    await page.get_by_role("menuitem", name="어둡게").click()
    await expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    await expect(page.get_by_role("menu")).to_be_hidden()
    assert await violations(page) == []
