"""The plug-in that docs/accelerators.md shows is one."""

import re
from pathlib import Path
from typing import Any

import pytest

from agents.accelerators.contract import Holder
from agents.accelerators.cuda import _OPTIONS as CUDA_OPTIONS
from agents.accelerators.inventories import Inventory
from agents.protocol import KernelSpec
from agents.runtimes.contract import RuntimeFailure

PAGE = Path(__file__).resolve().parents[3] / "docs/accelerators.md"


@pytest.fixture
def tpu(tmp_path: Path) -> Any:
    """The example, on a machine with two devices."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"dev": lambda: tmp_path, "busy": lambda name: 40.0}
    exec(compile(found, str(PAGE), "exec"), names)
    for number in range(2):
        (tmp_path / f"accel{number}").touch()
    return names["Tpu"](tmp_path, {})


async def test_the_example_gives_devices_and_says_how_busy_they_are(tpu: Any, tmp_path: Path) -> None:
    inventory = Inventory([tpu])
    pool = await inventory.detect()
    devices = pool.place({"tpu.device": 1000}, {"accel0": {"tpu.device": 1000}})
    assert devices == {"tpu.device": {"accel1": 1000}}
    spec = KernelSpec("s", "s", "i", "x", {"tpu.device": 1000}, devices=devices)
    granted = await inventory.grant("knl_1", spec)
    assert granted.environ == {"TPU_DEVICES": "accel1"}
    assert granted.grant.nodes == (str(tmp_path / "accel1"),)
    stats, uses = await inventory.sample([Holder("knl_1", "c", devices)])
    assert [(device.id, device.utilisation) for device in stats] == [("accel0", 40.0), ("accel1", 40.0)]
    assert [(use.device, use.utilisation) for use in uses["knl_1"]] == [("accel1", 40.0)]
    (tmp_path / "accel1").unlink()
    await inventory.detect()
    with pytest.raises(RuntimeFailure, match="accel1 is not there any more"):
        await inventory.grant("knl_1", spec)
    await inventory.close([])


def test_every_option_is_in_the_page() -> None:
    table = PAGE.read_text().partition("| option |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(CUDA_OPTIONS)
