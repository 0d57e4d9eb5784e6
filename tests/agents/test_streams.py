"""Byte streams by dial-back, and shells that outlive whoever looks at them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from agents.connections import ConnectionLost
from agents.hub import AgentOffline, AgentRefused, CallTimedOut, Hub, Stream
from agents.protocol import (
    CLOSE_MALFORMED,
    CLOSE_NO_STREAM,
    CLOSE_REMOVED,
    STREAM_SUBPROTOCOL,
    SUBPROTOCOL,
    CloseTerminal,
    CreateKernel,
    LogTarget,
    OpenStream,
    PortTarget,
    Reply,
    TerminalTarget,
    decode_to_agent,
    encode,
)
from agents.runtimes.contract import RuntimeFailure
from agents.terminals import (
    MAX_TERMINALS,
    SCROLLBACK,
    VIEWER_BUFFER,
    Scrollback,
    ShellExit,
    SlowViewer,
    Terminals,
)
from tests.agents.fakes import PATIENCE, SPEC, FakeManager, FakeRuntime, agent_of
from tests.agents.test_link_and_hub import HELLO, close_of, greet, raw

SHELL = TerminalTarget("knl_1", "t1", 80, 24)


@dataclass
class Node:
    manager: FakeManager
    runtime: FakeRuntime
    path: Path

    @property
    def hub(self) -> Hub:
        return self.manager.hub

    async def open(self, target: TerminalTarget | PortTarget | LogTarget) -> Stream:
        return await self.hub.open_stream("agt_1", target, deadline=PATIENCE)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """An agent with one running kernel."""
    runtime = FakeRuntime()
    async with FakeManager().serving() as manager, agent_of(manager, runtime, tmp_path):
        await manager.until_connected()
        await manager.hub.call("agt_1", lambda n: CreateKernel(n, "knl_1", 1, SPEC), deadline=PATIENCE)
        await manager.until_phase("RUNNING")
        yield Node(manager, runtime, tmp_path)


async def read(stream: Stream, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(PATIENCE):
        while len(data) < size:
            frame = await stream.receive()
            assert isinstance(frame, bytes), frame
            data += frame
    return data


async def control(stream: Stream) -> str:
    async with asyncio.timeout(PATIENCE):
        frame = await stream.receive()
    assert isinstance(frame, str)
    return frame


async def end_of(stream: Stream) -> ConnectionLost:
    with pytest.raises(ConnectionLost) as caught:
        await asyncio.wait_for(stream.receive(), PATIENCE)
    return caught.value


async def test_a_terminal_takes_keys_and_sizes(node: Node) -> None:
    stream = await node.open(SHELL)
    await stream.send(b"ls\n")
    assert await read(stream, 3) == b"ls\n"
    await stream.send('{"resize": [132, 50]}')
    shell = node.runtime.terminals[("knl_1", "t1")]
    await shell.changes.until(lambda: (132, 50) in shell.sizes)
    await stream.close()


async def test_the_end_of_the_shell_is_the_last_frame(node: Node) -> None:
    stream = await node.open(SHELL)
    await stream.send(b"exit\n")
    assert await control(stream) == '{"exit": 7}'
    assert (await end_of(stream)).code == 1000


async def test_coming_back_shows_the_scrollback_then_what_is_live(node: Node) -> None:
    """The page was reloaded while a build ran: nothing of what it wrote meanwhile is missing."""
    first = await node.open(SHELL)
    await first.send(b"make\n")
    await read(first, 5)
    await first.close()
    await node.runtime.terminals[("knl_1", "t1")].write(b"built\n")

    second = await node.open(SHELL)
    assert await read(second, 11) == b"make\nbuilt\n"
    await second.send(b"more\n")
    assert await read(second, 5) == b"more\n"
    assert len(node.runtime.terminals) == 1
    await second.close()


async def test_two_viewers_see_the_same(node: Node) -> None:
    one, two = await node.open(SHELL), await node.open(SHELL)
    await one.send(b"from one\n")
    assert await read(one, 9) == await read(two, 9) == b"from one\n"
    await two.send(b"from two\n")
    assert await read(one, 9) == await read(two, 9) == b"from two\n"
    await one.close()
    await two.close()


async def test_a_closed_terminal_forgets(node: Node) -> None:
    stream = await node.open(SHELL)
    await stream.send(b"secret\n")
    await read(stream, 7)
    await node.hub.call("agt_1", lambda n: CloseTerminal(n, "knl_1", "t1"), deadline=PATIENCE)
    again = await node.open(SHELL)
    await again.send(b"new\n")
    assert await read(again, 4) == b"new\n"
    await stream.close()
    await again.close()


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[]",
        '{"resize": [0, 5]}',
        '{"resize": [80]}',
        '{"resize": "big"}',
        '{"other": 1}',
        "[" * 90000,
    ],
)
async def test_a_malformed_control_message_ends_the_stream_but_not_the_shell(node: Node, frame: str) -> None:
    stream = await node.open(SHELL)
    await stream.send(frame)
    assert (await end_of(stream)).code == CLOSE_MALFORMED
    assert ("knl_1", "t1") in node.runtime.terminals
    again = await node.open(SHELL)
    await again.send(b"x\n")
    assert await read(again, 2) == b"x\n"
    await again.close()


async def test_a_terminal_in_no_kernel_is_refused_with_the_runtimes_code(node: Node) -> None:
    with pytest.raises(AgentRefused) as caught:
        await node.open(TerminalTarget("knl_9", "t1"))
    assert caught.value.code == "NOT_RUNNING"


async def test_a_port_carries_bytes_both_ways_and_half_closes(node: Node) -> None:
    stream = await node.open(PortTarget("knl_1", 8888))
    await stream.send(b"hello")
    assert await read(stream, 5) == b"HELLO"
    await stream.send('{"eof": true}')
    assert await read(stream, 3) == b"bye"
    assert await control(stream) == '{"eof": true}'
    assert (await end_of(stream)).code == 1000
    await asyncio.wait_for(node.runtime.duplexes[0].closed.wait(), PATIENCE)


async def test_a_port_is_closed_when_the_browser_goes(node: Node) -> None:
    stream = await node.open(PortTarget("knl_1", 8888))
    await stream.close()
    await asyncio.wait_for(node.runtime.duplexes[0].closed.wait(), PATIENCE)


async def test_an_app_that_does_not_listen_is_refused(node: Node) -> None:
    node.runtime.fail["connect"] = RuntimeFailure("CONNECT_FAILED", "nothing listens on port 8888")
    with pytest.raises(AgentRefused, match="nothing listens"):
        await node.open(PortTarget("knl_1", 8888))


async def test_a_log_ends_with_the_kernel(node: Node) -> None:
    stream = await node.open(LogTarget("knl_1"))
    assert await read(stream, 18) == b"line one\nline two\n"
    node.runtime.kernels["knl_1"].ended.set()
    assert await control(stream) == '{"eof": true}'


async def test_streams_end_with_the_agents_removal(node: Node) -> None:
    stream = await node.open(SHELL)
    await node.hub.disconnect("agt_1", CLOSE_REMOVED, "removed")
    await asyncio.wait_for(stream.ended(), PATIENCE)
    node.manager.credentials.clear()


async def test_an_agent_that_is_away_has_no_streams() -> None:
    with pytest.raises(AgentOffline):
        await Hub().open_stream("agt_1", SHELL, deadline=1)


# Tokens


def dial_back(manager: FakeManager, token: str, agent: str) -> connect:
    return connect(
        f"{manager.url.replace('http', 'ws')}/agents/streams/{token}",
        additional_headers={"Authorization": f"Bearer {agent}.secret"},
        subprotocols=[STREAM_SUBPROTOCOL],  # type: ignore[list-item]
    )


async def test_only_the_agent_that_got_the_token_may_use_it_and_once() -> None:
    """A token is stolen on the way: the other agent is refused and noted, and the right one still gets through."""
    async with FakeManager().serving() as manager, raw(manager) as link:
        await greet(link)
        opening = asyncio.create_task(manager.hub.open_stream("agt_1", SHELL, deadline=PATIENCE))
        command = decode_to_agent(await asyncio.wait_for(link.recv(), PATIENCE))  # type: ignore[arg-type]
        assert isinstance(command, OpenStream)
        assert len(command.token) >= 43, "256 bits"
        async with dial_back(manager, command.token, "agt_2") as thief:
            assert (await close_of(thief))[0] == CLOSE_NO_STREAM
        await manager.changes.until(lambda: manager.refused)
        assert [refused.foreign for refused in manager.refused] == [True]
        async with dial_back(manager, command.token, "agt_1") as right:
            await link.send(encode(Reply(command.request)))
            stream = await opening
            await right.send(b"hello")
            assert await stream.receive() == b"hello"
            async with dial_back(manager, command.token, "agt_1") as again:
                assert (await close_of(again))[0] == CLOSE_NO_STREAM
            await stream.close()


async def test_an_unknown_token_is_refused() -> None:
    async with FakeManager().serving() as manager, dial_back(manager, "x" * 43, "agt_1") as socket:
        assert (await close_of(socket))[0] == CLOSE_NO_STREAM
        await manager.changes.until(lambda: manager.refused)
        assert [refused.foreign for refused in manager.refused] == [False]


async def test_a_token_expires_with_its_deadline() -> None:
    async with FakeManager().serving() as manager, raw(manager) as link:
        await greet(link, HELLO)
        with pytest.raises(CallTimedOut):
            await manager.hub.open_stream("agt_1", SHELL, deadline=0.05)
        command = decode_to_agent(await asyncio.wait_for(link.recv(), PATIENCE))  # type: ignore[arg-type]
        assert isinstance(command, OpenStream)
        async with dial_back(manager, command.token, "agt_1") as late:
            assert (await close_of(late))[0] == CLOSE_NO_STREAM


async def test_the_link_subprotocol_is_asked_for() -> None:
    async with FakeManager().serving() as manager, raw(manager) as link:
        assert link.subprotocol == SUBPROTOCOL


# The pieces


def test_scrollback_begins_at_a_line() -> None:
    scrollback = Scrollback(limit=20)
    for line in (b"\x1b[31mfirst line\n", b"second\n", b"third\n"):
        scrollback.append(line)
    assert scrollback.read() == b"second\nthird\n"


def test_scrollback_keeps_all_while_it_fits() -> None:
    scrollback = Scrollback(limit=20)
    scrollback.append(b"one\n")
    assert scrollback.read() == b"one\n"


def test_scrollback_is_bounded() -> None:
    scrollback = Scrollback()
    for _ in range(1000):
        scrollback.append(b"x" * 4095 + b"\n")
    assert SCROLLBACK // 2 < len(scrollback.read()) <= SCROLLBACK


async def test_a_slow_viewer_is_dropped_and_the_others_go_on() -> None:
    runtime = FakeRuntime()
    await runtime.create("knl_1", 1, SPEC)
    terminals = Terminals(runtime)
    slow = await terminals.attach("knl_1", "t1", 80, 24)
    quick = await terminals.attach("knl_1", "t1", 80, 24)
    shell = runtime.terminals[("knl_1", "t1")]
    line = b"y" * 65535 + b"\n"
    for _ in range(2 * VIEWER_BUFFER // len(line)):
        await shell.write(line)
        assert await asyncio.wait_for(quick.read(), PATIENCE) == line
    with pytest.raises(SlowViewer):
        await asyncio.wait_for(slow.read(), PATIENCE)
    again = await terminals.attach("knl_1", "t1", 80, 24)
    assert len(await again.read()) > 0  # type: ignore[arg-type]
    await shell.write(b"exit\n")
    assert await asyncio.wait_for(quick.read(), PATIENCE) == ShellExit(7)
    assert await asyncio.wait_for(again.read(), PATIENCE) == ShellExit(7)


async def test_two_that_attach_at_once_find_one_shell() -> None:
    runtime = FakeRuntime()
    await runtime.create("knl_1", 1, SPEC)
    terminals = Terminals(runtime)
    await asyncio.gather(*(terminals.attach("knl_1", "t1", 80, 24) for _ in range(5)))
    assert len(runtime.terminals) == 1
    await terminals.close_kernel("knl_1")


async def test_a_session_has_a_bounded_number_of_shells() -> None:
    runtime = FakeRuntime()
    await runtime.create("knl_1", 1, SPEC)
    terminals = Terminals(runtime)
    for number in range(MAX_TERMINALS):
        await terminals.attach("knl_1", f"t{number}", 80, 24)
    with pytest.raises(RuntimeFailure) as caught:
        await terminals.attach("knl_1", "one-more", 80, 24)
    assert caught.value.code == "TOO_MANY_TERMINALS"
    await terminals.detach()
    assert all(shell.detached for shell in runtime.terminals.values())
