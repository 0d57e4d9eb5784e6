"""The sample images keep what docker/images/README.md promises, in containers as hard as a session's."""

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from services.images import describe

from .conftest import Container, docker

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200), pytest.mark.xdist_group("docker")]

Start = Callable[..., Container]
PYTHON, MINIMAL = "berth/python:3.11-debian12", "berth/minimal:12"


def labels_of(image: str) -> dict[str, str]:
    done = docker("image", "inspect", image, "--format", "{{json .Config.Labels}}")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("image", [PYTHON, MINIMAL])
def test_both_label_families_say_the_same(image: str) -> None:
    labels = labels_of(image)
    name, _, tag = image.rpartition(":")
    ours = describe({k: v for k, v in labels.items() if k.startswith("berth.")}, name, tag)
    theirs = describe({k: v for k, v in labels.items() if k.startswith("ai.backend.")}, name, tag)
    assert labels["berth.image.version"] == labels["ai.backend.kernelspec"] == "1"
    assert labels["berth.image.reference"] == image
    assert ours.minimum_slots == theirs.minimum_slots != {}
    assert (ours.base, ours.environment_names) == (theirs.base, theirs.environment_names)
    shared = [port for port in ours.service_ports if port["protocol"] != "stdio"]
    assert sorted(shared, key=lambda port: port["port"]) == sorted(
        theirs.service_ports, key=lambda port: port["port"]
    )


@pytest.mark.usefixtures("images")
def test_the_python_image_is_described_as_the_launcher_shows_it() -> None:
    described = describe(labels_of(PYTHON), "python", "3.11-debian12")
    assert (described.language, described.version, described.base) == ("Python", "3.11", "debian12")
    assert described.minimum_slots == {"cpu": 1000, "mem": 256 * 1024 * 1024}
    assert {port["name"]: port["port"] for port in described.service_ports} == {
        "jupyterlab": 8090,
        "jupyter": 8080,
        "sshd": 22,
    }


@pytest.mark.parametrize("image", [PYTHON, MINIMAL])
def test_a_session_is_an_ordinary_user_without_a_way_up(start: Start, image: str) -> None:
    container = start(image)
    assert container.run("id -u; id -g; id -un; echo $HOME; pwd").split() == [
        "1000",
        "1000",
        "work",
        "/home/work",
        "/home/work",
    ]
    status = dict(
        line.split(":\t") for line in container.run("cat /proc/self/status").splitlines() if ":\t" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert container.run("find / -xdev -type f -perm /6000 2>/dev/null || true") == ""
    for forbidden in (
        "command -v sudo",
        "echo | su -c id",
        "touch /usr/bin/x",
        "touch /etc/x",
        "cat /etc/shadow",
    ):
        assert container.fails(forbidden), forbidden
    container.run("touch ~/mine /tmp/mine")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("image", [PYTHON, MINIMAL])
def test_nothing_of_the_building_host_is_left_in_an_image(start: Start, image: str) -> None:
    container = start(image)
    assert container.fails("ls /etc/berth-build")
    assert container.run("ls /etc/apt/apt.conf.d | grep berth || true") == ""
    assert container.run("ls /etc/ssh/ssh_host_* 2>/dev/null || true") == ""
    layers = json.loads(docker("image", "inspect", image, "--format", "{{json .RootFS.Layers}}").stdout)
    assert len(layers) <= 2, "the finished root is one layer (and an empty one of the working directory)"


def test_python_installs_packages_into_the_home(start: Start) -> None:
    container = start(PYTHON)
    assert container.run("python --version").startswith("Python 3.11.")
    assert container.run("git --version").startswith("git version")
    assert container.run("python -m site --user-base") == "/home/work/.local"
    assert container.run("python -m pip config debug >/dev/null && python -m pip --version").startswith(
        "pip "
    )
    assert container.run("ls /usr/lib/python3.11/EXTERNALLY-MANAGED 2>/dev/null || true") == ""


def test_tmux_keeps_scrollback_and_hands_copies_to_the_browser(start: Start) -> None:
    """OSC 52 from a program in tmux arrives at the terminal outside, so that the browser can fill its clipboard."""
    container = start(PYTHON)
    container.run("tmux new-session -d -s t")
    options = container.run("tmux show -gv history-limit; tmux show -gv mouse; tmux show -sv set-clipboard")
    assert options.split() == ["50000", "on", "on"]
    parent, child = pty.openpty()
    attach = [
        "docker",
        "exec",
        "-it",
        "-e",
        "TERM=xterm-256color",
        container.name,
        "tmux",
        "attach",
        "-t",
        "t",
    ]
    with subprocess.Popen(attach, stdin=child, stdout=child, stderr=child) as attached:
        os.close(child)
        seen = read_until(parent, b"work@")
        container.run(r"""tmux send-keys -t t "printf '\\033]52;c;Y29waWVk\\a'" Enter""")
        seen = read_until(parent, b"Y29waWVk\x07", b"Y29waWVk\x1b\\")
        assert b"\x1b]52;" in seen
        attached.terminate()
    os.close(parent)


def read_until(descriptor: int, *marks: bytes, seconds: float = 30) -> bytes:
    seen, until = b"", time.monotonic() + seconds
    while not any(mark in seen for mark in marks):
        ready, _, _ = select.select([descriptor], [], [], max(0, until - time.monotonic()))
        assert ready, f"{marks} did not come; seen: {seen[-500:]!r}"
        seen += os.read(descriptor, 65536)
    return seen


@pytest.mark.parametrize(("service", "base_url"), [("jupyterlab", "/"), ("jupyter", "/apps/x/")])
def test_a_service_starts_as_services_json_says(start: Start, service: str, base_url: str) -> None:
    container = start(PYTHON)
    definition = json.loads(container.run("cat /etc/berth/services.json"))[service]
    fill = {"port": definition["port"], "bind": "127.0.0.1", "base_url": base_url}
    command = [part.format(**fill) for part in definition["command"]]
    started = docker("exec", "-d", container.name, *command)
    assert started.returncode == 0, started.stderr.decode()
    origin = f"http://127.0.0.1:{definition['port']}{base_url}"
    wait = f"curl -fsS --retry {definition['start_timeout']} --retry-delay 1 --retry-connrefused"
    ready: dict[str, Any] = json.loads(
        container.run(f"{wait} {origin}{definition['ready'].lstrip('/')}", seconds=120)
    )
    assert "version" in ready
    page = container.run(f"curl -fsS -L {origin}{definition['path'].lstrip('/')}")
    assert "<title>" in page
    assert "password" not in page.lower()
    kernels = json.loads(container.run(f"curl -fsS {origin}api/kernelspecs"))
    assert "python3" in kernels["kernelspecs"]


def test_a_notebook_runs(start: Start) -> None:
    container = start(PYTHON)
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": "6*7",
    }
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    container.run("cat >n.ipynb", stdin=json.dumps(notebook).encode())
    container.run("jupyter execute --inplace --kernel_name=python3 n.ipynb", seconds=120)
    done = json.loads(container.run("cat n.ipynb"))
    assert done["cells"][0]["outputs"][0]["data"]["text/plain"] == ["42"]
