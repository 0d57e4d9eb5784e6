"""What the containers of a cluster session get to reach each other: an SSH server each, and files for ssh and mpirun.

All have the same key, which is the session's own: it lets in, and it tells that the other end is one of them. The server
runs as user 1000 on a port of its own, where the image has one (`/usr/sbin/sshd`); shells that it starts have the
environment of the container.
"""

import io
import re
import tarfile
from collections.abc import Mapping
from typing import Final

from agents.protocol import KernelSpec

DIRECTORY: Final = "/etc/berth/cluster"
PORT: Final = 2222
#: Starts the server where there is one, before anything else of the container.
START: Final = f"if [ -x /usr/sbin/sshd ] && [ -f {DIRECTORY}/key ]; then /usr/sbin/sshd -f {DIRECTORY}/sshd_config; fi; "
_OWNER: Final = 1000
#: sshd's configuration has no way to write these.
_UNWRITABLE: Final = re.compile(r'["\\$\r\n\0]')
#: What sshd sets itself.
_OF_SSHD: Final = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "TERM", "PWD"})


def environ(spec: KernelSpec) -> dict[str, str]:
    """Where MPI finds the files: Open MPI 4 and 5."""
    if spec.cluster is None:
        return {}
    return {
        "BERTH_CLUSTER_HOSTFILE": f"{DIRECTORY}/hostfile",
        "OMPI_MCA_orte_default_hostfile": f"{DIRECTORY}/hostfile",
        "PRTE_MCA_prte_default_hostfile": f"{DIRECTORY}/hostfile",
    }


def archive(spec: KernelSpec, variables: Mapping[str, str]) -> bytes:
    """The files as a tar archive for the container's root.

    Args:
        variables: the environment of the container.
    """
    cluster = spec.cluster
    if cluster is None:
        return b""
    slots = max(1, spec.slots.get("cpu", 0) // 1000)
    files = {
        "hostfile": "".join(f"{host} slots={slots}\n" for host in cluster.hosts),
        "ssh_config": _client(cluster.hosts),
        "sshd_config": _server(variables),
        "known_hosts": f"berth-cluster {cluster.public_key}\n",
        "key.pub": f"{cluster.public_key}\n",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        top = tarfile.TarInfo(DIRECTORY[1:])
        top.type, top.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(top)
        for name, text in files.items():
            _add(tar, f"{DIRECTORY}/{name}", text)
        _add(tar, f"{DIRECTORY}/key", cluster.private_key, mode=0o600)
        _add(tar, "/etc/ssh/ssh_config.d/berth-cluster.conf", files["ssh_config"])
    return packed.getvalue()


def _add(tar: tarfile.TarFile, path: str, text: str, mode: int = 0o644) -> None:
    data = text.encode()
    entry = tarfile.TarInfo(path[1:])
    entry.size, entry.mode = len(data), mode
    if mode == 0o600:
        entry.uid = entry.gid = _OWNER
    tar.addfile(entry, io.BytesIO(data))


def _client(hosts: tuple[str, ...]) -> str:
    return "\n".join(
        (
            f"Host {' '.join(hosts)}",
            f"    Port {PORT}",
            f"    IdentityFile {DIRECTORY}/key",
            "    IdentitiesOnly yes",
            f"    UserKnownHostsFile {DIRECTORY}/known_hosts",
            "    HostKeyAlias berth-cluster",
            "    StrictHostKeyChecking yes",
            # The other container may have started a moment later.
            "    ConnectionAttempts 30",
            "    ConnectTimeout 10",
            "    LogLevel ERROR",
            "",
        )
    )


def _server(variables: Mapping[str, str]) -> str:
    kept = " ".join(
        f'"{name}={value}"'
        for name, value in variables.items()
        if name not in _OF_SSHD and not _UNWRITABLE.search(value)
    )
    return "\n".join(
        (
            f"Port {PORT}",
            f"HostKey {DIRECTORY}/key",
            f"AuthorizedKeysFile {DIRECTORY}/key.pub",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitUserEnvironment no",
            "MaxStartups 128",
            "PrintMotd no",
            "PrintLastLog no",
            "PidFile none",
            "LogLevel ERROR",
            "Subsystem sftp internal-sftp",
            f"SetEnv {kept}" if kept else "",
            "",
        )
    )
