"""A session of several containers in the console: from the launcher to a shell in one of them."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import PATIENCE, log_in, screen, shows, type_in, violations
from tests.flow.cluster import Cluster

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]


async def test_two_containers_are_launched_listed_and_entered(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await page.get_by_role("link", name="Start a session").first.click()
    await page.get_by_role("textbox", name="Name").fill("gang")
    await page.get_by_role("button", name="Advanced").click()
    await page.get_by_label("Containers").fill("2")
    await page.get_by_role("button", name="Launch").click()

    table = page.get_by_role("table")
    await expect(table.get_by_text("Running")).to_have_count(2, timeout=PATIENCE)
    await expect(table.get_by_role("row")).to_contain_text(["Container", "main1", "sub1"])
    assert await violations(page) == []

    await page.get_by_role("tab", name="Logs").click()
    await page.get_by_role("combobox", name="Container").click()
    await page.get_by_role("option", name="sub1").click()
    await expect(page.get_by_role("log")).to_be_visible()

    await page.get_by_role("tab", name="Overview").click()
    async with page.context.expect_page() as opening:
        await page.get_by_role("link", name="Terminal: sub1").click()
    terminal = await opening.value
    await expect(screen(terminal)).to_contain_text("$", timeout=PATIENCE)
    await type_in(terminal, "echo $BERTH_CLUSTER_HOST-of-$BERTH_CLUSTER_SIZE")
    await shows(terminal, "sub1-of-2")
