"""Nodes: seen, drained, added and removed."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import PATIENCE, log_in
from tests.flow.cluster import Cluster

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]


@pytest.fixture
async def nodes(page: Page, cluster: Cluster) -> Page:
    await log_in(page, cluster)
    await page.get_by_role("link", name="Agents").click()
    await expect(page.get_by_role("row", name=re.compile("node1"))).to_contain_text("Connected")
    return page


async def test_a_node_is_drained_with_a_switch(nodes: Page) -> None:
    switch = nodes.get_by_role("switch", name=re.compile("node1"))
    await switch.click(force=True)
    await expect(switch).not_to_be_checked()
    await nodes.reload()
    await expect(switch).not_to_be_checked()


async def test_the_join_dialog_turns_green_when_a_node_joins_with_what_it_shows(
    nodes: Page, cluster: Cluster
) -> None:
    await nodes.get_by_role("button", name="Add a node").click()
    dialog = nodes.get_by_role("dialog")
    command = dialog.get_by_text("berth agent join")
    await expect(command).to_be_visible()
    await expect(dialog.get_by_text("Waiting for the node")).to_be_visible()
    words = (await command.inner_text()).split()
    url, token = words[words.index("join") + 1], words[words.index("--token") + 1]
    assert url == cluster.url

    cluster.add_agent(token)
    await expect(dialog.get_by_role("status")).to_have_text("node2 is connected.", timeout=PATIENCE)
    await expect(command).to_have_attribute("data-done", "true")
    await nodes.keyboard.press("Escape")
    await expect(nodes.get_by_role("row", name=re.compile("node2"))).to_contain_text("Connected")


async def test_a_node_is_removed_after_a_question(nodes: Page) -> None:
    row = nodes.get_by_role("row", name=re.compile("node1"))
    await row.get_by_role("button", name="Menu").click()
    await nodes.get_by_role("menuitem", name="Remove").click()
    dialog = nodes.get_by_role("dialog")
    await expect(dialog).to_contain_text("Remove node1?")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(row).to_contain_text("Connected")
    await row.get_by_role("button", name="Menu").click()
    await nodes.get_by_role("menuitem", name="Remove").click()
    await dialog.get_by_role("button", name="Remove").click()
    await expect(nodes.get_by_text("No node is connected")).to_be_visible(timeout=PATIENCE)
