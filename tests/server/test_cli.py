"""`berth`: a table of commands that are loaded when called, and what a node without the server's packages can still do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from server import cli
from server.cli import COMMANDS, main

#: Packages of `berth[server]`; a node has none of them.
SERVER_ONLY = (
    "aiosqlite",
    "alembic",
    "argon2",
    "asyncpg",
    "pydantic",
    "pydantic_settings",
    "redis",
    "sqlalchemy",
    "starlette",
    "strawberry",
    "uvicorn",
)
#: Runs `berth` in a process where importing one of these fails as if it were not installed.
ON_A_NODE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["berth", *{arguments!r}]
from server.cli import main
main()
"""


def on_a_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = ON_A_NODE.format(absent=SERVER_ONLY, arguments=list(arguments))
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BERTH_DATA_DIR", "BERTH_CONFIG", "BERTH_PORT", "BERTH_HOST", "BERTH_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def test_help_lists_every_command_without_loading_any() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from server.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "print('LOADED', sorted(m for m in sys.modules if m.startswith(('server.commands', 'agents', 'services'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "LOADED []" in done.stdout
    for name, entry in COMMANDS.items():
        assert name in done.stdout
        assert entry.summary in done.stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "agent"])
def test_help_of_each_command_has_examples_that_name_it(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Examples:" in result.output
    assert f"berth {name}" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_each_command_says_of_itself(name: str) -> None:
    command = cli.load(name, COMMANDS[name])
    assert command.name == name
    assert command.help


@pytest.mark.parametrize(
    "arguments", [("agent", "--help"), ("graphql", "--help"), ("demo", "--help"), ("doctor", "--help")]
)
def test_a_node_without_the_servers_packages_runs_what_it_needs(arguments: tuple[str, ...]) -> None:
    done = on_a_node(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Usage: berth" in done.stdout


def test_the_doctor_of_a_node_checks_the_node_and_no_manager(tmp_path: Path) -> None:
    done = on_a_node("doctor", "--json", "--data-dir", str(tmp_path))
    found = {finding["check"] for finding in json.loads(done.stdout)}
    assert {"python", "versions", "engine", "sandbox", "clock", "disk", "gpu"} <= found
    assert not found & {"settings", "secrets", "database", "manager"}


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry.extra])
def test_a_missing_extra_is_one_sentence_that_says_what_to_install(name: str) -> None:
    done = on_a_node(name)
    assert done.returncode == 1
    assert "pip install 'berth[server]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_fault_of_our_own_is_not_taken_for_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "broken", cli.Entry("server.commands.not_there:broken", "Broken."))
    with pytest.raises(ModuleNotFoundError, match=r"server\.commands\.not_there"):
        CliRunner().invoke(main, ["broken"], catch_exceptions=False)


def test_config_masks_secrets_and_passwords_in_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_DATABASE_URL", "postgresql+asyncpg://berth:hunter2@db/berth")
    monkeypatch.setenv("BERTH_REDIS_URL", "redis://:hunter3@cache/0")
    monkeypatch.setenv("BERTH_ADMIN_PASSWORD", "hunter4")
    result = CliRunner().invoke(main, ["config", "--json"])
    assert result.exit_code == 0, result.output
    assert "hunter" not in result.output
    shown = json.loads(result.output)
    assert shown["database_url"] == "postgresql+asyncpg://berth:***@db/berth"
    assert shown["redis_url"] == "redis://:***@cache/0"


def test_a_wrong_setting_is_named_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_PORT", "eighty")
    result = CliRunner().invoke(main, ["config"])
    assert result.exit_code == 1
    assert "port: " in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("command", ["up", "manager"])
def test_a_public_address_without_tls_is_refused_before_anything_is_made(
    command: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(main, [command, "--host", "0.0.0.0", "--data-dir", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert "--insecure" in result.output
    assert not (tmp_path / "data").exists()


def test_link_says_when_there_is_no_manager_yet(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["link", "--data-dir", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "--data-dir" in result.output


def test_graphql_without_credentials_says_where_they_come_from(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["graphql", "{ server { version } }", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "berth up" in result.output


def test_graphql_refuses_a_file_of_credentials_that_others_may_read(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    file.write_text('{"url": "http://127.0.0.1:1", "access_key": "a", "secret_key": "s"}')
    file.chmod(0o644)
    result = CliRunner().invoke(main, ["graphql", "{ server { version } }", "--credentials", str(file)])
    assert result.exit_code == 1
    assert "chmod 600" in result.output
