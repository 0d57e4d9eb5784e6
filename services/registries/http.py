"""Asking hosts that are not trusted: every answer is bounded in time and size, and nobody sends us where we do not go.

A registry is named by an administrator; what it answers is anybody's. It may send the manager elsewhere (a redirect, the
address of its token server), and so to what only the manager can reach. So

- its own host and those that the administrator trusts are asked as they are;
- any other host is asked for what it was redirected to, without a password, and only at a public address: resolved
  once, and asked at that address, so that a second resolution cannot be another one;
- nothing leads from https to http.
"""

import asyncio
import base64
import ipaddress
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import httpx
import msgspec

from services.registries.credentials import Credentials
from services.registries.faults import BadAnswer, Elsewhere, Unreachable

#: Requests under way at once, to one registry.
_AT_ONCE: Final = 6
#: Seconds for a connection, between two pieces of an answer, and for all of it.
_TIMEOUTS: Final = httpx.Timeout(30.0, connect=10.0, pool=None)
_DEADLINE: Final = 60.0
_TRIES: Final = 4
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5
#: Seconds: the first pause before another try (then twice as long each time), and the longest that is waited.
_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
#: Bytes of an answer, unless the caller says otherwise: the distribution specification's bound of a manifest.
LIMIT: Final = 4 * 2**20

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    body: bytes
    #: Where it came from in the end.
    url: str
    #: The page after this one, by the `Link` header; empty: none.
    next: str = ""

    def json(self) -> Any:
        """
        Raises:
            BadAnswer.
        """
        return self.decode(Any)

    def decode(self, kind: Any) -> Any:
        """The body as what it should be.

        Raises:
            BadAnswer.
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(f"{host_of(self.url)} did not answer what a registry answers: {error}") from None


class Http:
    """Requests to one registry and to whom it may send us.

    Args:
        url: scheme and host of the registry.
        trusted: other hosts that are asked as they are.
        transport, resolve, pause: in place of the network, the resolver and the clock, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        trusted: Sequence[str] = (),
        verify_tls: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._secure = urlsplit(url).scheme == "https"
        self.trusted = frozenset({urlsplit(url).netloc.lower(), *trusted})
        self._client = httpx.AsyncClient(
            verify=verify_tls, timeout=_TIMEOUTS, follow_redirects=False, transport=transport
        )
        self._resolve = resolve or _look_up
        self._pause = pause
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def close(self) -> None:
        await self._client.aclose()

    def check_trusted(self, url: str) -> None:
        """
        Raises:
            Elsewhere: this is not a host that passwords may be sent to.
        """
        parts = self._split(url)
        if parts.netloc.lower() not in self.trusted:
            raise Elsewhere(
                f"The registry sends those who log in to {parts.netloc!r}. If that is right, add it to its trusted hosts."
            )

    async def ask(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        limit: int = LIMIT,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """Ask, follow redirects, and try again where that may help. Any status but those of redirects is an answer.

        Args:
            headers: sent to the host of the URL only.
            limit: bytes of the body.

        Raises:
            Unreachable, BadAnswer, Elsewhere.
        """
        asked = urlsplit(url).netloc.lower()
        for _ in range(_MOST_REDIRECTS + 1):
            same = urlsplit(url).netloc.lower() == asked
            answer = await self._patiently(method, url, (headers or {}) if same else {}, limit, body)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                return answer
            if method != "GET":
                raise BadAnswer(f"{host_of(url)} redirects what is no question.")
            url = _joined(url, answer.headers["location"])
        raise BadAnswer(f"{asked} redirects in circles.")

    async def _patiently(
        self, method: str, url: str, headers: Mapping[str, str], limit: int, body: bytes | None
    ) -> Answer:
        pause = _PAUSE
        for attempt in range(1, _TRIES + 1):
            asked_for = 0.0
            try:
                async with self._turns, asyncio.timeout(_DEADLINE):
                    answer = await self._once(method, url, headers, limit, body)
            except (httpx.TransportError, TimeoutError, OSError) as error:
                if attempt == _TRIES or isinstance(error, httpx.UnsupportedProtocol):
                    raise Unreachable(f"{host_of(url)} does not answer: {_words(error)}.") from error
            else:
                if answer.status not in _AGAIN:
                    return answer
                if attempt == _TRIES:
                    raise Unreachable(f"{host_of(url)} answers with status {answer.status}. Try again later.")
                asked_for = _seconds(answer.headers.get("retry-after", ""))
            # Not all who were turned away at once come back at once.
            await self._pause(min(max(asked_for, pause * random.uniform(0.5, 1)), _LONGEST_PAUSE))  # noqa: S311
            pause *= 2
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], limit: int, body: bytes | None
    ) -> Answer:
        # What is compressed has no size before it is unpacked.
        sent = {"accept-encoding": "identity", "user-agent": "berth", **headers}
        target, extensions = await self._target(url, sent)
        request = self._client.build_request(
            method, target, headers=sent, content=body, extensions=extensions
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.headers.get("content-encoding", "identity") not in ("identity", ""):
                raise BadAnswer(f"{host_of(url)} answers compressed, though asked not to.")
            taken = bytearray()
            async for chunk in response.aiter_bytes():
                taken += chunk
                if len(taken) > limit:
                    raise BadAnswer(f"{host_of(url)} answers with more than {limit} bytes.")
            following = response.links.get("next", {}).get("url", "")
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, bytes(taken), url, following)

    async def _target(self, url: str, sent: dict[str, str]) -> tuple[str, dict[str, Any]]:
        """The address to ask for a URL, and what the connection has to know."""
        parts = self._split(url)
        if parts.netloc.lower() in self.trusted:
            return url, {}
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        addresses = await self._resolve(host, port)
        if not addresses or not all(map(_is_public, addresses)):
            raise Elsewhere(
                f"The registry redirects to {parts.netloc!r}, which is not public. If that is right, add it to its trusted "
                "hosts."
            )
        address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        sent["host"] = parts.netloc
        pinned = parts._replace(netloc=f"{address}:{port}").geturl()
        return pinned, {"sni_hostname": host}

    def _split(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise BadAnswer("The registry sends us to something that is no address.") from None
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
            raise Elsewhere(f"The registry sends us to {url[:200]!r}, which is no address of the web.")
        if self._secure and parts.scheme != "https":
            raise Elsewhere(f"The registry sends us from https to http ({parts.netloc!r}).")
        return parts


def basic(known: Credentials) -> str:
    """The value of `Authorization` (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{known.username}:{known.password}".encode()).decode()


def host_of(url: str) -> str:
    return urlsplit(url).netloc


async def _look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast


def _joined(url: str, location: str) -> str:
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, ValueError):
        raise BadAnswer(f"{host_of(url)} redirects to something that is no address.") from None


def _seconds(retry_after: str) -> float:
    """RFC 9110 §10.2.3; a date counts as not said."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0


def _words(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
