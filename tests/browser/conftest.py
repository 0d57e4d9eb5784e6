"""A real console in a real Chromium, on a manager and an agent of its own."""

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.conftest import require
from tests.flow.cluster import Cluster
from tests.flow.conftest import ready, templates  # noqa: F401  # a fixture
from tests.flow.databases import Templates

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DIST = Path(__file__).parents[2] / "webui/dist/index.html"


@pytest.fixture
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of the manager, beside the usual."""
    return getattr(request, "param", {})


@pytest.fixture
async def cluster(
    environ: dict[str, str],
    templates: Templates,  # noqa: F811
) -> AsyncGenerator[Cluster]:
    require("sandbox")
    assert DIST.exists(), "the console is not built: npm run build in webui/"
    root = Path(tempfile.mkdtemp(prefix="berth-"))
    cluster = Cluster(root, "process", await templates.sqlite(root), environ=environ)
    try:
        await cluster.start_manager()
        cluster.add_agent()
        await ready(cluster)
        yield cluster
    finally:
        await cluster.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def page(cluster: Cluster) -> AsyncGenerator[Page]:
    """A page of a new visitor; an error in its console fails the test."""
    require("browser")
    executable = os.environ.get("CHROME_PATH") or shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        context = await browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB")
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        await browser.close()
    assert errors == []
