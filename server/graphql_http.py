"""GraphQL over HTTP, by the GraphQL-over-HTTP specification (https://graphql.github.io/graphql-over-http/draft/).

`application/graphql-response+json` tells by its status whether the request itself was acceptable;
`application/json` answers 200 for every well-formed request, as older clients expect. GET carries queries only, POST is
JSON only (a form of another site cannot make one), and there are no batches.
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from graphql import GraphQLError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from strawberry import Schema
from strawberry.types.graphql import OperationType

from schema.errors import present, present_all
from server.observing import Observer, Seen
from server.operations import Operation
from server.results import contents, wrap
from services import requests, tracing
from services.auth import WINDOW
from services.errors import BadInput, BerthError, Unavailable
from services.ratelimits import Quota

RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"

#: A request's body is at most this long (bytes).
MAX_BODY: Final = 1024 * 1024

_GET_TYPES: Final = frozenset({OperationType.QUERY})
_POST_TYPES: Final = frozenset({OperationType.QUERY, OperationType.MUTATION})

#: Makes an operation's context from the request and the bytes of its body.
ContextFactory = Callable[[Request, bytes], Awaitable[Any]]
#: Raises `Forbidden` for a document that this client may not send.
Admission = Callable[[HTTPConnection, str], None]


class Malformed(Exception):
    """A request that is not one of the specification's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class GraphQLHTTP:
    """The `/graphql` endpoint for GET and POST."""

    def __init__(
        self,
        schema: Schema,
        context: ContextFactory,
        observer: Observer,
        *,
        timeout: float,
        admit: Admission | None = None,
    ) -> None:
        self._schema = schema
        self._context = context
        self._observer = observer
        self._admit = admit
        self._timeout = timeout

    async def __call__(self, request: Request) -> Response:
        span = tracing.span(f"{request.method} /graphql", headers=request.headers)
        with requests.serving(requests.Request()) as current, span:
            response = await self._respond(request)
        response.headers.update(_of_quota(getattr(request.state, "quota", None)))
        response.headers["x-request-id"] = current.id
        return response

    async def _respond(self, request: Request) -> Response:
        media = _negotiate(request.headers.get("accept"))
        if media is None:
            return Response(f"Accept {RESPONSE} or {JSON}.", 406, media_type="text/plain")
        try:
            body = await _body(request)
            operation = _read(request, body)
        except Malformed as problem:
            self._observer.refused(BadInput.code)
            return _answer({"errors": [_error(str(problem))]}, problem.status, media)
        allowed = _GET_TYPES if request.method == "GET" else _POST_TYPES
        try:
            if self._admit is not None:
                self._admit(request, operation.query)
            context = await self._context(request, body)
        except BerthError as error:
            self._observer.refused(error.code)
            response = _answer({"errors": present_all([wrap(error)])}, _status_of(error), media)
            if "retry_after" in error.extra:
                response.headers["retry-after"] = str(math.ceil(error.extra["retry_after"]))
            return response
        user_id = context.actor.user_id if context.actor else ""
        async with context:
            with self._observer.operation(operation.query, operation.name, user_id) as seen:
                return await self._execute(operation, context, allowed, media, seen)

    async def _execute(
        self,
        operation: Operation,
        context: Any,
        allowed: frozenset[OperationType],
        media: str,
        seen: Seen,
    ) -> Response:
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._schema.execute(
                    operation.query,
                    variable_values=operation.variables,
                    context_value=context,
                    operation_name=operation.name,
                    allowed_operation_types=allowed,
                )
        except TimeoutError:
            seen.result = Unavailable.code
            late = Unavailable(f"The operation took longer than {self._timeout:g} seconds.", part="query")
            return _answer({"errors": present_all([wrap(late)])}, 503 if media == RESPONSE else 200, media)
        except Exception as error:  # operations of a kind that is not allowed here, unknown operation names
            if type(error).__module__.startswith("strawberry."):
                seen.result = BadInput.code
                status = 405 if "OperationType" in type(error).__name__ else 400
                return _answer({"errors": [_error(str(error))]}, status, media, allow="POST")
            raise
        seen.failed(result.errors)
        content = contents(result)
        status = 200 if "data" in content or media == JSON else 400
        return _answer(content, status, media, headers=context.response_headers)


def _negotiate(accept: str | None) -> str | None:
    """The first of ours that is acceptable; JSON when nothing is said, as the specification's transition asks."""
    if not accept:
        return JSON
    best, best_quality = None, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        media = {RESPONSE: RESPONSE, JSON: JSON, "*/*": JSON, "application/*": JSON}.get(name)
        if media is not None and quality > best_quality:
            best, best_quality = media, quality
    return best


async def _body(request: Request) -> bytes:
    if request.method == "GET":
        return b""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != JSON:
        raise Malformed(415, f"Send the operation as {JSON}.")
    charset = parameters.lower().partition("charset=")[2].strip().strip('"')
    if charset not in ("", "utf-8", "utf8"):
        raise Malformed(415, "Send JSON in UTF-8.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Malformed(413, f"A request has at most {MAX_BODY} bytes.")
    return bytes(body)


def _read(request: Request, body: bytes) -> Operation:
    if request.method == "GET":
        fields: Any = dict(request.query_params)
        for name in ("variables", "extensions"):
            if name in fields:
                fields[name] = _json(fields[name], f"`{name}`")
    else:
        fields = _json(body, "The body")
    if isinstance(fields, list):
        raise Malformed(400, "Batches are not accepted; send one operation a request.")
    if not isinstance(fields, dict):
        raise Malformed(400, "The body must be a JSON object with `query`.")
    return read_operation(fields)


def read_operation(fields: dict[str, Any]) -> Operation:
    """Check the four fields of a request.

    Raises:
        Malformed: one is missing or of the wrong type.
    """
    query, variables = fields.get("query"), fields.get("variables")
    name, extensions = fields.get("operationName"), fields.get("extensions")
    if not isinstance(query, str) or not query:
        raise Malformed(400, "`query` must be a string with a GraphQL document.")
    if variables is not None and not isinstance(variables, dict):
        raise Malformed(400, "`variables` must be an object.")
    if name is not None and not isinstance(name, str):
        raise Malformed(400, "`operationName` must be a string.")
    if extensions is not None and not isinstance(extensions, dict):
        raise Malformed(400, "`extensions` must be an object.")
    if "\\u0000" in query or "\0" in query or _has_null(variables):
        raise Malformed(400, "Null characters (U+0000) are not accepted in texts.")
    return Operation(query, variables, name or None)


def _has_null(value: Any) -> bool:
    """No database column takes one, so none gets further than here."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_null(key) or _has_null(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_null(item) for item in value)


def _json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(400, f"{what} is not valid JSON.") from error


def _of_quota(quota: Quota | None) -> dict[str, str]:
    """How many requests the caller's keypair has left (draft-ietf-httpapi-ratelimit-headers-06).

    The window slides: at the reset a part of the limit is free again, not all of it.
    """
    if quota is None:
        return {}
    return {
        "ratelimit-limit": str(quota.limit),
        "ratelimit-remaining": str(quota.remaining),
        "ratelimit-reset": str(math.ceil(quota.reset)),
        "ratelimit-policy": f"{quota.limit};w={WINDOW:.0f}",
    }


def _error(message: str) -> dict[str, Any]:
    return present(GraphQLError(message))


def _status_of(error: BerthError) -> int:
    return {"UNAUTHENTICATED": 401, "RATE_LIMITED": 429, "UNAVAILABLE": 503}.get(error.code, 400)


def _answer(
    content: dict[str, Any],
    status: int,
    media: str,
    *,
    allow: str | None = None,
    headers: list[tuple[str, str]] | None = None,
) -> Response:
    response = Response(msgspec.json.encode(content), status, media_type=f"{media}; charset=utf-8")
    response.headers["cache-control"] = "no-store"
    if status == 405 and allow:
        response.headers["allow"] = allow
    for name, value in headers or ():
        response.headers.append(name, value)
    return response
