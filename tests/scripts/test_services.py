"""scripts/services: what it starts answers, is found again, and is gone after `down`."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

pytestmark = pytest.mark.xdist_group("scripts")

ROOT = Path(__file__).resolve().parents[2]


def services(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/services", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environ},
    )


def up(folder: Path, *names: str, **environ: str) -> dict[str, str]:
    done = services("up", folder, *(f"--{name}" for name in names), **environ)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def listens(url: str) -> bool:
    where = urlsplit(url)
    try:
        socket.create_connection((where.hostname or "", where.port or 0), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "private"
    services("down", tmp_path / "private", "--purge")


async def test_postgres_is_private_found_again_and_gone_after_down(folder: Path) -> None:
    url = up(folder, "postgres")["BERTH_TEST_DATABASE_URL"]
    assert url.startswith("postgresql+asyncpg://berth:")
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    assert await connection.fetchval("SHOW fsync") == "off"
    await connection.execute("CREATE DATABASE a_test_makes_its_own")
    await connection.close()
    where = urlsplit(url)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=where.hostname, port=where.port, user="berth", password="wrong")

    assert up(folder, "postgres") == {"BERTH_TEST_DATABASE_URL": url}
    assert services("down", folder).returncode == 0
    assert not listens(url)
    assert json.loads((folder / "services.json").read_text()) == {}
    assert not (folder / "postgres").exists()
    assert "ready to accept connections" in (folder / "postgres.log").read_text()


async def test_redis_wants_its_password(folder: Path) -> None:
    url = up(folder, "redis")["BERTH_TEST_REDIS_URL"]
    async with Redis.from_url(url) as client:
        assert await client.ping()
    where = urlsplit(url)
    async with Redis(host=where.hostname or "", port=where.port or 0) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()
    services("down", folder)
    assert not listens(url)


async def test_one_that_was_killed_is_started_anew(folder: Path) -> None:
    first = up(folder, "redis")["BERTH_TEST_REDIS_URL"]
    os.kill(json.loads((folder / "services.json").read_text())["redis"]["pid"], signal.SIGKILL)
    second = up(folder, "redis")["BERTH_TEST_REDIS_URL"]
    assert second != first
    async with Redis.from_url(second) as client:
        assert await client.ping()


def test_down_leaves_a_later_process_of_the_same_number_alone(folder: Path) -> None:
    """After a restart of the machine a number in services.json may be somebody else's."""
    folder.mkdir()
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        book = {"redis": {"pid": stranger.pid, "birth": "1", "log": str(folder / "log"), "url": "redis://x"}}
        (folder / "services.json").write_text(json.dumps(book))
        assert services("down", folder).returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_engine_that_does_not_answer_is_an_error_and_leaves_nothing(folder: Path) -> None:
    done = services("up", folder, "--engine", "--redis", DOCKER_HOST=f"unix://{folder}/none.sock")
    assert done.returncode == 3
    assert "No engine answers at DOCKER_HOST=" in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.engine
def test_the_engine_of_docker_host_is_borrowed_and_survives_down(folder: Path) -> None:
    host = os.environ["DOCKER_HOST"]
    assert up(folder, "engine") == {"DOCKER_HOST": host}
    assert services("down", folder).returncode == 0
    assert up(folder, "engine") == {"DOCKER_HOST": host}


@pytest.mark.root
def test_an_ordinary_user_has_them_too(tmp_path: Path) -> None:
    somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.call([*somebody, "test", "-x", str(ROOT / "scripts/services")]) != 0:
        pytest.skip("this clone lies where only root may read")
    folder = Path("/var/tmp") / f"berth-test-{tmp_path.stat().st_ino:x}"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    command = [*somebody, str(ROOT / "scripts/services")]
    try:
        done = subprocess.run(
            [*command, "up", str(folder), "--postgres", "--redis"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        urls = dict(line.split("=", 1) for line in done.stdout.splitlines())
        assert all(listens(url) for url in urls.values())
        subprocess.run([*command, "down", str(folder)], check=True, capture_output=True, timeout=60)
        assert not any(listens(url) for url in urls.values())
    finally:
        services("down", folder, "--purge")
        subprocess.run(["rm", "-rf", folder], check=True)
