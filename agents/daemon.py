"""The node's daemon: the state machine between the link and the runtime.

    manager ◀─▶ Link ─── commands ──▶ queue ──▶ State ──▶ Emit ──▶ Journal ──▶ Link
                                        ▲         └─────▶ work ──▶ Executor ──▶ Runtime
                                        └── what came of it ◀──────────┘

One task feeds the state machine, so nothing here needs a lock. Kernels live on when the daemon stops, however it stops.
"""

import asyncio
import contextlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agents.accelerators.inventories import Inventory
from agents.connections import Connection
from agents.deadlines import within
from agents.devices import Devices
from agents.executor import Executor
from agents.journal import Body, Journal
from agents.link import Backoff, Link
from agents.nodes import sample
from agents.protocol import (
    PROTOCOL,
    CancelPull,
    CloseTerminal,
    CreateKernel,
    DestroyKernel,
    Hello,
    ImageInfo,
    ImagesChanged,
    KernelReport,
    MakeNetwork,
    OpenStream,
    PullImage,
    RemoveImage,
    RemoveNetwork,
    Reply,
    Stats,
    ToAgent,
    Welcome,
)
from agents.pulls import Images
from agents.runtimes.contract import Fingerprint, Runtime, RuntimeFailure
from agents.sockets import Manager, dial
from agents.state import State
from agents.steps import Answer, Cancel, Connected, Emit, Instruction, Recovered, StateEvent, Tick
from agents.streams import Streams
from agents.terminals import Terminals

log = logging.getLogger(__name__)

#: Seconds for the runtime to tell what it has; later the agent goes by what it knows.
RECOVER_SECONDS = 10.0
#: Seconds until a journal that could not be written, or an engine that did not answer, is tried again.
RETRY_SECONDS = 2.0

Replies = Callable[[Reply], None]


@dataclass(frozen=True)
class _Item:
    event: StateEvent
    reply: Replies | None = None
    #: Set once its instructions are on their way and its events are in the journal.
    done: asyncio.Event | None = None


class Agent:
    """One node. `run` until cancelled.

    Args:
        disk: a path on the file system whose use is reported.
        accelerators: the node's plug-ins for devices; none where it has none.
        stats_deadline: seconds for one sample of all kernels.
    """

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        manager: Manager,
        credential: str,
        *,
        disk: Path = Path("/"),
        region: str = "",
        backoff: Backoff | None = None,
        exit_when_rejected: bool = False,
        stats_deadline: float = 10.0,
        accelerators: Inventory | None = None,
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._disk = disk
        self._region = region
        self._stats_deadline = stats_deadline
        self._boot = secrets.token_hex(8)
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._unwritten: list[Body] = []
        self._writing = asyncio.Lock()
        self._full = False
        self._tasks: set[asyncio.Task[None]] = set()
        #: Image → who waits for it of those who asked for it by itself.
        self._asked: dict[str, set[asyncio.Task[None]]] = {}
        self._stats_seconds = 2.0
        self._online = asyncio.Event()
        self._fingerprint: Fingerprint | None = None
        self._state: State | None = None
        self.terminals = Terminals(runtime)
        self.link = Link(
            manager, credential, journal, self, backoff=backoff, exit_when_rejected=exit_when_rejected
        )
        self.images = Images(runtime, self.link.offer, self._images_changed)
        self.devices = Devices(accelerators or Inventory(), self.link.offer, lambda: self.link.connected)
        self.executor = Executor(
            runtime, self.images, self._feed, self.terminals.close_kernel, self.devices.grant
        )

        async def dial_back(path: str, subprotocol: str) -> Connection:
            return await dial(manager, path, credential, subprotocol)

        self.streams = Streams(runtime, self.terminals, dial_back)

    @property
    def state(self) -> State:
        if self._state is None:
            raise RuntimeError("the agent has not recovered yet")
        return self._state

    async def run(self) -> None:
        """Recover, then serve. Opens and closes the runtime and the journal. Raises `LinkRejected` if asked to."""
        await self._journal.open()
        parts: list[asyncio.Task[None]] = []
        try:
            await self._recover()
            work = (
                *(self._process(), self._sample(), self._flush()),
                *(self.images.watch(), self.devices.watch(self.state.attempts), self.link.run()),
            )
            parts += [asyncio.create_task(part) for part in work]
            # None of them ends by itself: the first to end has failed.
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            await self._close(parts)

    def status(self) -> dict[str, object]:
        """For `berth agent status`."""
        return {
            "connected": self.link.connected,
            "runtime": self._runtime.name,
            "recovered": self._state is not None,
            "kernels": [[*a.ref, a.step.value] for a in self._state.attempts] if self._state else [],
            "devices": self._state.attempts.held() if self._state else {},
            "unacknowledged": self._journal.newest - self._journal.acknowledged,
            "unwritten": len(self._unwritten),
        }

    # What the link asks

    async def hello(self) -> Hello:
        reports = await self._reports()
        if reports is not None:
            await self._handled(Recovered(tuple(reports)))
        with contextlib.suppress(RuntimeFailure, TimeoutError):
            async with asyncio.timeout(RECOVER_SECONDS):
                self._fingerprint = await self._runtime.fingerprint()
        fingerprint = self._known_fingerprint()
        self.state.attempts.capacity = dict(fingerprint.slots)
        hello = Hello(
            protocol=PROTOCOL,
            version=_version(),
            boot=self._boot,
            runtime=self._runtime.name,
            architecture=fingerprint.architecture,
            slots=fingerprint.slots,
            hardware=fingerprint.hardware,
            kernels=self.state.reports(),
            images=self.images.known,
            region=self._region,
            isolated=fingerprint.isolated,
            swarm=fingerprint.swarm,
        )
        return self.devices.fill(hello, self.state.attempts)

    def welcomed(self, welcome: Welcome) -> None:
        self._stats_seconds = welcome.stats_seconds
        self._online.set()
        self.devices.tell(self.state.attempts)
        self._feed(Connected(welcome))

    def disconnected(self) -> None:
        """Nothing is lost: events wait in the journal, kernels go on; only samples are not taken."""
        self._online.clear()

    def command(self, message: ToAgent, reply: Replies) -> None:
        match message:
            case CreateKernel() | DestroyKernel():
                self._queue.put_nowait(_Item(message, reply))
            case OpenStream():
                self._answer(message.request, self.streams.open(message), reply)
            case PullImage():
                pull = self.images.pull(message.image, message.credentials)
                self._pulling(message.image, self._answer(message.request, pull, reply))
            case CancelPull():
                for task in self._asked.pop(message.image, ()):
                    task.cancel()
                reply(Reply(message.request))
            case RemoveImage():
                self._answer(message.request, self.images.remove(message.image), reply)
            case MakeNetwork():
                self._answer(message.request, self._runtime.make_network(message.name), reply)
            case RemoveNetwork():
                self._answer(message.request, self._runtime.remove_network(message.name), reply)
            case CloseTerminal():
                closing = self.terminals.close(message.kernel, message.terminal)
                self._answer(message.request, closing, reply)
            case _:
                log.warning("the manager sent a %s out of turn", type(message).__name__)

    # The state machine's surroundings

    async def _recover(self) -> None:
        """Learn what this node runs, however long the engine takes: before that, no work can be taken."""
        while True:
            try:
                async with asyncio.timeout(RECOVER_SECONDS):
                    await self._runtime.open()
                    self._fingerprint = await self._runtime.fingerprint()
                await self.images.refresh()
            except (RuntimeFailure, TimeoutError) as error:
                log.error("the runtime does not answer yet (%s); trying again", error or "timed out")  # noqa: TRY400
            else:
                if (reports := await self._reports()) is not None:
                    break
            await asyncio.sleep(RETRY_SECONDS)
        pool = await self.devices.detect()
        self._state = State(self._fingerprint.slots, await self._journal.phases(), pool)
        log.info("%d kernels found", len(reports))
        instructions = self._state.handle(Recovered(tuple(reports)), time.monotonic())
        await self._carry_out([(instruction, None) for instruction in instructions])

    async def _reports(self) -> Sequence[KernelReport] | None:
        try:
            async with asyncio.timeout(RECOVER_SECONDS):
                return await self._runtime.recover()
        except (RuntimeFailure, TimeoutError) as error:
            log.warning("the runtime did not say what it has: %s", error or "timed out")
        except Exception:
            log.exception("the runtime could not say what it has")
        return None

    async def _process(self) -> None:
        """Feed the state machine: events as they come, ticks when they are due.

        What came while the journal was written is handled together, with one write: the disk is what is slow.
        """
        while True:
            items = [await self._next()]
            while not self._queue.empty():
                items.append(self._queue.get_nowait())
            await self._carry_out(
                [
                    (instruction, item.reply)
                    for item in items
                    for instruction in self.state.handle(item.event, time.monotonic())
                ]
            )
            for item in items:
                if item.done:
                    item.done.set()

    async def _next(self) -> _Item:
        due = self.state.next_deadline()
        if due is None:
            return await self._queue.get()
        wait = due - time.monotonic()
        if wait <= 0:
            return _Item(Tick())
        try:
            async with asyncio.timeout(wait):
                return await self._queue.get()
        except TimeoutError:
            return _Item(Tick())

    async def _handled(self, event: StateEvent) -> None:
        done = asyncio.Event()
        self._queue.put_nowait(_Item(event, done=done))
        await done.wait()

    def _feed(self, event: StateEvent) -> None:
        self._queue.put_nowait(_Item(event))

    async def _carry_out(self, instructions: Sequence[tuple[Instruction, Replies | None]]) -> None:
        """Journal all events, then do the rest in order."""
        await self._write([one.body for one, _ in instructions if isinstance(one, Emit)])
        for instruction, reply in instructions:
            if isinstance(instruction, Emit):
                continue
            if isinstance(instruction, Answer):
                if reply:
                    reply(Reply(instruction.request, instruction.error, instruction.message))
            elif isinstance(instruction, Cancel):
                self.executor.cancel(instruction.ref)
            else:
                self.executor.start(instruction)
        self.devices.tell(self.state.attempts)

    async def _write(self, bodies: Sequence[Body]) -> None:
        """Journal events in order. On a full disk they wait in memory, and the work goes on: ending kernels and
        removing their homes is what makes room again."""
        async with self._writing:
            self._unwritten += bodies
            if not self._unwritten:
                return
            try:
                await self._journal.append(self._unwritten)
            except sqlite3.Error as error:
                if not self._full:
                    log.error("the journal cannot be written (%s); events wait until it can", error)  # noqa: TRY400
                self._full = True
                return
            if self._full:
                log.info("the journal can be written again; %d events waited", len(self._unwritten))
            self._unwritten, self._full = [], False
        self.link.journalled()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if self._unwritten:
                await self._write(())

    def _images_changed(self, images: tuple[ImageInfo, ...]) -> None:
        if self._state is not None:  # before that, Hello is to come and tells all
            self._spawn(self._write([ImagesChanged(images)]))

    async def _sample(self) -> None:
        sample(self._disk)
        while True:
            await self._online.wait()
            began = time.monotonic()
            await self._sample_once()
            await asyncio.sleep(max(self._stats_seconds - (time.monotonic() - began), 0.1))

    async def _sample_once(self) -> None:
        try:
            async with asyncio.timeout(self._stats_deadline):
                kernels = await self._runtime.stats(self.state.running())
                stats = Stats(time.time(), sample(self._disk), tuple(kernels))
                stats = await self.devices.sampled(stats, self.state.attempts)
        except (RuntimeFailure, TimeoutError) as error:
            log.warning("kernels were not sampled: %s", error or "timed out")
            return
        except Exception:
            log.exception("kernels were not sampled")
            return
        self.link.offer(stats)

    def _pulling(self, image: str, task: "asyncio.Task[None]") -> None:
        """Remember who waits for an image that was asked for by itself, until it is there."""
        self._asked.setdefault(image, set()).add(task)

        def done(finished: "asyncio.Task[None]") -> None:
            if (waiting := self._asked.get(image)) is not None:
                waiting.discard(finished)
                if not waiting:
                    del self._asked[image]

        task.add_done_callback(done)

    def _answer(
        self, request: int, work: Coroutine[None, None, None], reply: Replies
    ) -> "asyncio.Task[None]":
        """Do it beside everything else, and answer with how it went."""

        async def answered() -> None:
            try:
                await work
            except RuntimeFailure as failure:
                reply(Reply(request, failure.code, failure.message))
            except Exception:
                log.exception("a command failed")
                reply(Reply(request, "AGENT_FAILED", "the agent failed; its log says more"))
            else:
                reply(Reply(request))

        return self._spawn(answered())

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _known_fingerprint(self) -> Fingerprint:
        if self._fingerprint is None:
            raise RuntimeError("the agent has not recovered yet")
        return self._fingerprint

    async def _close(self, parts: list[asyncio.Task[None]]) -> None:
        """Let go of everything; kernels go on. Each step stands alone, so that none keeps the next from happening."""
        for task in (*parts, *self._tasks):
            task.cancel()
        await asyncio.gather(*parts, *self._tasks, return_exceptions=True)
        for step in (
            self.streams.close,
            self.terminals.detach,
            self.executor.close,
            self._close_devices,
            self._journal.close,
            self._runtime.close,
        ):
            try:
                await within(RECOVER_SECONDS, step())
            except Exception:
                log.exception("a part of the agent did not close in order")

    async def _close_devices(self) -> None:
        await self.devices.close(self._state.attempts if self._state else None)


def _version() -> str:
    try:
        return version("berth")
    except PackageNotFoundError:
        return "0+unknown"
