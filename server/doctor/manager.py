"""Checks where a manager lives: secrets, exposure, database, Redis, port, its health and its websockets."""

import asyncio
import json
import ssl
import stat
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Origin, Subprotocol

from server import secretsfile
from server.config import Config
from server.doctor.checks import Check, Finding, Verdict, failure, note, ok, warning
from server.listening import CannotServe, check_exposure, is_loopback, listen, local_url
from server.owners import last_url
from server.paths import credentials_file
from services import options
from services.db import migrate, searching
from services.db.engine import open_database
from services.db.tables import Setting

#: Seconds that clocks may differ: a signed request tolerates thirty.
_SKEW: Final = 5.0


def checks(config: Config) -> dict[str, Check]:
    return {
        "settings": lambda: settings(config),
        "secrets": lambda: secrets(config),
        "database": lambda: database(config),
        "redis": lambda: redis(config),
        "manager": lambda: manager(config),
    }


async def settings(config: Config) -> list[Finding]:
    """Settings that leave a door open, those that administrators change while it runs as they are in force."""
    findings: list[Finding] = []
    public = not is_loopback(config.host)
    try:
        check_exposure(config)
    except CannotServe as error:
        findings += failure("settings", f"listens on {config.host} without TLS", str(error))
    if public and config.insecure:
        findings += failure(
            "settings",
            "insecure is set on a public address: passwords cross the network in the clear",
            "Set tls_certificate and tls_key, or put a proxy with TLS before it and name it in trusted_proxies.",
        )
    if config.trusted_proxies == "*":
        findings += failure(
            "settings",
            "trusted_proxies is *: anybody may claim to be any address",
            "Name the proxies' addresses.",
        )
    if config.trusted_proxies and not config.public_url.startswith("https:"):
        findings += warning(
            "settings",
            "a proxy is declared and public_url is not https",
            "Set public_url to where people reach it.",
        )
    if config.introspection == "open" and public:
        findings += warning("settings", "anybody may read the schema", "Set introspection to signed-in.")
    findings += await _runtime_settings(config, public=public)
    return findings or ok("settings", "nothing is left open")


async def _runtime_settings(config: Config, *, public: bool) -> list[Finding]:
    book = options.OptionBook(config.options)
    problems: list[str] = []
    try:
        stored, problems = await _stored(config)
    except (SQLAlchemyError, OSError):
        # What is wrong with the database is another check's; nothing that is stored is in force before it is mended.
        stored = {}
    book.replace(stored)
    findings = [
        finding
        for problem in problems
        for finding in warning("settings", problem, "Set it anew: updateSettings.")
    ]
    if public and book.value(options.SIGN_UP_MODE) == "OPEN":
        findings += warning(
            "settings",
            "anybody may make an account",
            "Set signUpMode to INVITATION or CLOSED (updateSettings), or sign_up in berth.toml where nobody has set it.",
        )
    mail = book.value(options.MAIL_HOST)
    if public and mail and book.value(options.MAIL_SECURITY) == "NONE":
        findings += warning(
            "settings",
            f"mails with links that open accounts cross the network to {mail} in the clear",
            "Set mailSecurity to STARTTLS or TLS (updateSettings).",
        )
    return findings


async def _stored(config: Config) -> tuple[dict[str, Any], list[str]]:
    """What administrators have set, but secrets, and what of it cannot be used; nothing before the first start."""
    file = _sqlite_file(config)
    if file is not None and not file.exists():
        return {}, []
    engine = open_database(config.database)
    try:
        async with engine.read() as db:
            rows = await db.execute(select(Setting.key, Setting.document).where(Setting.sealed.is_(None)))
            return options.usable({key: document.get("value") for key, document in rows})
    finally:
        await engine.close()


def secrets(config: Config) -> list[Finding]:
    """Who may read what must stay secret."""
    path = config.data_dir / "secrets.json"
    if not path.exists():
        return note("secrets", f"no manager has run with {config.data_dir} yet")
    findings: list[Finding] = []
    try:
        secretsfile.load(path)
    except secretsfile.UnsafeSecrets as error:
        findings += failure("secrets", f"{path} is unsafe", str(error))
    private = [
        config.data_dir,
        credentials_file(config.data_dir),
        config.data_dir / "agent" / "credential.json",
    ]
    if database_file := _sqlite_file(config):
        private.append(database_file)
    for candidate in private:
        if candidate.exists() and (wide := _open_to_others(candidate)):
            findings += wide
    return findings or ok("secrets", f"{config.data_dir} is its owner's alone")


def _open_to_others(path: Path) -> list[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    # What lies in a closed directory is closed.
    if not mode & 0o077 or (path.is_file() and not stat.S_IMODE(path.parent.stat().st_mode) & 0o077):
        return []
    return failure(
        "secrets",
        f"{path} may be used by others (mode {mode:04o})",
        f"Run: chmod {'700' if path.is_dir() else '600'} {path}",
    )


async def database(config: Config) -> list[Finding]:
    """Does it answer, and is its layout this release's?"""
    file = _sqlite_file(config)
    if file is not None and not file.exists():
        return note("database", f"{file} is made by the first start")
    engine = open_database(config.database)
    try:
        async with engine.engine.connect() as connection:
            found = await connection.run_sync(_revision)
            unsearched = await connection.run_sync(searching.missing)
            dialect = connection.dialect
            kind = f"{dialect.name} {'.'.join(map(str, dialect.server_version_info or ()))}"
    except (SQLAlchemyError, OSError) as error:
        return failure(
            "database", f"does not answer: {str(error).splitlines()[0]}", "Start it, or correct database_url."
        )
    finally:
        await engine.close()
    wanted = ScriptDirectory.from_config(migrate.make_config()).get_current_head()
    if found != wanted:
        return warning(
            "database",
            f"{kind}, at revision {found}, this release needs {wanted}",
            "The next start migrates it; back it up before.",
        )
    if unsearched:
        return warning(
            "database",
            f"{kind}, without trigrams: searches read all {', '.join(unsearched)}",
            "Install PostgreSQL's contrib modules, and in this database run, as its owner: CREATE EXTENSION pg_trgm; "
            "the next start of a manager makes the indexes.",
        )
    return ok("database", f"{kind}, revision {found}")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _sqlite_file(config: Config) -> Path | None:
    prefix = "sqlite+aiosqlite:///"
    return Path(config.database.removeprefix(prefix)) if config.database.startswith(prefix) else None


async def redis(config: Config) -> list[Finding]:
    if not config.redis_url:
        return note("redis", "not used: one manager alone")
    client = Redis.from_url(config.redis_url)
    try:
        about = await client.info("server")
    except (RedisError, OSError) as error:
        return failure("redis", f"does not answer: {error}", "Start it, or correct redis_url.")
    finally:
        await client.aclose()
    return ok("redis", f"version {about['redis_version']}")


async def manager(config: Config) -> list[Finding]:
    """The running manager: health, clock, agents, and websockets, past the proxies and by the way that people come."""
    url = config.public_url or last_url(config)
    # Where it served last, should the port have been given on the command line.
    port = config.port if config.public_url else urlsplit(url).port or config.port
    direct = local_url(config.model_copy(update={"public_url": url, "port": port}))
    findings: list[Finding] = []
    for way in dict.fromkeys((direct, url)):
        found = await health(way)
        findings += found
        if found[0].verdict is Verdict.OK:
            findings += await websocket(way)
    if all(finding.verdict is not Verdict.OK for finding in findings):
        return _nobody_serves(config, port, findings)
    return findings


async def health(url: str) -> list[Finding]:
    """Does it serve, how many agents has it, and does its clock agree with ours?"""
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            asked = time.time()
            answer = await client.get(f"{url}/health/ready")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failure(
            "manager",
            f"{url} does not answer ({error or type(error).__name__})",
            "Start it: berth up. Or look at its log.",
        )
    if answer.status_code != 200:
        return failure(
            "manager",
            f"{url} answers {answer.status_code}: {answer.text[:200]}",
            "Look at the manager's log.",
        )
    agents = answer.json().get("agents", 0)
    findings = ok("manager", f"serves {url}, {agents} agent(s) connected")
    if not agents:
        findings += warning(
            "agents", "none is connected: sessions wait", "Join one: berth agent join URL --token TOKEN"
        )
    # The header has whole seconds.
    behind = asked - parsedate_to_datetime(answer.headers["date"]).timestamp()
    if abs(behind) > _SKEW:
        findings += failure(
            "clock",
            f"this machine and the manager differ by {behind:.0f} s",
            "Run chrony or systemd-timesyncd on both.",
        )
    return findings


async def websocket(url: str) -> list[Finding]:
    """A websocket to the manager, opened as a browser does: proxies often let HTTP through and not this."""
    target = f"{url.replace('http', 'ws', 1)}/graphql"
    tls = ssl.create_default_context() if target.startswith("wss:") else None
    try:
        async with connect(
            target,
            subprotocols=[Subprotocol("graphql-transport-ws")],
            origin=Origin(url),
            ssl=tls,
            open_timeout=5,
        ) as socket:
            began = time.monotonic()
            await socket.send(json.dumps({"type": "ping"}))
            async with asyncio.timeout(5):
                answer = json.loads(await socket.recv())
            took = time.monotonic() - began
    except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, ValueError) as error:
        return failure(
            "websocket",
            f"{target} cannot be opened: {error or type(error).__name__}",
            "Let the proxy pass Upgrade and Connection on (nginx: proxy_http_version 1.1; proxy_set_header Upgrade "
            "$http_upgrade; proxy_set_header Connection upgrade; proxy_set_header Host $host).",
        )
    if answer.get("type") != "pong":
        return failure("websocket", f"{target} answered {answer}", "Is a Berth manager there?")
    return ok("websocket", f"{target} answers in {took * 1000:.0f} ms")


def _nobody_serves(config: Config, port: int, findings: list[Finding]) -> list[Finding]:
    """No manager runs. On a machine where none has run yet that is no fault, if it could."""
    try:
        listen(config.model_copy(update={"port": port})).close()
    except CannotServe as error:
        return failure(
            "manager", f"no manager serves, and none could: {error}", "Stop what has the port, or use --port."
        )
    if not (config.data_dir / "secrets.json").exists():
        return note("manager", f"does not run yet; port {port} is free", "Start it: berth up")
    return findings
