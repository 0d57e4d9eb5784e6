"""What the console shows while its manager is gone, and once it is back."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import PATIENCE, launch, log_in
from tests.flow.cluster import TERMINATE, Cluster, live_sessions
from tests.flow.test_life import reaches

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]
LOST = "The connection to the server is lost"


async def test_after_a_killed_manager_the_list_is_true_again_by_itself(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await launch(page, "ends-meanwhile")
    await launch(page, "goes-on")
    await page.get_by_role("link", name="Sessions", exact=True).click()
    ends, goes_on = (page.get_by_role("row", name=re.compile(name)) for name in ("ends-meanwhile", "goes-on"))
    await expect(ends).to_contain_text("Running")
    client = await cluster.client()
    ids = {one["id"] for one in await live_sessions(client)}
    session_id = (
        await ends.get_by_role("link", name="ends-meanwhile", exact=True).get_attribute("href") or ""
    )[-30:]
    assert session_id in ids

    # What happens while the page is cut off from the manager cannot have been told to it.
    cluster.manager.kill()
    await expect(page.get_by_text(LOST)).to_be_visible(timeout=PATIENCE)
    await expect(ends).to_contain_text("Running")
    await page.context.set_offline(True)
    await cluster.start_manager()
    await cluster.agents_connected()
    client = await cluster.client()
    await client(TERMINATE, i={"ids": [session_id]})
    await reaches(cluster, client, session_id, "TERMINATED")
    await expect(page.get_by_text(LOST)).to_be_visible()
    await expect(ends).to_be_visible()

    await page.context.set_offline(False)
    await expect(page.get_by_text("Connected again")).to_be_visible(timeout=PATIENCE)
    await expect(page.get_by_text(LOST)).to_be_hidden()
    await expect(ends).to_be_hidden(timeout=PATIENCE)
    await expect(goes_on).to_contain_text("Running")

    # The stream is live again too.
    remaining = next(iter(ids - {session_id}))
    await client(TERMINATE, i={"ids": [remaining]})
    await expect(page.get_by_text("Nothing is running")).to_be_visible(timeout=PATIENCE)
    await expect(page.get_by_text("Connected again")).to_be_hidden(timeout=PATIENCE)
