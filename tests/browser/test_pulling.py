"""An image comes from a registry while one watches."""

import asyncio
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.visits import PATIENCE, log_in
from tests.flow.cluster import Client, Cluster, Process, eventually, free_port
from tests.flow.conftest import ready

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.registry]
MIB = 2**20
#: Bytes of the image's own layer, which cannot be compressed.
LAYER = 24 * MIB


@dataclass
class Gate:
    """A way to the registry that can stall and break, as bad networks do."""

    port: int
    behind: int
    limit: float = float("inf")
    passed: int = 0
    broken: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def stall_after(self, more: float) -> None:
        """Let so many bytes through from now on."""
        self.passed, self.limit = 0, more
        self._changed.set()

    def open(self) -> None:
        self.stall_after(float("inf"))

    def cut(self) -> None:
        """Nothing goes through any more, and whoever tries is told."""
        self.broken = True
        self._changed.set()

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", self.port)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.broken:
            writer.close()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self.behind)
        try:
            await asyncio.gather(self._pump(reader, forth), self._pump(back, writer, gated=True))
        except (ConnectionError, TimeoutError):
            writer.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, gated: bool = False
    ) -> None:
        while data := await source.read(64 * 1024):
            while gated and self.passed > self.limit and not self.broken:
                self._changed.clear()
                await self._changed.wait()
            if self.broken:
                break
            self.passed += len(data) if gated else 0
            sink.write(data)
            await sink.drain()
        with suppress(ConnectionError):
            sink.close()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncGenerator[Gate]:
    """A real registry, behind a gate."""
    gate = Gate(free_port(), free_port())
    settings = tmp_path / "registry.yml"
    settings.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{gate.behind}'}}\n"
    )
    registry = Process(["docker-registry", "serve", str(settings)], {}, tmp_path / "registry.log")
    registry.start()

    async def answers() -> bool:
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient() as http:
                return (await http.get(f"http://127.0.0.1:{gate.behind}/v2/")).status_code == 200
        return False

    await eventually(answers, "the registry answers", registry)
    server = await gate.serve()
    yield gate
    gate.cut()
    server.close()
    registry.stop()


def environment(gate: Gate) -> str:
    """What the image is called: a name of its own, for tests beside this one have such an image on the same engine."""
    return f"Far away {gate.port}"


@pytest.fixture
async def image(gate: Gate) -> AsyncGenerator[str]:
    """An image in the registry and on the node, so that it is known."""
    reference = f"127.0.0.1:{gate.port}/berth/far-away:1"
    noise = tarfile.TarInfo("noise")
    noise.size = LAYER
    recipe = (
        "FROM berth/minimal:12\nCOPY noise /noise\n"
        f'LABEL berth.environment="{environment(gate)}" berth.environment.version="1"\n'
    ).encode()
    dockerfile = tarfile.TarInfo("Dockerfile")
    dockerfile.size = len(recipe)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.addfile(noise, io.BytesIO(os.urandom(LAYER)))
        tar.addfile(dockerfile, io.BytesIO(recipe))
    await docker("build", "-q", "-t", reference, "-", stdin=context.getvalue())
    await docker("push", "-q", reference)
    yield reference
    with suppress(AssertionError):  # the pull may not have come so far
        await docker("rmi", "-f", reference)


async def docker(*arguments: str, stdin: bytes = b"") -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        ["docker", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
async def cluster(image: str, gate: Gate) -> AsyncGenerator[Cluster]:
    """A cluster on the engine that knows the image, whose only node has it no more."""
    root = Path(tempfile.mkdtemp(prefix="berth-"))
    cluster = Cluster(root, "docker", f"sqlite+aiosqlite:///{root / 'berth.db'}")
    try:
        await cluster.start_manager()
        cluster.add_agent()
        await ready(cluster)
        await take_away(await cluster.client(), image)
        yield cluster
    finally:
        gate.cut()
        await cluster.close()
        shutil.rmtree(root, ignore_errors=True)


async def take_away(client: Client, reference: str) -> None:
    """Remove the image from the node; the manager goes on knowing it."""
    answer = await client(
        "query($f: ImageFilter) { images(first: 1, filter: $f) { nodes { id reference } }"
        " agents(first: 1) { nodes { id } } }",
        f={"search": reference},
    )
    what = {
        "imageIds": [answer["images"]["nodes"][0]["id"]],
        "agentIds": [answer["agents"]["nodes"][0]["id"]],
    }
    remove = (
        "mutation($i: ImagesOnAgentsInput!) { removeImages(input: $i) { results { error { message } } } }"
    )
    assert (await client(remove, i=what))["removeImages"]["results"] == [{"error": None}]


async def launch_far_away(page: Page, gate: Gate) -> None:
    await page.get_by_role("link", name="Start a session").first.click()
    await page.get_by_role("combobox", name="Environment").click()
    await page.get_by_role("option", name=environment(gate)).click()
    await expect(page.get_by_role("combobox", name="Version")).to_have_value("1 · must be downloaded first")
    await page.get_by_role("button", name="Launch").click()
    await expect(page.get_by_text("Pulling image")).to_be_visible(timeout=PATIENCE)


async def test_how_much_of_an_image_has_come_is_shown_while_it_is_pulled(
    page: Page, cluster: Cluster, gate: Gate
) -> None:
    await log_in(page, cluster)
    gate.stall_after(8 * MIB)
    await launch_far_away(page, gate)
    progress = page.get_by_role("progressbar", name="Image")
    part = page.get_by_text(re.compile(r"[\d.]+ [KM]iB / 24\.0 MiB · \d+ %"))
    first = await shown(part)
    assert 0 <= first <= 8 / 24 * 100

    # The engine tells of what has come when more comes, and not of every piece that comes at once.
    for _ in range(8):
        gate.stall_after(1 * MIB)
        with suppress(AssertionError):
            await expect(part).not_to_contain_text(f"· {first} %", timeout=PATIENCE / 8)
            break
    second = await shown(part)
    assert first < second <= 20 / 24 * 100

    # A page that is opened meanwhile shows the same.
    await page.reload()
    await expect(page.get_by_text("Pulling image")).to_be_visible(timeout=PATIENCE)
    assert await shown(part) >= second

    gate.open()
    await expect(page.get_by_role("link", name="Open terminal")).to_be_visible(timeout=PATIENCE)
    await expect(progress).to_be_hidden()


async def shown(part: Locator) -> int:
    """The percentage that the page shows, as text and as a bar."""
    await expect(part).to_be_visible(timeout=PATIENCE)
    # Both in one moment: more may come in between.
    text, bar = await part.evaluate(
        "element => [element.textContent, element.parentElement.querySelector('[role=progressbar]').ariaValueNow]"
    )
    percent = int(text.rsplit("·", 1)[1].strip(" %"))
    assert abs(float(bar) - percent) <= 1
    return percent


async def test_an_image_that_cannot_be_had_is_an_error_that_says_so(
    page: Page, cluster: Cluster, gate: Gate, image: str
) -> None:
    gate.stall_after(-1)
    await log_in(page, cluster)
    await launch_far_away(page, gate)
    gate.cut()
    await expect(page.get_by_role("alert")).to_contain_text(image, timeout=PATIENCE)
    await page.get_by_role("tab", name="Logs").click()
    await expect(page.get_by_role("log")).to_contain_text("No log was kept")
    await page.get_by_role("tab", name="Timeline").click()
    await expect(page.get_by_role("tabpanel")).to_contain_text(image)
    await page.get_by_role("link", name="Sessions", exact=True).click()
    await page.get_by_role("tab", name="Others").click()
    await expect(page.get_by_role("row", name=re.compile("Error"))).to_contain_text(image)
