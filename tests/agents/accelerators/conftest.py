"""A machine with NVIDIA GPUs, as far as its files and its driver's library tell."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from agents.accelerators.mps import MpsDaemon
from agents.accelerators.nvml import Nvml
from tests.agents.accelerators.nvml_library import FakeGpu, FakeLibrary


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibrary]:
    """The driver's library, with two GPUs on two NUMA nodes."""
    fake = FakeLibrary([FakeGpu("GPU-aaaa", minor=0, bus=0x3B), FakeGpu("GPU-bbbb", minor=1, bus=0xAF)])
    monkeypatch.setattr(pynvml, "nvmlLib", fake)
    monkeypatch.setattr(pynvml, "_nvmlLib_refcount", 0)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    yield fake
    pynvml._nvmlGetFunctionPointer_cache.clear()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root directory with what the driver makes in it."""
    root = tmp_path / "machine"
    (root / "dev").mkdir(parents=True)
    (root / "dev/nvidiactl").touch()
    for bus, node in ((0x3B, "0"), (0xAF, "1")):
        directory = root / f"sys/bus/pci/devices/0000:{bus:02x}:00.0"
        directory.mkdir(parents=True)
        (directory / "numa_node").write_text(f"{node}\n")
    return root


@pytest.fixture
def nvml(library: FakeLibrary, machine: Path) -> Nvml:
    return Nvml(machine)


@pytest.fixture
def mps_control() -> Iterator[Path]:
    """A stand-in for nvidia-cuda-mps-control. The path is short: its socket's has at most 107 characters."""
    directory = Path(tempfile.mkdtemp(prefix="mps-"))
    program = directory / "nvidia-cuda-mps-control"
    source = Path(__file__).with_name("mps_control.py").read_text().partition("\n")[2]
    program.write_text(f"#!{sys.executable} -SE\n{source}")
    program.chmod(0o755)
    yield program
    shutil.rmtree(directory)


@pytest.fixture
def daemon(mps_control: Path) -> Iterator[MpsDaemon]:
    directory = mps_control.parent / "d"
    directory.mkdir()
    daemon = MpsDaemon(directory, str(mps_control))
    yield daemon
    daemon.quit()
