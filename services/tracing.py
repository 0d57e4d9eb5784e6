"""Spans, where an operator has configured a collector; nothing at all elsewhere.

No part of Berth but `server/telemetry.py` knows OpenTelemetry. It sets the tracer here, if the extra is installed and an
endpoint configured; until then a span costs a comparison.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Protocol


class Tracer(Protocol):
    """What begins a span: `opentelemetry.trace.Tracer`."""

    def start_as_current_span(self, name: str, *, attributes: Any = None) -> AbstractContextManager[Any]: ...


_NOTHING: Final = nullcontext()
_tracer: Tracer | None = None
_fail: Callable[[Any, str], None] | None = None


@contextmanager
def traced(tracer: Tracer, fail: Callable[[Any, str], None]) -> Generator[None]:
    """Have spans begun by this tracer until the block ends.

    Args:
        fail: says of a span that it ended in an error of this code.
    """
    global _tracer, _fail  # one process, one collector
    before = _tracer, _fail
    _tracer, _fail = tracer, fail
    try:
        yield
    finally:
        _tracer, _fail = before


def active() -> bool:
    return _tracer is not None


def span(name: str, attributes: Mapping[str, str] | None = None) -> AbstractContextManager[Any]:
    """A span around a block, within the one that is current; yields None where nothing is traced."""
    if _tracer is None:
        return _NOTHING
    return _tracer.start_as_current_span(name, attributes={k: v for k, v in (attributes or {}).items() if v})


def ended(current: Any, code: str) -> None:
    """The block ended; `code` of an error, empty for none."""
    if current is not None and code and _fail is not None:
        _fail(current, code)
