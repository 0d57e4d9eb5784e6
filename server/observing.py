"""What is noted of each operation as it goes by: counted, timed, named in the logs, traced."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphql import FieldNode, GraphQLError, GraphQLSchema, OperationType

from schema.errors import code_of
from server.operations import operation_of
from services import requests, tracing
from services.metrics import Metrics


@dataclass
class Seen:
    """An operation on its way. `result`: the code of its first error, or OK."""

    kind: str
    field: str
    result: str = "OK"

    def failed(self, errors: Sequence[GraphQLError] | None) -> None:
        if errors:
            self.result = code_of(errors[0])


class Observer:
    def __init__(self, schema: GraphQLSchema, metrics: Metrics) -> None:
        self._metrics = metrics
        roots = {
            OperationType.QUERY: schema.query_type,
            OperationType.MUTATION: schema.mutation_type,
            OperationType.SUBSCRIPTION: schema.subscription_type,
        }
        self._fields = {kind: frozenset(root.fields) for kind, root in roots.items() if root is not None}

    @contextmanager
    def operation(self, query: str, name: str | None, user_id: str) -> Generator[Seen]:
        """Around one operation; a subscription counts when it ends, and its time is no latency."""
        seen, began = self._named(query, name), time.perf_counter()
        request = requests.current()
        if request is not None:
            request.user_id, request.operation = user_id, f"{seen.kind} {seen.field}"
        told = {"graphql.operation.type": seen.kind, "graphql.field": seen.field, "enduser.id": user_id}
        try:
            with tracing.span(f"{seen.kind} {seen.field}", told) as span:
                yield seen
                tracing.ended(span, "" if seen.result == "OK" else seen.result)
        finally:
            self._metrics.operations.labels(seen.kind, seen.field, seen.result).inc()
            if seen.kind != "subscription":
                spent = time.perf_counter() - began
                self._metrics.operation_seconds.labels(seen.kind, seen.field).observe(spent)

    def refused(self, code: str) -> None:
        """A request that did not become an operation."""
        self._metrics.refused.labels(code).inc()

    def _named(self, query: str, name: str | None) -> Seen:
        """By its root field, where it is one of the schema's; `several` and `unknown` else: labels are few."""
        found = operation_of(query, name)
        if found is None:
            return Seen("unknown", "unknown")
        fields = [one.name.value for one in found.selection_set.selections if isinstance(one, FieldNode)]
        known = self._fields.get(found.operation, frozenset())
        if len(fields) != 1 or len(found.selection_set.selections) != 1:
            return Seen(found.operation.value, "several")
        return Seen(found.operation.value, fields[0] if fields[0] in known else "unknown")
