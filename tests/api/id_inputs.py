"""Where the schema takes ids, and which of them somebody has or does not see."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    GraphQLList,
    get_named_type,
    get_nullable_type,
    is_required_input_field,
)

from services import ids
from tests.api import matrix, worlds
from tests.api.attempts import SLOTS
from tests.api.operations import LISTS, SCHEMA, operation
from tests.api.walks import Oracle


@dataclass(frozen=True)
class IdField:
    """An id somewhere in a mutation's input."""

    mutation: str
    name: str
    kinds: tuple[str, ...]
    many: bool

    def put(self, value: str) -> dict[str, Any]:
        return {self.name: [value] if self.many else value}


def id_fields() -> Iterator[IdField]:
    for name, about in SCHEMA.type_map["Mutation"].fields.items():  # type: ignore[attr-defined]
        for argument in about.args.values():
            kind = get_named_type(argument.type)
            for member, kinds in matrix.fields(matrix.INPUTS[kind.name]).items():
                if kinds:
                    many = isinstance(get_nullable_type(kind.fields[member].type), GraphQLList)
                    yield IdField(name, member, tuple(kinds.split(",")), many)


@dataclass(frozen=True)
class Argument:
    """An id as an argument of a root field."""

    root: str
    field: str
    name: str
    kinds: tuple[str, ...]
    #: All ids that the field wants.
    all: dict[str, str]

    @property
    def operation(self) -> str:
        return operation(self.root, self.field, *self.all)

    @property
    def path(self) -> list[str]:
        """Of the one id that is given; a list is asked with one."""
        about = SCHEMA.type_map[self.root].fields[self.field].args[self.name]  # type: ignore[attr-defined]
        return [self.name, *(["0"] if isinstance(get_nullable_type(about.type), GraphQLList) else [])]

    def given(self, oracle: Oracle, value: str) -> dict[str, Any]:
        own = {name: own_of(oracle, kinds) for name, kinds in self.all.items() if name != self.name}
        return own | {self.name: value}


def arguments() -> Iterator[Argument]:
    for coordinate, row in matrix.ARGUMENTS.items():
        root, _, name = coordinate.partition(".")
        wanted = {one: kinds for one, kinds in matrix.fields(row).items() if kinds}
        for one, kinds in wanted.items():
            yield Argument(
                root, name, one, tuple(worlds.TYPES) if kinds == "*" else tuple(kinds.split(",")), wanted
            )


def base(oracle: Oracle, mutation: str) -> dict[str, Any]:
    """An input that is right for this one, with their own ids."""
    about = SCHEMA.type_map["Mutation"].fields[mutation]  # type: ignore[attr-defined]
    kind: GraphQLInputObjectType = get_named_type(about.args["input"].type)
    kinds = matrix.fields(matrix.INPUTS[kind.name])
    given: dict[str, Any] = {}
    for name, member in kind.fields.items():
        if is_required_input_field(member) or (mutation, name) == ("createSession", "imageId"):
            many = isinstance(get_nullable_type(member.type), GraphQLList)
            if kinds[name]:
                own = own_of(oracle, kinds[name].split(",")[0])
                given[name] = [own] if many else own
            else:
                given[name] = {
                    "slots": SLOTS,
                    "email": "new@example.org",
                    "hostname": "new.example",
                    "url": "https://new.example",
                    "issuer": "https://new.example",
                }.get(name, "new-1")
    return given


def own_of(oracle: Oracle, prefix: str) -> str:
    """One of a kind that they see, if there is any."""
    kind = worlds.TYPES[prefix]
    tenant = oracle.world.ours if oracle.who not in ("stranger", "other admin") else oracle.world.theirs
    if kind == "User" and "admin" not in oracle.who:
        return oracle.world.people[oracle.who].row.id
    if kind in tenant and oracle.sees(tenant[kind].id):
        return tenant[kind].id
    return next((one for one in oracle.world.ids(kind) if oracle.sees(one)), ids.new(prefix))


def hidden_of(oracle: Oracle, prefix: str) -> Iterator[str]:
    """Those of a kind that they do not see: of another domain, of a neighbour."""
    domains: set[str] = set()
    for one in oracle.world.ids(worlds.TYPES[prefix]):
        thing = oracle.world.things[one]
        if not oracle.sees(one) and thing.domain not in domains:
            domains.add(thing.domain)
            yield one


def filters() -> Iterator[tuple[str, str, str]]:
    """(list at the root, condition of its filter, prefix of the id in it)."""
    for kind, name in LISTS.items():
        for member, prefix in matrix.fields(matrix.INPUTS[f"{kind}Filter"]).items():
            if prefix:
                yield name, member, prefix
