"""Operations made from the schema, and what the table says their answers are for somebody.

The reference is what a superadmin is answered (of a login: its owner). What somebody else must be answered follows from
it and the table: without what is not theirs to see, with totals and cursors as if that did not exist.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
)

from tests.api import matrix
from tests.api.worlds import Thing, World

#: Objects on a page: more than the world has of any kind.
PAGE: Final = 30


class _Anything:
    """Equal to everything: what the table says nothing about."""

    def __eq__(self, _other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "anything"

    __hash__ = None  # type: ignore[assignment]


ANYTHING: Final = _Anything()


def is_node(kind: Any) -> bool:
    return isinstance(kind, GraphQLObjectType) and any(one.name == "Node" for one in kind.interfaces)


def is_union_of_things(kind: Any) -> bool:
    return isinstance(kind, GraphQLUnionType) and all(map(is_node, kind.types))


def is_list_of_things(field: GraphQLField) -> bool:
    return get_named_type(field.type).name.endswith("Connection")


class Selections:
    """What there is to ask of each type."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._made: dict[str, str] = {}

    def of(self, name: str) -> str:
        """All fields of a type: values whole, things by their ids."""
        if name not in self._made:
            kind = self._schema.type_map[name]
            assert isinstance(kind, GraphQLObjectType), name
            parts = [self._field(field_name, field, by_id) for field_name, field in kind.fields.items()]
            self._made[name] = " ".join(["__typename", *parts])
        return self._made[name]

    def deep(self, name: str, field: GraphQLField) -> str:
        """A field that leads to things, and all fields of these."""
        return self._field(name, field, self.of)

    def shallow(self, name: str, field: GraphQLField) -> str:
        """A field, things by their ids."""
        return self._field(name, field, by_id)

    def edges(self, name: str) -> dict[str, GraphQLField]:
        """Fields of a type that lead to things."""
        kind = self._schema.type_map[name]
        assert isinstance(kind, GraphQLObjectType), name
        return {
            field_name: field
            for field_name, field in kind.fields.items()
            if is_node(self._thing(field)) or is_union_of_things(get_named_type(field.type))
        }

    def _thing(self, field: GraphQLField) -> Any:
        inner = get_named_type(field.type)
        return self._schema.type_map.get(inner.name.removesuffix("Connection"))

    def _field(self, name: str, field: GraphQLField, things: Callable[[str], str]) -> str:
        inner = get_named_type(field.type)
        if is_leaf_type(inner):
            return name
        if isinstance(inner, GraphQLUnionType):
            members = " ".join(
                f"... on {one.name} {{ {things(one.name) if is_node(one) else self._whole(one, things)} }}"
                for one in inner.types
            )
            return f"{name} {{ __typename {members} }}"
        if is_list_of_things(field):
            thing = inner.name.removesuffix("Connection")
            rest = f"totalCount totalCountIsExact pageInfo {{ {matrix.TYPES['PageInfo'][1]} }}"
            rows = f"edges {{ cursor node {{ id }} }} nodes {{ {things(thing)} }}"
            return f"{name}(first: {PAGE}) {{ {rest} {rows} }}"
        if is_node(inner):
            return f"{name} {{ {things(inner.name)} }}"
        if isinstance(inner, GraphQLInterfaceType):
            return f"{name} {{ __typename id }}"
        assert isinstance(inner, GraphQLObjectType)
        return f"{name} {{ {self._whole(inner, things)} }}"

    def _whole(self, kind: GraphQLObjectType, things: Callable[[str], str]) -> str:
        """All fields of a value."""
        parts = [self._field(one, about, things) for one, about in kind.fields.items()]
        return " ".join(["__typename", *parts])


def by_id(_kind: str) -> str:
    """Enough to tell which thing it is."""
    return "id"


@dataclass
class Oracle:
    """What the table says that somebody sees."""

    schema: GraphQLSchema
    world: World
    who: str
    #: id → all fields of the object, as the reference shows them.
    reference: dict[str, Any]

    def sees(self, thing_id: str) -> bool:
        return self.who in self.world.people and self._is(self.world.things[thing_id])

    def seen(self, kind: Any, value: Any) -> Any:
        """What the reference's value of a type is for this one."""
        kind = get_nullable_type(kind)
        if value is None or value is ANYTHING or is_leaf_type(kind):
            return value
        if isinstance(kind, GraphQLList):
            return [self.seen(kind.of_type, item) for item in value if not self._hidden(item)]
        if self._hidden(value):
            return None
        if isinstance(kind, GraphQLUnionType):
            kind = self.schema.type_map[value["__typename"]]
        assert isinstance(kind, GraphQLObjectType)
        if kind.name.endswith("Connection"):
            return self._page(kind, value)
        shown = {name: self._field(kind, name, item, value.get("id")) for name, item in value.items()}
        if "holder" in shown and shown["holder"] is None:
            # Whose a limit is decides about its numbers, and so about the sentence that has them in it.
            hidden = {
                name: rule
                for name, rule in matrix.fields(matrix.TYPES[kind.name][1]).items()
                if rule == "holder"
            }
            shown |= {name: ANYTHING if name == "message" else None for name in hidden}
        return shown

    def whole(self, thing_id: str) -> Any:
        """All fields of an object, None when it is not theirs to see."""
        return self.seen(self.schema.type_map[self.world.things[thing_id].type], self.reference[thing_id])

    def viewer(self) -> dict[str, Any]:
        """What `viewer` says to them, things by their ids."""
        person = self.world.people[self.who]
        usable = [one for one in self.world.ids("ResourceGroup") if self.sees(one)]
        return {
            "__typename": "Viewer",
            "user": {"id": person.row.id},
            "domain": {"id": person.row.domain_id},
            "groups": [{"id": group.id} for group in person.groups],
            "keypair": {"id": person.row.main_keypair_id},
            "logins": [{"id": person.login.id}],
            "mustChangePassword": False,
            "mustSetUpTotp": False,
            "recoveryCodesLeft": 0,
            "permissions": ANYTHING,
            "resourceGroups": [{"id": one} for one in usable],
            "role": person.row.role,
            "sshPublicKeys": [
                {
                    "__typename": "SshPublicKey",
                    "bits": 256,
                    "comment": key.rpartition(" ")[2],
                    "fingerprint": ANYTHING,
                    "publicKey": key,
                    "type": "ssh-ed25519",
                }
                for key in person.row.ssh_public_keys
            ],
        }

    def deep(self, value: Any) -> Any:
        """A field that leads to things, with all fields of these, from the one with their ids."""
        if isinstance(value, list):
            return [self.deep(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("id") in self.world.things:
            return self.whole(value["id"])
        return {name: item if name == "edges" else self.deep(item) for name, item in value.items()}

    def _field(self, kind: GraphQLObjectType, name: str, value: Any, thing_id: str | None) -> Any:
        if name == "__typename":
            return value
        _, row = matrix.TYPES.get(kind.name, (None, matrix.EDGE))
        match matrix.fields(row)[name]:
            case "superadmin" if self.who != "superadmin":
                return None
            case "actions":
                return self._actions(kind.name, thing_id or "")
            case "image" if not self.sees(self.reference[thing_id or ""]["image"]["id"]):
                return []
            case "counting":
                return ANYTHING
            case "current":
                return thing_id == self.world.people[self.who].login.id
            case _:
                return self.seen(kind.fields[name].type, value)

    def _actions(self, kind: str, thing_id: str) -> Any:
        about = self.world.ours.get(kind)
        if about is None or about.id != thing_id:
            return ANYTHING
        return sorted(name for name, (of, _) in matrix.MUTATIONS.items() if of == kind and self.may(name))

    def may(self, mutation: str) -> bool:
        return matrix.letter(matrix.MUTATIONS[mutation][1], self.who) == "v"

    def _page(self, kind: GraphQLObjectType, value: dict[str, Any]) -> dict[str, Any]:
        edges = [edge for edge in value["edges"] if self.sees(edge["node"]["id"])]
        ends = {
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        }
        return {
            **value,
            "edges": edges,
            "nodes": self.seen(kind.fields["nodes"].type, value["nodes"]),
            "totalCount": len(edges),
            "pageInfo": {**value["pageInfo"], **ends},
        }

    def _hidden(self, value: Any) -> bool:
        """A thing that is not theirs to see. Entries of a timeline and results have ids that are none."""
        thing_id = value.get("id") if isinstance(value, dict) else None
        return thing_id in self.world.things and not self.sees(thing_id)

    def _is(self, thing: Thing) -> bool:
        """Are they to the thing what its class asks for?"""
        person = self.world.people[self.who].row
        sees, _ = matrix.TYPES[thing.type]
        if sees is None or self.who == "inactive":
            return False
        match {"USER": sees.user, "DOMAIN_ADMIN": sees.admin, "SUPERADMIN": sees.superadmin}[person.role]:
            case "anything":
                return True
            case "domain":
                return thing.domain == person.domain_id
            case "group":
                return thing.group in {group.id for group in self.world.people[self.who].groups}
            case "owner":
                return thing.owner == person.id
            case "granted":
                groups = {group.id for group in self.world.people[self.who].groups}
                return bool(thing.granted & {"*", person.id, person.domain_id, *groups})
            case _:
                return False


def differences(expected: Any, actual: Any, at: str = "") -> Iterable[str]:
    """Where two answers differ, a line each. Lists of `allowedActions` are sets."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in expected.keys() | actual.keys():
            yield from differences(expected.get(name), actual.get(name), f"{at}.{name}" if at else name)
    elif isinstance(expected, list) and isinstance(actual, list):
        if at.endswith("allowedActions"):
            expected, actual = sorted(expected), sorted(actual)
        elif len(expected) == len(actual):
            for position, (one, other) in enumerate(zip(expected, actual, strict=True)):
                yield from differences(one, other, f"{at}.{position}")
            return
        if expected != actual:
            yield f"{at}: {_short(actual)} instead of {_short(expected)}"
    elif expected != actual:
        yield f"{at}: {_short(actual)} instead of {_short(expected)}"


def filled(schema: GraphQLSchema, kind: Any, value: Any) -> Iterable[str]:
    """`Type.field` of everything in an answer that is not empty: what a test has really seen."""
    kind = get_nullable_type(kind)
    if isinstance(kind, GraphQLList):
        for item in value or ():
            yield from filled(schema, kind.of_type, item)
    elif isinstance(value, dict) and not is_leaf_type(kind):
        if isinstance(kind, GraphQLUnionType):
            kind = schema.type_map[value["__typename"]]
        for name, item in value.items():
            if name != "__typename" and item not in (None, []):
                yield f"{kind.name}.{name}"
                yield from filled(schema, kind.fields[name].type, item)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}…"
