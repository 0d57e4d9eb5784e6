"""Whose request the running code is part of: for log lines, the audit, and the header `X-Request-Id`.

A context variable, so that whoever logs need not be told. What a request has begun and does not wait for keeps its number.
"""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Request:
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    #: Who asks, once that is known; empty: nobody is logged in.
    user_id: str = ""
    #: Which operation it is, once that is known: `mutation createSession`.
    operation: str = ""


_current: ContextVar[Request | None] = ContextVar("request", default=None)


def current() -> Request | None:
    """None: what runs is a duty of the manager, and nobody's request."""
    return _current.get()


@contextmanager
def serving(request: Request) -> Generator[Request]:
    token = _current.set(request)
    try:
        yield request
    finally:
        _current.reset(token)


def labels() -> dict[str, str]:
    """What a log line says of the request that it is part of."""
    request = _current.get()
    if request is None:
        return {}
    told = {"request": request.id, "user": request.user_id, "operation": request.operation}
    return {name: value for name, value in told.items() if value}
