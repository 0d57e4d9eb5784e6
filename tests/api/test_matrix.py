"""Who sees what: every field of every type, as everybody, by every path that leads to it."""

import json
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
)
from starlette.applications import Starlette

from resolvers.root import make_schema
from services.core import Core
from tests.api import matrix, worlds
from tests.api.clients import Caller, codes, serving
from tests.api.matrix import ACTORS
from tests.api.walks import Oracle, Selections, differences, filled, is_list_of_things
from tests.api.worlds import World
from tests.factories import Clock, Factories

SCHEMA: GraphQLSchema = make_schema()._schema
SELECT = Selections(SCHEMA)
#: Root lists, by what is in them.
ROOTS: dict[str, Any] = SCHEMA.type_map["Query"].fields  # type: ignore[attr-defined]
LISTS = {
    about.type.of_type.name.removesuffix("Connection"): name
    for name, about in ROOTS.items()
    if is_list_of_things(about)
}


#: Only plug-ins that cannot be loaded have one.
EMPTY = {"Scheduler.problem"}


def rows() -> dict[str, set[str]]:
    """What the table has rows for: a type and, for each, its fields, arguments or values."""
    found = {name: set(matrix.fields(row)) for name, (_, row) in matrix.TYPES.items()}
    found |= {name: set(matrix.fields(row)) for name, row in (matrix.INPUTS | matrix.ENUMS).items()}
    found |= {name: set(row.split()) for name, row in (matrix.UNIONS | matrix.INTERFACES).items()}
    found |= {name: set(matrix.fields(row)) for name, row in matrix.ARGUMENTS.items()}
    found |= {name: set() for name in matrix.SCALARS.split()}
    found |= {"Query": set(matrix.QUERIES), "Mutation": set(matrix.MUTATIONS)}
    return found | {"Subscription": set(matrix.SUBSCRIPTIONS)}


def there() -> dict[str, set[str]]:
    """The same of the schema."""
    found: dict[str, set[str]] = {}
    for name, kind in SCHEMA.type_map.items():
        if name.startswith("__"):
            continue
        match kind:
            case GraphQLUnionType():
                found[name] = {one.name for one in kind.types}
            case GraphQLEnumType():
                found[name] = set(kind.values)
            case GraphQLScalarType():
                found[name] = set()
            case GraphQLObjectType() | GraphQLInputObjectType() | GraphQLInterfaceType():
                found[name] = set(kind.fields)
            case _:
                raise AssertionError(f"{name} is of a kind that the table knows nothing of")
        if isinstance(kind, GraphQLObjectType):
            found |= {f"{name}.{one}": set(about.args) for one, about in kind.fields.items() if about.args}
    return found


def regular(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without lists and mutations, which are all alike (`tests/schema/test_sdl.py` holds them to it)."""
    alike = [
        (lambda name: name.endswith("Connection"), set(matrix.CONNECTION.split())),
        (lambda name: name.endswith("Edge"), set(matrix.EDGE.split())),
        (lambda name: name.startswith("Mutation."), {"input"}),
        (lambda name: "." in name, set(matrix.PAGING.split())),
        (lambda name: name.startswith("Query."), set(f"{matrix.PAGING} {matrix.ROOT_LIST}".split())),
    ]
    return {
        name: members
        for name, members in found.items()
        if not any(fits(name) and members == usual for fits, usual in alike)
    }


def agree(complaints: Iterable[str]) -> None:
    """Fail with all that does not agree, a line each."""
    found = sorted(complaints)
    if found:
        pytest.fail("\n".join([f"{len(found)} do not agree with the table:", *found[:50]]), pytrace=False)


def test_everything_has_a_row_and_every_row_is_of_something() -> None:
    table, schema = rows(), regular(there())
    missing = [
        f"{name}.{member}: has no row in tests/api/matrix.py; say who sees it"
        for name, members in schema.items()
        for member in members - table.get(name, set())
    ]
    missing += [
        f"{name}: has no row in tests/api/matrix.py; say who sees it" for name in schema.keys() - table.keys()
    ]
    gone = [
        f"{name}.{member}: a row of tests/api/matrix.py names it, the schema does not have it"
        for name, members in table.items()
        for member in members - schema.get(name, set())
    ]
    gone += [
        f"{name}: a row of tests/api/matrix.py, and nothing in the schema"
        for name in table.keys() - schema.keys()
    ]
    agree(missing + gone)


def test_what_sounds_like_a_secret_is_shown_once_or_never() -> None:
    sounding = ("secret", "password", "token", "ticket", "hash", "credential")
    told = [
        f"{name}.{member}"
        for name, (_, row) in matrix.TYPES.items()
        for member, rule in matrix.fields(row).items()
        if any(sound in member.lower() for sound in sounding) and rule != "once"
        and member not in matrix.HARMLESS.split()
    ]  # fmt: skip
    assert told == []


def refusal(at: str, answer: dict[str, Any], code: str) -> Iterable[str]:
    if codes(answer) != {code} or any((answer.get("data") or {}).values()):
        yield f"{at}: {answer} instead of {code}"


def unexpected(answer: dict[str, Any]) -> Iterable[str]:
    """Errors that the table has no rule for."""
    for error in answer.get("errors", ()):
        live = error["extensions"]["code"] == "UNAVAILABLE" and error["path"][-1] == "logs"
        if not live:
            yield f"{error}"


@dataclass
class Matrix:
    """The world, served, and what is known of it by asking as those who see everything."""

    world: World
    app: Starlette
    reference: dict[str, Any] = field(default_factory=dict[str, Any])

    async def learn(self) -> None:
        superadmin = self.world.caller(self.app, "superadmin")
        asking = {
            person.login.id: self.world.caller(self.app, who) for who, person in self.world.people.items()
        }
        for thing in self.world.things.values():
            if thing.owner != self.world.people["inactive"].row.id or thing.type != "Login":
                answer = await asked(asking.get(thing.id, superadmin), thing.id, SELECT.of(thing.type))
                self.reference[thing.id] = answer["data"]["node"]

    def oracle(self, who: str) -> Oracle:
        return Oracle(SCHEMA, self.world, who, self.reference)

    def judge(self, oracle: Oracle, thing_id: str, answer: dict[str, Any]) -> Iterable[str]:
        """What is wrong with `node(id)`'s answer."""
        if matrix.letter(matrix.QUERIES["node"], oracle.who) == "U":
            yield from refusal("node", answer, "UNAUTHENTICATED")
            return
        yield from unexpected(answer)
        expected = oracle.whole(thing_id) if oracle.sees(thing_id) else None
        yield from differences(expected, answer["data"]["node"])

    def told_too_much(self, oracle: Oracle, caller: Caller) -> Iterable[str]:
        """Ids and secrets that went to somebody in any answer, its errors included."""
        for thing_id in caller.told:
            if not oracle.sees(thing_id):
                yield f"{oracle.who}: was told of {thing_id}, which is not theirs to see"
        for secret in worlds.secrets_of(self.world):
            if any(secret in text for text in caller.texts):
                yield f"{oracle.who}: was told the secret {secret[:8]}…"


@pytest.fixture
async def built(
    core: Core, make: Factories, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Matrix]:
    world = await worlds.build(make)
    async with serving(core, tmp_path, monkeypatch) as app:
        yield Matrix(world, app)


async def asked(caller: Caller, thing_id: str, selection: str) -> dict[str, Any]:
    kind = worlds.TYPES[thing_id.partition("_")[0]]
    return await caller(
        f"query ($id: ID!) {{ node(id: $id) {{ ... on {kind} {{ {selection} }} }} }}", id=thing_id
    )


def root(world: World, name: str) -> str:
    """A root field that is no list, about what is ours, with all that it answers."""
    given = {
        "availability": {"groupId": world.ours["Group"].id, "resourceGroupId": world.ours["ResourceGroup"].id}
    }
    arguments = ", ".join(f"{one}: {json.dumps(value)}" for one, value in given.get(name, {}).items())
    selection = SELECT.shallow(name, ROOTS[name])
    return selection.replace(name, f"{name}({arguments})", 1) if arguments else selection


async def test_a_thing_shows_to_each_what_the_table_says(built: Matrix) -> None:
    """Each thing by `node(id)`, as each actor: nothing of it, or every field as the table has it."""
    complaints: list[str] = []
    await built.learn()
    for who in ACTORS:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        for thing in built.world.things.values():
            answer = await asked(caller, thing.id, SELECT.of(thing.type))
            at = f"{who}: {thing.type} {thing.id}"
            complaints += [f"{at}: {line}" for line in built.judge(oracle, thing.id, answer)]
        complaints += built.told_too_much(oracle, caller)
    agree(complaints)


#: What only mutations and subscriptions answer.
ELSEWHERE = ("Payload", "Result", "Event", "LogChunk", "Problem")


async def test_the_world_has_something_of_everything(built: Matrix) -> None:
    """A field that is empty on all that there is would be tested by nothing."""
    await built.learn()
    owner = built.world.caller(built.app, "owner")
    seen = {
        coordinate
        for thing_id, thing in built.reference.items()
        for coordinate in filled(SCHEMA, SCHEMA.type_map[built.world.things[thing_id].type], thing)
    }
    for name in ("availability", "schedulers", "server", "slotTypes", "viewer"):
        answer = await owner(f"{{ {root(built.world, name)} }}")
        seen |= set(filled(SCHEMA, SCHEMA.query_type, answer["data"]))
    agree(
        f"{name}.{member}: is empty on everything in tests/api/worlds.py"
        for name, (_, row) in matrix.TYPES.items()
        for member in matrix.fields(row)
        if not name.endswith(ELSEWHERE) and f"{name}.{member}" not in seen | EMPTY
    )


async def test_a_root_answers_each_what_the_table_says(built: Matrix) -> None:
    complaints: list[str] = []
    await built.learn()
    for who in ACTORS:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        for name, row in matrix.QUERIES.items():
            if name in LISTS.values() or name == "node":
                continue
            answer = await caller(f"{{ {root(built.world, name)} }}")
            found = (answer.get("data") or {}).get(name)
            match matrix.letter(row, who):
                case "v" if found is None or "errors" in answer:
                    complaints.append(f"{who}: {name}: {answer}")
                case "n" if found is not None or "errors" in answer:
                    complaints.append(f"{who}: {name}: {answer}")
                case "v" | "n":
                    pass
                case letter:
                    complaints += refusal(f"{who}: {name}", answer, matrix.CODES[letter])
            if name == "viewer" and found:
                complaints += [f"{who}: viewer: {line}" for line in differences(oracle.viewer(), found)]
        complaints += built.told_too_much(oracle, caller)
    agree(complaints)


async def test_a_list_shows_to_each_the_same_things(built: Matrix) -> None:
    """Each list at the root, whole, as each actor: exactly what `node(id)` shows, and counts of no more than that."""
    complaints: list[str] = []
    await built.learn()
    for who in ACTORS:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        for kind, name in LISTS.items():
            answer = await caller(f"{{ {SELECT.deep(name, ROOTS[name])} }}")
            if matrix.letter(matrix.QUERIES[name], who) == "U":
                complaints += refusal(f"{who}: {name}", answer, "UNAUTHENTICATED")
                continue
            page = answer["data"][name]
            seen = [
                thing_id for thing_id in sorted(built.world.ids(kind), reverse=True) if oracle.sees(thing_id)
            ]
            expected = {
                "nodes": [oracle.whole(thing_id) for thing_id in seen],
                "totalCount": len(seen),
                "totalCountIsExact": True,
                "edges": [
                    {"cursor": edge["cursor"], "node": {"id": one}}
                    for edge, one in zip(page["edges"], seen, strict=False)
                ],
                "pageInfo": page["pageInfo"] | {"hasNextPage": False, "hasPreviousPage": False},
            }
            complaints += [f"{who}: {name}: {line}" for line in differences(expected, page)]
        complaints += built.told_too_much(oracle, caller)
    agree(complaints)


async def test_an_edge_shows_to_each_the_same_things(built: Matrix) -> None:
    """Each field of a thing that leads to others, and all fields of those: what `node(id)` shows of them."""
    complaints: list[str] = []
    await built.learn()
    for who in ACTORS:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        for thing in built.world.things.values():
            if not oracle.sees(thing.id):
                continue
            for name, about in SELECT.edges(thing.type).items():
                answer = await asked(caller, thing.id, SELECT.deep(name, about))
                at = f"{who}: {thing.type}.{name} of {thing.id}"
                expected = oracle.deep(oracle.whole(thing.id)[name])
                found = (answer["data"]["node"] or {}).get(name)
                complaints += [f"{at}: {line}" for line in differences(expected, found)]
                complaints += [f"{at}: {line}" for line in unexpected(answer)]
        complaints += built.told_too_much(oracle, caller)
    agree(complaints)
