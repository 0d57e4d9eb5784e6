"""The few calls of a container engine's API that building an image takes, by the standard library alone."""

import http.client
import json
import os
import socket
import ssl
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Seconds for the engine to say hello.
HELLO = 10


class Failure(Exception):
    """What went wrong and what to do, in one text; `status` is the exit status."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """The few calls of the engine's API that are needed; no version in the path, so that old and new ones answer."""

    def __init__(self, host: str) -> None:
        self.host = host

    def _connection(self) -> http.client.HTTPConnection:
        scheme, _, rest = self.host.partition("://")
        if scheme == "unix":
            return UnixConnection(rest)
        if scheme not in ("tcp", "http", "https"):
            raise Failure(f"{self.host}: only unix:// and tcp:// engines are understood. Set DOCKER_HOST.", 3)
        where = urllib.parse.urlsplit(f"//{rest}")
        name, port = where.hostname or "localhost", where.port
        if scheme == "https" or os.environ.get("DOCKER_TLS_VERIFY"):
            folder = Path(os.environ.get("DOCKER_CERT_PATH", Path.home() / ".docker"))
            context = ssl.create_default_context(cafile=folder / "ca.pem")
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
            return http.client.HTTPSConnection(name, port or 2376, context=context)
        return http.client.HTTPConnection(name, port or 2375)

    def call(self, method: str, path: str, body: Any = None, silence: float = HELLO, **query: Any) -> Any:
        """One request; the response is read by the caller. `silence`: seconds without a byte that are too many."""
        connection = self._connection()
        connection.timeout = silence
        query = {
            name: json.dumps(value) if isinstance(value, dict) else value for name, value in query.items()
        }
        where = path + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")
        kind = {"Content-Type": "application/x-tar"} if body is not None else {}
        connection.request(method, where, body=body, headers=kind, encode_chunked=not isinstance(body, bytes))
        return connection.getresponse()

    def answers(self) -> bool:
        try:
            return bool(self.call("GET", "/_ping").status == 200)
        except (OSError, http.client.HTTPException):
            return False

    def image(self, reference: str) -> dict[str, Any] | None:
        """What the engine knows of an image; None when it has none of that name."""
        response = self.call("GET", f"/images/{reference}/json", silence=60)
        text = response.read()
        return json.loads(text) if response.status == 200 else None

    def stream(self, path: str, body: Any, silence: float, **query: Any) -> Iterator[dict[str, Any]]:
        """POST and yield the messages that the engine prints as it works. Raises `Failure` on the first error."""
        try:
            response = self.call("POST", path, body=body, silence=silence, **query)
            if response.status >= 400:
                raise Failure(json.loads(response.read() or b"{}").get("message", response.reason))
            for line in response:
                message: dict[str, Any] = json.loads(line) if line.strip() else {}
                if "error" in message:
                    raise Failure(str(message["error"]))
                yield message
        except TimeoutError as error:
            raise Failure(f"the engine printed nothing for {silence:.0f} seconds") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure(f"the engine's answer broke off: {error}") from error


def find_engine() -> Engine:
    """The engine of DOCKER_HOST, else the first of the usual sockets that answers."""
    if host := os.environ.get("DOCKER_HOST"):
        engine = Engine(host)
        if not engine.answers():
            raise Failure(f"No engine answers at DOCKER_HOST={host}. Start it, or unset DOCKER_HOST.", 3)
        return engine
    run = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    sockets = ["/var/run/docker.sock", f"{run}/docker.sock", str(Path.home() / ".docker/run/docker.sock")]
    for path in [*sockets, f"{run}/podman/podman.sock", "/run/podman/podman.sock"]:
        if os.access(path, os.R_OK | os.W_OK) and (engine := Engine(f"unix://{path}")).answers():
            return engine
    raise Failure(
        "No container engine answers. Install Docker or Podman and start it, or set DOCKER_HOST.", 3
    )
