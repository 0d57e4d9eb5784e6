"""Results of operations as bytes: the same for every transport."""

from typing import Any

import msgspec
from graphql import GraphQLError

from schema.errors import present_all
from services.errors import BerthError

#: An encoded result, or the errors of an operation that could not begin.
Payload = bytes | list[dict[str, Any]]


def encode(result: Any) -> Payload:
    """One result as JSON; errors alone when the operation could not begin."""
    content = contents(result)
    return msgspec.json.encode(content) if "data" in content else content["errors"]


def contents(result: Any) -> dict[str, Any]:
    """`data`, `errors` and `extensions` of a result, as far as it has them."""
    errors: list[GraphQLError] = result.errors or []
    content: dict[str, Any] = {}
    if errors:
        content["errors"] = present_all(errors)
    # Once the execution began, `data` is part of the answer, if only as null.
    if result.data is not None or any(error.path for error in errors):
        content["data"] = result.data
    if getattr(result, "extensions", None):
        content["extensions"] = result.extensions
    return content


def wrap(error: BerthError) -> GraphQLError:
    """An error of ours that was raised outside an execution."""
    return GraphQLError(error.message, original_error=error)
