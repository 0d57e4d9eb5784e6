"""What kind of id each input takes, and the one place where an id of another kind, or a list of too many, is refused.

The kind follows from the name, as it does for a reader: `groupIds` are ids of groups, and `id` in `UpdateGroupInput` is
one. A slip (a user's id where a group's is wanted) is answered with what was expected, not with NOT_FOUND; an id of the
right kind that does not exist, or is not the caller's to see, is the services' to refuse.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
)

from services import ids
from services.errors import Problems

Kinds = tuple[str, ...]

#: A noun as names have it → prefixes of its ids; `resourceGroup` from "resource group".
_NOUNS: Final[dict[str, Kinds]] = {
    re.sub(r" (\w)", lambda match: match[1].upper(), words): (prefix,) for prefix, words in ids.KINDS.items()
} | {
    "policy": ("pol",),
    "grantee": ("dom", "grp", "usr"),
    "tenant": ("dom", "grp"),
    "registries": ("reg",),
    "scope": ("usr", "grp", "dom", "rgp"),
    "dependsOn": ("ses",),
}
#: Wrong ids that are told of at once.
_MOST: Final = 10
#: Ids in one list: each is a statement or more.
LONGEST: Final = 500


@dataclass
class _Shape:
    """Where ids are in the arguments of a field, or in an input."""

    ids: dict[str, Kinds] = field(default_factory=dict[str, Kinds])
    inputs: dict[str, "_Shape"] = field(default_factory=dict[str, "_Shape"])


def kinds(name: str, of: str) -> Kinds:
    """Prefixes that an id in this argument or input field may have; none: all that there are.

    Args:
        of: the input type that it is in; empty for an argument.
    """
    if name not in ("id", "ids"):
        return _NOUNS.get(re.sub(r"Ids?$", "", name), ())
    # The longest: a resource group's is not a group's.
    nouns = sorted(_NOUNS, key=len, reverse=True)
    return next((_NOUNS[noun] for noun in nouns if noun[0].upper() + noun[1:] in of), ())


def guard(schema: GraphQLSchema) -> None:
    """Have the fields of a schema refuse ids of the wrong kind, before anything is resolved."""
    shapes: dict[str, _Shape] = {}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for declared in kind.fields.values():
                shape = _shape({name: one.type for name, one in declared.args.items()}, "", shapes)
                if shape.ids or shape.inputs:
                    _guard(declared, shape)


def _shape(types: Mapping[str, Any], of: str, shapes: dict[str, _Shape]) -> _Shape:
    shape = _Shape()
    for name, type_ in types.items():
        inner: GraphQLNamedType = get_named_type(type_)
        if inner.name == "ID" and (wanted := kinds(name, of)):
            shape.ids[name] = wanted
        elif isinstance(inner, GraphQLInputObjectType):
            if inner.name not in shapes:
                # Known before it is made: an input may be in itself.
                known = shapes[inner.name] = _Shape()
                made = _shape({one: about.type for one, about in inner.fields.items()}, inner.name, shapes)
                known.ids, known.inputs = made.ids, made.inputs
            if shapes[inner.name].ids or shapes[inner.name].inputs:
                shape.inputs[name] = shapes[inner.name]
    return shape


def _guard(declared: GraphQLField, shape: _Shape) -> None:
    def checked(inner: Callable[..., Any]) -> Callable[..., Any]:
        def resolve(source: Any, info: Any, **given: Any) -> Any:
            problems = Problems()
            _check(given, shape, "", problems)
            problems.check()
            return inner(source, info, **given)

        return resolve

    if declared.subscribe is not None:
        declared.subscribe = checked(declared.subscribe)
    elif declared.resolve is not None:
        declared.resolve = checked(declared.resolve)


def _check(given: Mapping[str, Any], shape: _Shape, at: str, problems: Problems) -> None:
    for name, wanted in shape.ids.items():
        if isinstance(given.get(name), list) and len(given[name]) > LONGEST:
            problems.add(f"{at}{name}", f"At most {LONGEST} ids at once.")
            continue
        for path, value in _each(given.get(name), f"{at}{name}"):
            if value.partition("_")[0] not in wanted and len(problems.fields) < _MOST:
                problems.add(path, f"Wrong kind of id: expected an id that starts with {_or(wanted)}.")
    for name, inner in shape.inputs.items():
        for path, value in _each(given.get(name), f"{at}{name}"):
            _check(value, inner, f"{path}.", problems)


def _each(value: Any, path: str) -> list[tuple[str, Any]]:
    """A value that was given, or those of a list, each with its path."""
    if isinstance(value, list):
        return [(f"{path}.{position}", item) for position, item in enumerate(value) if item is not None]
    return [] if value is None else [(path, value)]


def _or(wanted: Kinds) -> str:
    said = [f"{prefix}_ ({ids.KINDS[prefix]})" for prefix in wanted]
    return " or ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)
