"""Databases for clusters of their own: copies of one that has been through all migrations, which take a second each time.

That a manager makes an empty database itself is tested where clusters are made by hand, and by `scripts/up`.
"""

import os
import shutil
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from services.db.migrate import upgrade


class Templates:
    """Databases with all tables and no rows, each made when it is first wanted.

    Args:
        folder: where files may be kept.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "migrated.db"
        self._name = f"flow_template_{uuid.uuid4().hex[:12]}"
        self._made: set[str] = set()

    async def sqlite(self, root: Path) -> str:
        """The address of a copy in `root`."""
        if "sqlite" not in self._made:
            await upgrade(f"sqlite+aiosqlite:///{self._file}")
            self._made.add("sqlite")
        path = root / "berth.db"
        for source in self._file.parent.glob(f"{self._file.name}*"):
            shutil.copyfile(source, path.with_name(source.name.replace(self._file.name, path.name)))
        return f"sqlite+aiosqlite:///{path}"

    @asynccontextmanager
    async def postgres(self) -> AsyncGenerator[str]:
        """The address of a copy, dropped at the end."""
        name = f"flow_{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(_server())
        try:
            if "postgres" not in self._made:
                await connection.execute(f"CREATE DATABASE {self._name}")
                self._made.add("postgres")
                await upgrade(_address(self._name))
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {self._name} STRATEGY FILE_COPY")
            yield _address(name)
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await connection.close()

    async def close(self) -> None:
        if "postgres" in self._made:
            connection = await asyncpg.connect(_server())
            await connection.execute(f"DROP DATABASE {self._name} WITH (FORCE)")
            await connection.close()


@cache
def _server() -> str:
    return os.environ["BERTH_TEST_DATABASE_URL"].replace("postgresql+asyncpg://", "postgresql://")


def _address(name: str) -> str:
    return urlunsplit(urlsplit(_server())._replace(scheme="postgresql+asyncpg", path=f"/{name}"))
