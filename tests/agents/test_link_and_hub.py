"""Both ends of the wire, over a real loopback websocket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agents.hub import AgentOffline, AgentRefused, CallTimedOut, Flood, Hub, LinkRefused
from agents.link import LinkRejected
from agents.protocol import (
    CLOSE_BAD_CREDENTIAL,
    CLOSE_FLOOD,
    CLOSE_GAP,
    CLOSE_MALFORMED,
    CLOSE_PROTOCOL,
    CLOSE_REMOVED,
    CLOSE_SILENT,
    CLOSE_SUPERSEDED,
    PROTOCOL,
    SUBPROTOCOL,
    Ack,
    CreateKernel,
    DestroyKernel,
    Event,
    Hardware,
    Heartbeat,
    Hello,
    KernelPhase,
    PullImage,
    PullProgress,
    Reply,
    Stats,
    Welcome,
    decode_to_agent,
    encode,
)
from tests.agents.fakes import PATIENCE, SPEC, FakeManager, FakeRuntime, agent_of

HELLO = Hello(PROTOCOL, "1", "boot", "fake", "x86_64", {}, Hardware(), (), ())


@pytest.fixture
async def manager() -> AsyncIterator[FakeManager]:
    async with FakeManager().serving() as manager:
        yield manager


def raw(manager: FakeManager, agent: str = "agt_1") -> connect:
    return connect(
        manager.url.replace("http", "ws") + "/agents/link",
        additional_headers={"Authorization": f"Bearer {agent}.secret"},
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
    )


async def greet(socket: ClientConnection, hello: Hello = HELLO) -> Welcome:
    await socket.send(encode(hello))
    welcome = decode_to_agent(await receive(socket))
    assert isinstance(welcome, Welcome)
    return welcome


async def receive(socket: ClientConnection) -> bytes:
    async with asyncio.timeout(PATIENCE):
        frame = await socket.recv()
    assert isinstance(frame, bytes)
    return frame


async def close_of(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(_read_on(socket), PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def _read_on(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


def phase(seq: int) -> Event:
    return Event(seq, 0.0, KernelPhase("knl_1", 1, "ses_1", "PULLING"))


def create(kernel: str = "knl_1", generation: int = 1):
    return lambda request: CreateKernel(request, kernel, generation, SPEC)


def destroy(kernel: str = "knl_1", generation: int = 1):
    return lambda request: DestroyKernel(request, kernel, generation, 0)


# The two together


async def test_a_kernel_lives_from_command_to_end(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        assert (await manager.hub.call("agt_1", create(), deadline=PATIENCE)).error == ""
        await manager.until_phase("RUNNING")
        await manager.hub.call("agt_1", destroy(), deadline=PATIENCE)
        await manager.until_phase("TERMINATED")
        await runtime.changes.until(lambda: not runtime.kernels)
    assert manager.phases() == ["PULLING", "PREPARED", "CREATING", "RUNNING", "TERMINATING", "TERMINATED"]
    assert [event.seq for event in manager.events] == list(range(1, len(manager.events) + 1))


async def test_a_refusal_comes_with_its_code(manager: FakeManager, tmp_path: Path) -> None:
    async with agent_of(manager, FakeRuntime(), tmp_path):
        await manager.until_connected()
        await manager.hub.call("agt_1", create(generation=2), deadline=PATIENCE)
        with pytest.raises(AgentRefused, match="older than 2") as caught:
            await manager.hub.call("agt_1", create(generation=1), deadline=PATIENCE)
    assert caught.value.code == "STALE_GENERATION"


async def test_what_was_not_acknowledged_is_replayed_after_a_cut(
    manager: FakeManager, tmp_path: Path
) -> None:
    """The cable is pulled while the manager's database hangs on the first event."""
    manager.stuck = asyncio.Event()
    runtime = FakeRuntime()
    async with agent_of(manager, runtime, tmp_path) as agent:
        await manager.until_connected()
        await manager.hub.call("agt_1", create(), deadline=PATIENCE)
        await runtime.changes.until(lambda: "start" in runtime.calls)
        manager.sockets[0].transport.abort()
        manager.stuck.set()
        manager.stuck = None
        await manager.until_connected(times=2)
        await manager.until_phase("RUNNING")
        assert agent.link.connected
    seen = [event.seq for event in manager.events]
    assert seen == sorted(set(seen)), (
        "each event once and in order: the one in flight was committed before the cut"
    )


async def test_events_made_while_the_manager_is_away_are_told_when_it_is_back(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    first = FakeManager()
    async with first.serving() as manager:
        port = manager.port
        async with agent_of(manager, runtime, tmp_path):
            await manager.until_connected()
            await manager.hub.call("agt_1", create(), deadline=PATIENCE)
            await manager.until_phase("RUNNING")
    # The agent is down too now: its kernel ends meanwhile, and it is started again before the manager is.
    runtime.kernels["knl_1"].ended.set()
    runtime.kernels["knl_1"].phase = "TERMINATED"
    second = FakeManager(acknowledged=first.acknowledged, journal=first.journal)
    second.url = first.url
    async with agent_of(second, runtime, tmp_path):
        await runtime.changes.until(lambda: not runtime.kernels)
        async with second.serving(port):
            await second.until_phase("TERMINATED")
    hello = second.hellos[0]
    assert hello.oldest_seq - 1 <= first.acknowledged < hello.newest_seq, "the last Ack may have been lost"
    assert second.phases() == ["TERMINATED"]


async def test_a_restarted_agent_reports_what_runs_before_it_takes_work(
    manager: FakeManager, tmp_path: Path
) -> None:
    runtime = FakeRuntime()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await manager.hub.call("agt_1", create(), deadline=PATIENCE)
        await manager.until_phase("RUNNING")
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected(times=2)
        (report,) = manager.hellos[1].kernels
        assert (report.kernel, report.phase) == ("knl_1", "RUNNING")
        await manager.hub.call("agt_1", create(), deadline=PATIENCE)
    assert runtime.calls.count("create") == 1
    assert manager.hellos[0].boot != manager.hellos[1].boot


async def test_a_hung_engine_ends_in_an_error_by_the_deadline(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.hang["start"] = asyncio.Event()
    spec = msgspec.structs.replace(SPEC, create_timeout=0.05)
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        command = lambda request: CreateKernel(request, "knl_1", 1, spec)  # noqa: E731
        await manager.hub.call("agt_1", command, deadline=PATIENCE)
        await manager.until_phase("ERROR")
    last = manager.events[-1].body
    assert isinstance(last, KernelPhase)
    assert last.code == "TIMED_OUT"
    assert runtime.kernels == {} or runtime.kernels["knl_1"].phase == "TERMINATED"


async def test_stats_and_pull_progress_reach_the_manager(manager: FakeManager, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    async with agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await manager.hub.call("agt_1", lambda request: PullImage(request, "other:1"), deadline=PATIENCE)
        await manager.hub.call("agt_1", create(), deadline=PATIENCE)
        pull = await manager.changes.until(
            lambda: next((m for m in manager.others if isinstance(m, PullProgress)), None)
        )
        assert (pull.image, pull.current, pull.total) == ("other:1", 1, 2)
        await manager.changes.until(
            lambda: any(
                isinstance(m, Stats) and [k.kernel for k in m.kernels] == ["knl_1"] for m in manager.others
            )
        )
    assert runtime.pulled == ["other:1"]


async def test_a_newer_connection_of_the_same_agent_fences_the_older(
    manager: FakeManager, tmp_path: Path
) -> None:
    """A node's disk was cloned: the two do not serve side by side, and the first says why it was put out."""
    async with raw(manager) as older, raw(manager) as newer:
        await greet(older)
        await greet(newer)
        assert (await close_of(older))[0] == CLOSE_SUPERSEDED
        calling = asyncio.create_task(manager.hub.call("agt_1", destroy(), deadline=PATIENCE))
        command = decode_to_agent(await receive(newer))
        assert isinstance(command, DestroyKernel)
        await newer.send(encode(Reply(command.request)))
        await calling
        await manager.changes.until(lambda: manager.ends)
    assert manager.ends[0].superseded


async def test_an_event_in_flight_is_committed_before_the_newer_connection_is_greeted(
    manager: FakeManager,
) -> None:
    manager.stuck = asyncio.Event()
    async with raw(manager) as older, raw(manager) as newer:
        await greet(older)
        await older.send(encode(phase(1)))
        await older.send(encode(Heartbeat(0)))
        await manager.changes.until(lambda: manager.others)
        await newer.send(encode(HELLO))
        assert (await close_of_soon(older, manager))[0] == CLOSE_SUPERSEDED
        welcome = decode_to_agent(await receive(newer))
    assert isinstance(welcome, Welcome)
    assert welcome.acknowledged == 1


async def close_of_soon(socket: ClientConnection, manager: FakeManager) -> tuple[int, str]:
    assert manager.stuck is not None
    assert len(manager.hellos) == 1, "the newer one waits for what is in flight"
    manager.stuck.set()
    return await close_of(socket)


# The agent's end alone


async def test_a_bad_credential_is_said_plainly(manager: FakeManager, tmp_path: Path) -> None:
    agent = agent_of(manager, FakeRuntime(), tmp_path, credential="agt_9.x", exit_when_rejected=True)
    async with agent as running:
        with pytest.raises(LinkRejected, match="join again") as caught:
            await asyncio.wait_for(running.link.run(), PATIENCE)
    assert caught.value.code == CLOSE_BAD_CREDENTIAL


async def test_a_rejected_agent_comes_back_when_it_is_let_in(manager: FakeManager, tmp_path: Path) -> None:
    manager.refuse = LinkRefused(CLOSE_REMOVED, "removed by an admin")
    async with agent_of(manager, FakeRuntime(), tmp_path):
        await manager.changes.until(lambda: manager.ends)
        assert manager.ends[0].code == CLOSE_REMOVED
        manager.refuse = None
        await manager.until_connected()


# The manager's end alone


async def test_an_older_protocol_is_told_to_upgrade(manager: FakeManager) -> None:
    """Its Hello may look different in everything but the protocol's number."""
    async with raw(manager) as socket:
        await socket.send(msgspec.msgpack.encode({"t": "hello", "protocol": 0, "slots": "old shape"}))
        code, reason = await close_of(socket)
    assert code == CLOSE_PROTOCOL
    assert "upgrade the agent" in reason


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xc1", b"\x81\xa1t\xa7unknown", b"\xff" * 100, encode(Heartbeat(0)), "text", b"\x91" * 5000],
    ids=["empty", "reserved", "unknown-tag", "numbers", "no-hello", "text", "nested"],
)
async def test_a_malformed_hello_closes_the_connection(manager: FakeManager, frame: bytes | str) -> None:
    async with raw(manager) as socket:
        await socket.send(frame)
        assert (await close_of(socket))[0] == CLOSE_MALFORMED
    assert not manager.hellos


@pytest.mark.parametrize("frame", [b"\xc1", "text", encode(HELLO), b"\x81\xa1t\xa9heartbeat"])
async def test_a_malformed_frame_closes_the_connection(manager: FakeManager, frame: bytes | str) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        await socket.send(frame)
        assert (await close_of(socket))[0] == CLOSE_MALFORMED
        await manager.changes.until(lambda: manager.ends)
    assert "agt_1" not in manager.hub.connected


async def test_a_frame_that_is_too_long_closes_the_connection(manager: FakeManager) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        await socket.send(b"\0" * (4 * 1024 * 1024 + 1))
        assert (await close_of(socket))[0] == 1009


async def test_a_duplicate_event_is_acknowledged_but_taken_once(manager: FakeManager) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        for event in (phase(1), phase(2)):
            await socket.send(encode(event))
        await manager.changes.until(lambda: manager.acknowledged == 2)
        while decode_to_agent(await receive(socket)) != Ack(2):
            pass
        await socket.send(encode(phase(1)))
        assert decode_to_agent(await receive(socket)) == Ack(2)
    assert [event.seq for event in manager.events] == [1, 2]


async def test_a_gap_is_noticed(manager: FakeManager) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        await socket.send(encode(phase(2)))
        assert (await close_of(socket))[0] == CLOSE_GAP
    assert manager.events == []


async def test_a_gap_that_cannot_be_replayed_is_accepted(manager: FakeManager) -> None:
    """The agent's journal was full: it begins at 8. And a new manager does not ask for what is long forgotten."""
    async with raw(manager) as socket:
        await greet(socket, msgspec.structs.replace(HELLO, oldest_seq=8, newest_seq=9))
        await socket.send(encode(phase(8)))
        assert decode_to_agent(await receive(socket)) == Ack(8)
    manager.acknowledged = 0
    async with raw(manager) as socket:
        await greet(socket, msgspec.structs.replace(HELLO, oldest_seq=0, newest_seq=9))
        await socket.send(encode(phase(10)))
        assert decode_to_agent(await receive(socket)) == Ack(10)


async def test_an_event_that_the_manager_cannot_take_comes_again(manager: FakeManager) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        manager.events = None  # type: ignore[assignment]  # the database is gone
        await socket.send(encode(phase(1)))
        assert (await close_of(socket))[0] == 1011
    manager.events = []
    async with raw(manager) as socket:
        assert (await greet(socket)).acknowledged == 0


async def test_a_flood_is_cut_off() -> None:
    async with (
        FakeManager(hub=Hub(flood=Flood(rate=1.0, burst=20.0))).serving() as manager,
        raw(manager) as socket,
    ):
        await greet(socket)
        for _ in range(30):
            await socket.send(encode(Heartbeat(0)))
        assert (await close_of(socket))[0] == CLOSE_FLOOD
    assert len(manager.others) <= 21


async def test_a_silent_agent_is_cut_off() -> None:
    async with FakeManager(lease_seconds=0.05).serving() as manager, raw(manager) as socket:
        await greet(socket)
        assert (await close_of(socket))[0] == CLOSE_SILENT


async def test_who_says_nothing_at_all_is_cut_off() -> None:
    async with FakeManager(hub=Hub(hello_seconds=0.05)).serving() as manager, raw(manager) as socket:
        assert (await close_of(socket))[0] == CLOSE_SILENT


async def test_calling_who_is_not_there_fails_at_once(manager: FakeManager) -> None:
    with pytest.raises(AgentOffline):
        await manager.hub.call("agt_1", destroy(), deadline=PATIENCE)


async def test_a_call_fails_when_the_agent_goes_meanwhile(manager: FakeManager) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        calling = asyncio.create_task(manager.hub.call("agt_1", destroy(), deadline=PATIENCE))
        await receive(socket)
    with pytest.raises(AgentOffline):
        await calling


async def test_a_call_without_an_answer_ends_at_its_deadline(manager: FakeManager) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        with pytest.raises(CallTimedOut):
            await manager.hub.call("agt_1", destroy(), deadline=0.05)
        await socket.send(encode(Reply(1)))  # too late, and no harm
        await socket.send(encode(Heartbeat(1)))
        await manager.changes.until(lambda: manager.others)


async def test_a_disconnected_agent_is_told_why(manager: FakeManager) -> None:
    async with raw(manager) as socket:
        await greet(socket)
        await manager.hub.disconnect("agt_1", CLOSE_REMOVED, "removed by an admin")
        assert "agt_1" not in manager.hub.connected
        assert await close_of(socket) == (CLOSE_REMOVED, "removed by an admin")
