"""Every room, in both colours: no rule of WCAG 2.2 AA is broken, and nothing is cut off when it is narrow or enlarged."""

import re
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import PATIENCE, launch, log_in, open_terminal, violations
from tests.flow.cluster import Client, Cluster, eventually
from tests.flow.test_life import choices

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]
LONG = "a-rather-long-name-of-a-session-that-somebody-chose-without-thought"[:64]
CREATE = "mutation($i: CreateSessionInput!) { createSession(input: $i) { session { id } } }"

Check = Callable[[Page, str], Awaitable[None]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_room_breaks_a_rule_of_wcag(
    page: Page, cluster: Cluster, scheme: Literal["light", "dark"]
) -> None:
    found: dict[str, list[str]] = {}

    async def check(at: Page, room: str) -> None:
        # What the visitor's system prefers; the console follows it.
        await at.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await expect(at.locator("html")).to_have_attribute("data-mantine-color-scheme", scheme)
        await settle(at)
        if broken := await violations(at):
            found[room] = broken

    await every_room(page, cluster, check)
    assert found == {}


@pytest.mark.parametrize(
    ("width", "height"), [(360, 740), (640, 400)], ids=["a telephone", "1280 pixels at 200 %"]
)
async def test_no_room_must_be_scrolled_sideways(
    page: Page, cluster: Cluster, width: int, height: int
) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    found: dict[str, list[str]] = {}

    async def check(at: Page, room: str) -> None:
        await at.set_viewport_size({"width": width, "height": height})
        await settle(at)
        if wide := await at.evaluate(WIDER_THAN_THE_WINDOW):
            found[room] = wide

    await every_room(page, cluster, check)
    assert found == {}


#: What makes the page wider than the window, and what reaches out of it without a scrolled box around it.
WIDER_THAN_THE_WINDOW = """() => {
  const width = document.documentElement.clientWidth
  const scrolled = element => {
    for (let at = element.parentElement; at; at = at.parentElement) {
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(at).overflowX)) return true
    }
    return false
  }
  const out = [...document.querySelectorAll('main *, header *, [role=dialog] *')].filter(element => {
    const box = element.getBoundingClientRect()
    return box.width > 1 && box.height > 1 && box.right > width + 1 && !scrolled(element)
  })
  const found = out.slice(0, 3).map(element => element.outerHTML.slice(0, 200))
  if (document.documentElement.scrollWidth > width) found.push(`${document.documentElement.scrollWidth} > ${width}`)
  return found
}"""


async def every_room(page: Page, cluster: Cluster, check: Check) -> None:
    """Visit all routes and what opens in them, in the states that look different."""
    await page.goto(f"{cluster.url}/login")
    await page.get_by_role("button", name="Log in").wait_for()
    await check(page, "login")
    await page.goto(f"{cluster.url}/welcome")
    await page.get_by_label("New password").fill("short")
    await check(page, "welcome")
    await log_in(page, cluster)
    await check(page, "home without sessions")
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("menuitem", name="Log out").wait_for()
    await check(page, "account menu")
    await page.get_by_role("menuitem", name="Change password").click()
    await page.get_by_role("dialog").get_by_label("Current password").wait_for()
    await check(page, "change password")

    client = await cluster.client()
    await page.goto(f"{cluster.url}/launch")
    await page.get_by_role("button", name="Advanced").click()
    await page.get_by_role("button", name="Add a variable").click()
    await expect(page.get_by_text("Fits now")).to_be_visible(timeout=PATIENCE)
    await check(page, "launcher")
    await page.get_by_label("CPU cores").first.fill("5000")
    await expect(page.get_by_text("More than")).to_be_visible(timeout=PATIENCE)
    await check(page, "launcher that asks too much")

    await page.goto(f"{cluster.url}/")
    await launch_small(client, name=LONG)
    await launch_small(client, name="fails", type="BATCH", startupCommand="echo oh; exit 7")
    await launch_large(client, name="waits")
    await expect(page.get_by_role("listitem").filter(has_text=LONG)).to_contain_text(
        "Running", timeout=PATIENCE
    )
    await check(page, "home")
    await page.goto(f"{cluster.url}/sessions")
    row = page.get_by_role("row", name=LONG)
    await expect(row).to_contain_text("Running")
    await row.get_by_role("checkbox").check()
    await check(page, "list of sessions")
    await row.get_by_role("button", name="Terminate").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").wait_for()
    await check(page, "question before terminating")
    for tab, name in (("other", "waits"), ("finished", "fails")):
        await page.goto(f"{cluster.url}/sessions?tab={tab}")
        await page.get_by_role("link", name=name, exact=True).wait_for(timeout=PATIENCE)
        await check(page, f"list of {tab} sessions")
        await page.get_by_role("link", name=name, exact=True).click()
        await page.get_by_role("heading", name=name).wait_for()
        await check(page, f"session that {name}")
    await page.goto(f"{cluster.url}/sessions")
    await page.get_by_role("link", name=LONG, exact=True).click()
    await expect(page.get_by_role("img", name=re.compile("^CPU"))).to_be_visible(timeout=PATIENCE)
    await check(page, "running session")
    for tab in ("Logs", "Timeline"):
        await page.get_by_role("tab", name=tab).click()
        await check(page, f"session, {tab}")
    terminal = await open_terminal(page)
    await terminal.get_by_role("button", name="Search", exact=True).click()
    await check(terminal, "terminal")

    await page.goto(f"{cluster.url}/agents")
    await expect(page.get_by_role("row", name=re.compile("node1"))).to_contain_text("Connected")
    await check(page, "agents")
    await page.get_by_role("button", name="Add a node").click()
    await page.get_by_text("berth agent join").wait_for()
    await check(page, "add a node")
    await page.goto(f"{cluster.url}/nowhere")
    await page.get_by_text("There is nothing here").wait_for()
    await check(page, "a page that is not")


async def settle(page: Page) -> None:
    """Until nothing fades in any more: colours in between would be measured."""
    running = """async () => {
      for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame)
      return document.getAnimations().filter(one => one.effect?.getTiming().iterations !== Infinity).length
    }"""

    async def still() -> bool:
        return await page.evaluate(running) == 0

    await eventually(still, "all transitions have ended")


async def launch_small(client: Client, **more: str) -> None:
    slots = [{"name": "cpu", "amount": "0.1"}, {"name": "mem", "amount": str(128 * 2**20)}]
    await client(CREATE, i={**await choices(client), "slots": slots, **more})


async def launch_large(client: Client, **more: str) -> None:
    """One that has to wait: all cores of the only node, of which some are used."""
    where = await choices(client)
    place = {"g": where["groupId"], "r": where["resourceGroupId"]}
    answer = await client(
        "query($g: ID!, $r: ID!) { availability(groupId: $g, resourceGroupId: $r) { slots { name largestCapacity } } }",
        **place,
    )
    most = {slot["name"]: slot["largestCapacity"] for slot in answer["availability"]["slots"]}
    slots = [{"name": "cpu", "amount": most["cpu"]}, {"name": "mem", "amount": str(128 * 2**20)}]
    await client(CREATE, i={**where, "slots": slots, **more})


async def test_it_speaks_korean_and_has_a_dark_face(page: Page, cluster: Cluster) -> None:
    await log_in(page, cluster)
    await launch(page, "hana")
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("menuitem", name="한국어").click()
    await expect(page.get_by_role("link", name="세션", exact=True)).to_be_visible()
    await expect(page.locator("html")).to_have_attribute("lang", "ko")
    await page.get_by_role("button", name="계정").click()
    await page.get_by_role("menuitem", name="어둡게").click()
    await expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    await expect(page.get_by_role("menu")).to_be_hidden()
    await page.reload()
    await expect(page.get_by_role("heading", name="hana")).to_be_visible(timeout=PATIENCE)
    await expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    await settle(page)
    assert await violations(page) == []
