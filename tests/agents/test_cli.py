"""The agent's commands, as a person or a unit file runs them."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents import cli, logs
from agents.cli import EXIT_NOT_RUNNING, EXIT_REJECTED, agent
from agents.config import BadState, Credential, StateDir
from agents.joining import JoinFailed, join
from agents.runtimes.contract import RuntimeFailure
from agents.sockets import Manager
from tests.agents.fakes import PATIENCE, FakeManager, FakeRuntime

CREDENTIAL = Credential("agt_1", "agt_1.secret", "http://127.0.0.1:1")


@pytest.fixture
def directory(tmp_path: Path) -> StateDir:
    directory = StateDir(tmp_path / "agent")
    directory.prepare()
    return directory


@asynccontextmanager
async def http(status: int, body: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server with one answer; what it was sent is in the list."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        requests.append(await reader.readexactly(length))
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"connection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


async def test_joining_turns_a_token_into_a_credential() -> None:
    async with http(200, '{"agentId": "agt_1", "credential": "agt_1.secret"}') as (url, requests):
        credential = await join(Manager.at(url), "token", name="n1", runtime="docker")
    assert credential == Credential("agt_1", "agt_1.secret", url)
    sent = json.loads(requests[0])
    assert (sent["token"], sent["name"], sent["runtime"], sent["protocol"]) == ("token", "n1", "docker", 1)
    assert sent["architecture"]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, '{"error": {"code": "UNAUTHENTICATED", "message": "The token is used."}}', "The token is used"),
        (409, '{"code": "CONFLICT", "message": "Another agent has this name."}', "Another agent"),
        (404, "<html>", "is a Berth manager there"),
        (200, "<html>", "is a Berth manager there"),
        (200, "[]", "is a Berth manager there"),
    ],
)
async def test_a_refused_join_says_why(status: int, body: str, message: str) -> None:
    async with http(status, body) as (url, _):
        with pytest.raises(JoinFailed, match=message):
            await join(Manager.at(url), "token", name="n1", runtime="docker")


async def test_a_manager_out_of_reach_is_said_so() -> None:
    with pytest.raises(JoinFailed, match="out of reach"):
        await join(Manager.at("http://127.0.0.1:1"), "token", name="n1", runtime="docker")


def test_a_credential_is_for_its_owner_only(directory: StateDir) -> None:
    assert directory.credential() is None
    directory.keep(CREDENTIAL)
    path = directory.path / "credential.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert directory.path.stat().st_mode & 0o777 == 0o700
    assert directory.credential() == CREDENTIAL
    path.chmod(0o640)
    with pytest.raises(BadState, match="chmod 600"):
        directory.credential()


def test_a_broken_credential_is_said_so(directory: StateDir) -> None:
    directory.keep(CREDENTIAL)
    (directory.path / "credential.json").write_text("{")
    with pytest.raises(BadState, match="join again"):
        directory.credential()


def test_two_agents_never_share_a_directory(directory: StateDir) -> None:
    assert not directory.is_locked()
    with directory.lock():
        assert directory.is_locked()
        with pytest.raises(BadState, match="another agent runs"), directory.lock():
            pass
    assert not directory.is_locked()


def test_the_directory_follows_who_runs_it() -> None:
    assert StateDir.default({}, uid=0).path == Path("/var/lib/berth/agent")
    assert StateDir.default({"HOME": "/home/a"}, uid=1).path == Path("/home/a/.local/state/berth/agent")
    assert StateDir.default({"XDG_STATE_HOME": "/s"}, uid=1).path == Path("/s/berth/agent")


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(agent, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_node_that_has_not_joined_says_how(directory: StateDir) -> None:
    code, output = invoke("status", "--state-dir", str(directory.path))
    assert code == EXIT_NOT_RUNNING
    assert "berth agent join" in output
    code, output = invoke("run", "--state-dir", str(directory.path))
    assert code == 1
    assert "--join-token" in output


def test_a_joined_node_does_not_join_twice(directory: StateDir) -> None:
    directory.keep(CREDENTIAL)
    code, output = invoke("join", "http://127.0.0.1:1", "--token", "t", "--state-dir", str(directory.path))
    assert code == 1
    assert "agt_1" in output


def test_an_unknown_runtime_is_refused_with_those_that_are(directory: StateDir) -> None:
    directory.keep(CREDENTIAL)
    code, output = invoke("run", "--runtime", "abacus", "--state-dir", str(directory.path))
    assert code == 1
    assert "'abacus'" in output
    assert "docker" in output


def test_the_unencrypted_way_out_is_refused(directory: StateDir) -> None:
    code, output = invoke("join", "http://10.0.0.1", "--token", "t", "--state-dir", str(directory.path))
    assert code == 1
    assert "--insecure" in output


PROGRAM = """
import sys
from agents import cli, config
from tests.agents.fakes import FakeRuntime
config.runtimes = lambda: {"fake": lambda: lambda directory, options: FakeRuntime()}
cli.agent(sys.argv[1:])
"""


async def started(directory: StateDir, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        "run",
        "--runtime=fake",
        f"--state-dir={directory.path}",
        "--log-format=json",
        *options,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_an_agent_runs_until_it_is_asked_to_stop(directory: StateDir, how: signal.Signals) -> None:
    async with FakeManager().serving() as manager:
        directory.keep(Credential("agt_1", "agt_1.secret", manager.url))
        process = await started(directory)
        await manager.until_connected()
        assert directory.is_locked()
        process.send_signal(how)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert any("connected to" in line["message"] for line in lines)
    assert not any(line["level"] == "error" for line in lines)


async def test_a_rejected_agent_exits_with_its_own_code_when_asked_to(directory: StateDir) -> None:
    async with FakeManager().serving() as manager:
        directory.keep(Credential("agt_9", "agt_9.wrong", manager.url))
        process = await started(directory, "--exit-if-rejected")
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == EXIT_REJECTED
    assert b"join again with a new token" in errors


async def test_auto_takes_the_first_runtime_that_works(
    directory: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NeverRuntime(FakeRuntime):
        name = "never"

        async def open(self) -> None:
            raise RuntimeFailure("ENGINE_UNREACHABLE", "no engine answers")

    loaders = {"docker": lambda: lambda *_: NeverRuntime(), "process": lambda: lambda *_: FakeRuntime()}
    monkeypatch.setattr(cli, "runtimes", lambda: loaders)
    monkeypatch.setattr("agents.config.runtimes", lambda: loaders)
    assert (await cli.choose_runtime("auto", directory, {})).name == "fake"
    loaders["process"] = loaders["docker"]
    with pytest.raises(BadState, match="docker: no engine answers; process: no engine answers"):
        await cli.choose_runtime("auto", directory, {})


def test_a_log_line_is_one_line_whatever_is_in_it() -> None:
    text = "name\nwith lines\x1b[31m" + "x" * 10_000
    record = logging.LogRecord("agents", logging.INFO, "", 0, "kernel %s", (text,), None)
    for formatter in (logs.Plain(), logs.Json()):
        line = formatter.format(record)
        assert "\n" not in line
        assert "\x1b" not in line
        assert len(line) < 3000
