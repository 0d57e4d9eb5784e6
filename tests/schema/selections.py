"""Operations made from the schema: everything there is to read."""

from graphql import (
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
)

#: What is read by a stream from a node, which has none here.
_LIVE = {"logs"}


def everything(kind: GraphQLObjectType, depth: int) -> str:
    """All fields of a type that need no argument, and `depth` levels of what they refer to."""
    parts = ["__typename"]
    for name, field in kind.fields.items():
        needed = [a for a in field.args.values() if isinstance(a.type, GraphQLNonNull) and a.default is None]
        inner = get_named_type(field.type)
        if needed or name in _LIVE:
            continue
        if is_leaf_type(inner):
            parts.append(name)
        elif depth > 0 and isinstance(inner, GraphQLObjectType):
            passing = inner.name.endswith(("Connection", "Edge", "Result"))
            parts.append(f"{name} {{ {everything(inner, depth if passing else depth - 1)} }}")
        elif depth > 0 and isinstance(inner, GraphQLInterfaceType):
            parts.append(f"{name} {{ __typename id }}")
        elif depth > 0 and isinstance(inner, GraphQLUnionType):
            members = " ".join(f"... on {one.name} {{ {_member(one, depth - 1)} }}" for one in inner.types)
            parts.append(f"{name} {{ __typename {members} }}")
    return " ".join(parts)


def _member(kind: GraphQLObjectType, depth: int) -> str:
    """Of a union: a thing by its id, a value whole."""
    if "id" not in kind.fields:
        return everything(kind, depth)
    return "id name" if "name" in kind.fields else "id"
