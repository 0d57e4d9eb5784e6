"""SSH without a port: OpenSSH's own client through `docker exec -i`, as user work without a capability."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.factories import SSH_KEY

from .conftest import Container

pytestmark = [
    pytest.mark.engine,
    pytest.mark.ssh,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("docker"),
]

Start = Callable[..., Container]


class Client:
    """OpenSSH's client with one key; remembers the host's key of the first connection."""

    def __init__(self, folder: Path, container: Container, key: Path) -> None:
        self._options = [
            f"-oIdentityFile={key}",
            "-oIdentitiesOnly=yes",
            "-oIdentityAgent=none",
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=accept-new",
            f"-oUserKnownHostsFile={folder / 'known_hosts'}",
            f"-oProxyCommand=docker exec -i {container.name} /usr/local/bin/berth-sshd",
            "-F/dev/null",
        ]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", *self._options, "work@session", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def sftp(self, batch: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sftp", "-b", "-", *self._options, "work@session"],
            input=batch,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def container(start: Start) -> Container:
    return start(
        "berth/python:3.11-debian12", "-e", "BERTH_GREETING=hello two  words", "-e", "OMP_NUM_THREADS=3"
    )


def id_container(container: Container, folder: Path) -> Path:
    container.run("berth-ssh-keys")
    key = folder / "id_container"
    key.touch(0o600)
    key.write_text(container.run("cat ~/id_container") + "\n")
    return key


def test_id_container_opens_a_shell_with_the_sessions_environment(
    container: Container, tmp_path: Path
) -> None:
    client = Client(tmp_path, container, id_container(container, tmp_path))
    done = client.run('id -u; pwd; echo "$BERTH_GREETING"; echo $OMP_NUM_THREADS; echo $PATH; exit 7')
    assert done.stdout.splitlines() == [
        "1000",
        "/home/work",
        "hello two  words",
        "3",
        "/home/work/.local/bin:/usr/local/bin:/usr/bin:/bin",
    ], done.stderr
    assert done.returncode == 7
    # The second connection meets the same host key, else the client would refuse.
    assert client.run("true").returncode == 0


def test_files_go_both_ways_by_sftp(container: Container, tmp_path: Path) -> None:
    client = Client(tmp_path, container, id_container(container, tmp_path))
    content = os.urandom(5_000_000)
    (tmp_path / "there").write_bytes(content)
    done = client.sftp(f"put {tmp_path / 'there'} data.bin\nget data.bin {tmp_path / 'back'}\n")
    assert done.returncode == 0, done.stderr
    assert container.run("sha256sum data.bin").split()[0] == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "back").read_bytes() == content


def test_a_strangers_key_and_a_missing_key_are_refused(container: Container, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True, timeout=30)
    done = Client(tmp_path, container, stranger).run("id")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_a_folder_of_own_keys_counts_instead_of_id_container(container: Container, tmp_path: Path) -> None:
    generated = id_container(container, tmp_path)
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own], check=True, timeout=30)
    # Modes that sshd alone would refuse: a mounted folder often has them.
    container.run(
        "mkdir -m 777 ~/.ssh && cat >~/.ssh/authorized_keys && chmod 666 ~/.ssh/authorized_keys",
        stdin=own.with_suffix(".pub").read_bytes(),
    )
    assert Client(tmp_path, container, own).run("echo in").stdout == "in\n"
    assert Client(tmp_path, container, generated).run("echo in").returncode == 255


def test_the_keys_of_the_account_let_in_beside_id_container(start: Start, tmp_path: Path) -> None:
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own], check=True, timeout=30)
    lines = f"{SSH_KEY}\n{own.with_suffix('.pub').read_text().strip()}"
    container = start("berth/python:3.11-debian12", "-e", f"BERTH_SSH_AUTHORIZED_KEYS={lines}")
    assert Client(tmp_path, container, own).run("echo in").stdout == "in\n"
    generated = id_container(container, tmp_path)
    assert Client(tmp_path, container, generated).run("echo in").stdout == "in\n"


def test_many_first_connections_at_once_make_one_key(container: Container) -> None:
    """Eight at a time on a fresh home: one host key, one id_container, nothing half made left over."""
    container.run("for i in 1 2 3 4 5 6 7 8; do berth-ssh-keys & done; wait")
    first = container.run("ssh-keygen -lf ~/.berth/ssh/host_ed25519; ssh-keygen -lf ~/id_container")
    container.run("berth-ssh-keys")
    assert container.run("ssh-keygen -lf ~/.berth/ssh/host_ed25519; ssh-keygen -lf ~/id_container") == first
    assert container.run("ls -A ~/.berth/ssh").split() == ["authorized_keys", "host_ed25519"]
    assert container.run("stat -c %a ~/id_container ~/.berth/ssh/host_ed25519").split() == ["600", "600"]
