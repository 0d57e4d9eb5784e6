"""A session with a share of a GPU gets at the MPS daemon from inside, in a container and in a sandbox.

GPU and daemon are stand-ins; the container, the sandbox and their mounts are real.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.accelerators.cuda import CudaAccelerator
from agents.accelerators.inventories import Inventory
from agents.accelerators.nvml import Nvml
from agents.protocol import KernelSpec
from agents.runtimes.contract import Runtime
from agents.runtimes.docker import DockerRuntime
from agents.runtimes.process import ProcessRuntime
from tests.conftest import require

#: Exit 0 when all is as it should be; what it prints says what is not.
LOOK = """
set -x
test -S "$CUDA_MPS_PIPE_DIRECTORY/control" || exit 11
test "$CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" = 50 || exit 12
test "$CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" = 0=40960M || exit 13
test -e /dev/shm/berth-mps-seen || exit 14
touch /dev/shm/from-session || exit 15
"""
FOREIGN = 'touch "$CUDA_MPS_PIPE_DIRECTORY/x" 2>/dev/null && exit 16\n'


@pytest.fixture(params=["process", "docker"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    if request.param == "process":
        require("sandbox")
        return ProcessRuntime(tmp_path / "runtime", {})
    require("engine")
    return DockerRuntime(tmp_path / "runtime", {})


@pytest.fixture
def cuda(nvml: Nvml, mps_control: Path) -> Iterator[CudaAccelerator]:
    options = {"mode": "shares", "mps": str(mps_control)}
    plugin = CudaAccelerator(mps_control.parent, options, nvml=nvml)
    yield plugin
    plugin.close(in_use=False)
    Path("/dev/shm/from-session").unlink(missing_ok=True)


async def test_a_share_reaches_the_daemon_from_inside(runtime: Runtime, cuda: CudaAccelerator) -> None:
    inventory = Inventory([cuda])
    pool = await inventory.detect()
    assert inventory.faults == {}
    slots = {"cpu": 500, "mem": 128 * 2**20, "cuda.shares": 500}
    asked: dict[str, Any] = {
        "session": f"ses_{secrets.token_hex(6)}",
        "session_name": "test",
        "architecture": "x86_64",
        "slots": slots,
        "devices": pool.place(slots, {}),
        # Root's daemon belongs to root: a session cannot put anything beside it.
        "command": LOOK + (FOREIGN if os.geteuid() == 0 else "") + "exit 0",
    }
    await runtime.open()
    kernel = f"knl_test{secrets.token_hex(6)}"
    try:
        images = [image.reference for image in await runtime.images()]
        image = next(name for name in images if "minimal" in name or "shell" in name)
        granted = await inventory.grant(kernel, KernelSpec(image=image, **asked))
        # The engine has no NVIDIA driver here to be asked for devices.
        granted = msgspec.structs.replace(granted, grant=msgspec.structs.replace(granted.grant, requests=()))
        await runtime.create(kernel, 1, granted)
        await runtime.start(kernel, 1)
        ended = await runtime.wait(kernel, 1)
        output = b"".join([part async for part in runtime.logs(kernel, 0, follow=False)])
        assert ended.exit_code == 0, output.decode()
        assert cuda._daemon is not None
        assert (cuda._daemon.shared_memory / "from-session").exists()
        (report,) = [report for report in await runtime.recover() if report.kernel == kernel]
        assert report.devices == asked["devices"]
    finally:
        await runtime.stop(kernel, 1, 0)
        await runtime.remove(kernel, 1)
        await runtime.close()
