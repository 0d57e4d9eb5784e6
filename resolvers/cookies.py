"""The cookie that a browser's refresh token is in: no script reads it, and no other site sends it."""

from http.cookies import SimpleCookie
from typing import Final

#: `__Host-` cookies exist over TLS only; on a plain local address the same cookie has a plain name.
_COOKIE: Final = "berth-refresh"
_SECURE_COOKIE: Final = "__Host-berth-refresh"


def refresh_cookie_name(*, secure: bool) -> str:
    return _SECURE_COOKIE if secure else _COOKIE


def refresh_cookie(value: str, life: int, *, secure: bool) -> str:
    """A `Set-Cookie` header; a life of 0 seconds ends the cookie."""
    jar: SimpleCookie = SimpleCookie()
    name = refresh_cookie_name(secure=secure)
    jar[name] = value
    jar[name].update({"path": "/", "httponly": "yes", "samesite": "Strict", "max-age": str(life)})
    if secure:
        jar[name]["secure"] = "yes"
    return jar[name].OutputString()
