"""What the doctor says of accelerators."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.accelerators.contract import AcceleratorFailure
from agents.accelerators.mock import MockAccelerator
from agents.protocol import Device
from server.doctor.accelerators import gpu, look
from server.doctor.checks import Finding, Verdict


class Cuda(MockAccelerator):
    name = "cuda"


class Broken(MockAccelerator):
    def detect(self) -> Sequence[Device]:
        raise AcceleratorFailure("The driver is not loaded.")


def said(findings: list[Finding]) -> list[tuple[Verdict, str]]:
    return [(finding.verdict, finding.found) for finding in findings]


async def test_devices_are_counted_by_model(tmp_path: Path) -> None:
    mock = MockAccelerator(tmp_path, {"devices": "3", "memory": "80g", "model": "H100"})
    assert said(await look([mock])) == [(Verdict.OK, "3 × H100, 80 GiB")]


async def test_one_that_failed_is_a_warning_with_its_reason(tmp_path: Path) -> None:
    mock = MockAccelerator(tmp_path, {"devices": "2"})
    mock.broken.write_text("MOCK-1")
    assert said(await look([mock])) == [
        (Verdict.OK, "1 × Mock Accelerator, 16 GiB"),
        (Verdict.WARNING, "MOCK-1 is not given out: It is said to be broken."),
    ]


async def test_a_plug_in_at_fault_is_a_failure(tmp_path: Path) -> None:
    assert said(await look([Broken(tmp_path, {})])) == [(Verdict.FAILURE, "mock: The driver is not loaded.")]


async def test_what_containers_need_for_gpus_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _, toolkit, daemon = await look([Cuda(tmp_path, {})])
    assert (toolkit.verdict, daemon.verdict) == (Verdict.WARNING, Verdict.NOTE)
    assert "nvidia-container-toolkit" in toolkit.mend
    for name in ("nvidia-ctk", "nvidia-cuda-mps-control"):
        (tmp_path / name).touch(mode=0o755)
    assert len(await look([Cuda(tmp_path, {})])) == 1


async def test_devices_without_a_driver_are_told(tmp_path: Path) -> None:
    assert said(await look([], tmp_path)) == [(Verdict.NOTE, "none")]
    (tmp_path / "nvidia0").touch()
    assert said(await look([], tmp_path)) == [(Verdict.FAILURE, "1 devices and no driver")]


async def test_this_machine_is_looked_at() -> None:
    assert all(finding.check == "gpu" for finding in await gpu())
