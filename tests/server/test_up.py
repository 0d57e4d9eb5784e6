"""`berth up` and `berth manager` as processes: first start, second start, a killed manager, the end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import require

BERTH = [sys.executable, "-m", "server.cli"]
#: Seconds until something that should take a few has failed.
PATIENCE = 60.0


class Running:
    """A command under way; its output is read as it comes."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BERTH_")}
        self.process = subprocess.Popen(
            [*BERTH, *arguments],
            env={**inherited, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.output += line
                self._changed.notify_all()
        self.process.wait()
        with self._changed:
            self._changed.notify_all()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for output that matches; fails when the command ends without."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.output, re.MULTILINE)

        with self._changed:
            self._changed.wait_for(lambda: found() or self.process.poll() is not None, PATIENCE)
            match = found()
        assert match is not None, f"no {pattern!r} in:\n{self.output}"
        return match

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class Started:
    """Starts commands on one data directory and ends whatever a test leaves running."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._all: list[Running] = []

    def __call__(self, *arguments: str, **environment: str) -> Running:
        command, *rest = arguments
        running = Running(command, "--port", "0", "--data-dir", str(self.data), *rest, **environment)
        self._all.append(running)
        return running

    def graphql(self, query: str, expected: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [*BERTH, "graphql", query, "--data-dir", str(self.data)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == expected, done.stdout + done.stderr
        return json.loads(done.stdout)

    def end(self) -> None:
        for running in self._all:
            running.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path / "data")
    yield started
    started.end()


def until(claim: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.02)


def redeem(url: str, link: str, password: str) -> dict[str, Any]:
    query = """mutation($input: RedeemTicketInput!) {
      redeemTicket(input: $input) { accessToken viewer { role user { email } } }
    }"""
    given = {"ticket": link.partition("#")[2], "newPassword": password, "cookie": False}
    return httpx.post(f"{url}/graphql", json={"query": query, "variables": {"input": given}}).json()


def test_the_first_start_gives_a_link_for_a_person_and_a_keypair_for_scripts(start: Started) -> None:
    up = start("up", "--no-agent")
    link = up.until(r"^  (http://127\.0\.0\.1:\d+)/welcome#\S+$")
    up.until("Ctrl-C stops Berth")
    files = {path.name: path.stat().st_mode & 0o777 for path in start.data.iterdir() if path.is_file()}
    assert files["secrets.json"] == files["credentials.json"] == files["berth.db"] == 0o600
    assert start.data.stat().st_mode & 0o777 == 0o700

    mine = start.graphql("{ viewer { role user { email } } }")
    assert mine["data"]["viewer"] == {"role": "SUPERADMIN", "user": {"email": "admin@localhost.local"}}
    theirs = redeem(link[1], link[0], "a-Good-1-to-begin-with")
    assert theirs["data"]["redeemTicket"]["viewer"]["role"] == "SUPERADMIN"
    # It works once.
    assert redeem(link[1], link[0], "another-1-Good")["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_a_second_start_keeps_everything_and_asks_for_no_password_any_more(start: Started) -> None:
    up = start(
        "up", "--no-agent", BERTH_ADMIN_EMAIL="me@example.com", BERTH_ADMIN_PASSWORD="unattended-1-start"
    )
    up.until("Ctrl-C stops Berth")
    assert "/welcome#" not in up.output
    before = {
        name: json.loads((start.data / name).read_text()) for name in ("secrets.json", "credentials.json")
    }
    assert up.end() == 0

    again = start("up", "--no-agent")
    again.until("Ctrl-C stops Berth")
    assert "/welcome#" not in again.output
    after = {name: json.loads((start.data / name).read_text()) for name in before}
    assert after["secrets.json"] == before["secrets.json"]
    # Any port would do, so it serves elsewhere now, and the file says so.
    changed = {
        name
        for name in after["credentials.json"]
        if after["credentials.json"][name] != before["credentials.json"][name]
    }
    assert changed <= {"url"}
    assert (
        start.graphql("{ viewer { user { email } } }")["data"]["viewer"]["user"]["email"] == "me@example.com"
    )


def test_a_second_start_beside_the_first_says_where_it_runs(start: Started) -> None:
    up = start("up", "--no-agent")
    url = up.until(r"Berth is up after [\d.]+ s: (\S+)")[1]
    other = start("up", "--no-agent")
    other.until(f"running here already: {re.escape(url)}$")
    assert other.process.wait(PATIENCE) == 0


def test_a_killed_manager_comes_back_at_the_same_address_and_gives_a_new_link(start: Started) -> None:
    up = start("up", "--no-agent")
    first = up.until(r"(http://\S+)/welcome#\S+")
    up.until("Ctrl-C stops Berth")
    (manager,) = psutil.Process(up.process.pid).children()
    manager.kill()
    up.until("The manager ended")
    up.until("The manager serves again")
    second = up.until(r"serves again[\s\S]*?(http://\S+)/welcome#\S+")
    assert second[1] == first[1]
    assert start.graphql("{ viewer { role } }")["data"]["viewer"]["role"] == "SUPERADMIN"


def test_ctrl_c_stops_everything_in_order(start: Started) -> None:
    up = start("up", "--no-agent")
    up.until("Ctrl-C stops Berth")
    children = psutil.Process(up.process.pid).children(recursive=True)
    assert children
    assert up.end(signal.SIGINT) == 0
    assert "sessions go on" in up.output.splitlines()[-1]
    until(lambda: not any(child.is_running() for child in children))


def test_a_manager_that_cannot_start_shows_why(start: Started) -> None:
    start.data.mkdir(mode=0o700)
    (start.data / "secrets.json").write_text("{}")
    (start.data / "secrets.json").chmod(0o644)
    up = start("up", "--no-agent")
    assert up.process.wait(PATIENCE) == 1
    up.until("chmod 600")


def test_the_manager_alone_ends_with_status_zero_and_logs_its_link(start: Started) -> None:
    manager = start("manager")
    manager.until(r"log in as admin@localhost.local, once: http://\S+/welcome#\S+")
    assert manager.end(signal.SIGTERM) == 0
    assert "Traceback" not in manager.output


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"BERTH_ADMIN_EMAIL": "nobody"}, "Error: "),
        ({"BERTH_ADMIN_PASSWORD": "short"}, "Error: "),
        ({"BERTH_DATABASE_URL": "postgresql+asyncpg://berth@127.0.0.1:1/berth"}, "does not answer"),
    ],
)
def test_what_stands_in_the_way_of_a_start_is_a_sentence(
    environment: dict[str, str], sentence: str, start: Started
) -> None:
    manager = start("manager", **environment)
    assert manager.process.wait(PATIENCE) == 1
    manager.until(sentence)
    assert "Traceback" not in manager.output


def test_a_link_made_beside_a_running_manager_lets_somebody_in(start: Started) -> None:
    up = start("up", "--no-agent", BERTH_ADMIN_PASSWORD="forgotten-1-password")
    url = up.until(r"Berth is up after [\d.]+ s: (\S+)")[1]
    up.until("Ctrl-C stops Berth")
    made = subprocess.run(
        [*BERTH, "link", "--data-dir", str(start.data)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    link = made.stdout.strip()
    assert link.startswith(f"{url}/welcome#")
    assert "data" in redeem(url, link, "remembered-1-password")


def test_the_doctor_finds_a_running_manager_well(start: Started) -> None:
    up = start("up", "--no-agent")
    up.until("Ctrl-C stops Berth")
    done = subprocess.run(
        [*BERTH, "doctor", "--json", "--data-dir", str(start.data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    found = {finding["check"]: finding["verdict"] for finding in json.loads(done.stdout)}
    assert {found[name] for name in ("settings", "secrets", "database", "manager", "websocket")} == {"ok"}
    assert found["agents"] == "warning"


def test_graphql_shows_errors_and_ends_with_status_one(start: Started) -> None:
    up = start("up", "--no-agent")
    up.until("Ctrl-C stops Berth")
    answer = start.graphql("{ nothingOfThisName }", expected=1)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.fixture
def demo(start: Started) -> Iterator[Started]:
    """Berth with its demo on the engine; its sessions are ended afterwards."""
    require("engine")
    up = start("up", "--demo", "--runtime", "docker", "--no-images", DOCKER_HOST=os.environ["DOCKER_HOST"])
    up.until("runtime docker")
    up.until("The demo's people log in")
    yield start
    live = "{ sessions(first: 50) { nodes { id terminatedAt } } }"

    def living() -> list[str]:
        return [
            one["id"] for one in start.graphql(live)["data"]["sessions"]["nodes"] if not one["terminatedAt"]
        ]

    given = json.dumps(living())
    start.graphql(f"mutation {{ terminateSessions(input: {{ids: {given}}}) {{ results {{ id }} }} }}")
    until(lambda: not living())


@pytest.mark.engine
def test_the_demo_is_filled_in_once_however_often_it_is_asked_for(demo: Started) -> None:
    counted = (
        "{ users(first: 1) { totalCount } groups(first: 1) { totalCount } sessions(first: 1) { totalCount } }"
    )
    before = demo.graphql(counted)["data"]
    assert before["users"]["totalCount"] == 7
    assert before["sessions"]["totalCount"] == 5
    again = subprocess.run(
        [*BERTH, "demo", "--data-dir", str(demo.data)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert "there already" in again.stdout
    assert demo.graphql(counted)["data"] == before
    assert (demo.data / "demo.json").stat().st_mode & 0o077 == 0


@pytest.mark.engine
def test_a_subscription_prints_a_line_of_json_for_each_event(demo: Started) -> None:
    (agent,) = demo.graphql("{ agents(first: 2) { nodes { id status } } }")["data"]["agents"]["nodes"]
    assert agent["status"] == "ALIVE"
    query = f'subscription {{ agentStats(agentId: "{agent["id"]}") {{ at kernelCount }} }}'
    live = subprocess.Popen(
        [*BERTH, "graphql", query, "--data-dir", str(demo.data)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert live.stdout is not None
        samples = [json.loads(live.stdout.readline())["data"]["agentStats"] for _ in range(2)]
        assert samples[0]["at"] < samples[1]["at"]
    finally:
        live.terminate()
        live.wait(PATIENCE)
        if live.stdout is not None:
            live.stdout.close()
