"""What an admin says about accelerators, by command line and environment."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.cli import agent
from agents.config import BadState, Credential, StateDir, make_inventory


@pytest.fixture
def directory(tmp_path: Path) -> StateDir:
    directory = StateDir(tmp_path / "agent")
    directory.prepare()
    directory.keep(Credential("agt_1", "agt_1.secret", "http://127.0.0.1:1"))
    return directory


async def test_plug_ins_are_made_with_their_options(directory: StateDir) -> None:
    inventory = make_inventory(["mock:devices=3,mode=device"], directory)
    assert (await inventory.detect()).capacity({}) == {"mock.device": 3000}
    assert directory.accelerators.stat().st_mode & 0o077 == 0


async def test_a_machine_without_devices_has_none_and_says_nothing(directory: StateDir) -> None:
    """What looks by itself finds nothing here; the mock is there on request only."""
    if any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has GPUs")
    inventory = make_inventory([], directory)
    assert (await inventory.detect()).capacity({}) == {}
    assert inventory.faults == {}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("tpu", "no accelerator plug-in is named 'tpu'"),
        ("mock:size=3", "there is no option 'size'"),
        ("cuda:mode=half", "mode must be one of device, shares, time-sliced"),
        ("mock:devices", "'devices' is not KEY=VALUE"),
    ],
)
def test_what_makes_no_sense_stops_the_agent_with_a_sentence(
    directory: StateDir, said: str, why: str
) -> None:
    with pytest.raises(BadState, match=why):
        make_inventory([said], directory)
    arguments = ["run", "--state-dir", str(directory.path)]
    by_option = CliRunner().invoke(agent, [*arguments, "--accelerator", said])
    by_environment = CliRunner().invoke(agent, arguments, env={"BERTH_ACCELERATORS": said})
    for result in (by_option, by_environment):
        assert result.exit_code == 1
        assert why in result.output
