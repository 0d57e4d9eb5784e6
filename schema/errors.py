"""How errors reach a client: stable codes, the wrong field, what to do next, and nothing internal.

One place maps: what services raise keeps its code and sentence; what GraphQL itself refuses is BAD_USER_INPUT; anything
else is a surprise, masked for the caller as INTERNAL with an id under which the log has the whole of it.
"""

import logging
import secrets
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

import strawberry
from graphql import GraphQLError

from schema.fields import said
from services.errors import BadInput, BerthError

log = logging.getLogger(__name__)

_CORRECT: Final = "Correct the field that `path` names, then send it again."
_READ_SCHEMA: Final = "Correct the operation; the schema is documented at `/graphql` in a browser."
_WAIT: Final = "Wait `retryAfter` seconds, then send it again."
#: Code → `extensions.help`: what to do next. An error that knows better brings its own; of NOT_FOUND there is nothing to
#: say, for whether it exists is just what is not told.
_HELP: Final = {
    "UNAUTHENTICATED": "Log in by `login` or `loginWithKeypair`, or renew the access token by `refreshLogin`.",
    "FORBIDDEN": "`allowedActions` of an object and `viewer.permissions` say what you may do; "
    "an administrator can allow more.",
    "CONFLICT": "Read what is there now, then choose again.",
    "QUOTA_EXCEEDED": "Ask for no more than `limit` of `slot`, or ask an administrator to raise the limit of `whose`.",
    "UNAVAILABLE": "Try again later; an administrator sees whether `part` is well.",
    "INTERNAL": "Tell an administrator the `id`; the server's log has the whole of it under that.",
}


@strawberry.enum(
    description="The codes in `extensions.code` of errors. New ones may be added in a later release."
)
class ErrorCode(Enum):
    BAD_USER_INPUT = strawberry.enum_value(
        "BAD_USER_INPUT",
        description="A field is wrong; `extensions.path` names it, the message says what is right.",
    )
    UNAUTHENTICATED = strawberry.enum_value(
        "UNAUTHENTICATED", description="Nobody is logged in, or not any more."
    )
    FORBIDDEN = strawberry.enum_value("FORBIDDEN", description="The role does not allow it.")
    NOT_FOUND = strawberry.enum_value("NOT_FOUND", description="It does not exist, or is not yours to see.")
    CONFLICT = strawberry.enum_value(
        "CONFLICT", description="It contradicts what is there: a name taken, an end reached."
    )
    QUOTA_EXCEEDED = strawberry.enum_value(
        "QUOTA_EXCEEDED",
        description="A limit stands in the way; `slot`, `asked`, `limit` and `whose` tell which.",
    )
    RATE_LIMITED = strawberry.enum_value(
        "RATE_LIMITED", description="Too many requests; try again after `retryAfter` seconds."
    )
    UNAVAILABLE = strawberry.enum_value(
        "UNAVAILABLE", description="A part does not answer now (`part`); trying again later may help."
    )
    INTERNAL = strawberry.enum_value(
        "INTERNAL", description="A fault of the server; `id` is what an administrator finds in the log."
    )


@strawberry.type(description="Why one of several objects was not done.")
class Problem:
    code: ErrorCode = said("Stable, for programs.")
    message: str = said("A sentence for people, with what to do.")

    @classmethod
    def of(cls, error: BerthError) -> "Problem":
        return cls(code=ErrorCode(error.code), message=error.message)


def present(error: GraphQLError) -> dict[str, Any]:
    """One error as a client gets it."""
    content: dict[str, Any] = {"message": error.message}
    if error.locations:
        content["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path:
        content["path"] = error.path
    original = _original(error)
    if isinstance(original, BerthError):
        extensions = _extensions(original)
    elif original is None:
        extensions = {"code": BadInput.code, **(error.extensions or {})}
    else:
        incident = secrets.token_hex(6)
        log.error("a field failed; incident %s", incident, exc_info=original)
        content["message"] = f"Something went wrong here. Tell an administrator the incident {incident}."
        extensions = {"code": "INTERNAL", "id": incident}
    content["extensions"] = _helped(extensions)
    return content


def code_of(error: GraphQLError) -> str:
    """The code with which it is presented."""
    original = _original(error)
    if isinstance(original, BerthError):
        return original.code
    return str((error.extensions or {}).get("code", BadInput.code)) if original is None else "INTERNAL"


def present_all(errors: Iterable[GraphQLError]) -> list[dict[str, Any]]:
    """All errors as a client gets them; several wrong fields become an error each."""
    presented: list[dict[str, Any]] = []
    for error in errors:
        original = _original(error)
        content = present(error)
        if isinstance(original, BadInput) and len(original.fields) > 1:
            presented += [
                {
                    **content,
                    "message": message,
                    "extensions": _helped({"code": original.code, "path": path.split(".")}),
                }
                for path, message in original.fields
            ]
        else:
            presented.append(content)
    return presented


def _extensions(error: BerthError) -> dict[str, Any]:
    extensions: dict[str, Any] = {"code": error.code}
    if error.path:
        extensions["path"] = error.path.split(".")
    for name, value in error.extra.items():
        head, *rest = name.split("_")
        extensions[head + "".join(part.title() for part in rest)] = value
    return extensions


def _helped(extensions: dict[str, Any]) -> dict[str, Any]:
    """With what to do next, where there is something."""
    code = extensions["code"]
    if code == BadInput.code:
        usual = _CORRECT if "path" in extensions else _READ_SCHEMA
    else:
        usual = _WAIT if "retryAfter" in extensions else _HELP.get(code)
    return extensions if usual is None or "help" in extensions else {**extensions, "help": usual}


def _original(error: GraphQLError) -> Exception | None:
    """The exception behind it, None for what GraphQL itself refused."""
    original: Exception | None = error.original_error
    while isinstance(original, GraphQLError):
        original = original.original_error
    return original
