"""One manager put together: database, bus, hub, dispatcher and the rounds that notice what nobody reports."""

import asyncio
import contextlib
import fcntl
import importlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import make_url

from agents.hub import Hub
from server import secretsfile
from server.config import Config
from server.listening import CannotServe
from services import (
    agents,
    audits,
    auth,
    bootstrap,
    calls,
    closing,
    images,
    import_tasks,
    leases,
    mails,
    registries,
    sessions,
    settings,
)
from services import tasks as background
from services.agents import AgentLinks
from services.bus import Bus, LocalBus
from services.commands import Commands
from services.core import Core, Settings
from services.db.engine import open_database
from services.db.migrate import upgrade
from services.metrics import Metrics
from services.options import OptionBook
from services.progress import ProgressBook
from services.redis_bus import RedisBus
from services.scheduling.dispatch import Dispatcher
from services.stats import StatsBook
from services.usage import rollup

log = logging.getLogger(__name__)

_RENEW_EVERY: Final = 1.0
_SWEEP_EVERY: Final = 2.0
_REDELIVER_EVERY: Final = 5.0
_IDLE_EVERY: Final = 5.0
_BOOKS_EVERY: Final = 5.0
_SETTINGS_EVERY: Final = 5.0
_MAIL_EVERY: Final = 2.0
_PURGE_EVERY: Final = 600.0
_USAGE_EVERY: Final = 60.0


@dataclass
class Manager:
    """A running manager. `ready` once it serves; `bootstrap.FirstRun` tells what the first start made."""

    config: Config
    core: Core
    links: AgentLinks
    commands: Commands
    dispatcher: Dispatcher
    first_run: bootstrap.FirstRun


@asynccontextmanager
async def running(config: Config) -> AsyncGenerator[Manager]:
    """Open everything, serve until the block ends, close in order. Sessions go on without a manager.

    Raises:
        CannotServe: another manager has the same SQLite database.
    """
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _hold(config.database) as alone:
        async with _running(config, alone=alone) as manager:
            yield manager


@contextlib.contextmanager
def _hold(database: str) -> Generator[bool]:
    """Hold an SQLite database, which only one manager can have. Yields whether there can be no other."""
    url = make_url(database)
    if url.get_backend_name() != "sqlite" or not url.database:
        yield False
        return
    with Path(f"{url.database}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotServe(
                f"Another manager uses {url.database}. Stop it first; several managers together need PostgreSQL."
            ) from None
        yield True


@asynccontextmanager
async def _running(config: Config, *, alone: bool) -> AsyncGenerator[Manager]:
    manager_id = f"mgr-{secrets.token_hex(6)}"
    with _traced(config, manager_id):
        async with _opened(config, manager_id, alone=alone) as manager:
            yield manager


def _traced(config: Config, manager_id: str) -> AbstractContextManager[object]:
    """Traces, where they are configured."""
    if not config.otlp_endpoint:
        return contextlib.nullcontext()
    try:
        # Not at the top: the extra need not be installed, and where it is, it costs every start a good part of a second.
        telemetry = importlib.import_module("server.telemetry")
    except ImportError as error:
        raise CannotServe(
            f"otlp_endpoint is set, and {error.name} is not installed: pip install 'berth[server,telemetry]'."
        ) from error
    return telemetry.exporting(config.otlp_endpoint, ratio=config.otlp_sample_ratio, instance=manager_id)


@asynccontextmanager
async def _opened(config: Config, manager_id: str, *, alone: bool) -> AsyncGenerator[Manager]:
    keys = secretsfile.load(config.data_dir / "secrets.json")
    await upgrade(config.database)
    db = open_database(config.database)
    bus: Bus = RedisBus(config.redis_url) if config.redis_url else LocalBus()
    await bus.open()
    core = Core(
        db=db,
        bus=bus,
        hub=Hub(),
        keys=keys,
        stats=StatsBook(bus),
        progress=ProgressBook(bus),
        settings=Settings(public_url=config.url),
        options=OptionBook(configured=config.options),
        manager_id=manager_id,
    )
    await settings.refresh(core)
    if alone:
        await leases.end_all(core)
        await background.release_all(core)
    password = config.admin_password.get_secret_value() if config.admin_password else None
    first_run = await bootstrap.ensure_first_run(core, config.admin_email, password)
    links = AgentLinks(core)
    commands = Commands(core, links)
    dispatcher = Dispatcher(core)
    runner = background.Runner(
        core, [images.INSTALL, images.CLEAN_UP, registries.RESCAN, import_tasks.IMPORT]
    )
    await _admit(core, config, first_run)
    sender = mails.Sender(core, mails.Configured(core.options, config.data_dir / "outbox"))
    _forever, _every = partial(_run_forever, core.metrics), partial(_run_every, core.metrics)
    duties = [
        _forever("dispatching", dispatcher.run),
        _forever("delivering commands", commands.follow_bus),
        _forever("following stats", core.stats.follow_bus),
        _forever("following pulls", core.progress.follow_bus),
        _forever("following slots", lambda: agents.follow_slots(core)),
        _forever("following revocations", lambda: auth.follow_revocations(core)),
        _forever("following settings", lambda: settings.follow(core)),
        _every(_SETTINGS_EVERY, "reading settings", lambda: settings.refresh(core)),
        _forever("doing tasks", runner.follow),
        _forever("asking agents for others", lambda: calls.follow(core)),
        _every(_PURGE_EVERY, "forgetting old tasks", lambda: background.purge(core)),
        _every(_RENEW_EVERY, "renewing leases", links.renew_leases),
        _every(_BOOKS_EVERY, "counting requests", lambda: auth.keep_books(core)),
        _every(_BOOKS_EVERY, "counting refused attempts", lambda: audits.keep_books(core)),
        _every(_USAGE_EVERY, "adding up what was used", lambda: core.meters.flush(db, core.now())),
        _every(_USAGE_EVERY, "adding up usage", lambda: rollup.roll_up(core)),
        _every(_PURGE_EVERY, "purging old hours of usage", lambda: rollup.purge(core)),
        _every(_PURGE_EVERY, "purging what has expired", lambda: auth.purge(core)),
        _every(_PURGE_EVERY, "purging old mails", lambda: mails.purge(core)),
        _every(_MAIL_EVERY, "sending mails", sender.run),
        _every(_PURGE_EVERY, "purging old audit events", lambda: audits.purge(core)),
        _every(_SWEEP_EVERY, "sweeping", _Sweep(core).run),
        _every(_IDLE_EVERY, "looking for unused sessions", lambda: sessions.end_unused(core)),
        _every(_IDLE_EVERY, "looking for old sessions", lambda: sessions.end_aged(core)),
        _every(_REDELIVER_EVERY, "delivering again", lambda: commands.deliver(core.hub.connected)),
    ]
    tasks = [asyncio.create_task(duty) for duty in duties]
    try:
        yield Manager(config, core, links, commands, dispatcher, first_run)
    finally:
        await runner.close()
        await core.hub.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await commands.close()
        await dispatcher.close()
        await bus.close()
        await db.close()


class _Sweep:
    """What nobody reports: leases that ended, phases that take too long, nodes that do not come back."""

    def __init__(self, core: Core) -> None:
        self._core = core
        # Agents must have had the time to return to a manager that has just started, before any is called lost.
        self._judge_from = time.monotonic() + core.settings.lease.total_seconds()

    async def run(self) -> None:
        await sessions.fail_overdue(self._core)
        await sessions.end_overlong(self._core)
        await closing.end_of_closed(self._core)
        if time.monotonic() >= self._judge_from:
            await agents.expire_leases(self._core)
            await agents.give_up_lost(self._core)


async def _admit(core: Core, config: Config, first_run: bootstrap.FirstRun) -> None:
    """Let the join token of the configuration in: once, however often the manager starts."""
    if config.join_token is None:
        return
    async with core.db.write() as db:
        await agents.admit(
            db,
            config.join_token.get_secret_value(),
            first_run.resource_group_id,
            core.now() + timedelta(days=3650),
            created_by=None,
            at=core.now(),
        )


async def _run_forever(metrics: Metrics, what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a duty that never ends; when it fails all the same, say so and begin again, less and less soon."""
    pause = 0.5
    while True:
        began = time.monotonic()
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except Exception:
            metrics.duty_failures.labels(what).inc()
            log.exception("%s failed; it begins again", what)
        pause = 0.5 if time.monotonic() - began > 60 else min(pause * 2, 30)
        await asyncio.sleep(pause)


async def _run_every(
    metrics: Metrics, seconds: float, what: str, work: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Do something again and again; a failure is logged and does not end it."""
    while True:
        with contextlib.suppress(asyncio.TimeoutError):
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except Exception:
                metrics.duty_failures.labels(what).inc()
                log.exception("%s failed", what)
        await asyncio.sleep(seconds)
