"""One manager put together."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from server.config import Config
from server.listening import CannotServe
from server.manager import running
from services import leases


def config(tmp_path: Path) -> Config:
    return Config(data_dir=tmp_path)


async def test_two_managers_never_share_an_sqlite_database(tmp_path: Path) -> None:
    async with running(config(tmp_path)):
        with pytest.raises(CannotServe, match="PostgreSQL"):
            async with running(config(tmp_path)):
                pass
    async with running(config(tmp_path)):
        pass


async def test_the_duties_of_a_killed_manager_are_free_at_once(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    async with running(config(tmp_path)) as manager:
        killed = replace(manager.core, manager_id="killed")
        fence = await leases.acquire(killed, "a duty", hour)
        assert fence is not None
        assert await leases.acquire(manager.core, "a duty", hour) is None
    async with running(config(tmp_path)) as manager:
        taken = await leases.acquire(manager.core, "a duty", hour)
    assert taken is not None
    assert taken > fence
