"""The one place where mutations are recorded: around the resolver of every field of `Mutation`, new ones included.

Outermost, so that what is refused before anything is resolved (an id of the wrong kind) is an attempt as well. What never
gets here is what is no mutation yet: a document that does not parse, or arguments that are not of their types.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any, Final

from graphql import GraphQLError, GraphQLSchema

from resolvers.context import RequestContext
from schema.nodes import Node
from services import audits, trail
from services.errors import BerthError
from services.trail import Entry

#: Settling that nobody waits for: of operations that were cut off.
_late: Final[set["asyncio.Task[None]"]] = set()


def record(schema: GraphQLSchema) -> None:
    """Have every mutation of a schema leave its row in the audit."""
    for name, declared in schema.mutation_type.fields.items() if schema.mutation_type else ():
        if declared.resolve is not None:
            declared.resolve = _recorded(name, declared.resolve)


def _recorded(name: str, resolve: Callable[..., Any]) -> Callable[..., Any]:
    async def recorded(source: Any, info: Any, **given: Any) -> Any:
        context: RequestContext = info.context
        entry = _begin(name, context, given.get("input") or {})
        try:
            with trail.following(entry):
                payload = resolve(source, info, **given)
                if isawaitable(payload):
                    payload = await payload
        except BaseException as error:
            _failed(entry, error)
            settling = audits.settle(context.core, entry)
            if isinstance(error, asyncio.CancelledError):
                # The operation has had its time; what it waited for may be what settling needs.
                _late.add(task := asyncio.create_task(settling))
                task.add_done_callback(_late.discard)
            else:
                await settling
            raise
        _done(entry, payload)
        await audits.settle(context.core, entry)
        return payload

    return recorded


def _begin(name: str, context: RequestContext, given: Mapping[str, Any]) -> Entry:
    actor = context.actor
    return Entry(
        at=context.core.now(),
        action=name,
        user_id=actor.user_id if actor else "",
        domain_id=actor.domain_id if actor else "",
        address=context.address,
        user_agent=context.user_agent,
        request_id=context.request_id,
        arguments=trail.flatten(given),
        named=trail.named_ids(given),
    )


def _failed(entry: Entry, error: BaseException) -> None:
    if isinstance(error, BerthError):
        entry.outcome, entry.code = "REFUSED", error.code
    elif isinstance(error, GraphQLError):
        entry.outcome, entry.code = "REFUSED", "BAD_USER_INPUT"
    elif isinstance(error, asyncio.CancelledError):
        if entry.written is None:
            entry.outcome, entry.code = "FAILED", "UNAVAILABLE"
    else:
        entry.outcome, entry.code = "FAILED", "INTERNAL"


def _done(entry: Entry, payload: Any) -> None:
    """What the payload says of what it was about, and of parts that were not done."""
    answer = vars(payload)
    results: list[Any] = answer.get("results") or []
    about = list(dict.fromkeys(_about(entry, answer)))
    if about and not (entry.user_id and entry.targets == [entry.user_id]):
        entry.targets = about
    codes = [error.code.value for one in results if (error := getattr(one, "error", None)) is not None]
    if codes:
        entry.outcome = "REFUSED" if len(codes) == len(results) else "PARTLY"
        entry.code = codes[0]


def _about(entry: Entry, answer: Mapping[str, Any]) -> Iterable[str]:
    for name, value in answer.items():
        if isinstance(value, Node):
            yield str(value.id)
        elif name == "viewer" and entry.user_id:
            yield entry.user_id
        elif name == "deleted_id":
            yield str(value)
        elif name == "deleted_ids":
            yield from map(str, value)
        elif isinstance(value, list):
            listed: list[Any] = value
            for one in listed:
                yield from _of_one(one, result=name == "results")


def _of_one(one: Any, *, result: bool) -> Iterable[str]:
    if isinstance(one, Node):
        yield str(one.id)
    elif result:
        found: Mapping[str, Any] = vars(one)
        yield from (str(item) for key, item in found.items() if key in ("id", "image_id", "agent_id"))
