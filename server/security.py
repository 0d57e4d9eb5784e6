"""What stands before every door: which hosts and origins, and the headers of every answer."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: `connect-src 'self'` covers the websockets of the same origin. Styles: the console's kit sets style attributes.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Perimeter:
    """ASGI middleware: refuses hosts that are not ours (DNS rebinding) and browsers from other origins (CSRF,
    websocket hijacking), and adds the security headers."""

    def __init__(self, app: ASGIApp, *, url: str, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._hosts = {"localhost", "127.0.0.1", "::1", (parts.hostname or "").lower()}
        self._hosts |= {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._problem(headers, scope["type"])
        if problem is not None:
            await _refuse(problem, scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
                if self._secure:
                    answer.setdefault("strict-transport-security", "max-age=31536000; includeSubDomains")
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _problem(self, headers: Headers, kind: str) -> str | None:
        host = headers.get("host", "")
        if _hostname(host) not in self._hosts:
            return "This host name is not served here. Add it to allowed_hosts (BERTH_ALLOWED_HOSTS)."
        origin = headers.get("origin")
        # Clients that are no browser send no Origin; a browser always does for a websocket and a cross-site POST.
        if origin is not None and _authority(origin) != host.lower():
            return f"Requests from another origin are refused ({kind})."
        return None


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def _refuse(problem: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse(problem, status_code=403)(scope, receive, send)
        return
    await receive()
    # Before it is accepted, closing a websocket answers its handshake with 403.
    await send({"type": "websocket.close", "code": 4403, "reason": problem})
