"""Spans, where an operator has configured a collector; nothing at all elsewhere.

No part of Berth but `server/telemetry.py` knows OpenTelemetry. It sets the tracer here, if the extra is installed and an
endpoint configured; until then a span costs a comparison.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol


class Tracer(Protocol):
    """What begins a span: `opentelemetry.trace.Tracer`."""

    def start_as_current_span(
        self, name: str, context: Any = None, *, attributes: Any = None
    ) -> AbstractContextManager[Any]:
        """A span around a block, within the one of `context`; None: within the one that is current."""
        ...


_NOTHING: Final = nullcontext()


@dataclass(frozen=True)
class Tracing:
    """What a collector's library does for spans."""

    tracer: Tracer
    #: Says of a span that it ended in an error of this code.
    fail: Callable[[Any, str], None]
    #: What a request's headers say of the span that it is within (W3C Trace Context).
    within: Callable[[Mapping[str, str]], Any]


_tracing: Tracing | None = None


@contextmanager
def traced(how: Tracing) -> Generator[None]:
    """Have spans begun this way until the block ends."""
    global _tracing  # one process, one collector
    before, _tracing = _tracing, how
    try:
        yield
    finally:
        _tracing = before


def active() -> bool:
    return _tracing is not None


def span(
    name: str, attributes: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
) -> AbstractContextManager[Any]:
    """A span around a block; yields None where nothing is traced.

    Args:
        headers: of the request that it begins with; None: it is within the span that is current.
    """
    if _tracing is None:
        return _NOTHING
    context = None if headers is None else _tracing.within(headers)
    told = {key: value for key, value in (attributes or {}).items() if value}
    return _tracing.tracer.start_as_current_span(name, context, attributes=told)


def ended(current: Any, code: str) -> None:
    """The block ended; `code` of an error, empty for none."""
    if current is not None and code and _tracing is not None:
        _tracing.fail(current, code)
