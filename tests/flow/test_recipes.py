"""The recipes of the pages, run as they stand, in their order, on a cluster."""

import asyncio
import contextlib
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flow.cluster import EMAIL, PASSWORD, Cluster

DOCS = Path(__file__).resolve().parents[2] / "docs"

pytestmark = [pytest.mark.parametrize("runtime", ["process"], indirect=True), pytest.mark.sandbox]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_recipes_do_what_they_say(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    client = await cluster.client()
    viewer = (await client("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    made = await client(
        "mutation($i: CreateKeypairInput!) { createKeypair(input: $i) { keypair { accessKey } secretKey } }",
        i={"userId": viewer},
    )
    monkeypatch.chdir(root)
    monkeypatch.setenv("BERTH_URL", cluster.url)
    monkeypatch.setenv("BERTH_ACCESS_KEY", made["createKeypair"]["keypair"]["accessKey"])
    monkeypatch.setenv("BERTH_SECRET_KEY", made["createKeypair"]["secretKey"])
    monkeypatch.setenv("BERTH_EMAIL", EMAIL)
    monkeypatch.setenv("BERTH_PASSWORD", PASSWORD)

    (sign,) = [one for one in blocks("api.md", "python") if "def graphql(" in one]
    names: dict[str, Any] = {}
    for code in (sign, *blocks("recipes.md", "python")):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            await asyncio.to_thread(exec, compile(code, "recipe", "exec"), names)
    assert names["now"]["result"] == "SUCCESS"
    assert "21 + 21 = 42" in str(names["now"]["logs"])
    assert [problem["line"] for problem in names["tried"]["problems"]] == [3]
    assert [user["email"] for user in names["made"]["users"]] == ["ada@example.org", "grace@example.org"]
    assert len(names["assigned"]) == 2
    (report,) = root.glob("usage-*.csv")
    assert "cpu" in report.read_text()
    assert {event["action"] for event in names["events"]} == {"updateAgent"}
    answer = await client(
        '{ users(first: 1, filter: {search: "grace@"}) { nodes { active } } server { signUpMode } }'
    )
    assert answer == {"users": {"nodes": [{"active": False}]}, "server": {"signUpMode": "INVITATION"}}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_recipe_for_curl_does_what_it_says(cluster: Cluster) -> None:
    (recipe,) = blocks("recipes.md", "sh")
    environ = {
        "BERTH_URL": cluster.url,
        "BERTH_EMAIL": EMAIL,
        "BERTH_PASSWORD": PASSWORD,
        "PATH": "/usr/bin:/bin",
    }
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", recipe],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"data"') == 3
    assert EMAIL in done.stdout
    wrong = recipe.replace("recalculateUsage", "nothingOfTheKind")
    refused = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", wrong],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
