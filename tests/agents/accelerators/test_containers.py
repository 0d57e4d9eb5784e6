"""What a grant becomes in a container and in a sandbox."""

import json
from pathlib import Path

from agents.protocol import DeviceRequest, Grant, KernelSpec
from agents.runtimes import bubblewrap, docker_containers

REQUEST = DeviceRequest("nvidia", ("GPU-aaaa",), ("gpu", "compute"), ("/dev/nvidia0",))
SPEC = KernelSpec(
    *("ses_1", "one", "python:3", "x86_64", {"cpu": 1000, "cuda.shares": 500}),
    devices={"cuda.shares": {"GPU-aaaa": 500}},
    grant=Grant(requests=(REQUEST,), nodes=("/dev/kfd",)),
)


def test_an_engine_is_asked_for_the_devices_and_keeps_them_on_the_label() -> None:
    config = docker_containers.config("knl_1", 1, SPEC, "net", {})
    host = config["HostConfig"]
    assert host["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ("GPU-aaaa",), "Capabilities": [("gpu", "compute")]}
    ]
    assert host["Devices"] == [
        {"PathOnHost": "/dev/kfd", "PathInContainer": "/dev/kfd", "CgroupPermissions": "rwm"}
    ]
    assert json.loads(config["Labels"]["berth.devices"]) == {"cuda.shares": {"GPU-aaaa": 500}}


def test_a_sandbox_is_shown_the_device_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = bubblewrap.command(bubblewrap.Engine("bwrap", user_namespace=True), tmp_path, SPEC)
    for node in ("/dev/kfd", "/dev/nvidia0"):
        at = command.index(node)
        assert command[at - 1 : at + 2] == ["--dev-bind-try", node, node]
        # Before the tree is sealed: a file that is not there yet could not be made any more.
        assert at < len(command) - 1 - command[::-1].index("--remount-ro")
