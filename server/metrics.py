"""`/metrics` in Prometheus' text format: what was counted, and what is true now; and who may read it.

By default the machine itself may. `metrics_allow` names more addresses, and `metrics_token` lets in whoever has it. A
request that a proxy on this machine has passed on comes from the loopback too, so what says that it was forwarded is not
taken for a local one. Reading the moment's numbers costs three statements, at most once in a few seconds however often
one asks.
"""

import asyncio
import hmac
import ipaddress
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from server.config import Config
from services.core import Core
from services.db.tables import IS_LIVE, Agent, Session, in_status
from services.redis_bus import RedisBus

_STALE: Final = 5.0
#: The database has so long to answer (seconds): a scrape is not to wait for one that hangs.
_PATIENCE: Final = 5.0


class MetricsPage:
    def __init__(self, config: Config, core: Core) -> None:
        self._core = core
        self._token = config.metrics_token.get_secret_value() if config.metrics_token else ""
        self._allowed = config.metrics_networks
        self._read_at = float("-inf")
        self._turn = asyncio.Lock()
        core.metrics.build.labels(version("berth"), platform.python_version()).set(1)

    async def __call__(self, request: Request) -> Response:
        if not self._may(request):
            return PlainTextResponse("Send the metrics token, or be at an address of metrics_allow.", 403)
        async with self._turn:
            if time.monotonic() - self._read_at >= _STALE:
                await self._read()
                self._read_at = time.monotonic()
        return Response(generate_latest(self._core.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def _may(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self._token and scheme.lower() == "bearer":
            return hmac.compare_digest(token.encode(), self._token.encode())
        try:
            address = ipaddress.ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        if address.is_loopback and {"forwarded", "x-forwarded-for"} & set(request.headers):
            return False
        return any(address in network for network in self._allowed)

    async def _read(self) -> None:
        core, metrics = self._core, self._core.metrics
        metrics.connected.set(len(core.hub.connected))
        self._read_bus()
        self._read_pool()
        try:
            async with asyncio.timeout(_PATIENCE), core.db.read() as db:
                sessions = await db.execute(
                    select(Session.status, func.count()).where(IS_LIVE).group_by(Session.status)
                )
                code = Session.pending_reason["code"].as_string()
                waiting = await db.execute(
                    select(func.coalesce(code, "NEW"), func.count())
                    .where(in_status(["PENDING"]))
                    .group_by(code)
                )
                agents = await db.execute(select(Agent.status, func.count()).group_by(Agent.status))
        except (SQLAlchemyError, OSError, TimeoutError):
            metrics.database_up.set(0)
            return
        metrics.database_up.set(1)
        _fill(metrics.sessions, sessions.all())
        _fill(metrics.queue, waiting.all())
        _fill(metrics.agents, agents.all())

    def _read_bus(self) -> None:
        bus, metrics = self._core.bus, self._core.metrics
        if isinstance(bus, RedisBus):
            metrics.bus_up.set(bus.connected)
            metrics.bus_backlog.set(bus.backlog)
            metrics.bus_lag.set(bus.lag)
        else:
            metrics.bus_up.set(1)

    def _read_pool(self) -> None:
        pool: Any = self._core.db.engine.pool
        if hasattr(pool, "checkedout"):
            used, idle = pool.checkedout(), pool.checkedin()
            states = {"used": used, "idle": idle, "limit": pool.size() + max(0, pool._max_overflow)}  # noqa: SLF001
            for state, number in states.items():
                self._core.metrics.database.labels(state).set(number)


def _fill(gauge: Any, rows: Sequence[Any]) -> None:
    """Set a gauge; what there is none of any more is gone."""
    gauge.clear()
    for label, number in rows:
        gauge.labels(label).set(number)
