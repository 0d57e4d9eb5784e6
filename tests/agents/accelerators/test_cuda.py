"""GPUs given whole, in shares within limits, and in turns."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml
import pytest

from agents.accelerators.contract import AcceleratorFailure, BadOption, Chooser, Holder
from agents.accelerators.cuda import CudaAccelerator
from agents.accelerators.nvml import Nvml
from agents.protocol import Device
from tests.agents.accelerators.nvml_library import NOT_SUPPORTED, FakeLibrary, FakeProcess

Make = Callable[..., CudaAccelerator]


@pytest.fixture
def make(nvml: Nvml, mps_control: Path) -> Iterator[Make]:
    """Plug-ins of one node, each as after a start of its agent."""
    made: list[CudaAccelerator] = []

    def one(**options: str) -> CudaAccelerator:
        if options.get("mode") == "shares":
            options.setdefault("mps", str(mps_control))
        made.append(CudaAccelerator(mps_control.parent, options, nvml=Nvml(nvml.root), root=False))
        return made[-1]

    yield one
    for plugin in made:
        plugin.close(in_use=False)


def by_id(plugin: CudaAccelerator) -> dict[str, Device]:
    return {device.id: device for device in plugin.detect()}


class TestDetection:
    def test_whole_gpus(self, make: Make) -> None:
        plugin = make()
        found = by_id(plugin)
        assert list(found) == ["GPU-aaaa", "GPU-bbbb"]
        first = found["GPU-aaaa"]
        assert (first.model, first.memory, first.numa_node) == ("NVIDIA H100 80GB HBM3", 80 << 30, 0)
        assert first.capacity == {"cuda.device": 1000}
        assert [(kind.name, kind.type) for kind in plugin.kinds] == [("cuda.device", "unique")]
        assert not isinstance(plugin, Chooser)

    def test_without_a_driver_there_are_none_and_nothing_is_loaded(self, tmp_path: Path) -> None:
        def load() -> object:
            raise AssertionError("it was loaded")

        assert CudaAccelerator(tmp_path, {}, nvml=Nvml(tmp_path, load)).detect() == []

    def test_a_driver_that_does_not_work_is_a_fault(self, make: Make, library: FakeLibrary) -> None:
        library.fails["nvmlInitWithFlags"] = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
        with pytest.raises(AcceleratorFailure, match="modprobe"):
            make().detect()

    def test_a_lost_gpu_is_there_and_unhealthy(self, make: Make, library: FakeLibrary) -> None:
        plugin = make()
        plugin.detect()
        library.gpus[0].fails["nvmlDeviceGetUUID"] = pynvml.NVML_ERROR_GPU_IS_LOST
        found = by_id(plugin)
        assert (found["GPU-aaaa"].healthy, found["GPU-bbbb"].healthy) == (False, True)
        assert "GPU is lost" in found["GPU-aaaa"].reason

    @pytest.mark.parametrize("skipped", ["0", "GPU-aaaa", "GPU-aaaa+7"])
    def test_some_are_left_out(self, make: Make, skipped: str) -> None:
        assert list(by_id(make(skip=skipped))) == ["GPU-bbbb"]

    @pytest.mark.parametrize(
        "options", [{"mode": "mig"}, {"exclusive": "yes"}, {"mps": "x"}, {"memory": "1g"}]
    )
    def test_options_without_sense_are_refused(self, tmp_path: Path, options: dict[str, str]) -> None:
        with pytest.raises(BadOption):
            CudaAccelerator(tmp_path, options)


class TestWhole:
    def test_a_kernel_sees_its_gpus_and_no_others(self, make: Make) -> None:
        plugin = make()
        plugin.detect()
        grant = plugin.grant("knl_1", {"cuda.device": {"GPU-bbbb": 1000}})
        assert grant.environ == {"CUDA_VISIBLE_DEVICES": "GPU-bbbb", "NVIDIA_VISIBLE_DEVICES": "GPU-bbbb"}
        (request,) = grant.requests
        assert (request.driver, request.ids) == ("nvidia", ("GPU-bbbb",))
        assert set(request.capabilities) == {"gpu", "nvidia", "compute", "utility"}
        assert "/dev/nvidia1" in request.nodes
        assert "/dev/nvidia0" not in request.nodes
        assert (grant.mounts, grant.nodes) == ((), ())

    def test_a_kernel_without_any_sees_none(self, make: Make) -> None:
        plugin = make()
        plugin.detect()
        assert plugin.grant("knl_1", {}).environ == {"NVIDIA_VISIBLE_DEVICES": "void"}

    def test_one_that_has_vanished_is_not_granted(self, make: Make) -> None:
        plugin = make()
        plugin.detect()
        with pytest.raises(AcceleratorFailure, match="GPU-gone is not there"):
            plugin.grant("knl_1", {"cuda.device": {"GPU-gone": 1000}})

    def test_its_load_is_the_kernels(self, make: Make, library: FakeLibrary) -> None:
        plugin = make()
        plugin.detect()
        library.gpus[0].busy, library.gpus[0].used = 80, 10 << 30
        holder = Holder("knl_1", "", {"cuda.device": {"GPU-aaaa": 1000}})
        sample = plugin.sample([holder])
        assert [device.utilisation for device in sample.devices] == [80.0, 0.0]
        ((use,),) = sample.kernels.values()
        assert (use.device, use.slot, use.utilisation) == ("GPU-aaaa", "cuda.device", 80.0)
        assert use.memory_limit == 80 << 30


class TestShares:
    def test_a_share_is_a_part_of_the_threads_and_of_the_memory(
        self, make: Make, library: FakeLibrary
    ) -> None:
        plugin = make(mode="shares")
        assert by_id(plugin)["GPU-aaaa"].capacity == {"cuda.shares": 1000}
        grant = plugin.grant("knl_1", {"cuda.shares": {"GPU-aaaa": 300}})
        assert grant.environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "30"
        assert grant.environ["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == f"0={80 * 1024 * 3 // 10}M"
        mounts = {mount.target: mount.source for mount in grant.mounts}
        assert grant.environ["CUDA_MPS_PIPE_DIRECTORY"] in mounts
        assert "/dev/shm" in mounts
        assert library.gpus[0].exclusive, "nothing goes around MPS"

    def test_what_spans_gpus_is_limited_on_each_and_by_its_smallest_part(
        self, make: Make, library: FakeLibrary
    ) -> None:
        library.gpus[1].memory = 40 << 30
        plugin = make(mode="shares")
        plugin.detect()
        environ = plugin.grant("knl_1", {"cuda.shares": {"GPU-bbbb": 500, "GPU-aaaa": 490}}).environ
        assert environ["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb,GPU-aaaa"
        assert environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "49"
        limits = f"0={20 * 1024}M,1={80 * 1024 * 49 // 100}M"
        assert environ["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == limits

    def test_a_tiny_share_is_not_unlimited(self, make: Make) -> None:
        """A percentage of 0 would mean no limit."""
        plugin = make(mode="shares")
        plugin.detect()
        environ = plugin.grant("knl_1", {"cuda.shares": {"GPU-aaaa": 5}}).environ
        assert environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "1"

    def test_some_may_be_given_whole(self, make: Make, library: FakeLibrary) -> None:
        plugin = make(mode="shares", whole="1")
        found = by_id(plugin)
        assert found["GPU-aaaa"].capacity == {"cuda.shares": 1000}
        assert found["GPU-bbbb"].capacity == {"cuda.device": 1000}
        assert {kind.name for kind in plugin.kinds} == {"cuda.shares", "cuda.device"}
        assert [gpu.exclusive for gpu in library.gpus] == [True, False]
        assert "CUDA_MPS_PIPE_DIRECTORY" not in plugin.grant("k", {"cuda.device": {"GPU-bbbb": 1000}}).environ

    def test_without_the_daemon_no_share_is_given(self, make: Make) -> None:
        found = by_id(make(mode="shares", mps="no-such-mps-control"))
        assert not any(device.healthy for device in found.values())
        assert "no-such-mps-control is not installed" in found["GPU-aaaa"].reason

    def test_gpus_before_volta_cannot_be_shared_within_limits(self, make: Make, library: FakeLibrary) -> None:
        library.gpus[0].capability = (6, 1)
        found = by_id(make(mode="shares"))
        assert (found["GPU-aaaa"].healthy, found["GPU-bbbb"].healthy) == (False, True)
        assert "time-sliced" in found["GPU-aaaa"].reason

    def test_a_gpu_that_comes_back_waits_for_a_daemon_that_knows_it(
        self, make: Make, library: FakeLibrary
    ) -> None:
        library.gpus[1].worn_out = True
        plugin = make(mode="shares")
        plugin.detect()
        library.gpus[1].worn_out = False
        assert plugin._daemon is not None
        (plugin._daemon.pipe / "get_server_list").write_text("4711")
        (plugin._daemon.pipe / "get_client_list").write_text("4712")
        found = by_id(plugin)
        assert (found["GPU-aaaa"].healthy, found["GPU-bbbb"].healthy) == (True, False)
        assert "once no session uses the daemon" in found["GPU-bbbb"].reason
        (plugin._daemon.pipe / "get_client_list").unlink()
        assert all(device.healthy for device in plugin.detect())

    def test_exclusive_mode_that_cannot_be_set_is_told(self, make: Make, library: FakeLibrary) -> None:
        library.root = False
        assert "as root" in by_id(make(mode="shares"))["GPU-aaaa"].reason
        assert by_id(make(mode="shares", exclusive="no"))["GPU-aaaa"].healthy

    def test_gpus_are_set_back_when_nothing_uses_them(self, make: Make, library: FakeLibrary) -> None:
        plugin = make(mode="shares")
        plugin.detect()
        plugin.close(in_use=False)
        assert [gpu.exclusive for gpu in library.gpus] == [False, False]

    def test_and_stay_as_they_are_while_sessions_go_on(self, make: Make, library: FakeLibrary) -> None:
        """The agent is restarted: its daemon is found again, and the GPUs are still its own."""
        plugin = make(mode="shares")
        plugin.detect()
        daemon = plugin._daemon
        assert daemon is not None
        pid = daemon._pid()
        plugin.close(in_use=True)
        assert [gpu.exclusive for gpu in library.gpus] == [True, True]
        again = make(mode="shares")
        assert all(device.healthy for device in again.detect())
        assert again._daemon is not None
        assert again._daemon._pid() == pid

    def test_a_mode_that_was_changed_frees_gpus_from_mps(self, make: Make, library: FakeLibrary) -> None:
        """Else a session that has a whole GPU could run a single process on it."""
        first = make(mode="shares")
        first.detect()
        first.close(in_use=True)
        make(mode="device").detect()
        assert [gpu.exclusive for gpu in library.gpus] == [False, False]

    def test_one_that_an_admin_has_set_to_exclusive_is_left_so(
        self, make: Make, library: FakeLibrary
    ) -> None:
        library.gpus[0].exclusive = True
        plugin = make(mode="shares")
        plugin.detect()
        plugin.close(in_use=False)
        assert [gpu.exclusive for gpu in library.gpus] == [True, False]

    def test_each_kernels_part_is_told_of_its_share(self, make: Make, library: FakeLibrary) -> None:
        """Its processes are found by their control group: here it is this one's own."""
        group = Path(f"/proc/{os.getpid()}/cgroup").read_text().strip().splitlines()[0].rpartition(":")[2]
        plugin = make(mode="shares")
        plugin.detect()
        library.gpus[0].processes = [FakeProcess(os.getpid(), 3 << 30, mps=True)]
        library.gpus[0].samples = [(os.getpid(), 1000, 25)]
        half = {"cuda.shares": {"GPU-aaaa": 500}}
        sample = plugin.sample([Holder("knl_1", group, half), Holder("knl_2", "no-such-container", half)])
        (mine,), (other,) = sample.kernels["knl_1"], sample.kernels["knl_2"]
        assert (mine.utilisation, mine.memory_used, mine.memory_limit) == (50.0, 3 << 30, 40 << 30)
        assert (other.utilisation, other.memory_used) == (0.0, 0)

    def test_where_a_process_may_be_anybodys_nobody_is_called_idle(
        self, make: Make, library: FakeLibrary
    ) -> None:
        """No control groups, or an agent in a container of its own: process 4194305 is of an unknown session."""
        plugin = make(mode="shares")
        plugin.detect()
        library.gpus[0].processes = [FakeProcess(2**22 + 1, 99)]
        library.gpus[0].samples = [(2**22 + 1, 1000, 50)]
        sample = plugin.sample([Holder("knl_1", "some-container", {"cuda.shares": {"GPU-aaaa": 500}})])
        ((use,),) = sample.kernels.values()
        assert use.utilisation is None


class TestTimeSliced:
    def test_sessions_take_turns_without_limits(self, make: Make, library: FakeLibrary) -> None:
        plugin = make(mode="time-sliced")
        assert by_id(plugin)["GPU-aaaa"].capacity == {"cuda.shares": 1000}
        grant = plugin.grant("knl_1", {"cuda.shares": {"GPU-aaaa": 300}})
        assert set(grant.environ) == {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"}
        assert grant.mounts == ()
        assert not library.gpus[0].exclusive

    def test_a_part_that_is_not_told_is_unknown(self, make: Make, library: FakeLibrary) -> None:
        group = Path(f"/proc/{os.getpid()}/cgroup").read_text().strip().splitlines()[0].rpartition(":")[2]
        plugin = make(mode="time-sliced")
        plugin.detect()
        library.gpus[0].processes = [FakeProcess(os.getpid(), 3 << 30)]
        library.gpus[0].fails["nvmlDeviceGetProcessUtilization"] = NOT_SUPPORTED
        sample = plugin.sample([Holder("knl_1", group, {"cuda.shares": {"GPU-aaaa": 300}})])
        ((use,),) = sample.kernels.values()
        assert (use.utilisation, use.memory_used, use.memory_limit) == (None, 3 << 30, 0)


def test_a_gpu_that_fails_while_it_is_sampled_harms_no_other(make: Make, library: FakeLibrary) -> None:
    plugin = make()
    plugin.detect()
    library.gpus[0].fails["nvmlDeviceGetHandleByIndex_v2"] = pynvml.NVML_ERROR_GPU_IS_LOST
    for name in ("UtilizationRates", "MemoryInfo", "PowerUsage"):
        library.gpus[0].fails[f"nvmlDeviceGet{name}"] = pynvml.NVML_ERROR_GPU_IS_LOST
    plugin.detect()
    assert {device.id for device in plugin.sample([]).devices} >= {"GPU-bbbb"}
