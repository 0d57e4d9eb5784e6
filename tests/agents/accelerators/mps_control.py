#!/usr/bin/env python3
"""Stands in for the driver's `nvidia-cuda-mps-control`: `-d` leaves a daemon behind, else commands come on stdin.

As the real one, it listens in CUDA_MPS_PIPE_DIRECTORY, writes its number there, and says nothing of use where no daemon
listens. What it was started with is written to `environ` in its log directory, and a file to its /dev/shm.
"""

import json
import os
import socket
import sys
from pathlib import Path

PIPE = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
#: What commands answer; a file of a command's name beside the daemon's socket says something else.
ANSWERS = {"get_server_list": b"", "get_client_list": b""}
LOG = Path(os.environ["CUDA_MPS_LOG_DIRECTORY"])


def daemon() -> int:
    if (PIPE / "refuse").exists() or (PIPE.parent / "refuse").exists():
        sys.stdout.write("An instance of this daemon is already running\n")
        return 1
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(PIPE / "control"))
    server.listen()
    if os.fork():
        return 0
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    LOG.joinpath("environ").write_text(json.dumps(dict(os.environ)))
    Path("/dev/shm/berth-mps-seen").touch()
    PIPE.joinpath("nvidia-cuda-mps-control.pid").write_text(f"{os.getpid()}\n")
    while True:
        client, _ = server.accept()
        command = client.recv(1000).decode().strip()
        name = command.split()[0] if command else ""
        said = PIPE / name
        client.sendall(said.read_bytes() if said.exists() else ANSWERS.get(name, b"100.0\n"))
        client.close()
        if command == "quit":
            Path("/dev/shm/berth-mps-seen").unlink(missing_ok=True)
            os._exit(0)


def control() -> int:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(str(PIPE / "control"))
    except OSError:
        sys.stdout.write("Cannot find MPS control daemon process\n")
        return 1
    client.sendall(sys.stdin.read().encode())
    sys.stdout.write(client.recv(1000).decode())
    return 0


sys.exit(daemon() if sys.argv[1:] == ["-d"] else control())
