"""How far a pull is, told to whoever wants to know."""

import asyncio

import pytest

from agents import pulls
from agents.protocol import ImageInfo, PullProgress
from agents.pulls import Images
from agents.runtimes.contract import PullProgressSink
from tests.agents.fakes import FakeRuntime

FAR = "far:1"


class Registry(FakeRuntime):
    """An engine whose pull says what it is told to say, and stalls in between."""

    def __init__(self) -> None:
        super().__init__()
        self.say: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()

    async def pull(
        self, image: str, progress: PullProgressSink, username: str = "", password: str = ""
    ) -> None:
        while (news := await self.say.get()) is not None:
            progress(*news)
        self.present.append(ImageInfo(image, f"sha256:{image}", "x86_64", 5))


class Told:
    """What was passed on, and a wait for the next."""

    def __init__(self) -> None:
        self.reports: list[PullProgress] = []
        self._more = asyncio.Event()

    def __call__(self, report: PullProgress) -> None:
        self.reports.append(report)
        self._more.set()

    async def until(self, count: int) -> list[int]:
        async with asyncio.timeout(20):
            while len(self.reports) < count:
                self._more.clear()
                await self._more.wait()
        return [report.current for report in self.reports]


@pytest.fixture
def engine() -> Registry:
    return Registry()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def images(engine: Registry, told: Told) -> Images:
    return Images(engine, told, lambda _: None)


async def test_many_reports_become_few_and_the_last_before_a_stall_is_told(
    engine: Registry, told: Told, images: Images
) -> None:
    pull = asyncio.create_task(images.ensure("knl_1", FAR, "if-not-present"))
    for current in range(1, 51):
        engine.say.put_nowait((current, 100))
    assert await told.until(2) == [1, 50]
    engine.say.put_nowait(None)
    await pull
    assert {report.kernels for report in told.reports} == {("knl_1",)}


async def test_whoever_joins_a_stalled_pull_is_told_how_far_it_is(
    engine: Registry, told: Told, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "REPORT_SECONDS", 0)
    first = asyncio.create_task(images.ensure("knl_1", FAR, "if-not-present"))
    engine.say.put_nowait((7, 100))
    assert await told.until(1) == [7]
    second = asyncio.create_task(images.ensure("knl_2", FAR, "if-not-present"))
    assert await told.until(2) == [7, 7]
    assert told.reports[-1].kernels == ("knl_1", "knl_2")
    engine.say.put_nowait(None)
    await asyncio.gather(first, second)


async def test_nothing_is_told_of_a_pull_that_is_over(engine: Registry, told: Told, images: Images) -> None:
    pull = asyncio.create_task(images.ensure("knl_1", FAR, "if-not-present"))
    engine.say.put_nowait((1, 100))
    engine.say.put_nowait((99, 100))
    engine.say.put_nowait(None)
    await pull
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(pulls.REPORT_SECONDS * 1.2, over.set)
    await over.wait()
    assert [report.current for report in told.reports] == [1]


async def test_a_look_that_began_before_a_removal_does_not_bring_the_image_back(
    engine: Registry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.present.append(ImageInfo(FAR, "sha256:far", "x86_64", 5))
    listed, go_on = asyncio.Event(), asyncio.Event()
    listing = engine.images

    async def slow() -> tuple[ImageInfo, ...]:
        found = tuple(await listing())
        if not listed.is_set():
            listed.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(engine, "images", slow)
    early = asyncio.create_task(images.refresh())
    await listed.wait()
    removal = asyncio.create_task(images.remove(FAR))
    await asyncio.wait([removal], timeout=0.05)
    go_on.set()
    await asyncio.gather(early, removal)
    assert images.known == tuple(sorted(await listing(), key=lambda image: image.reference))
    assert FAR not in [image.reference for image in images.known]
