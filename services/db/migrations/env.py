"""What Alembic runs: the migrations, on the connection that `services.db.migrate` gives."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON

from services.db import searching
from services.db.tables import Base
from services.db.types import UtcDateTime


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write our own column types into migrations in our own words."""
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        autogen.imports.add("from services.db.types import UtcDateTime")
        return "UtcDateTime()"
    if isinstance(item, JSON):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return "sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite changes a table by making it anew.
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
    include_name=searching.is_described,
)
with context.begin_transaction():
    context.run_migrations()
