"""Carries out the state machine's work on the runtime, one task for each piece, and feeds back what came of it.

Pieces for one kernel never overlap, but for the watch: a new one first cancels the one before and waits until it has
let go. Deadlines are the state machine's: it cancels what is late.
"""

import asyncio
import contextlib
import logging
import zlib
from collections.abc import Awaitable, Callable, Coroutine

from agents.protocol import MAX_KEPT_LOG, KernelSpec
from agents.pulls import Images
from agents.runtimes.contract import Runtime, RuntimeFailure
from agents.steps import (
    CollectLog,
    Create,
    Created,
    CreateFailed,
    Exited,
    LogCollected,
    LogFailed,
    Pull,
    PullDone,
    PullFailed,
    Ref,
    Remove,
    Removed,
    RemoveFailed,
    Start,
    Started,
    StartFailed,
    StateEvent,
    Stop,
    StopFailed,
    Stopped,
    Watch,
    WatchFailed,
    Work,
)

log = logging.getLogger(__name__)

#: Seconds that a cancelled piece of work gets to let go before the next one begins all the same.
LET_GO_SECONDS = 5.0

_UNEXPECTED = "the node's runtime failed in an unexpected way; its agent's log says more"


class Executor:
    """See the module.

    Args:
        feed: takes events for the state machine.
        ended: called when nothing of a kernel lives any more, before its container goes.
        grant: adds what a kernel needs to use its devices; raises `RuntimeFailure`.
    """

    def __init__(
        self,
        runtime: Runtime,
        images: Images,
        feed: Callable[[StateEvent], None],
        ended: Callable[[str], Awaitable[None]],
        grant: Callable[[str, KernelSpec], Awaitable[KernelSpec]],
    ) -> None:
        self._runtime = runtime
        self._images = images
        self._feed = feed
        self._ended = ended
        self._grant = grant
        self._work: dict[Ref, asyncio.Task[None]] = {}
        self._watches: dict[Ref, asyncio.Task[None]] = {}
        self._letting_go: dict[str, set[asyncio.Task[None]]] = {}

    def start(self, work: Work) -> None:
        """Begin a piece of work; what comes of it is fed back."""
        if isinstance(work, Watch):
            self._cancel(self._watches.pop(work.ref, None), work.ref)
            self._watches[work.ref] = self._spawn(self._watch(work.ref), self._watches, work.ref)
            return
        self._cancel(self._work.pop(work.ref, None), work.ref)
        if isinstance(work, CollectLog | Remove):
            self._cancel(self._watches.pop(work.ref, None), work.ref)
        self._work[work.ref] = self._spawn(self._carry_out(work), self._work, work.ref)

    def cancel(self, ref: Ref) -> None:
        """Give up what runs for it; its result is not fed back."""
        self._cancel(self._work.pop(ref, None), ref)
        self._cancel(self._watches.pop(ref, None), ref)

    async def close(self) -> None:
        """The agent stops: kernels go on, and what is half done is found again by `recover`."""
        for ref in [*self._work, *self._watches]:
            self.cancel(ref)
        tasks = set[asyncio.Task[None]]().union(*self._letting_go.values())
        if tasks:
            await asyncio.wait(tasks, timeout=LET_GO_SECONDS)

    def _spawn(
        self, work: Coroutine[None, None, None], among: dict[Ref, "asyncio.Task[None]"], ref: Ref
    ) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)

        def done(finished: "asyncio.Task[None]") -> None:
            if among.get(ref) is finished:
                del among[ref]
            if not finished.cancelled() and (error := finished.exception()):
                log.error("work for kernel %s was lost", ref[0], exc_info=error)

        task.add_done_callback(done)
        return task

    def _cancel(self, task: "asyncio.Task[None] | None", ref: Ref) -> None:
        if task and not task.done():
            task.cancel()
            going = self._letting_go.setdefault(ref[0], set())
            going.add(task)
            task.add_done_callback(lambda finished: self._has_let_go(ref[0], finished))

    def _has_let_go(self, kernel: str, task: "asyncio.Task[None]") -> None:
        going = self._letting_go.get(kernel)
        if going:
            going.discard(task)
            if not going:
                del self._letting_go[kernel]

    async def _carry_out(self, work: Work) -> None:
        if going := self._letting_go.get(work.ref[0]):
            await asyncio.wait(set(going), timeout=LET_GO_SECONDS)
        try:
            event = await self._result(work)
        except RuntimeFailure as failure:
            if failure.code == "IMAGE_NOT_FOUND":
                self._images.doubt()
            event = _failed(work, failure.code, failure.message)
        except Exception:
            log.exception("%s of kernel %s failed", type(work).__name__, work.ref[0])
            event = _failed(work, "RUNTIME_FAILED", _UNEXPECTED)
        self._feed(event)

    async def _result(self, work: Work) -> StateEvent:
        ref, runtime = work.ref, self._runtime
        match work:
            case Pull(spec=spec):
                await self._images.ensure(ref[0], spec.image, spec.pull_policy, spec.credentials)
                return PullDone(ref)
            case Create(spec=spec):
                return Created(ref, await runtime.create(*ref, await self._grant(ref[0], spec)))
            case Start():
                await runtime.start(*ref)
                return Started(ref)
            case Stop(grace_seconds=grace):
                await runtime.stop(*ref, grace)
                return Stopped(ref)
            case CollectLog():
                return await self._collect(ref)
            case Remove():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LET_GO_SECONDS):
                        await self._ended(ref[0])
                await runtime.remove(*ref)
                return Removed(ref)
            case Watch():
                raise AssertionError("a watch is no piece of work")

    async def _watch(self, ref: Ref) -> None:
        try:
            event = Exited(ref, await self._runtime.wait(*ref))
        except RuntimeFailure as failure:
            log.warning("watching kernel %s failed: %s", ref[0], failure.message)
            event = WatchFailed(ref)
        except Exception:
            log.exception("watching kernel %s failed", ref[0])
            event = WatchFailed(ref)
        self._feed(event)

    async def _collect(self, ref: Ref) -> LogCollected:
        kept, size = bytearray(), 0
        async for chunk in self._runtime.logs(ref[0], MAX_KEPT_LOG, follow=False):
            kept += chunk
            size += len(chunk)
            del kept[:-MAX_KEPT_LOG]
        # In a thread: a full log takes some 20 ms, in which nothing else would move.
        return LogCollected(ref, await asyncio.to_thread(zlib.compress, bytes(kept)), size)


def _failed(work: Work, code: str, message: str) -> StateEvent:
    match work:
        case Pull(ref=ref):
            return PullFailed(ref, code, message)
        case Create(ref=ref):
            return CreateFailed(ref, code, message)
        case Start(ref=ref):
            return StartFailed(ref, code, message)
        case Stop(ref=ref):
            return StopFailed(ref, message)
        case CollectLog(ref=ref):
            return LogFailed(ref)
        case Remove(ref=ref):
            return RemoveFailed(ref, message)
        case Watch(ref=ref):
            return WatchFailed(ref)
