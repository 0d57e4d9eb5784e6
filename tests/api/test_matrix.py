"""Who sees what: every field of every type, as everybody, by every path that leads to it."""

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
)

from services import trail
from tests.api import matrix, worlds
from tests.api.clients import Caller
from tests.api.matrix import ACTORS
from tests.api.operations import LISTS, SCHEMA, SELECT, operation
from tests.api.served import Matrix, agree, asked, refusal, unexpected
from tests.api.walks import Oracle, differences, filled
from tests.api.worlds import World

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


def test_what_sounds_like_a_secret_is_masked_in_the_audit() -> None:
    sounding = ("secret", "password", "token", "ticket", "hash", "credential", "totp", "recovery")
    told = [
        f"{name}.{member}"
        for name, row in matrix.INPUTS.items()
        for member in matrix.fields(row)
        if any(sound in member.lower() for sound in sounding)
        and not trail.sounds_secret(member)
    ]  # fmt: skip
    assert told == []


def about_ours(world: World, name: str) -> dict[str, str]:
    """Arguments of a root field that needs some."""
    groups = {
        "groupId": world.ours["Group"].id,
        "resourceGroupId": world.ours["ResourceGroup"].id,
    }
    if name == "usageReport":
        return {"groupBy": "USER", "resolution": "DAY"}
    return groups if name in ("availability", "availablePresets") else {}


#: What only mutations and subscriptions answer.
ELSEWHERE = (
    "AgentLoad",
    "ImportedUser",
    "NewInvitation",
    "SecondFactor",
    "Payload",
    "Result",
    "Correction",
    "Event",
    "LogChunk",
    "Problem",
)


async def test_everybody_sees_what_the_table_says_by_every_path(built: Matrix) -> None:
    """By `node(id)`, in the lists at the root, and by each field of a thing that leads to others."""
    complaints: list[str] = []
    await built.learn()
    for who in ACTORS:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        complaints += [f"{who}: {line}" for line in await things(built, oracle, caller)]
        complaints += [f"{who}: {line}" for line in await lists(built, oracle, caller)]
        if who != "superadmin":
            # Who sees everything is what the others are compared with.
            complaints += [f"{who}: {line}" for line in await edges(built, oracle, caller)]
        complaints += built.told_too_much(oracle, caller)
    agree(complaints)


async def things(built: Matrix, oracle: Oracle, caller: Caller) -> list[str]:
    """Each thing by itself: nothing of it, or every field as the table has it."""
    complaints: list[str] = []
    for kind in worlds.TYPES.values():
        answers = await asked(caller, kind, built.world.ids(kind), SELECT.of(kind))
        for thing_id, answer in answers.items():
            complaints += [f"{kind} {thing_id}: {line}" for line in built.judge(oracle, thing_id, answer)]
    return complaints


async def lists(built: Matrix, oracle: Oracle, caller: Caller) -> list[str]:
    """Each list, whole: exactly what `node(id)` shows, and counts of no more than that."""
    complaints: list[str] = []
    for kind, name in LISTS.items():
        answer = await caller(operation("Query", name, whole=True))
        if matrix.letter(matrix.QUERIES[name], oracle.who) == "U":
            complaints += refusal(name, answer, "UNAUTHENTICATED")
            continue
        assert "data" in answer, answer
        page = answer["data"][name]
        seen = [one for one in sorted(built.world.ids(kind), reverse=True) if oracle.sees(one)]
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
        complaints += [f"{name}: {line}" for line in differences(expected, page)]
    return complaints


async def edges(built: Matrix, oracle: Oracle, caller: Caller) -> list[str]:
    """Each field of a thing that leads to others, and all fields of those: what `node(id)` shows of them."""
    complaints: list[str] = []
    for kind in worlds.TYPES.values():
        seen = [thing_id for thing_id in built.world.ids(kind) if oracle.sees(thing_id)]
        for name, about in SELECT.edges(kind).items():
            answers = await asked(caller, kind, seen, SELECT.deep(name, about))
            for thing_id, answer in answers.items():
                expected = oracle.deep(oracle.whole(thing_id)[name])
                found = (answer["data"]["node"] or {}).get(name)
                wrong = [*differences(expected, found), *unexpected(answer)]
                complaints += [f"{kind}.{name} of {thing_id}: {line}" for line in wrong]
    return complaints


async def test_a_root_answers_each_what_the_table_says(built: Matrix) -> None:
    """And the world has something of everything: a field that is empty on all of it would be tested by nothing."""
    complaints: list[str] = []
    await built.learn()
    seen = {
        coordinate
        for thing_id, thing in built.reference.items()
        for coordinate in filled(SCHEMA, SCHEMA.type_map[built.world.things[thing_id].type], thing)
    }
    for who in ACTORS:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        for name, row in matrix.QUERIES.items():
            if name in LISTS.values() or name == "node":
                continue
            given = about_ours(built.world, name)
            answer = await caller(operation("Query", name, *given), **given)
            seen |= set(filled(SCHEMA, SCHEMA.query_type, answer.get("data")))
            letter, found = matrix.letter(row, who), (answer.get("data") or {}).get(name)
            if letter not in "vn":
                complaints += refusal(f"{who}: {name}", answer, matrix.CODES[letter])
            elif (found is None) != (letter == "n") or "errors" in answer:
                complaints.append(f"{who}: {name}: {answer}")
            if name == "viewer" and found:
                complaints += [f"{who}: viewer: {line}" for line in differences(oracle.viewer(), found)]
        complaints += built.told_too_much(oracle, caller)
    agree(
        [
            *complaints,
            *(
                f"{name}.{member}: is empty on everything in tests/api/worlds.py"
                for name, (_, row) in matrix.TYPES.items()
                for member in matrix.fields(row)
                if not name.endswith(ELSEWHERE) and f"{name}.{member}" not in seen | EMPTY
            ),
        ]
    )
