"""What a visitor does in many tests, by the names that they see."""

import re
from pathlib import Path

from playwright.async_api import Locator, Page, expect

from tests.flow.cluster import EMAIL, PASSWORD, Cluster

#: What may take long on a busy machine (milliseconds).
PATIENCE = 60_000
AXE = Path(__file__).parents[2] / "webui/node_modules/axe-core/axe.min.js"


async def violations(page: Page) -> list[str]:
    """Rules of WCAG 2.2 A and AA that the page breaks, each with the first element that breaks it."""
    # Evaluated, not added as a script: the page's policy rightly refuses scripts that are not its own.
    await page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = await page.evaluate("tags => axe.run({ runOnly: tags })", tags)
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]


async def log_in(page: Page, cluster: Cluster, email: str = EMAIL, password: str = PASSWORD) -> None:
    await page.goto(cluster.url)
    await fill_in_login(page, email, password)
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)


async def fill_in_login(page: Page, email: str = EMAIL, password: str = PASSWORD) -> None:
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_role("textbox", name="Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def log_out(page: Page) -> None:
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("menuitem", name="Log out").click()
    await expect(page.get_by_role("button", name="Log in")).to_be_visible(timeout=PATIENCE)


async def launch(page: Page, name: str = "from-the-browser") -> None:
    """Launch from the console and stay on the session's page until it runs."""
    await page.get_by_role("link", name="Start a session").first.click()
    await page.get_by_role("textbox", name="Name").fill(name)
    await page.get_by_role("button", name="Launch").click()
    await expect(page.get_by_role("link", name="Open terminal")).to_be_visible(timeout=PATIENCE)


async def open_terminal(page: Page) -> Page:
    """The terminal's own page, from a running session's page, once its shell answers."""
    async with page.context.expect_page() as opening:
        await page.get_by_role("link", name="Open terminal").click()
    terminal = await opening.value
    await expect(screen(terminal)).to_contain_text("$", timeout=PATIENCE)
    return terminal


def screen(terminal: Page) -> Locator:
    """The rows of the shell that is shown."""
    return terminal.locator(".terminal-tab:not([hidden]) .xterm-accessibility-tree")


async def type_in(terminal: Page, text: str) -> None:
    keyboard = terminal.locator(".terminal-tab:not([hidden]) .xterm-helper-textarea")
    await keyboard.press_sequentially(f"{text}\n")


async def shows(terminal: Page, text: str | re.Pattern[str]) -> None:
    await expect(screen(terminal)).to_contain_text(text, timeout=PATIENCE)
