"""`berth doctor`: what it notices, that it says how to mend it, and its exit status."""

import asyncio
import json
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import main
from server.config import Config
from server.doctor import checks, manager, node
from server.doctor.checks import Finding, Verdict, run
from services.db.engine import open_database
from services.db.migrate import upgrade
from services.db.tables import Setting


def config(tmp_path: Path, **settings: object) -> Config:
    return Config(data_dir=tmp_path, **settings)  # pyright: ignore[reportArgumentType]


def verdicts(findings: list[Finding]) -> set[Verdict]:
    return {finding.verdict for finding in findings}


async def test_a_check_that_raises_or_hangs_is_a_failure_and_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("the disk is on fire")

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    def fine() -> list[Finding]:
        return checks.ok("fine", "well")

    # A deadline of which the machine's load says nothing, then one that the other alone runs into.
    found = await run({"broken": broken, "fine": fine})
    assert [one.verdict for one in found] == [Verdict.FAILURE, Verdict.OK]
    assert "on fire" in found[0].found
    monkeypatch.setattr(checks, "DEADLINE", 0.05)
    (late,) = await run({"hangs": hangs})
    assert (late.check, late.verdict) == ("hangs", Verdict.FAILURE)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("20.10.24+dfsg1", (20, 10, 24)), ("1.3.1", (1, 3, 1)), ("0.0.27rc1", (0, 0, 27)), ("unknown", ())],
)
def test_versions_are_compared_by_their_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert node.release(text) == numbers


def test_a_package_below_its_floor_is_a_failure_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "version", {"starlette": "1.3.0", "pyjwt": "2.13"}.__getitem__)
    monkeypatch.setattr(node, "PackageNotFoundError", KeyError)
    (found,) = node.versions()
    assert found.verdict is Verdict.FAILURE
    assert "starlette 1.3.0" in found.found
    assert "starlette>=1.3.1" in found.mend


def test_what_is_installed_here_is_not_below_its_floor() -> None:
    assert verdicts(node.versions()) == {Verdict.OK}


@pytest.mark.parametrize(
    ("free", "verdict"), [(0.5, Verdict.FAILURE), (3, Verdict.WARNING), (50, Verdict.OK)]
)
def test_a_disk_that_fills_up_is_noticed(
    free: float, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(node.shutil, "disk_usage", lambda _path: usage(0, 0, int(free * 1024**3)))
    (found,) = node.disk(tmp_path / "not" / "made" / "yet")
    assert found.verdict is verdict


async def test_no_runtime_at_all_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "_bundled_sandbox", lambda: None)
    found = await node.runtime()
    assert [(finding.check, finding.verdict) for finding in found] == [
        ("engine", Verdict.NOTE),
        ("sandbox", Verdict.NOTE),
        ("runtime", Verdict.FAILURE),
    ]
    assert all(finding.mend for finding in found)


@pytest.mark.sandbox
async def test_a_sandbox_alone_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert verdicts(await node.runtime()) == {Verdict.NOTE, Verdict.OK}


@pytest.mark.engine
async def test_an_engine_that_answers_is_told_with_its_version() -> None:
    (found,) = await node.engine_state()
    assert found.verdict is Verdict.OK
    assert node.release(found.found) >= node.release(node.OLDEST_ENGINE)


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "0.0.0.0", "insecure": True},
        {"trusted_proxies": "*", "public_url": "https://berth.example.com"},
    ],
)
async def test_settings_that_leave_a_door_open_fail(settings: dict[str, object], tmp_path: Path) -> None:
    found = await manager.settings(config(tmp_path, **settings))
    assert Verdict.FAILURE in verdicts(found)
    assert all(finding.mend for finding in found)


async def test_the_defaults_leave_none_open(tmp_path: Path) -> None:
    assert verdicts(await manager.settings(config(tmp_path))) == {Verdict.OK}


PUBLIC = {"host": "0.0.0.0", "public_url": "https://berth.example.com", "trusted_proxies": "192.0.2.1"}


@pytest.mark.parametrize(
    ("configured", "stored", "told"),
    [
        ("closed", {"signUpMode": "OPEN"}, "anybody may make an account"),
        ("open", {}, "anybody may make an account"),
        ("open", {"signUpMode": "CLOSED"}, ""),
        ("closed", {"signUpMode": "SOMETIMES"}, "signUpMode"),
        ("closed", {"mailHost": "mail.example.com", "mailSecurity": "NONE"}, "in the clear"),
    ],
)
async def test_settings_count_as_they_are_in_force(
    configured: str, stored: dict[str, str], told: str, tmp_path: Path
) -> None:
    found = config(tmp_path, sign_up=configured, **PUBLIC)
    await upgrade(found.database)
    db = open_database(found.database)
    async with db.write() as session:
        session.add_all(Setting(key=key, document={"value": value}) for key, value in stored.items())
    await db.close()
    findings = await manager.settings(found)
    assert verdicts(findings) == ({Verdict.WARNING} if told else {Verdict.OK})
    assert told in findings[0].found


async def test_settings_of_a_database_that_is_away_are_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "berth.db").write_bytes(b"no database at all, but a file of some length" * 100)
    (found,) = await manager.settings(config(tmp_path, sign_up="open", **PUBLIC))
    assert "anybody may make an account" in found.found


async def test_a_database_that_finds_parts_of_texts_by_reading_all_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path)
    await upgrade(settings.database)
    assert verdicts(list(await manager.database(settings))) == {Verdict.OK}
    monkeypatch.setattr(manager.searching, "missing", lambda _connection: ["users"])
    (found,) = await manager.database(settings)
    assert found.verdict is Verdict.WARNING
    assert "CREATE EXTENSION pg_trgm" in found.mend


def test_secrets_that_others_may_read_fail_with_the_command_that_mends_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    settings = config(tmp_path)
    manager.secretsfile.load(tmp_path / "secrets.json")
    assert verdicts(manager.secrets(settings)) == {Verdict.OK}
    (tmp_path / "secrets.json").chmod(0o640)
    (found,) = manager.secrets(settings)
    assert found.verdict is Verdict.FAILURE
    assert f"chmod 600 {tmp_path / 'secrets.json'}" in found.mend


def test_a_data_directory_that_is_open_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    manager.secretsfile.load(tmp_path / "secrets.json")
    found = manager.secrets(config(tmp_path))
    assert any(f"chmod 700 {tmp_path}" in finding.mend for finding in found)


async def test_a_manager_that_is_down_where_one_has_run_is_a_failure(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    manager.secretsfile.load(tmp_path / "secrets.json")
    found = await manager.manager(config(tmp_path, port=unused_tcp_port))
    assert verdicts(found) == {Verdict.FAILURE}
    assert "berth up" in found[0].mend


async def test_before_the_first_start_a_free_port_is_all_that_is_needed(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    found = await manager.manager(config(tmp_path, port=unused_tcp_port))
    assert verdicts(found) == {Verdict.NOTE}


def test_the_exit_status_and_the_json_tell_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir(mode=0o755)
    manager.secretsfile.load(tmp_path / "data" / "secrets.json")
    result = CliRunner().invoke(main, ["doctor", "--json", "--data-dir", str(tmp_path / "data")])
    assert result.exit_code == 1
    findings = json.loads(result.output)
    assert {"check", "verdict", "found", "mend"} == set(findings[0])
    failed = [finding for finding in findings if finding["verdict"] == "failure"]
    assert any("secrets" in finding["check"] for finding in failed)
    assert all(finding["mend"] for finding in failed)


def test_people_read_lines_with_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["doctor", "--data-dir", str(tmp_path / "data")])
    assert "secrets" in result.output
    assert "failures" in result.output.splitlines()[-1]
