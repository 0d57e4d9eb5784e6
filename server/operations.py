"""What a request asks for: an operation of a document."""

import functools
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    parse,
)


@dataclass(frozen=True)
class Operation:
    query: str
    variables: dict[str, Any] | None
    name: str | None


@functools.lru_cache(maxsize=256)
def parsed(query: str) -> DocumentNode | None:
    """The document, None when it is none; parsing is for the executor to complain about."""
    try:
        return parse(query, max_tokens=2000)
    except (GraphQLSyntaxError, GraphQLError, RecursionError):
        return None


def operation_of(query: str, name: str | None) -> OperationDefinitionNode | None:
    """The operation of a document that a request means."""
    document = parsed(query)
    if document is None:
        return None
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    chosen = [o for o in operations if name is None or (o.name is not None and o.name.value == name)]
    return chosen[0] if len(chosen) == 1 else None


def is_subscription(query: str, name: str | None) -> bool:
    operation = operation_of(query, name)
    return operation is not None and operation.operation is OperationType.SUBSCRIPTION
