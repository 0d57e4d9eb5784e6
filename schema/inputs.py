"""Reading inputs: what Strawberry works out for each field of each input of each request, worked out once for a schema.

Of every field of an input's value Strawberry asks its name, its type and whether that is a scalar, an enum, a list: a
third of what `createSession` costs apart from the database. It is the same for every request. Fields of scalars and
enums are taken as they are, inputs and lists of them by their own reader; anything else (`Maybe`) Strawberry does.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from graphql import GraphQLInputObjectType, GraphQLList, GraphQLNonNull, GraphQLSchema, is_leaf_type
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryMaybe, StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

_DEFINITION: Final = "strawberry-definition"

#: (value, not null; what the whole is read with) → what the resolver is given.
_Read = Callable[[Any, InputContext], Any]


class _Field(NamedTuple):
    graphql_name: str
    python_name: str
    #: None: as it is.
    read: _Read | None


def hasten(schema: GraphQLSchema, config: StrawberryConfig) -> None:
    """Give all inputs of a schema their readers."""
    readers: dict[str, _Read] = {}
    inputs = [kind for kind in schema.type_map.values() if isinstance(kind, GraphQLInputObjectType)]
    for kind in inputs:
        definition = kind.extensions.get(_DEFINITION)
        if isinstance(definition, StrawberryObjectDefinition) and definition.from_input is None:
            readers[kind.name] = _reader(kind, definition, config, readers)
    for kind in inputs:
        if kind.name in readers:
            definition = kind.extensions[_DEFINITION]
            definition.from_input = _without_type(readers[kind.name])


def _without_type(read: _Read) -> Callable[[type, Any, InputContext], Any]:
    def from_input(_type: type, value: Any, context: InputContext) -> Any:
        return read(value, context)

    return from_input


def _reader(
    kind: GraphQLInputObjectType,
    definition: StrawberryObjectDefinition,
    config: StrawberryConfig,
    readers: Mapping[str, _Read],
) -> _Read:
    fields = [_field(kind, one, definition, config, readers) for one in definition.fields]
    # As Strawberry does it: what is not given and has no default is None.
    missing = {
        one.python_name: None
        for one in definition.fields
        if one.default_value is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    }
    make = definition.origin

    def read(value: Mapping[str, Any], context: InputContext) -> Any:
        given = dict(missing)
        for graphql_name, python_name, convert in fields:
            if graphql_name in value:
                item = value[graphql_name]
                given[python_name] = item if convert is None else convert(item, context)
        return make(**given)

    return read


def _field(
    kind: GraphQLInputObjectType,
    declared: StrawberryField,
    definition: StrawberryObjectDefinition,
    config: StrawberryConfig,
    readers: Mapping[str, _Read],
) -> _Field:
    name = config.name_converter.from_field(declared)
    own = declared.resolve_type(type_definition=definition)
    if isinstance(own, StrawberryMaybe):

        def convert(value: Any, context: InputContext) -> Any:
            return context.convert(value, own, name)

        return _Field(name, declared.python_name, convert)
    return _Field(name, declared.python_name, _of_type(kind.fields[name].type, readers))


def _of_type(kind: Any, readers: Mapping[str, _Read]) -> _Read | None:
    if isinstance(kind, GraphQLNonNull):
        return _of_type(kind.of_type, readers)
    if is_leaf_type(kind):
        return None
    if isinstance(kind, GraphQLList):
        each = _of_type(kind.of_type, readers)
        if each is None:
            # Copied: graphql-core gives the same default to every request.
            return lambda value, _: None if value is None else list(value)
        return lambda value, context: None if value is None else [each(one, context) for one in value]
    # Looked up when it is needed: an input may be in itself.
    return lambda value, context: None if value is None else readers[kind.name](value, context)
