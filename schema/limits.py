"""Limits of one operation, checked before it runs: tokens, depth, aliases, cost.

tokens   the document's size, before it is parsed (graphql-core's own limit)
depth    how deep selections are nested; introspection has its own shape and a larger allowance
aliases  fields asked for again under another name
cost     objects that could be loaded: a field of an object costs 1, times the page sizes around it
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    InlineFragmentNode,
    IntValueNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
    VariableNode,
    get_named_type,
    get_nullable_type,
)
from strawberry.extensions import AddValidationRules, MaxTokensLimiter, SchemaExtension

from services.errors import BadInput
from services.paging import DEFAULT_PAGE, MAX_PAGE


@dataclass(frozen=True)
class Limits:
    tokens: int = 2000
    depth: int = 12
    introspection_depth: int = 20
    aliases: int = 15
    cost: int = 20_000


#: Objects that a plain list of a thing is taken to hold.
_LIST_SIZE: Final = 10


class _Walk:
    """What one operation asks for, fragments followed; repeated fragments are measured once."""

    def __init__(self, context: ValidationContext) -> None:
        self.aliases = 0
        self.depth = 0
        self.introspection_depth = 0
        self._context = context
        self._measured: dict[tuple[str, str], int] = {}
        self._open: set[str] = set()

    def cost(
        self, selections: SelectionSetNode, parent: GraphQLNamedType | None, depth: int, hidden: bool
    ) -> int:
        if hidden:
            self.introspection_depth = max(self.introspection_depth, depth)
        else:
            self.depth = max(self.depth, depth)
        total = 0
        for selection in selections.selections:
            match selection:
                case FieldNode():
                    total += self._field(selection, parent, depth, hidden)
                case InlineFragmentNode():
                    named = selection.type_condition
                    inner = self._context.schema.get_type(named.name.value) if named else parent
                    total += self.cost(selection.selection_set, inner, depth, hidden)
                case FragmentSpreadNode():
                    total += self._spread(selection.name.value, depth, hidden)
                case _:
                    pass
        return total

    def _field(self, field: FieldNode, parent: GraphQLNamedType | None, depth: int, hidden: bool) -> int:
        if field.alias is not None and field.alias.value != field.name.value:
            self.aliases += 1
        name = field.name.value
        hidden = hidden or name in ("__schema", "__type")
        if field.selection_set is None:
            return 0
        kind = None
        if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) and name in parent.fields:
            kind = parent.fields[name].type
        times = self._times(field, kind)
        inner = get_named_type(kind) if kind is not None else None
        return 1 + times * self.cost(field.selection_set, inner, depth + 1, hidden)

    def _times(self, field: FieldNode, kind: Any) -> int:
        sizes = [argument for argument in field.arguments or () if argument.name.value in ("first", "last")]
        if sizes:
            value = sizes[0].value
            if isinstance(value, IntValueNode):
                return min(max(int(value.value[:6]), 1), MAX_PAGE)
            return MAX_PAGE if isinstance(value, VariableNode) else 1
        named = get_named_type(kind) if kind is not None else None
        if named is not None and named.name.endswith("Connection"):
            return DEFAULT_PAGE
        plain = kind is not None and isinstance(get_nullable_type(kind), GraphQLList)
        # The lists of a connection were counted with its size.
        return _LIST_SIZE if plain and field.name.value not in ("edges", "nodes") else 1

    def _spread(self, name: str, depth: int, hidden: bool) -> int:
        fragment = self._context.get_fragment(name)
        # A cycle is an error of another rule; here it must only not run for ever.
        if not isinstance(fragment, FragmentDefinitionNode) or name in self._open:
            return 0
        key = name, str(depth)
        if key not in self._measured:
            self._open.add(name)
            inner = self._context.schema.get_type(fragment.type_condition.name.value)
            self._measured[key] = self.cost(fragment.selection_set, inner, depth, hidden)
            self._open.discard(name)
        return self._measured[key]


def limit_rule(limits: Limits) -> type[ValidationRule]:
    """The validation rule that holds an operation to these limits."""

    class WithinLimits(ValidationRule):
        def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
            context: Any = self.context
            walk = _Walk(context)
            roots = {
                OperationType.QUERY: context.schema.query_type,
                OperationType.MUTATION: context.schema.mutation_type,
                OperationType.SUBSCRIPTION: context.schema.subscription_type,
            }
            cost = walk.cost(node.selection_set, roots[node.operation], 1, False)
            for what, found, most in (
                ("levels deep", walk.depth, limits.depth),
                ("levels of introspection deep", walk.introspection_depth, limits.introspection_depth),
                ("aliases", walk.aliases, limits.aliases),
                ("objects in the worst case", cost, limits.cost),
            ):
                if found > most:
                    self.report_error(
                        refusal(f"The operation is too large: {found} {what}, at most {most}.", node)
                    )

    return WithinLimits


def refusal(message: str, node: ExecutableDefinitionNode) -> GraphQLError:
    return GraphQLError(message, node, extensions={"code": BadInput.code})


class IntrospectionGate(SchemaExtension):
    """Introspection only where the context allows it: for those who are logged in, unless the operator opens it."""

    def on_validate(self) -> Any:
        context: Any = self.execution_context.context
        if not getattr(context, "introspection", True):
            rules = self.execution_context.validation_rules
            self.execution_context.validation_rules = (*rules, NoSchemaIntrospectionCustomRule)
        yield


def extensions(limits: Limits) -> list[Callable[[], SchemaExtension]]:
    """What a schema needs to keep to the limits."""
    rule = limit_rule(limits)
    return [
        lambda: MaxTokensLimiter(max_token_count=limits.tokens),
        lambda: AddValidationRules([rule]),
        IntrospectionGate,
    ]
