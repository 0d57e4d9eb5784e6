"""Accelerators that are not there behave like those that are."""

from pathlib import Path

import pytest

from agents.accelerators.contract import BadOption, Holder
from agents.accelerators.mock import MockAccelerator


def test_devices_are_as_configured(tmp_path: Path) -> None:
    options = {
        "devices": "3",
        "memory": "8g",
        "model": "Big",
        "mode": "device",
        "prefix": "cuda",
        "numa": "2",
    }
    mock = MockAccelerator(tmp_path, options)
    found = mock.detect()
    assert [device.id for device in found] == ["MOCK-0", "MOCK-1", "MOCK-2"]
    assert {(d.model, d.memory, d.healthy) for d in found} == {("Big", 8 << 30, True)}
    assert [device.numa_node for device in found] == [0, 1, 0]
    assert found[0].capacity == {"cuda.device": 1000}
    assert [(kind.name, kind.type, kind.step) for kind in mock.kinds] == [("cuda.device", "unique", 1000)]


@pytest.mark.parametrize(
    "options",
    [
        {"devices": "-1"},
        {"devices": "many"},
        {"memory": "8 apples"},
        {"mode": "half"},
        {"prefix": "a b"},
        {"numa": "0"},
    ],
)
def test_options_without_sense_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(BadOption):
        MockAccelerator(tmp_path, options)


def test_a_device_that_is_said_to_be_broken_is(tmp_path: Path) -> None:
    mock = MockAccelerator(tmp_path, {"devices": "2"})
    mock.broken.write_text("MOCK-1\n")
    assert [device.healthy for device in mock.detect()] == [True, False]
    mock.broken.unlink()
    assert [device.healthy for device in mock.detect()] == [True, True]


def test_a_kernel_is_told_what_it_has(tmp_path: Path) -> None:
    grant = MockAccelerator(tmp_path, {}).grant("knl_1", {"mock.shares": {"MOCK-0": 500, "MOCK-1": 250}})
    assert grant.environ == {"MOCK_VISIBLE_DEVICES": "MOCK-0,MOCK-1", "MOCK_DEVICE_SHARES": "0.5,0.25"}


def test_a_device_works_as_hard_as_those_who_hold_it(tmp_path: Path) -> None:
    mock = MockAccelerator(tmp_path, {"devices": "2", "memory": "8g"})
    half, quarter = {"mock.shares": {"MOCK-0": 500}}, {"mock.shares": {"MOCK-0": 250}}
    sample = mock.sample(
        [
            Holder("knl_1", "c1", half, cpu_percent=250.0, memory_bytes=1 << 30),
            Holder("knl_2", "c2", quarter, cpu_percent=20.0, memory_bytes=64 << 30),
        ]
    )
    busy, idle = sample.devices
    assert (busy.utilisation, busy.memory_used, busy.memory_total) == (55.0, 3 << 30, 8 << 30)
    assert (idle.utilisation, idle.memory_used) == (0.0, 0)
    ((mine,), (other,)) = sample.kernels["knl_1"], sample.kernels["knl_2"]
    assert (mine.utilisation, mine.memory_used, mine.memory_limit) == (100.0, 1 << 30, 4 << 30)
    assert (other.utilisation, other.memory_used, other.memory_limit) == (20.0, 2 << 30, 2 << 30)
