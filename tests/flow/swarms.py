"""Two container engines in network namespaces of their own, in one Docker Swarm: two nodes on one machine."""

import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import missing, require

IMAGE = "berth/minimal:12"
_UP_SECONDS = 60.0


class SwarmEngines:
    """`hosts` are their sockets; the first manages the swarm."""

    def __init__(self, root: Path) -> None:
        require("engine")
        require("root")
        for program in ("dockerd", "ip", "iptables", "nsenter"):
            if shutil.which(program) is None:
                pytest.fail(f"there is a container engine but no {program} for two of the test's own")
        self._root = root
        self._processes: list[subprocess.Popen[bytes]] = []
        tag = uuid.uuid4().hex[:6]
        self._spaces = [f"berth-{tag}-{number}" for number in (1, 2)]
        self.hosts = [f"unix://{root}/{number}.sock" for number in (1, 2)]
        try:
            self._join_spaces(tag)
            for number in (1, 2):
                self._launch(number)
            for host in self.hosts:
                self._wait(host)
                self._load_image(host)
            self._make_swarm()
        except BaseException:
            self.close()
            raise

    def _join_spaces(self, tag: str) -> None:
        """A cable between the two, and a device of the kind that overlays are made of, which the kernel may not have."""
        for space in self._spaces:
            _run("ip", "netns", "add", space)
        first, second = self._spaces
        _run(
            "ip",
            "link",
            "add",
            f"b{tag}a",
            "netns",
            first,
            "type",
            "veth",
            "peer",
            "name",
            f"b{tag}b",
            "netns",
            second,
        )
        probe = ["ip", "-n", first, "link", "add", "probe", "type", "vxlan", "id", "7", "dstport", "4789"]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            missing("vxlan", "this kernel makes no VXLAN devices, of which overlay networks are made")
        _run("ip", "-n", first, "link", "delete", "probe")
        for number, (space, end) in enumerate(zip(self._spaces, "ab", strict=True), start=1):
            _run("ip", "-n", space, "address", "add", f"10.98.0.{number}/24", "dev", f"b{tag}{end}")
            _run("ip", "-n", space, "link", "set", f"b{tag}{end}", "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")

    def _launch(self, number: int) -> None:
        # Not `ip netns exec`, which hides the control groups.
        command = ["nsenter", f"--net=/var/run/netns/{self._spaces[number - 1]}", "dockerd"]
        places = {
            "data-root": self._root / f"{number}-data",
            "exec-root": self._root / f"{number}-x",
            "pidfile": self._root / f"{number}.pid",
        }
        options = [*(f"--{name}={path}" for name, path in places.items()), "-H", self.hosts[number - 1]]
        with (self._root / f"engine{number}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen([*command, *options], stdout=log, stderr=log, start_new_session=True)
            )

    def _wait(self, host: str) -> None:
        until = time.monotonic() + _UP_SECONDS
        while subprocess.run(["docker", "-H", host, "info"], capture_output=True, check=False).returncode:
            if time.monotonic() > until:
                raise AssertionError(
                    "\n".join(log.read_text()[-2000:] for log in self._root.glob("engine*.log"))
                )
            time.sleep(0.1)

    def _load_image(self, host: str) -> None:
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "-H", host, "load"], stdin=saved.stdout, capture_output=True, check=True
            )
        assert saved.returncode == 0, f"{IMAGE} was not built"

    def _make_swarm(self) -> None:
        first, second = self.hosts
        at = "10.98.0.{}"
        self.docker(first, "swarm", "init", "--advertise-addr", at.format(1), "--listen-addr", at.format(1))
        token = self.docker(first, "swarm", "join-token", "-q", "worker").strip()
        here = ("--advertise-addr", at.format(2), "--listen-addr", at.format(2))
        self.docker(second, "swarm", "join", "--token", token, *here, f"{at.format(1)}:2377")

    def docker(self, host: str, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", "-H", host, *arguments], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def networks(self) -> list[str]:
        """Names of the networks between the two."""
        listed = ("network", "ls", "--filter", "driver=overlay", "--filter", "label=berth.overlay")
        return sorted(
            {
                name
                for host in self.hosts
                for name in self.docker(host, *listed, "--format", "{{.Name}}").split()
            }
        )

    def close(self) -> None:
        for host, process in zip(self.hosts, self._processes, strict=False):
            if process.poll() is None:
                left = subprocess.run(
                    ["docker", "-H", host, "ps", "-aq"], capture_output=True, text=True, check=False
                ).stdout.split()
                if left:
                    subprocess.run(
                        ["docker", "-H", host, "rm", "-f", *left], capture_output=True, check=False
                    )
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        for space in self._spaces:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)
