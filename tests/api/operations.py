"""Operations on the schema as it is: any root field, with its arguments as variables and all that it answers."""

from typing import Any

from graphql import GraphQLSchema

from resolvers.root import make_schema
from tests.api.walks import Selections, is_list_of_things

SCHEMA: GraphQLSchema = make_schema()._schema
SELECT = Selections(SCHEMA)
#: Root lists, by what is in them.
ROOTS: dict[str, Any] = SCHEMA.type_map["Query"].fields  # type: ignore[attr-defined]
LISTS = {
    about.type.of_type.name.removesuffix("Connection"): name
    for name, about in ROOTS.items()
    if is_list_of_things(about)
}


def operation(root: str, name: str, *arguments: str, whole: bool = False) -> str:
    """A root field with these arguments, and all that it answers.

    Args:
        whole: with all fields of the things in the answer, too; else these by their ids.
    """
    about = SCHEMA.type_map[root].fields[name]  # type: ignore[attr-defined]
    declared = ", ".join(f"${one}: {about.args[one].type}" for one in arguments)
    given = ", ".join(f"{one}: ${one}" for one in arguments)
    field = SELECT.deep(name, about) if whole else SELECT.shallow(name, about)
    head, call = (f" ({declared})", f"{name}({given})") if arguments else ("", name)
    return f"{root.lower()}{head} {{ {field.replace(name, call, 1)} }}"


def mutation(name: str) -> str:
    return operation("Mutation", name, *SCHEMA.type_map["Mutation"].fields[name].args)  # type: ignore[attr-defined]
