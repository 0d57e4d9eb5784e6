"""Doubles for the tests of the agent and the hub: a runtime in memory, and a manager with the real hub behind a real
loopback websocket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.server import ServerConnection, serve

from agents.connections import ConnectionLost
from agents.daemon import Agent
from agents.hub import Hub, LinkEnd, LinkRefused, StreamRefused
from agents.journal import Journal
from agents.link import Backoff
from agents.protocol import (
    CLOSE_BAD_CREDENTIAL,
    MAX_FRAME,
    STREAM_SUBPROTOCOL,
    SUBPROTOCOL,
    Ack,
    Event,
    Hardware,
    Heartbeat,
    Hello,
    ImageInfo,
    KernelPhase,
    KernelRef,
    KernelReport,
    KernelSpec,
    KernelStats,
    PullProgress,
    Resources,
    Stats,
    Welcome,
)
from agents.runtimes.contract import Exit, Fingerprint, PullProgressSink, RuntimeFailure
from agents.sockets import Manager

#: Seconds that anything may take before a test calls it stuck.
PATIENCE = 20.0
IMAGE = ImageInfo("python:3", "sha256:1", "x86_64", 1000)
SPEC = KernelSpec(
    session="ses_1", session_name="one", image="python:3", architecture="x86_64", slots={"cpu": 1000}
)


class Changes:
    """Lets a test wait for a condition without sleeping: whoever changes something says so."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def say(self) -> None:
        for event in self._waiting:
            event.set()

    async def until(self, holds: Callable[[], Any]) -> Any:
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := holds()):
                    changed.clear()
                    await changed.wait()
                return found
        finally:
            self._waiting.discard(changed)


class FakeTerminal:
    """A shell that repeats what is typed; `exit` ends it."""

    def __init__(self) -> None:
        self.output: asyncio.Queue[bytes] = asyncio.Queue()
        self.sizes: list[tuple[int, int]] = []
        self.detached = False
        self.changes = Changes()

    async def read(self) -> bytes:
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        self.output.put_nowait(b"" if data == b"exit\n" else data)

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))
        self.changes.say()

    async def wait(self) -> int | None:
        return 7

    async def detach(self) -> None:
        self.detached = True

    async def close(self) -> None:
        self.output.put_nowait(b"")


class FakeDuplex:
    """An app that answers each piece in capitals, and says `bye` when its client has no more to say."""

    def __init__(self) -> None:
        self._output: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def read(self) -> bytes:
        return await self._output.get()

    async def write(self, data: bytes) -> None:
        self._output.put_nowait(data.upper())

    async def write_eof(self) -> None:
        self._output.put_nowait(b"bye")
        self._output.put_nowait(b"")

    async def close(self) -> None:
        self.closed.set()


@dataclass
class FakeKernel:
    generation: int
    spec: KernelSpec
    phase: str = "CREATING"
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    exit: Exit = field(default_factory=lambda: Exit(0, "EXITED", "ended"))


class FakeRuntime:
    """Kernels in memory. A name in `hang` makes that method wait until it is taken out; in `fail`, raise."""

    name = "fake"

    def __init__(self) -> None:
        self.kernels: dict[str, FakeKernel] = {}
        self.terminals: dict[tuple[str, str], FakeTerminal] = {}
        self.duplexes: list[FakeDuplex] = []
        self.pulled: list[str] = []
        self.networks: set[str] = set()
        self.present = [IMAGE]
        self.fail: dict[str, RuntimeFailure] = {}
        self.hang: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []
        self.changes = Changes()

    async def _gate(self, method: str) -> None:
        self.calls.append(method)
        self.changes.say()
        if method in self.hang:
            await self.hang[method].wait()
        if method in self.fail:
            raise self.fail[method]

    async def open(self) -> None:
        await self._gate("open")

    async def close(self) -> None:
        await self._gate("close")

    async def fingerprint(self) -> Fingerprint:
        return Fingerprint("x86_64", {"cpu": 4000, "mem": 8 << 30}, Hardware(hostname="node"))

    async def images(self) -> Sequence[ImageInfo]:
        return list(self.present)

    async def pull(
        self, image: str, progress: PullProgressSink, username: str = "", password: str = ""
    ) -> None:
        progress(1, 2)
        await self._gate("pull")
        self.pulled.append(image)
        self.present.append(ImageInfo(image, f"sha256:{image}", "x86_64", 5))

    async def remove_image(self, image: str) -> None:
        self.present = [info for info in self.present if info.reference != image]

    async def create(self, kernel: str, generation: int, spec: KernelSpec) -> str:
        await self._gate("create")
        self.kernels[kernel] = FakeKernel(generation, spec)
        return f"{kernel}-{generation}"

    async def start(self, kernel: str, generation: int) -> None:
        await self._gate("start")
        self.kernels[kernel].phase = "RUNNING"

    async def wait(self, kernel: str, generation: int) -> Exit:
        running = self.kernels[kernel]
        await running.ended.wait()
        return running.exit

    async def stop(self, kernel: str, generation: int, grace_seconds: float) -> None:
        await self._gate("stop")
        if kernel in self.kernels:
            self.kernels[kernel].phase = "TERMINATED"
            self.kernels[kernel].ended.set()

    async def remove(self, kernel: str, generation: int) -> None:
        await self._gate("remove")
        self.kernels.pop(kernel, None)
        self.changes.say()

    async def recover(self) -> Sequence[KernelReport]:
        await self._gate("recover")
        return [
            KernelReport(
                *(name, k.generation, k.spec.session, k.phase),  # type: ignore[arg-type]
                container=f"{name}-{k.generation}",
                slots=k.spec.slots,
                devices=k.spec.devices,
            )
            for name, k in self.kernels.items()
        ]

    async def make_network(self, name: str) -> None:
        await self._gate("make_network")
        self.networks.add(name)

    async def remove_network(self, name: str) -> None:
        self.networks.discard(name)

    async def stats(self, kernels: Sequence[str]) -> Sequence[KernelStats]:
        return [KernelStats(kernel, cpu_percent=50.0) for kernel in kernels]

    async def open_terminal(self, kernel: str, terminal: str, columns: int, rows: int) -> FakeTerminal:
        if kernel not in self.kernels:
            raise RuntimeFailure("NOT_RUNNING", "this session does not run")
        opened = self.terminals[(kernel, terminal)] = FakeTerminal()
        return opened

    async def connect(self, kernel: str, port: int, service: str = "") -> FakeDuplex:
        await self._gate("connect")
        duplex = FakeDuplex()
        self.duplexes.append(duplex)
        return duplex

    async def logs(self, kernel: str, tail: int, follow: bool) -> AsyncIterator[bytes]:
        yield b"line one\n"
        yield b"line two\n"
        if follow:
            await self.kernels[kernel].ended.wait()


class ServedSocket:
    """A `Connection` over a websocket that was accepted."""

    def __init__(self, websocket: ServerConnection) -> None:
        self._websocket = websocket

    async def receive(self) -> bytes | str:
        try:
            return await self._websocket.recv()
        except websockets.ConnectionClosed as closed:
            raise ConnectionLost(closed.rcvd.code if closed.rcvd else 1006) from closed

    async def send(self, data: bytes | str) -> None:
        try:
            await self._websocket.send(data)
        except websockets.ConnectionClosed as closed:
            raise ConnectionLost() from closed

    async def close(self, code: int, reason: str) -> None:
        await self._websocket.close(code, reason)


@dataclass
class FakeManager:
    """The real hub and a ledger in place of a database."""

    hub: Hub = field(default_factory=Hub)
    changes: Changes = field(default_factory=Changes)
    hellos: list[Hello] = field(default_factory=list[Hello])
    ends: list[LinkEnd] = field(default_factory=list[LinkEnd])
    events: list[Event] = field(default_factory=list[Event])
    others: list[Heartbeat | Stats | PullProgress | Resources] = field(
        default_factory=list[Heartbeat | Stats | PullProgress | Resources]
    )
    refused: list[StreamRefused] = field(default_factory=list[StreamRefused])
    acknowledged: int = 0
    journal: str = ""
    heartbeat_seconds: float = 10.0
    lease_seconds: float = 40.0
    #: Credentials that are known, by agent.
    credentials: dict[str, str] = field(
        default_factory=lambda: {"agt_1.secret": "agt_1", "agt_2.secret": "agt_2"}
    )
    #: While set, events are taken but not committed.
    stuck: asyncio.Event | None = None
    refuse: LinkRefused | None = None
    #: What must not be there, of what a Hello reports.
    remove: Callable[[Hello], tuple[KernelRef, ...]] = lambda hello: ()
    url: str = ""
    sockets: list[ServerConnection] = field(default_factory=list[ServerConnection])

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["FakeManager"]:
        async with serve(
            self._route,
            "127.0.0.1",
            port,
            max_size=MAX_FRAME,
            close_timeout=0.5,
            select_subprotocol=_subprotocol,  # type: ignore[arg-type]
        ) as server:
            self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            try:
                yield self
            finally:
                await self.hub.close()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def _route(self, websocket: ServerConnection) -> None:
        assert websocket.request is not None
        self.sockets.append(websocket)
        credential = websocket.request.headers.get("Authorization", "").removeprefix("Bearer ")
        agent = self.credentials.get(credential)
        path = websocket.request.path
        if agent is None:
            await websocket.close(CLOSE_BAD_CREDENTIAL, "unknown credential")
        elif path == "/agents/link":
            end = await self.hub.serve(
                ServedSocket(websocket), agent, self._on_hello, self._on_message, self._on_events
            )
            self.ends.append(end)
            self.changes.say()
        else:
            token = path.rpartition("/")[2]
            try:
                await self.hub.attach_stream(token, agent, ServedSocket(websocket))
            except StreamRefused as refused:
                self.refused.append(refused)
                self.changes.say()

    async def _on_hello(self, hello: Hello) -> Welcome:
        if self.refuse:
            raise self.refuse
        self.hellos.append(hello)
        if self.journal != hello.journal:
            self.journal, self.acknowledged = hello.journal, 0
        asyncio.get_running_loop().call_soon(self.changes.say)
        seconds = (self.heartbeat_seconds, self.lease_seconds, 0.1)
        return Welcome(len(self.hellos), self.acknowledged, *seconds, remove=self.remove(hello))

    def reported(self, hello: Hello) -> tuple[KernelRef, ...]:
        return tuple(KernelRef(report.kernel, report.generation) for report in hello.kernels)

    async def _on_message(self, message: Heartbeat | Stats | PullProgress | Resources) -> None:
        self.others.append(message)
        self.changes.say()

    async def _on_events(self, events: Sequence[Event]) -> Ack:
        if self.stuck:
            await self.stuck.wait()
        self.events += events
        self.acknowledged = events[-1].seq
        self.changes.say()
        return Ack(self.acknowledged)

    def phases(self, kernel: str = "knl_1") -> list[str]:
        bodies = (event.body for event in self.events)
        return [b.phase for b in bodies if isinstance(b, KernelPhase) and b.kernel == kernel]

    async def until_phase(self, phase: str, kernel: str = "knl_1") -> None:
        await self.changes.until(lambda: phase in self.phases(kernel))

    async def until_connected(self, times: int = 1, agent: str = "agt_1") -> None:
        await self.changes.until(lambda: len(self.hellos) >= times)
        async with asyncio.timeout(PATIENCE):
            while agent not in self.hub.connected:  # the Welcome is on its way: a few turns of the loop
                await asyncio.sleep(0)


def _subprotocol(connection: object, offered: Sequence[str]) -> str | None:
    return next((name for name in offered if name in (SUBPROTOCOL, STREAM_SUBPROTOCOL)), None)


@asynccontextmanager
async def agent_of(
    manager: FakeManager,
    runtime: FakeRuntime,
    path: Path,
    *,
    credential: str = "agt_1.secret",
    **options: Any,
) -> AsyncIterator[Agent]:
    """A whole agent, running until the block ends. Reconnects at once."""
    agent = Agent(
        runtime,
        Journal(path / "journal.sqlite"),
        Manager.at(manager.url),
        credential,
        disk=path,
        backoff=Backoff(first=0.0, most=0.0, slow=0.0),
        **options,
    )
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
