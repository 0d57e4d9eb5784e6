"""What the schema promises about itself, read from schema.graphql."""

import re
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    get_nullable_type,
    is_specified_scalar_type,
)

from resolvers.root import sdl
from schema.errors import ErrorCode
from services import ids
from services.errors import BerthError
from services.permissions import ACTIONS_ON, TABLE

COMMITTED = Path(__file__).parents[2] / "schema" / "schema.graphql"

#: Where a plug-in says what the shape is; its JSON Schema is served beside it.
OPEN_SHAPES = {
    "ResourceGroup.sequencerOptions",
    "ResourceGroup.placerOptions",
    "ResourceGroup.backfillOptions",
    "CreateResourceGroupInput.backfillOptions",
    "UpdateResourceGroupInput.backfillOptions",
    "CreateResourceGroupInput.sequencerOptions",
    "CreateResourceGroupInput.placerOptions",
    "UpdateResourceGroupInput.sequencerOptions",
    "UpdateResourceGroupInput.placerOptions",
    "Scheduler.optionsSchema",
}
#: `id` here names the object that a result is about, or an entry of a timeline that nobody looks up.
IDS_OF_OTHERS = {
    "SessionResult",
    "UserResult",
    "DomainResult",
    "GroupResult",
    "InvitationResult",
    "KeypairResult",
    "SessionEventEntry",
    "MailResult",
}


@pytest.fixture(scope="module")
def built() -> GraphQLSchema:
    return build_schema(COMMITTED.read_text())


def own(built: GraphQLSchema) -> list[GraphQLNamedType]:
    return [
        kind
        for name, kind in built.type_map.items()
        if not name.startswith("__")
        and not (isinstance(kind, GraphQLScalarType) and is_specified_scalar_type(kind))
    ]


def objects(built: GraphQLSchema) -> list[GraphQLObjectType]:
    return [kind for kind in own(built) if isinstance(kind, GraphQLObjectType)]


def test_the_committed_schema_is_what_the_types_say() -> None:
    assert COMMITTED.read_text() == sdl(), "run: scripts/print-schema --write"


def test_everything_is_described(built: GraphQLSchema) -> None:
    missing: list[str] = []
    for kind in own(built):
        if not kind.description:
            missing.append(kind.name)
        for name, field in getattr(kind, "fields", {}).items():
            if not field.description:
                missing.append(f"{kind.name}.{name}")
            missing += [
                f"{kind.name}.{name}({argument})"
                for argument, about in getattr(field, "args", {}).items()
                if not about.description
            ]
        if isinstance(kind, GraphQLEnumType):
            missing += [f"{kind.name}.{name}" for name, one in kind.values.items() if not one.description]
    assert missing == []


def test_a_description_is_a_sentence(built: GraphQLSchema) -> None:
    texts = [kind.description or "" for kind in own(built)]
    texts += [
        field.description or "" for kind in own(built) for field in getattr(kind, "fields", {}).values()
    ]
    assert [text for text in texts if not re.search(r"[.?!…:`\"]$", text.strip())] == []


def test_null_means_something_and_the_description_says_what(built: GraphQLSchema) -> None:
    silent = [
        f"{kind.name}.{name}"
        for kind in objects(built)
        for name, field in kind.fields.items()
        if not isinstance(field.type, GraphQLNonNull)
        and not re.search(
            r"\bnull\b|\bonce\b|\bBatch\b|\bwhen\b|\bafter\b", field.description or "", re.IGNORECASE
        )
        and kind.name != "Query"
    ]
    assert silent == []


def test_json_only_where_a_plug_in_decides_the_shape(built: GraphQLSchema) -> None:
    found = {
        f"{kind.name}.{name}"
        for kind in own(built)
        for name, field in getattr(kind, "fields", {}).items()
        if get_named_type(field.type).name == "JSON"
    }
    assert found == OPEN_SHAPES


def test_what_has_a_row_is_a_node_and_what_is_a_value_has_no_id(built: GraphQLSchema) -> None:
    nodes = {kind.name for kind in objects(built) if any(one.name == "Node" for one in kind.interfaces)}
    assert len(nodes) == len(ids.KINDS)
    assert {kind.name for kind in objects(built) if "id" in kind.fields} - nodes == IDS_OF_OTHERS


def test_connections_are_all_alike(built: GraphQLSchema) -> None:
    connections = [kind for kind in objects(built) if kind.name.endswith("Connection")]
    assert len(connections) >= 9
    for kind in connections:
        thing = kind.name.removesuffix("Connection")
        assert {name: str(field.type) for name, field in kind.fields.items()} == {
            "edges": f"[{thing}Edge!]!",
            "nodes": f"[{thing}!]!",
            "pageInfo": "PageInfo!",
            "totalCount": "Int!",
            "totalCountIsExact": "Boolean!",
        }
        edge = built.type_map[f"{thing}Edge"]
        assert isinstance(edge, GraphQLObjectType)
        assert {name: str(field.type) for name, field in edge.fields.items()} == {
            "cursor": "String!",
            "node": f"{thing}!",
        }


def test_every_field_of_a_connection_takes_the_four_arguments(built: GraphQLSchema) -> None:
    lists = [
        (name, field)
        for kind in objects(built)
        for name, field in kind.fields.items()
        if get_named_type(field.type).name.endswith("Connection")
    ]
    assert len(lists) >= 10
    for name, field in lists:
        four = {one: str(field.args[one].type) for one in ("first", "after", "last", "before")}
        assert four == {"first": "Int", "after": "String", "last": "Int", "before": "String"}, name


def test_a_root_list_can_be_filtered_and_ordered(built: GraphQLSchema) -> None:
    query = built.query_type
    assert query is not None
    for name, field in query.fields.items():
        if get_named_type(field.type).name.endswith("Connection"):
            assert {"filter", "orderBy"} <= field.args.keys(), name


def test_a_mutation_takes_one_input_and_answers_with_a_payload(built: GraphQLSchema) -> None:
    mutation = built.mutation_type
    assert mutation is not None
    for name, field in mutation.fields.items():
        assert list(field.args) == ["input"] or name in ("logout", "logoutEverywhere"), name
        assert isinstance(field.type, GraphQLNonNull), name
        assert get_named_type(field.type).name.endswith("Payload"), name


def test_lists_have_no_holes(built: GraphQLSchema) -> None:
    for kind in own(built):
        for name, field in getattr(kind, "fields", {}).items():
            inner = get_nullable_type(field.type)
            if isinstance(inner, GraphQLList):
                assert isinstance(inner.of_type, GraphQLNonNull), f"{kind.name}.{name}"


def test_input_and_output_types_are_used(built: GraphQLSchema) -> None:
    used = {
        get_named_type(field.type).name
        for kind in own(built)
        for field in getattr(kind, "fields", {}).values()
    }
    used |= {
        get_named_type(argument.type).name
        for kind in objects(built)
        for field in kind.fields.values()
        for argument in field.args.values()
    }
    inputs = {kind.name for kind in own(built) if isinstance(kind, GraphQLInputObjectType)}
    assert inputs - used == set()


def test_every_action_that_is_listed_is_a_mutation(built: GraphQLSchema) -> None:
    mutation = built.mutation_type
    assert mutation is not None
    listed = {action for actions in ACTIONS_ON.values() for action in actions}
    assert listed <= mutation.fields.keys()
    assert {action for action in TABLE if ":" not in action} <= mutation.fields.keys()


def test_the_list_of_codes_is_complete() -> None:
    raised = {error.code for error in BerthError.__subclasses__()}
    assert {code.name for code in ErrorCode} == raised | {"INTERNAL"}
