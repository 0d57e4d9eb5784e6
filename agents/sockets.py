"""Dialling the manager: where it is, whether that is safe, and one websocket as a `Connection`."""

import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import websockets
from websockets.asyncio.client import ClientConnection, connect

from agents.connections import ConnectionLost
from agents.protocol import MAX_FRAME

#: Seconds between our pings, and until an unanswered one means that the peer is dead: together less than a lease.
PING_SECONDS = 10.0
PONG_SECONDS = 15.0
OPEN_SECONDS = 10.0


class UnsafeManager(ValueError):
    """The manager's URL is not one, or would carry the credential over the network in the clear."""


class DialRefused(Exception):
    """The manager (or what stands in front of it) answered the upgrade with something else than 101."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Manager:
    """Where the manager is and how to reach it. Make it with `Manager.at`."""

    #: `http://…` or `https://…`, without a trailing slash.
    url: str
    tls: ssl.SSLContext | None = field(default=None, compare=False, repr=False)

    @classmethod
    def at(cls, url: str, *, insecure: bool = False, ca_file: str | None = None) -> "Manager":
        """Check a URL (http, https, ws or wss).

        Args:
            insecure: allow an unencrypted connection to another machine.
            ca_file: PEM file of the authorities that may vouch for the manager; the system's when absent.

        Raises:
            UnsafeManager: with what would be right.
        """
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("http", "https") or not parts.hostname:
            raise UnsafeManager(f"{url!r} is no URL of a manager: give one like https://berth.example.org")
        if scheme == "http" and not insecure and not _is_loopback(parts.hostname):
            raise UnsafeManager(
                f"{url} is not encrypted: everybody on the way could take this node's credential. "
                "Use https://, or --insecure on a network that you trust."
            )
        try:
            tls = ssl.create_default_context(cafile=ca_file) if scheme == "https" else None
        except OSError as error:
            raise UnsafeManager(f"cannot read the authorities in {ca_file}: {error}") from error
        return cls(urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", "")), tls)

    def websocket(self, path: str) -> str:
        return self.url.replace("http", "ws", 1) + path


class Socket:
    """A `Connection` that this process dialled."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    @property
    def subprotocol(self) -> str | None:
        return self._websocket.subprotocol

    @property
    def local_address(self) -> str:
        """The address of this node as the connection leaves it."""
        address = self._websocket.local_address
        return str(address[0]) if address else ""

    async def receive(self) -> bytes | str:
        try:
            return await self._websocket.recv()
        except websockets.ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def send(self, data: bytes | str) -> None:
        try:
            await self._websocket.send(data)
        except websockets.ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def close(self, code: int, reason: str) -> None:
        await self._websocket.close(code, reason)


async def dial(manager: Manager, path: str, credential: str, subprotocol: str) -> Socket:
    """Open a websocket to the manager.

    Raises:
        DialRefused: it answered, but with no websocket.
        ConnectionLost: it could not be reached, or is no websocket server, with the reason in words.
    """
    try:
        websocket = await connect(
            manager.websocket(path),
            additional_headers={"Authorization": f"Bearer {credential}"},
            subprotocols=[websockets.Subprotocol(subprotocol)],
            ssl=manager.tls,
            max_size=MAX_FRAME,
            # Frames are small and already dense: deflate would cost more CPU than it saves bandwidth.
            compression=None,
            open_timeout=OPEN_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=5.0,
        )
    except websockets.InvalidStatus as error:
        status = error.response.status_code
        raise DialRefused(status, f"{manager.url} answered with HTTP status {status}") from error
    except websockets.ConnectionClosed as closed:
        raise _lost(closed) from closed
    except (OSError, TimeoutError, EOFError, websockets.WebSocketException) as error:
        raise ConnectionLost(
            1006, f"{manager.url} is out of reach: {error or type(error).__name__}"
        ) from error
    return Socket(websocket)


def _lost(closed: websockets.ConnectionClosed) -> ConnectionLost:
    # 1005: a close frame without a code.
    return (
        ConnectionLost(closed.rcvd.code, closed.rcvd.reason)
        if closed.rcvd
        else ConnectionLost(1006, str(closed))
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
