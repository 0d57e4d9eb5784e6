"""The node's images: what is there, and pulls that everybody who needs the same image shares."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from agents.protocol import Credentials, ImageInfo, PullProgress
from agents.runtimes.contract import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

#: Pulls at once; more would only make all of them late.
PARALLEL = 3
#: Seconds between looks at what the engine has: images come and go by other hands too.
REFRESH_SECONDS = 60.0
#: Seconds for the engine to list its images.
LIST_SECONDS = 20.0
#: Seconds between two reports of how far one pull is: engines tell of every chunk of every layer.
REPORT_SECONDS = 0.25

NOBODY = Credentials()

Policy = Literal["if-not-present", "always", "never"]


@dataclass
class _Pull:
    task: "asyncio.Task[None]"
    #: How many wait for it; nobody: it is given up.
    waiting: int = 0
    kernels: list[str] = field(default_factory=list[str])
    #: Bytes that have come, of how many; `None` before anything is known.
    arrived: tuple[int, int] | None = None
    #: Runs while a report is too recent for another one.
    pause: asyncio.TimerHandle | None = None
    untold: bool = False


class Images:
    """All images of the node.

    Args:
        progress: told how far a pull is.
        changed: told all images after one came or went.
    """

    def __init__(
        self,
        runtime: Runtime,
        progress: Callable[[PullProgress], None],
        changed: Callable[[tuple[ImageInfo, ...]], None],
    ) -> None:
        self._runtime = runtime
        self._progress = progress
        self._changed = changed
        self._known: tuple[ImageInfo, ...] = ()
        self._pulls: dict[str, _Pull] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._listing = asyncio.Lock()

    @property
    def known(self) -> tuple[ImageInfo, ...]:
        return self._known

    async def refresh(self) -> None:
        """Ask the engine. Raises `RuntimeFailure`; `TIMED_OUT` when it does not answer.

        One after the other, so that what an earlier look saw never overwrites what a later one did.
        """
        try:
            async with asyncio.timeout(LIST_SECONDS), self._listing:
                found = tuple(sorted(await self._runtime.images(), key=lambda image: image.reference))
        except TimeoutError:
            raise RuntimeFailure("TIMED_OUT", "the engine did not list its images in time") from None
        if found != self._known:
            self._known = found
            self._changed(found)

    async def watch(self) -> None:
        """Keep `known` fresh until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except RuntimeFailure as failure:
                log.warning("images were not listed: %s", failure.message)

    async def ensure(
        self, kernel: str, image: str, policy: Policy, credentials: Credentials = NOBODY
    ) -> None:
        """Have an image here for a kernel, as its pull policy says. May be cancelled.

        Raises:
            RuntimeFailure: `IMAGE_NOT_FOUND`, `PULL_FAILED`, `NO_SPACE`, …
        """
        if policy != "always":
            if self._has(image):
                return
            await self.refresh()  # it may have come by another way a moment ago
            if self._has(image):
                return
        if policy == "never":
            raise RuntimeFailure("IMAGE_NOT_FOUND", f"{image} is not on the node, and it may not be pulled")
        await self.pull(image, credentials, kernel=kernel)

    async def pull(self, image: str, credentials: Credentials = NOBODY, *, kernel: str = "") -> None:
        """Pull, or join the pull of the same image that is under way. Cancelled by the last who waits for it."""
        pull = self._pulls.get(image)
        if pull is None or pull.task.done():
            work = self._pull(image, credentials)
            pull = self._pulls[image] = _Pull(asyncio.create_task(work))
        pull.waiting += 1
        if kernel:
            pull.kernels.append(kernel)
            self._tell(image, pull)
        try:
            await asyncio.shield(pull.task)
        finally:
            pull.waiting -= 1
            if kernel:
                pull.kernels.remove(kernel)
            if not pull.waiting:
                pull.task.cancel()
                if self._pulls.get(image) is pull:
                    del self._pulls[image]

    async def remove(self, image: str) -> None:
        await self._runtime.remove_image(image)
        await self.refresh()

    def doubt(self) -> None:
        """An image that was believed to be here was not: look anew before the next kernel."""
        self._known = ()

    async def _pull(self, image: str, credentials: Credentials) -> None:
        async with self._slots:
            await self._runtime.pull(
                image, partial(self._report, image), credentials.username, credentials.password
            )
        await self.refresh()

    def _report(self, image: str, current: int, total: int) -> None:
        if (pull := self._pulls.get(image)) is not None:
            pull.arrived = (current, total)
            self._tell(image, pull)

    def _tell(self, image: str, pull: _Pull) -> None:
        """Pass on how far a pull is: now, or as soon as the last report is old enough.

        Not dropped in between: when a network stalls, what came last is what is to be seen.
        """
        if pull.arrived is None or pull.task.done():
            return
        if pull.pause is not None:
            pull.untold = True
            return
        self._progress(PullProgress(image, *pull.arrived, tuple(pull.kernels)))
        pull.pause = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._resume, image, pull)

    def _resume(self, image: str, pull: _Pull) -> None:
        untold, pull.untold, pull.pause = pull.untold, False, None
        if untold:
            self._tell(image, pull)

    def _has(self, image: str) -> bool:
        return any(image in (info.reference, info.digest) for info in self._known)
