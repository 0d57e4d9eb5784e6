"""NVIDIA's GPUs through the real nvidia-ml-py on a stand-in for the driver's library."""

from pathlib import Path

import pynvml
import pytest

from agents.accelerators.nvml import Nvml, NvmlFailure
from tests.agents.accelerators.nvml_library import NOT_SUPPORTED, FakeLibrary, FakeProcess


def test_gpus_are_told_with_all_that_placement_needs(nvml: Nvml) -> None:
    first, second = nvml.gpus()
    assert (first.index, first.uuid, first.name) == (0, "GPU-aaaa", "NVIDIA H100 80GB HBM3")
    assert (first.memory, first.minor, first.numa_node, first.capability) == (80 << 30, 0, 0, (9, 0))
    assert (second.uuid, second.minor, second.numa_node) == ("GPU-bbbb", 1, 1)
    assert (first.fault, second.fault) == ("", "")
    assert nvml.driver_version() == "570.86.15"


def test_a_machine_without_a_driver_loads_nothing(tmp_path: Path) -> None:
    def load() -> object:
        raise AssertionError("it was loaded")

    assert not Nvml(tmp_path, load).driver_is_loaded


def test_the_real_package_says_what_is_missing_on_a_machine_without_the_library(machine: Path) -> None:
    """No stand-in here: where this runs without a driver, the package itself fails to find it."""
    if any(Path(f).exists() for f in ("/dev/nvidiactl", "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1")):
        pytest.skip("this machine has a driver")
    with pytest.raises(NvmlFailure, match=r"libnvidia-ml\.so\.1 is missing"):
        Nvml(machine).gpus()


def test_a_missing_package_is_told_with_how_to_get_it(machine: Path) -> None:
    def load() -> object:
        raise ModuleNotFoundError("No module named 'pynvml'")

    with pytest.raises(NvmlFailure, match=r"pip install 'berth\[cuda\]'"):
        Nvml(machine, load).gpus()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "boot again"),
        (pynvml.NVML_ERROR_UNKNOWN, "Unknown Error"),
    ],
)
def test_a_driver_that_does_not_work_is_told_with_what_to_do(
    nvml: Nvml, library: FakeLibrary, code: int, sentence: str
) -> None:
    library.fails["nvmlInitWithFlags"] = code
    with pytest.raises(NvmlFailure, match=sentence):
        nvml.gpus()


def test_a_driver_that_was_reloaded_is_connected_to_again(nvml: Nvml, library: FakeLibrary) -> None:
    nvml.gpus()
    library.opened = 0
    with pytest.raises(NvmlFailure):
        nvml.gpus()
    library.opened = 0
    assert [gpu.uuid for gpu in nvml.gpus()] == ["GPU-aaaa", "GPU-bbbb"]
    assert library.opened == 1


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_gpu_that_fell_off_the_bus_stays_known(nvml: Nvml, library: FakeLibrary, function: str) -> None:
    nvml.gpus()
    library.gpus[0].fails[function] = pynvml.NVML_ERROR_GPU_IS_LOST
    lost, sound = nvml.gpus()
    assert (lost.uuid, lost.fault) == ("GPU-aaaa", "The GPU does not answer: GPU is lost.")
    assert sound.fault == ""
    library.gpus[0].fails.clear()
    assert [gpu.fault for gpu in nvml.gpus()] == ["", ""]


def test_one_that_never_answered_is_not_there(nvml: Nvml, library: FakeLibrary) -> None:
    library.gpus[0].fails["nvmlDeviceGetHandleByIndex_v2"] = pynvml.NVML_ERROR_GPU_IS_LOST
    assert [gpu.uuid for gpu in nvml.gpus()] == ["GPU-bbbb"]


def test_what_a_gpu_does_not_support_is_missing_for_it_alone(nvml: Nvml, library: FakeLibrary) -> None:
    """A consumer card on an older driver: no MIG, no row remapping, no power, no newer temperature call."""
    library.missing |= {"nvmlDeviceGetTemperatureV", "nvmlDeviceGetComputeRunningProcesses_v3"}
    library.gpus[0].processes = [FakeProcess(7, 5)]
    for name in ("MigMode", "RemappedRows", "PowerUsage", "MinorNumber", "PciInfo_v3", "UtilizationRates"):
        library.gpus[0].fails[f"nvmlDeviceGet{name}"] = NOT_SUPPORTED
    library.gpus[0].fails["nvmlDeviceRegisterEvents"] = NOT_SUPPORTED
    gpu, other = nvml.gpus()
    assert (gpu.fault, gpu.minor, gpu.numa_node) == ("", None, None)
    assert other.minor == 1
    load = nvml.sample("GPU-aaaa")
    assert (load.power, load.temperature, load.utilisation) == (None, 41.0, 0.0)
    assert nvml.processes("GPU-aaaa")[7].memory == 5


def test_mig_and_worn_out_memory_keep_a_gpu_from_being_given(nvml: Nvml, library: FakeLibrary) -> None:
    library.gpus[0].mig, library.gpus[1].worn_out = True, True
    first, second = nvml.gpus()
    assert "MIG" in first.fault
    assert "should be replaced" in second.fault


def test_errors_that_programs_cause_leave_a_gpu_sound_and_others_do_not(
    nvml: Nvml, library: FakeLibrary
) -> None:
    """Xid 13 is a program's illegal access; 79 is a GPU that has fallen off the bus."""
    nvml.gpus()
    assert all(gpu.watched for gpu in library.gpus)
    library.events = [("GPU-aaaa", 13), ("GPU-bbbb", 79), ("GPU-aaaa", 31)]
    first, second = nvml.gpus()
    assert (first.fault, library.events) == ("", [])
    assert second.fault.startswith("It has failed with Xid 79")
    assert nvml.gpus()[1].fault == second.fault


def test_load_is_told(nvml: Nvml, library: FakeLibrary) -> None:
    nvml.gpus()
    library.gpus[0].busy, library.gpus[0].used = 73, 5 << 30
    load = nvml.sample("GPU-aaaa")
    assert (load.utilisation, load.memory_used, load.memory_total) == (73.0, 5 << 30, 80 << 30)
    assert (load.temperature, load.power) == (42.0, 123.5)


def test_processes_are_told_with_their_means_since_the_call_before(nvml: Nvml, library: FakeLibrary) -> None:
    gpu = library.gpus[0]
    gpu.processes = [FakeProcess(10, 100), FakeProcess(11, 200, mps=True), FakeProcess(12, None)]
    gpu.samples = [(10, 1_000, 20), (10, 2_000, 40), (11, 2_000, 60)]
    nvml.gpus()
    found = nvml.processes("GPU-aaaa")
    assert {pid: (one.memory, one.utilisation) for pid, one in found.items()} == {
        10: (100, 30.0),
        11: (200, 60.0),
        12: (0, 0.0),
    }
    gpu.samples.append((10, 3_000, 80))
    assert nvml.processes("GPU-aaaa")[10].utilisation == 80.0
    assert nvml.processes("GPU-aaaa")[10].utilisation == 0.0, "nothing has worked since"


def test_a_utilisation_that_is_not_told_is_unknown_and_not_nothing(nvml: Nvml, library: FakeLibrary) -> None:
    library.gpus[0].processes = [FakeProcess(10, 100)]
    library.gpus[0].fails["nvmlDeviceGetProcessUtilization"] = NOT_SUPPORTED
    nvml.gpus()
    assert nvml.processes("GPU-aaaa")[10].utilisation is None


def test_exclusive_mode_needs_root(nvml: Nvml, library: FakeLibrary) -> None:
    nvml.gpus()
    nvml.set_exclusive("GPU-aaaa", exclusive=True)
    assert (library.gpus[0].exclusive, library.gpus[1].exclusive) == (True, False)
    assert nvml.compute_mode_is_exclusive("GPU-aaaa")
    library.root = False
    with pytest.raises(NvmlFailure, match="as root"):
        nvml.set_exclusive("GPU-aaaa", exclusive=False)


def test_closing_lets_go_of_the_library(nvml: Nvml, library: FakeLibrary) -> None:
    nvml.gpus()
    nvml.close()
    nvml.close()
    assert library.opened == 0
    with pytest.raises(NvmlFailure, match="does not answer"):
        nvml.sample("GPU-aaaa")
