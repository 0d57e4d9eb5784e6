"""The same databases and runner as the schema's tests."""

from tests.schema.conftest import (  # noqa: F401
    core,
    count_statements,
    database_url,
    make,
    postgres_template,
    run,
    schema,
    sqlite_template,
    template,
)
from tests.services.conftest import clock  # noqa: F401
