"""Traces to an OpenTelemetry collector (OTLP over HTTP), when `otlp_endpoint` names one; needs the extra `telemetry`.

One span a request, within it one an operation, a transaction, a command to an agent. Names and attributes are those of
the metrics and ids of users and agents; nothing that a client wrote.
"""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services import tracing
from services.tracing import Tracing

_PATIENCE_MILLISECONDS: Final = 3000


@contextmanager
def exporting(endpoint: str, *, ratio: float, instance: str) -> Generator[TracerProvider]:
    """Send spans to a collector until the block ends, the last ones then."""
    resource = Resource.create(
        {"service.name": "berth", "service.version": version("berth"), "service.instance.id": instance}
    )
    # A client that says that it is traced does not decide how much is sent.
    part = TraceIdRatioBased(ratio)
    sampler = ParentBased(part, remote_parent_sampled=part)
    provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        tracer = provider.get_tracer("berth")
        with tracing.traced(Tracing(tracer, _fail, TraceContextTextMapPropagator().extract)):
            yield provider
    finally:
        provider.force_flush(_PATIENCE_MILLISECONDS)
        provider.shutdown()


def _fail(span: Any, code: str) -> None:
    span.set_status(Status(StatusCode.ERROR, code))
    span.set_attribute("error.type", code)
