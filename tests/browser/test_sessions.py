"""Launching sessions, seeing them live, and ending them."""

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import PATIENCE, launch, log_in, open_terminal, shows, type_in
from tests.flow.cluster import EMAIL, PASSWORD, Client, Cluster
from tests.flow.test_life import choices

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]
CREATE = "mutation($i: CreateSessionInput!) { createSession(input: $i) { session { id } } }"


async def test_the_list_is_live_and_ends_sessions_after_a_question(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await launch(page)
    await page.get_by_role("link", name="Sessions", exact=True).click()
    row = page.get_by_role("row", name=re.compile("from-the-browser"))
    await expect(row).to_contain_text("Running")
    ending = row.get_by_role("button", name=re.compile("Terminate"))
    await ending.click()
    question = page.get_by_role("dialog")
    await expect(question).to_contain_text("from-the-browser")

    await question.get_by_role("checkbox").check()
    await page.keyboard.press("Escape")
    await expect(question).to_be_hidden()
    await expect(ending).to_be_focused()
    await expect(row).to_contain_text("Running")

    await ending.click()
    await expect(question.get_by_role("checkbox")).not_to_be_checked()
    await expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    await question.get_by_role("button", name="Terminate").click()
    await expect(page.get_by_text("Nothing is running")).to_be_visible(timeout=PATIENCE)
    await page.get_by_role("tab", name="Finished").click()
    await expect(row).to_contain_text("Ended")


async def test_a_batch_that_failed_says_why_and_keeps_its_log(page: Page, cluster: Cluster) -> None:
    client = await cluster.client()
    command = "echo the last words; exit 7"
    await client(
        CREATE, i={**await small(client), "name": "fails", "type": "BATCH", "startupCommand": command}
    )
    await log_in(page, cluster)
    await page.goto(f"{cluster.url}/sessions?tab=finished")
    row = page.get_by_role("row", name=re.compile("fails"))
    await expect(row).to_contain_text("exit code 7", timeout=PATIENCE)
    await row.get_by_role("link", name="fails", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("exit code 7")
    await page.get_by_role("tab", name="Logs").click()
    await expect(page.get_by_role("log")).to_contain_text("the last words", timeout=PATIENCE)
    await page.get_by_role("tab", name="Timeline").click()
    await expect(page.get_by_role("tabpanel")).to_contain_text("exit code 7")
    await page.get_by_role("link", name="Launch again").click()
    await expect(page.get_by_role("textbox", name="Startup command")).to_have_value(command)


async def test_a_session_that_lost_its_node_says_so_and_that_its_log_is_gone(
    page: Page, cluster: Cluster
) -> None:
    client = await cluster.client()
    await client(CREATE, i={**await small(client), "name": "breaks", "startupCommand": "echo the last words"})
    await log_in(page, cluster)
    await page.goto(f"{cluster.url}/sessions")
    await (
        page.get_by_role("row", name=re.compile("breaks"))
        .get_by_role("link", name="breaks", exact=True)
        .click()
    )
    await page.get_by_role("tab", name="Logs").click()
    await expect(page.get_by_role("log")).to_contain_text("the last words", timeout=PATIENCE)
    # Its node is removed under it.
    agents = await client("{ agents(first: 1) { nodes { id } } }")
    remove = "mutation($i: RemoveAgentInput!) { removeAgent(input: $i) { agent { id } } }"
    await client(remove, i={"id": agents["agents"]["nodes"][0]["id"], "force": True})
    await expect(page.get_by_role("alert")).to_contain_text("removed", timeout=PATIENCE)
    await page.reload()
    await page.get_by_role("tab", name="Logs").click()
    await expect(page.get_by_role("log")).to_contain_text("No log was kept", timeout=PATIENCE)
    await page.get_by_role("link", name="Sessions", exact=True).click()
    await page.get_by_role("tab", name="Others").click()
    await expect(page.get_by_role("row", name=re.compile("breaks"))).to_contain_text("removed")


async def small(client: Client) -> dict[str, Any]:
    """A session that fits everywhere."""
    slots = [{"name": "cpu", "amount": "0.1"}, {"name": "mem", "amount": str(128 * 2**20)}]
    return {**await choices(client), "slots": slots}


async def test_from_the_login_to_a_shell_by_the_keyboard_alone(page: Page, cluster: Cluster) -> None:
    await page.goto(cluster.url)
    # The first field has the focus already.
    await expect(page.get_by_label("E-mail address")).to_be_focused()
    await page.keyboard.type(EMAIL)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)

    await tab_to(page, "link", "Start a session")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Start a session")).to_be_visible()
    await tab_to(page, "textbox", "Name")
    await page.keyboard.type("by-keyboard")
    await expect(page.get_by_role("button", name="Launch")).to_be_enabled(timeout=PATIENCE)
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("link", name="Open terminal")).to_be_visible(timeout=PATIENCE)
    async with page.context.expect_page() as opening:
        await tab_to(page, "link", "Open terminal")
        await page.keyboard.press("Enter")
    terminal = await opening.value
    await shows(terminal, "$")
    await terminal.keyboard.type("echo $((6*7))-answer\n")
    await shows(terminal, "42-answer")


async def tab_to(page: Page, role: str, name: str) -> None:
    """Press Tab until what has this role and name is focused, as one would who sees where the focus is."""
    wanted = page.get_by_role(role, name=name).first  # pyright: ignore[reportArgumentType]
    await wanted.wait_for()
    for _ in range(40):
        if await wanted.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    focused = await page.evaluate("document.activeElement.outerHTML")
    raise AssertionError(f"{name} cannot be reached with Tab; the last one is {focused}")


async def test_the_log_is_searched(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await page.get_by_role("link", name="Start a session").first.click()
    await page.get_by_role("textbox", name="Name").fill("talks")
    await page.get_by_role("button", name="Advanced").click()
    await page.get_by_role("textbox", name="Startup command").fill("echo Apple; echo pear; echo APPLE tree")
    await page.get_by_role("button", name="Launch").click()
    await page.get_by_role("tab", name="Logs").click()
    log = page.get_by_role("log")
    await expect(log).to_contain_text("APPLE tree", timeout=PATIENCE)
    await page.get_by_role("textbox", name="Search in the log").fill("apple")
    await expect(page.get_by_text("2 lines")).to_be_visible()
    await expect(log).not_to_contain_text("pear")


async def test_a_session_page_that_is_opened_by_its_address_leads_to_a_terminal(
    page: Page, cluster: Cluster
) -> None:
    await log_in(page, cluster)
    await launch(page)
    await page.reload()
    terminal = await open_terminal(page)
    await type_in(terminal, "echo $((6*7))-answer")
    await shows(terminal, "42-answer")
