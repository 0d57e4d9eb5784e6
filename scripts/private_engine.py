"""A container engine of one's own: dockerd by hand, with data, socket, bridge and addresses that nobody else uses."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from processes import Book, Engine, Failure, birth, end, find_engine, install, launch, lives, program, until

#: Seconds that the engine may take to answer.
ENGINE_UP = 60


def start_engine(folder: Path, book: Book) -> None:
    """DOCKER_HOST's engine, else one of our own as root, else what answers at a usual socket.

    A second engine on one machine takes the first one's firewall rules for its own when it starts: where one runs
    already, name it in DOCKER_HOST rather than start another.
    """
    if os.environ.get("DOCKER_HOST") or os.geteuid() != 0:
        book.put("engine", url=find_engine().host)
        return
    wanted = {"dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2"}
    if missing := [package for name, package in wanted.items() if program(name) is None]:
        install(missing, "There is no engine.")
    home = folder / "engine"
    home.mkdir(exist_ok=True)
    # A Unix socket's path has at most 107 bytes, and containerd's lies deep.
    run = home if len(str(home)) < 60 else Path("/run") / f"berth-engine-{home.stat().st_ino:x}"
    run.mkdir(mode=0o700, exist_ok=True)
    number = free_network()
    bridge = f"berth{number}"
    book.put("engine", run=str(run), network=number, url=f"unix://{run}/docker.sock")
    for command in (
        f"link add {bridge} type bridge",
        f"addr add 10.{number}.0.1/20 dev {bridge}",
        f"link set {bridge} up",
    ):
        ip(*command.split())
    (run / "docker.pid").unlink(missing_ok=True)
    log = home / "log"
    arguments = [
        f"--data-root={home / 'data'}",
        f"--exec-root={run / 'exec'}",
        f"--pidfile={run / 'docker.pid'}",
    ]
    arguments += [f"--host=unix://{run}/docker.sock", f"--bridge={bridge}", "--shutdown-timeout=5"]
    arguments += [f"--default-address-pool=base=10.{number}.128.0/17,size=24"]
    ended = launch(book, "engine", [str(program("dockerd")), *arguments], log)
    until("the engine", ENGINE_UP, Engine(f"unix://{run}/docker.sock").answers, ended, log)


def ip(*arguments: str) -> str:
    done = subprocess.run(
        [str(program("ip")), *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode:
        raise Failure(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def free_network() -> int:
    """The first second byte of 10.N.0.0/16, from 200 on, that no address or route of this machine uses."""
    used = ip("-4", "addr", "show") + ip("-4", "route", "show")
    for number in range(200, 255):
        if f"10.{number}." not in used and f" berth{number}:" not in ip("-o", "link", "show"):
            return number
    raise Failure("No free network between 10.200.0.0/16 and 10.254.0.0/16 for the engine's bridge.")


def stop_engine(service: dict[str, Any], folder: Path, purge: bool) -> None:
    """End the containers, the engine and whatever a killed one left: processes, mounts, firewall rules, the bridge."""
    if "run" in service:
        run = Path(service["run"])
        if lives(service):
            with contextlib.suppress(Failure, OSError):
                private = Engine(service["url"])
                for container in json.loads(private.call("GET", "/containers/json", all="1").read()):
                    private.call(
                        "DELETE", f"/containers/{container['Id']}", silence=30, force="1", v="1"
                    ).read()
                for network in json.loads(private.call("GET", "/networks").read()):
                    if network["Name"] not in ("bridge", "host", "none"):
                        private.call("DELETE", f"/networks/{network['Id']}", silence=30).read()
            end(service["pid"], service["birth"])
        for pid in family(str(run / "exec")):
            end(pid, birth(pid), signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([path for path in mounts if path.startswith((f"{run}/", f"{folder}/engine/"))]):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        forget_network(service["network"])
        for path in (run / "exec", run / "docker.sock", run / "docker.pid"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if run != folder / "engine":
            shutil.rmtree(run, ignore_errors=True)
    if purge:
        shutil.rmtree(folder / "engine", ignore_errors=True)


def family(mark: str) -> list[int]:
    """Processes whose command line names this engine's folder, and their descendants, youngest first."""
    parents: dict[int, int] = {}
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if mark.encode() in (path / "cmdline").read_bytes() and int(path.name) != os.getpid():
                found.append(int(path.name))
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return found[::-1]


def forget_network(number: int) -> None:
    """Remove every bridge in 10.`number`.0.0/16 and the firewall rules that name it."""
    lines = [line.split() for line in ip("-o", "-4", "addr", "show").splitlines()]
    bridges = {f"berth{number}", *(words[1] for words in lines if words[3].startswith(f"10.{number}."))}
    for bridge in bridges:
        subprocess.run([str(program("ip")), "link", "del", bridge], check=False, capture_output=True)
    for table in ("filter", "nat"):
        command = [str(program("iptables")), "-w", "-t", table]
        listed = subprocess.run([*command, "-S"], capture_output=True, text=True, check=False)
        for words in map(shlex.split, listed.stdout.splitlines()):
            ours = any(word in bridges or word.startswith(f"10.{number}.") for word in words)
            if words[0] == "-A" and ours:
                subprocess.run([*command, "-D", *words[1:]], check=False, capture_output=True)
