"""Limits of one operation, checked before it runs: tokens, depth, aliases, cost; and who may introspect.

tokens   the document's size, while it is parsed (graphql-core's own limit)
depth    how deep selections are nested; introspection has its own shape and a larger allowance
aliases  fields asked for again, under another name or needlessly under the same: each pair of equal names is compared
         by validation, which takes the square of their number
cost     objects that could be loaded: an object costs 1 (a log more), times the page sizes around it

They are checked before the document is validated, since validating takes longer the larger it is. What was found of a
document is kept: clients send the same few again and again.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    parse,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from services.errors import BadInput
from services.paging import DEFAULT_PAGE, MAX_PAGE
from services.stats import RING


@dataclass(frozen=True)
class Limits:
    tokens: int = 1000
    depth: int = 10
    introspection_depth: int = 20
    aliases: int = 15
    cost: int = 20_000


#: Objects that a plain list of a thing is taken to hold.
_LIST_SIZE: Final = 10
#: Ten minutes of load are read from what the node told of all its kernels.
_HISTORY: Final = 5 * RING
#: (type, field) → what one costs instead of 1: up to 1 MiB from a node, all that is kept of ten minutes, up to 500 lines, and
#: a year by days of a hundred people.
_PRICES: Final = {
    ("Kernel", "logs"): 250,
    ("Session", "logs"): 250,
    ("Session", "statsHistory"): _HISTORY,
    ("Task", "lines"): 250,
    ("Query", "usageReport"): 4000,
}
#: Documents whose findings are kept, and how long (characters) one may be for that.
_KEPT: Final = 256
_KEPT_LENGTH: Final = 32_768


class _Walk:
    """Measures one operation, fragments followed; a fragment is measured once at each depth."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self.aliases = 0
        self.depth = 0
        self.introspection_depth = 0
        self._schema = schema
        self._variables = variables
        self._fragments = {
            one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        self._measured: dict[tuple[str, int], int] = {}
        self._open: set[str] = set()

    def cost(
        self, selections: SelectionSetNode, parent: GraphQLNamedType | None, depth: int, hidden: bool
    ) -> int:
        if hidden:
            self.introspection_depth = max(self.introspection_depth, depth)
        else:
            self.depth = max(self.depth, depth)
        total = 0
        seen: set[str] = set()
        for selection in selections.selections:
            match selection:
                case FieldNode():
                    if selection.name.value in seen and selection.alias is None:
                        self.aliases += 1
                    seen.add(selection.name.value)
                    total += self._field(selection, parent, depth, hidden)
                case InlineFragmentNode():
                    named = selection.type_condition
                    inner = self._schema.get_type(named.name.value) if named else parent
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
        inner = get_named_type(kind) if kind is not None else None
        below = self.cost(field.selection_set, inner, depth + 1, hidden)
        price = _PRICES.get((parent.name, name), 1) if parent is not None else 1
        return 0 if hidden else price + self._times(field, kind) * below

    def _times(self, field: FieldNode, kind: Any) -> int:
        sizes = [one.value for one in field.arguments or () if one.name.value in ("first", "last")]
        if sizes:
            return max(self._size(value) for value in sizes)
        named = get_named_type(kind) if kind is not None else None
        if named is not None and named.name.endswith("Connection"):
            return DEFAULT_PAGE
        plain = kind is not None and isinstance(get_nullable_type(kind), GraphQLList)
        # The lists of a connection were counted with its size.
        return _LIST_SIZE if plain and field.name.value not in ("edges", "nodes") else 1

    def _size(self, value: Any) -> int:
        """A page's size; what is no number, or too large, is refused later by whom it concerns."""
        if isinstance(value, VariableNode):
            found = self._variables.get(value.name.value)
            size = found if isinstance(found, int) else DEFAULT_PAGE
        else:
            size = int(value.value[:6]) if isinstance(value, IntValueNode) else DEFAULT_PAGE
        return min(max(size, 1), MAX_PAGE)

    def _spread(self, name: str, depth: int, hidden: bool) -> int:
        fragment = self._fragments.get(name)
        # A cycle is an error of another rule; here it must only not run for ever.
        if fragment is None or name in self._open:
            return 0
        key = name, depth
        if key not in self._measured:
            self._open.add(name)
            inner = self._schema.get_type(fragment.type_condition.name.value)
            self._measured[key] = self.cost(fragment.selection_set, inner, depth, hidden)
            self._open.discard(name)
        return self._measured[key]


def beyond(
    limits: Limits, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]
) -> list[GraphQLError]:
    """What is too large about a document's operations."""
    errors: list[GraphQLError] = []
    roots = {
        OperationType.QUERY: schema.query_type,
        OperationType.MUTATION: schema.mutation_type,
        OperationType.SUBSCRIPTION: schema.subscription_type,
    }
    for operation in document.definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        defaults = {
            one.variable.name.value: int(one.default_value.value[:6])
            for one in operation.variable_definitions or ()
            if isinstance(one.default_value, IntValueNode)
        }
        walk = _Walk(schema, document, {**defaults, **variables})
        cost = walk.cost(operation.selection_set, roots[operation.operation], 1, False)
        for what, found, most in (
            ("levels deep", walk.depth, limits.depth),
            ("levels of introspection deep", walk.introspection_depth, limits.introspection_depth),
            ("aliases", walk.aliases, limits.aliases),
            ("objects in the worst case", cost, limits.cost),
        ):
            if found > most:
                message = f"The operation is too large: {found} {what}, at most {most}."
                errors.append(GraphQLError(message, operation, extensions={"code": BadInput.code}))
    return errors


@dataclass
class _Known:
    """What was found of a document."""

    document: DocumentNode
    #: Is introspection allowed? → what validation says.
    faults: dict[bool, list[GraphQLError]] = field(default_factory=dict[bool, list[GraphQLError]])


class Documents:
    """Documents that were sent lately, parsed once. Shared by all operations on a schema."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._known: dict[str, _Known] = {}

    def read(self, text: str) -> _Known:
        """Parse a document.

        Raises:
            GraphQLError: it is none, or has too many tokens.
        """
        known = self._known.pop(text, None) or _Known(parse(text, max_tokens=self.limits.tokens))
        if len(text) <= _KEPT_LENGTH:
            # Taken out and put in again: the first of the dict is the one that was not sent for longest.
            self._known[text] = known
            if len(self._known) > _KEPT:
                del self._known[next(iter(self._known))]
        return known


class Gate(SchemaExtension):
    """Lets an operation through to its execution, or says why not.

    Introspection is for those whom the context allows it: who are logged in, unless the operator opens or shuts it.
    """

    def __init__(self, documents: Documents) -> None:
        super().__init__()
        self._documents = documents
        self._known: _Known | None = None

    def on_parse(self) -> Generator[None]:
        context = self.execution_context
        context.parse_options["max_tokens"] = self._documents.limits.tokens
        if context.query:
            try:
                self._known = self._documents.read(context.query)
                context.graphql_document = self._known.document
            except GraphQLError:
                # Strawberry parses it again and reports what is wrong with it.
                self._known = None
        yield

    def on_validate(self) -> Generator[None]:
        context, known = self.execution_context, self._known
        if known is not None:
            built = context.schema._schema  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            errors = beyond(self._documents.limits, built, known.document, context.variables or {})
            context.pre_execution_errors = errors or self._unnamed(known) or self._faults(known, built)
        yield

    def _unnamed(self, known: _Known) -> list[GraphQLError]:
        """Of several operations the request must say which; Strawberry would take the first."""
        operations = [one for one in known.document.definitions if isinstance(one, OperationDefinitionNode)]
        context = self.execution_context
        named = context._provided_operation_name  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if len(operations) < 2 or named:
            return []
        return [
            GraphQLError("Must provide operation name if query contains multiple operations.", operations)
        ]

    def _faults(self, known: _Known, schema: GraphQLSchema) -> list[GraphQLError]:
        open_to_all = getattr(self.execution_context.context, "introspection", True)
        if open_to_all not in known.faults:
            rules = self.execution_context.validation_rules
            if not open_to_all:
                rules = (*rules, NoSchemaIntrospectionCustomRule)
            known.faults[open_to_all] = validate_document(schema, known.document, rules)
        return known.faults[open_to_all]


def extensions(limits: Limits) -> list[Callable[[], SchemaExtension]]:
    """What a schema needs to keep to the limits."""
    documents = Documents(limits)
    return [lambda: Gate(documents)]
