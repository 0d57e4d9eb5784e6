"""`/healthz`: does the process answer? `/readyz`: can it do its work? For supervisors and load balancers.

Ready needs the database, with the tables of this release. A bus that is away costs latency and no request, so it is told
and makes nobody unready: all managers share it, and would all be taken out at once. Answers tell no more than that.
"""

import asyncio
import logging
from functools import cache
from typing import Final

from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.core import Core
from services.db.migrate import MIGRATIONS
from services.redis_bus import RedisBus

log = logging.getLogger(__name__)

_PATIENCE: Final = 3.0


class Health:
    def __init__(self, core: Core) -> None:
        self._core = core

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        checks = {"database": await self._database(), "bus": self._bus()}
        well = checks["database"] == "ok"
        content = {
            "status": "ok" if well else "unavailable",
            "agents": len(self._core.hub.connected),
            "checks": checks,
        }
        return JSONResponse(content, 200 if well else 503)

    async def _database(self) -> str:
        try:
            async with asyncio.timeout(_PATIENCE), self._core.db.read() as db:
                found = await db.scalar(text("SELECT version_num FROM alembic_version"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("not ready: the database does not answer: %s", type(error).__name__)
            return "does not answer"
        return "ok" if found == newest() else "has the tables of another release"

    def _bus(self) -> str:
        bus = self._core.bus
        return "not connected" if isinstance(bus, RedisBus) and not bus.connected else "ok"


@cache
def newest() -> str:
    """The revision that this release's tables are of."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head() or ""
