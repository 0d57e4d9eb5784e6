"""A real cluster on this machine: a manager and agents as processes, killed and started as a test likes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

EMAIL = "owner@example.org"
PASSWORD = "correct-horse-9"
#: Seconds that anything may take before a test calls it stuck.
PATIENCE = 90.0

BERTH = Path(sys.executable).with_name("berth")

#: Made once: reading the certificates takes some 20 ms, which a client a request would spend each time.
_TLS = ssl.create_default_context()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Process:
    """A command that can be started, stopped politely, killed and frozen; its output goes to a file."""

    command: list[str]
    environ: dict[str, str]
    log: Path
    _running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._running = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environ},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def stop(self) -> int | None:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what a crash, an out-of-memory killer or a lost power supply does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> int | None:
        if self._running is None:
            return None
        running, self._running = self._running, None
        if running.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, how)
                os.kill(running.pid, signal.SIGCONT)
        try:
            return running.wait(timeout=30)
        except subprocess.TimeoutExpired:
            running.kill()
            raise AssertionError(f"{self.command} did not end\n{self.tail()}") from None

    def tail(self, characters: int = 6000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


class GraphQLFailed(AssertionError):
    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(json.dumps(errors, indent=1))
        self.errors = errors
        self.code = errors[0].get("extensions", {}).get("code")


@dataclass
class Client:
    """One user of the API."""

    url: str
    token: str = ""

    async def login(self, email: str = EMAIL, password: str = PASSWORD) -> "Client":
        answer = await self(
            "mutation($i: LoginInput!) { login(input: $i) { accessToken } }",
            i={"email": email, "password": password, "cookie": False},
        )
        self.token = answer["login"]["accessToken"]
        return self

    async def __call__(self, query: str, /, **variables: Any) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        async with httpx.AsyncClient(timeout=30, verify=_TLS) as http:
            response = await http.post(
                f"{self.url}/graphql", json={"query": query, "variables": variables}, headers=headers
            )
        content = response.json()
        if content.get("errors"):
            raise GraphQLFailed(content["errors"])
        return content["data"]

    @asynccontextmanager
    async def subscribe(self, query: str, /, **variables: Any) -> AsyncGenerator["Subscription"]:
        """A subscription over graphql-transport-ws; results come from `next()`."""
        async with connect(
            f"{self.url.replace('http', 'ws', 1)}/graphql",
            subprotocols=["graphql-transport-ws"],
            max_size=None,
        ) as socket:  # pyright: ignore
            payload = {"accessToken": self.token} if self.token else {}
            await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            operation = {"query": query, "variables": variables}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": operation}))
            yield Subscription(socket)


@dataclass
class Subscription:
    socket: Any

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            message = json.loads(await self.socket.recv())
        assert message["type"] == "next", message
        if message["payload"].get("errors"):
            raise GraphQLFailed(message["payload"]["errors"])
        return message["payload"]["data"]


@dataclass
class Cluster:
    """A manager, its agents, and the ways in."""

    root: Path
    runtime: str
    database_url: str
    port: int = field(default_factory=free_port)
    environ: dict[str, str] = field(default_factory=dict[str, str])
    agents: list[Process] = field(default_factory=list[Process])
    manager: Process = field(init=False)

    def __post_init__(self) -> None:
        environ = {
            "BERTH_DATA_DIR": str(self.root / "manager"),
            "BERTH_PORT": str(self.port),
            "BERTH_DATABASE_URL": self.database_url,
            "BERTH_ADMIN_EMAIL": EMAIL,
            "BERTH_ADMIN_PASSWORD": PASSWORD,
            "BERTH_JOIN_TOKEN": "first-agent-of-this-test-cluster",
            **self.environ,
        }
        self.manager = Process([str(BERTH), "manager"], environ, self.root / "manager.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start_manager(self) -> None:
        self.manager.start()
        async with httpx.AsyncClient(timeout=5, verify=_TLS) as http:
            await eventually(lambda: self._answers(http), "the manager answers", self.manager)

    async def _answers(self, http: httpx.AsyncClient) -> bool:
        assert self.manager.alive, f"the manager ended\n{self.manager.tail()}"
        with contextlib.suppress(httpx.HTTPError):
            return (await http.get(f"{self.url}/health/ready")).status_code == 200
        return False

    def add_agent(self, token: str = "first-agent-of-this-test-cluster", **environ: str) -> Process:
        number = len(self.agents) + 1
        settings = {
            "BERTH_MANAGER_URL": self.url,
            "BERTH_STATE_DIR": str(self.root / f"agent{number}"),
            "BERTH_RUNTIME": self.runtime,
            "BERTH_JOIN_TOKEN": token,
            "BERTH_AGENT_NAME": f"node{number}",
            **environ,
        }
        agent = Process([str(BERTH), "agent", "run"], settings, self.root / f"agent{number}.log")
        self.agents.append(agent)
        agent.start()
        return agent

    async def agents_connected(self, count: int = 1) -> None:
        """Wait until so many agents are connected to the manager (their status says ALIVE for a lease longer)."""

        async def there() -> bool:
            async with httpx.AsyncClient(timeout=5, verify=_TLS) as http:
                return (await http.get(f"{self.url}/health/ready")).json()["agents"] == count

        await eventually(there, f"{count} agent(s) are connected", self.manager, *self.agents)

    async def client(self) -> Client:
        return await Client(self.url).login()

    async def close(self) -> None:
        """End all processes, and every container or sandbox of this cluster's sessions."""
        with contextlib.suppress(Exception):
            client = await self.client()
            ids = [s["id"] for s in await live_sessions(client)]
            if ids and any(agent.alive for agent in self.agents):
                await client(TERMINATE, i={"ids": ids})
                await eventually(lambda: _none_live(client), "all sessions end", self.manager)
        for process in (*self.agents, self.manager):
            process.stop()


TERMINATE = (
    "mutation($i: TerminateSessionsInput!) { terminateSessions(input: $i) { results { id error { code } } } }"
)


async def live_sessions(client: Client) -> list[dict[str, Any]]:
    answer = await client(
        "{ sessions(first: 100, filter: { statusIn: "
        "[PENDING, SCHEDULED, PREPARING, PULLING, PREPARED, CREATING, RUNNING, TERMINATING] }) { nodes { id status } } }"
    )
    return answer["sessions"]["nodes"]


async def _none_live(client: Client) -> bool:
    return not await live_sessions(client)


async def eventually(
    claim: Callable[[], Any], what: str, *processes: Process, within: float = PATIENCE
) -> Any:
    """Wait until a claim holds and return what it gave; say what was going on when it never does."""
    deadline = time.monotonic() + within
    pause = 0.02
    while True:
        holds = claim()
        if asyncio.iscoroutine(holds):
            holds = await holds
        if holds:
            return holds
        if time.monotonic() > deadline:
            logs = "\n".join(f"--- {process.log.name}\n{process.tail()}" for process in processes)
            raise AssertionError(f"after {within:g} s it does not hold that {what}\n{logs}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, 0.3)
