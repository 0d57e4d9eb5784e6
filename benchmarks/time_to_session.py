"""Seconds from a fresh clone to a running session, by phase: what somebody who tries Berth waits for.

    python3 benchmarks/time_to_session.py [--runtime process|docker] [--keep DIR]

Clones this repository's HEAD into a new folder, runs `scripts/up` there with what package caches this machine has, and
asks for a session of the smallest image by the API as soon as there is one. Phases end when their line appears or when
the API says so. There is no baseline: the time is the product. Standard library alone, since the clone brings the rest.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Seconds after which it has failed.
PATIENCE = 900

WHAT = "{ viewer { groups { id name } resourceGroups { id } } images(first: 50) { nodes { id reference size } } }"
CREATE = "mutation($input: CreateSessionInput!) { createSession(input: $input) { session { id status } } }"
END = "mutation($ids: [ID!]!) { terminateSessions(input: {ids: $ids}) { results { id } } }"
STATUS = "query($id: ID!) { node(id: $id) { ... on Session { status statusReason { message } pendingReason { ... on WaitingReason { message } } } } }"


class Up:
    """A `scripts/up` under way, its lines with their moments."""

    def __init__(self, clone: Path, runtime: str, port: int) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BERTH_", "VIRTUAL_ENV"))}
        self.began = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [clone / "scripts/up", "--runtime", runtime, "--port", str(port)],
            cwd=clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._changed:
                self.lines.append((time.monotonic() - self.began, line.rstrip()))
                self._changed.notify_all()
        self._process.wait()
        with self._changed:
            self._changed.notify_all()

    def until(self, pattern: str) -> float:
        """Seconds from the start until a line matched."""

        def found() -> float | None:
            return next((at for at, line in self.lines if re.search(pattern, line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._process.poll() is not None, PATIENCE)
            at = found()
        if at is None:
            output = "\n".join(line for _, line in self.lines)
            raise SystemExit(f"scripts/up did not come to {pattern!r}:\n{output}")
        return at

    def stop(self) -> float:
        """End it as Ctrl-C does; seconds that took."""
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(60)
        return time.monotonic() - began


def ask(clone: Path, query: str, **variables: Any) -> dict[str, Any]:
    command = [
        clone / ".venv/bin/berth",
        "graphql",
        query,
        "--data-dir",
        clone / ".berth",
        "--variables",
        json.dumps(variables),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=clone)
    if done.returncode:
        raise SystemExit(f"{query}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)["data"]


def wait_for_image(clone: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        found = ask(clone, WHAT)
        if images := sorted(found["images"]["nodes"], key=lambda image: int(image["size"])):
            return found["viewer"], images[0]
        time.sleep(0.2)
    raise SystemExit("no node has an image")


def run_session(clone: Path) -> tuple[float, float, str, str]:
    """Seconds from now until there is an image, from then until a session of it runs; the image, the session."""
    began = time.monotonic()
    viewer, image = wait_for_image(clone)
    asked = time.monotonic()
    slots = [{"name": "cpu", "amount": "0.5"}, {"name": "mem", "amount": str(256 * 1024**2)}]
    session = ask(
        clone,
        CREATE,
        input={
            "groupId": viewer["groups"][0]["id"],
            "resourceGroupId": viewer["resourceGroups"][0]["id"],
            "imageId": image["id"],
            "name": f"first-{os.getpid()}",
            "slots": slots,
        },
    )["createSession"]["session"]
    while True:
        node = ask(clone, STATUS, id=session["id"])["node"]
        if node["status"] == "RUNNING":
            return asked - began, time.monotonic() - asked, image["reference"], session["id"]
        if node["status"] in ("ERROR", "CANCELLED", "TERMINATED") or time.monotonic() - asked > PATIENCE:
            raise SystemExit(f"the session did not run: {node}")
        time.sleep(0.05)


def end_session(clone: Path, session: str) -> None:
    """It has outlived the first start, and shall not outlive the clone."""
    ask(clone, END, ids=[session])
    limit = time.monotonic() + PATIENCE
    while ask(clone, STATUS, id=session)["node"]["status"] != "TERMINATED":
        if time.monotonic() > limit:
            raise SystemExit("the session did not end")
        time.sleep(0.1)


@contextmanager
def fresh_clone(keep: Path | None) -> Iterator[Path]:
    folder = keep or Path(tempfile.mkdtemp(prefix="berth-time-"))
    clone = folder / "clone"
    try:
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        yield clone
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds from a fresh clone to a running session.")
    parser.add_argument("--runtime", default="auto", choices=["auto", "docker", "process"])
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--keep", type=Path, help="leave the clone in this folder")
    asked = parser.parse_args()
    with fresh_clone(asked.keep) as clone:
        up = Up(clone, asked.runtime, asked.port)
        try:
            link = up.until(r"/welcome#")
            phases = [
                (match[1], float(match[2]))
                for _, line in up.lines
                if (match := re.match(r"✓ (.*?) \(([\d.]+) s\)$", line))
            ]
            imaged, running, image, session = run_session(clone)
        finally:
            stopped = up.stop()
        again = Up(clone, asked.runtime, asked.port)
        try:
            second = again.until(r"^Berth is up")
            end_session(clone, session)
        finally:
            again.stop()
    for name, seconds in phases:
        print(f"{seconds:8.1f} s  {name}")
    print(f"{link:8.1f} s  from scripts/up to the link, all of the above")
    print(f"{imaged:8.1f} s  until a node has an image ({image})")
    print(f"{running:8.1f} s  from createSession to RUNNING")
    print(f"{link + imaged + running:8.1f} s  from a fresh clone to a running session")
    print(f"{second:8.1f} s  a second start, until it is up (aim: below 5)")
    print(f"{stopped:8.1f} s  Ctrl-C, until all is stopped")
    if second >= 5:
        sys.exit("the second start took too long")


if __name__ == "__main__":
    main()
