"""A container engine of a test's own, on a disk that can be filled, to be killed, frozen and started as it likes."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import require

IMAGE = "berth/minimal:12"
_UP_SECONDS = 30.0


class OwnEngine:
    """dockerd without a default bridge and without iptables, so that the machine's own engine never notices."""

    def __init__(self, root: Path) -> None:
        require("engine")
        require("root")
        if shutil.which("dockerd") is None:
            pytest.fail("there is a container engine but no dockerd to start one of the test's own")
        self._disk = Disk(root / "engine", megabytes=400)
        self._root = root
        self.host = f"unix://{root}/engine.sock"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
            self._load_image()
        except BaseException:
            self.kill()
            self._disk.close()
            raise

    @property
    def disk(self) -> "Disk":
        return self._disk

    def start(self) -> None:
        until = time.monotonic() + _UP_SECONDS
        while not self._answers():
            # After a kill the first start may fail: its containerd still has to notice.
            if self._process is None or self._process.poll() is not None:
                # What died with it may be a zombie for ever where nobody waits for orphans, and pass for alive.
                for pid in (self._root / "engine.pid", self._root / "x/containerd/containerd.pid"):
                    pid.unlink(missing_ok=True)
                self._launch()
            if time.monotonic() > until:
                raise AssertionError((self._root / "engine.log").read_text()[-3000:])
            time.sleep(0.1)

    def _launch(self) -> None:
        command = ["dockerd", "--live-restore", "--bridge=none", "--iptables=false", "-H", self.host]
        places = {
            "data-root": self._disk.path,
            "exec-root": self._root / "x",
            "pidfile": self._root / "engine.pid",
        }
        with (self._root / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(f"--{name}={path}" for name, path in places.items())],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL; its containers go on."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def live(self, kernel_id: str) -> int:
        """Containers of a kernel that run."""
        return len(self._docker("ps", "-q", "--filter", f"label=berth.kernel={kernel_id}").split())

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        self.start()
        if containers := self._docker("ps", "-aq").split():
            self._docker("rm", "-f", *containers)
        self._docker("network", "prune", "-f")
        self._signal(signal.SIGTERM)
        if self._process is not None:
            self._process.wait(30)
        self._disk.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        return (
            subprocess.run(["docker", "-H", self.host, "info"], capture_output=True, check=False).returncode
            == 0
        )

    def _docker(self, *arguments: str) -> str:
        command = ["docker", "-H", self.host, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def _load_image(self) -> None:
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "-H", self.host, "load"], stdin=saved.stdout, capture_output=True, check=True
            )
        assert saved.returncode == 0, f"{IMAGE} was not built"


class Disk:
    """A small file system. Needs root."""

    def __init__(self, path: Path, megabytes: int) -> None:
        require("root")
        path.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", path], check=True
        )
        self.path = path

    def fill(self) -> None:
        """Not one byte more can be written."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            for size in (2**20, 4096, 1):
                try:
                    while True:
                        filler.write(b"\0" * size)
                except OSError:
                    continue

    def empty(self) -> None:
        (self.path / "filler").unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", self.path], check=True)
