"""A shell in the browser: that it comes back, is searched, fits, and there are several."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import (
    PATIENCE,
    launch,
    log_in,
    open_terminal,
    screen,
    shows,
    type_in,
)
from tests.flow.cluster import Cluster, eventually

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]


@pytest.fixture
async def terminal(page: Page, cluster: Cluster) -> Page:
    await log_in(page, cluster)
    await launch(page)
    return await open_terminal(page)


async def test_a_reload_in_the_middle_of_output_comes_back_to_the_same_shell_and_what_it_said(
    terminal: Page,
) -> None:
    await type_in(terminal, "MARK=kept; echo fir''st")
    await shows(terminal, "first")
    # Goes on until it is told to stop, so the reload is in the middle of it.
    await type_in(terminal, "while [ ! -e stop ]; do echo line-$((N++)); sleep 0.02; done; echo l''ast $N")
    await shows(terminal, re.compile(r"line-\d+"))
    await terminal.reload()
    await shows(terminal, re.compile(r"line-\d+"))
    before = await last_line(terminal)
    await eventually(lambda: _beyond(terminal, before), "the output goes on after the reload")

    await terminal.get_by_role("button", name="New tab").click()
    await type_in(terminal, "touch stop")
    await terminal.get_by_role("tab", name="Shell 1").click()
    await shows(terminal, re.compile(r"last \d+"))
    await type_in(terminal, "echo $MARK-after")
    await shows(terminal, "kept-after")

    # What was said before the reload is above: each line once, in order.
    await terminal.get_by_role("button", name="Search", exact=True).click()
    search = terminal.get_by_role("textbox", name="Search")
    await search.fill("line-0")
    await expect(terminal.get_by_text("1 / 1", exact=True)).to_be_visible()


async def last_line(terminal: Page) -> int:
    numbers = re.findall(r"line-(\d+)", await screen(terminal).inner_text())
    return int(numbers[-1])


async def _beyond(terminal: Page, before: int) -> bool:
    return await last_line(terminal) > before


async def test_what_scrolled_away_is_found(terminal: Page) -> None:
    await type_in(terminal, "echo need''le-1; seq 1 500; echo need''le-2; seq 1 500; echo do''ne")
    await shows(terminal, "done")
    await expect(screen(terminal)).not_to_contain_text("needle-1")
    await terminal.keyboard.press("Control+Shift+F")
    search = terminal.get_by_role("textbox", name="Search")
    await expect(search).to_be_focused()
    await search.fill("needle-")
    # The newest first, then upwards.
    await expect(terminal.get_by_text("2 / 2", exact=True)).to_be_visible()
    await shows(terminal, "needle-2")
    await search.press("Enter")
    await expect(terminal.get_by_text("1 / 2", exact=True)).to_be_visible()
    await shows(terminal, "needle-1")
    await search.fill("nowhere-to-be-found")
    await expect(terminal.get_by_text("0 / 0", exact=True)).to_be_visible()
    await search.press("Escape")
    await expect(search).to_be_hidden()
    await terminal.keyboard.type("echo b''ack\n")
    await shows(terminal, "back")


async def test_tabs_are_shells_of_their_own_that_end_with_them(terminal: Page) -> None:
    await type_in(terminal, "MARK=one; echo pid-$$")
    await shows(terminal, re.compile(r"pid-\d+"))
    await terminal.get_by_role("button", name="New tab").click()
    await expect(terminal.get_by_role("tab")).to_have_count(2)
    await shows(terminal, "$")
    await type_in(terminal, "echo [$MARK]")
    await shows(terminal, "[]")

    # Both come back.
    await terminal.reload()
    await expect(terminal.get_by_role("tab")).to_have_count(2)
    await terminal.get_by_role("tab", name="Shell 1").click()
    await type_in(terminal, "echo [$MARK]")
    await shows(terminal, "[one]")

    # The arrow leads to the other, closing it ends its shell.
    await terminal.get_by_role("tab", name="Shell 1").focus()
    await terminal.keyboard.press("ArrowRight")
    await expect(terminal.get_by_role("tab", name="Shell 2")).to_have_attribute("aria-selected", "true")
    await type_in(terminal, "exec -a second-shell sleep 1000")
    await terminal.get_by_role("tab", name="Shell 1").click()
    # The brackets keep the search from finding itself.
    await type_in(
        terminal,
        "echo there are $(cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '[s]econd-shell' | wc -l)",
    )
    await shows(terminal, "there are 1")
    await terminal.get_by_role("tab", name="Shell 2").click()
    await terminal.get_by_role("button", name="Close tab").click()
    await expect(terminal.get_by_role("tab")).to_have_count(1)
    await type_in(
        terminal,
        "while cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q '[s]econd-shell'; do sleep 0.1; done; echo go''ne",
    )
    await shows(terminal, "gone")


async def test_the_shell_knows_the_size_of_the_window(terminal: Page) -> None:
    before = await size_in(terminal, "a")
    await terminal.set_viewport_size({"width": 900, "height": 500})
    after = await eventually(lambda: _other_size(terminal, before), "the shell is told of the new size")
    rows, columns = map(int, after.split())
    old_rows, old_columns = map(int, before.split())
    assert (rows < old_rows, columns < old_columns) == (True, True)
    await terminal.get_by_role("button", name="Larger text").click()
    larger = await eventually(lambda: _other_size(terminal, after), "larger text leaves fewer columns")
    assert int(larger.split()[1]) < columns


async def size_in(terminal: Page, mark: str) -> str:
    """What `stty size` says in the shell: rows and columns."""
    await type_in(terminal, f"clear; echo {mark}-$(stty size)-{mark}")
    await shows(terminal, re.compile(rf"{mark}-\d+ \d+-{mark}"))
    found = re.findall(rf"{mark}-(\d+ \d+)-{mark}", await screen(terminal).inner_text())
    return found[-1]


async def _other_size(terminal: Page, before: str) -> str | None:
    now = await size_in(terminal, "b")
    return now if now != before else None


async def test_a_shell_that_ended_says_so_and_another_is_one_click_away(terminal: Page) -> None:
    await type_in(terminal, "exit 3")
    await expect(terminal.get_by_text("The shell has ended (exit code 3).")).to_be_visible(timeout=PATIENCE)
    await terminal.get_by_role("button", name="New shell").click()
    await type_in(terminal, "echo $((6*7))-answer")
    await shows(terminal, "42-answer")
