"""A client of the API for scripts: requests signed with a keypair, subscriptions over a websocket.

A signed request carries a JWT (HS256 with the secret key, `kid` the access key) that is good for this one request: it
names the method, the path and the hash of the body, and its id is refused a second time. `docs/api.md` has the ten lines
by which any other program does the same.
"""

import base64
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

_AUDIENCE: Final = "berth:request"
#: Seconds that a signature is good for: the network's delay and a clock that is a little off.
_LIFE: Final = 60
_TIMEOUT: Final = 60.0
_SUBPROTOCOL: Final = Subprotocol("graphql-transport-ws")


class ClientFailure(Exception):
    """The API could not be asked, or said no. `errors` are GraphQL's, empty when it did not come to that."""

    def __init__(self, message: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []

    @property
    def code(self) -> str:
        """The first error's `extensions.code`."""
        return str((self.errors[0].get("extensions") or {}).get("code", "")) if self.errors else ""


@dataclass(frozen=True)
class Credentials:
    """A keypair and where it is good."""

    url: str
    access_key: str
    secret_key: str

    @classmethod
    def read(cls, path: Path) -> "Credentials":
        """Raises `ClientFailure` for a file that is missing, broken, or open to others."""
        try:
            if path.stat().st_mode & 0o077:
                raise ClientFailure(f"{path} may be read by others. Run: chmod 600 {path}")
            content = json.loads(path.read_text())
            return cls(content["url"].rstrip("/"), content["access_key"], content["secret_key"])
        except FileNotFoundError as error:
            raise ClientFailure(
                f"There are no credentials at {path}. The first `berth up` or `berth manager` writes them to its data "
                "directory; name it with --data-dir, or another file with --credentials."
            ) from error
        except OSError as error:
            raise ClientFailure(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClientFailure(
                f"{path} is not a credentials file: it needs url, access_key and secret_key."
            ) from error

    def sign(self, method: str, path: str, body: bytes) -> str:
        """The token that goes with one request."""
        now = int(time.time())
        claims = {
            "aud": _AUDIENCE,
            "iat": now,
            "exp": now + _LIFE,
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": path,
            "bh": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode(),
        }
        return jwt.encode(claims, self.secret_key, algorithm="HS256", headers={"kid": self.access_key})


class Client:
    """Sends operations to one manager. An asynchronous context manager."""

    def __init__(self, credentials: Credentials, *, ca_file: str | None = None) -> None:
        self._credentials = credentials
        self._path = f"{urlsplit(credentials.url).path}/graphql"
        self._tls = (
            ssl.create_default_context(cafile=ca_file) if credentials.url.startswith("https:") else None
        )
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, verify=self._tls or True)

    @classmethod
    def of_file(cls, path: Path, *, url: str = "") -> "Client":
        """With the credentials of a file; `url` where they are not to be used at the one that it names."""
        found = Credentials.read(path)
        return cls(Credentials(url.rstrip("/") or found.url, found.access_key, found.secret_key))

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def as_keypair(self, access_key: str, secret_key: str) -> "Client":
        """A client of the same manager for somebody else."""
        return Client(Credentials(self._credentials.url, access_key, secret_key))

    async def execute(
        self, query: str, variables: Mapping[str, Any] | None = None, operation: str | None = None
    ) -> dict[str, Any]:
        """The whole answer of a query or mutation: `data`, `errors`.

        Raises:
            ClientFailure: no GraphQL answer came.
        """
        body = _body(query, variables, operation)
        headers = {
            "authorization": f"Bearer {self._credentials.sign('POST', self._path, body)}",
            "content-type": "application/json",
            "accept": "application/graphql-response+json, application/json;q=0.9",
        }
        try:
            response = await self._http.post(
                f"{self._credentials.url}/graphql", content=body, headers=headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ClientFailure(
                f"{self._credentials.url} is out of reach: {error or type(error).__name__}"
            ) from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not ({"data", "errors"} & set(answer)):
            raise ClientFailure(
                f"{self._credentials.url} answered with HTTP status {response.status_code} and no GraphQL: "
                f"{response.text[:200]!r}"
            )
        return answer

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a query or mutation.

        Raises:
            ClientFailure: any error; the message is the first one's.
        """
        answer = await self.execute(query, variables)
        if errors := answer.get("errors"):
            raise ClientFailure("; ".join(str(error.get("message")) for error in errors), errors)
        return answer["data"]

    async def subscribe(
        self, query: str, variables: Mapping[str, Any] | None = None, operation: str | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """The answers of a subscription, one by one, until its end.

        Raises:
            ClientFailure: it was refused, or the connection was lost.
        """
        token = self._credentials.sign("GET", self._path, b"")
        url = f"{self._credentials.url.replace('http', 'ws', 1)}/graphql"
        try:
            async with connect(url, subprotocols=[_SUBPROTOCOL], ssl=self._tls) as socket:
                await socket.send(json.dumps({"type": "connection_init", "payload": {"accessToken": token}}))
                _expect(await socket.recv())
                payload = json.loads(_body(query, variables, operation))
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
                async for frame in socket:
                    message = json.loads(frame)
                    if message["type"] == "next":
                        yield message["payload"]
                    elif message["type"] == "error":
                        errors = message["payload"]
                        raise ClientFailure("; ".join(str(e.get("message")) for e in errors), errors)
                    elif message["type"] == "ping":
                        await socket.send('{"type": "pong"}')
                    elif message["type"] == "complete":
                        return
        except ConnectionClosed as error:
            raise ClientFailure(f"The connection was lost: {error}") from error
        except (OSError, InvalidHandshake) as error:
            raise ClientFailure(f"{url} is out of reach: {error}") from error


def is_subscription(query: str) -> bool:
    """Does the document begin with a subscription? Comments and blanks before it do not matter."""
    lines = (line.partition("#")[0] for line in query.splitlines())
    return " ".join(lines).lstrip().startswith("subscription")


def _expect(frame: str | bytes) -> None:
    if json.loads(frame).get("type") != "connection_ack":
        raise ClientFailure("The manager did not acknowledge the connection.")


def _body(query: str, variables: Mapping[str, Any] | None, operation: str | None) -> bytes:
    content: dict[str, Any] = {"query": query}
    if variables:
        content["variables"] = dict(variables)
    if operation:
        content["operationName"] = operation
    return json.dumps(content).encode()
