"""Generated operations as each role: no crash, no leaked internal, whatever is asked."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.api.conftest import ROLES, Api

#: Would end the very login that asks, or what the other roles stand on.
LEFT_OUT = (
    "logout",
    "logoutEverywhere",
    "changePassword",
    "deactivateUsers",
    "deactivateKeypairs",
    "deleteKeypair",
)
LEAKS = ("Traceback", "sqlalchemy", "sqlite3", "asyncpg", "site-packages", 'File "')


schema = schemathesis.graphql.from_path(Path(__file__).parents[2] / "schema/schema.graphql").exclude(
    name_regex=rf"Mutation\.({'|'.join(LEFT_OUT)})$"
)
#: By name, and not by the tool's own parametrization: its tests all have one id, of which parallel workers run one.
OPERATIONS = {operation.ok().label: operation.ok() for operation in schema.get_all_operations()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_that_is_asked_crashes_or_leaks(name: str, api: Api) -> None:
    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[name].as_strategy())
    def ask(case: Any) -> None:
        for role in ROLES:
            headers = {"authorization": f"Bearer {api.tokens[role]}"}
            response = httpx.post(
                f"{api.url}/graphql", json={"query": case.body}, headers=headers, timeout=30
            )
            text = response.text
            assert response.status_code < 500, text
            assert not [leak for leak in LEAKS if leak in text], text
            codes = [error["extensions"]["code"] for error in json.loads(text).get("errors", ())]
            assert "INTERNAL" not in codes, (role, case.body, text)

    ask()
