"""Executing whole pages at once: what graphql-core does field by field, compiled once for each selection set.

A page of a hundred rows with ten plain fields is a thousand calls of resolvers that only read an attribute. Here each
selection set becomes one function that reads all its plain fields, made once for a document:

    plain    an attribute or a method without arguments, of a leaf type or of a type of which only such fields are
             selected, and lists of these
    asking   a field that says what it will ask the context (`schema/context.py`, `Need`); before a list's items are
             executed all answers for all of them are fetched, level by level, so that the compiled function finds
             them at hand
    other    everything else, by graphql-core

Whatever is not as expected (a value of another type, an exception) is executed again by graphql-core, so results and
errors are its own: `tests/schema/test_execution.py` compares the two.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import isawaitable
from types import CodeType
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    OperationDefinitionNode,
    Undefined,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import CustomGraphQLEnumType
from strawberry.types.field import StrawberryField

from schema.context import Need
from schema.fields import ASKED, Asked

_DEFINITION: Final = "strawberry-definition"
#: Leaf type → Python type whose values are their own representation (Int and Float within their bounds).
_AS_THEY_ARE: Final = {
    "String": ".__class__ is str",
    "ID": ".__class__ is str",
    "Boolean": ".__class__ is bool",
    "Int": ".__class__ is int and -2147483648 <= v <= 2147483647",
    "Float": ".__class__ is float and v - v == 0.0",
}


class NotPlain(Exception):  # not an error: "let graphql-core do it"
    """A value is not what the compiled function was made for."""


@dataclass
class _Wanted:
    """What a field will ask for each object of a list."""

    need: Need
    #: Asked for this attribute of the object (the node of an edge), not for the object itself.
    within: tuple[str, ...] = ()
    #: What the fields of its answers will ask.
    below: list["_Wanted"] = field(default_factory=list["_Wanted"])
    #: Only of objects of this class: one member of a union.
    only: type | None = None


@dataclass
class _Plan:
    """How one selection set of one type is executed, whoever asks for it with whatever variables."""

    #: Completes the plain and asking fields of an object in a context; the others are None in its result. None: there
    #: are only others.
    read: Callable[[Any, Any], dict[str, Any]] | None
    others: list[str]
    wanted: list[_Wanted] = field(default_factory=list[_Wanted])


#: Type, and name and nodes of each field → plan.
_Plans = dict[tuple[Any, ...], _Plan]


class PageExecutor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's executor, with `execute_fields` and lists by plan."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: By the identity of selection sets, which are kept for that.
        self._plans: dict[int, tuple[GroupedFieldSet, _Plan]] = {}
        self._shared = _shared_plans(self.operation)

    def build_per_event_executor(self, payload: Any) -> Any:
        """Each event of a subscription collects its own selection sets: their plans must not pile up."""
        executor: Any = super().build_per_event_executor(payload)
        executor._plans = {}  # noqa: SLF001
        executor._relevant_sub_fields = {}  # noqa: SLF001
        return executor

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> Any:
        plan = self.plan(parent_type, grouped_field_set)
        if plan.read is None:
            return super().execute_fields(
                parent_type, source_value, path, grouped_field_set, position_context
            )
        try:
            results = plan.read(source_value, self.context_value)
        except Exception:
            # Exactly what is wrong, and where, graphql-core says.
            return super().execute_fields(
                parent_type, source_value, path, grouped_field_set, position_context
            )
        if not plan.others:
            return results
        return self._execute_others(
            parent_type, source_value, path, grouped_field_set, plan.others, results, position_context
        )

    def complete_iterable_value(
        self,
        item_type: Any,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> Any:
        plan = self._plan_of_items(item_type, field_details_list)
        if plan is not None and isinstance(items, list) and items:
            if plan.wanted:
                return self._foresee_and_complete(
                    plan, item_type, field_details_list, info, path, items, position_context
                )
            completed = self._read_all(plan, items)
            if completed is not None:
                return completed
        return super().complete_iterable_value(
            item_type, field_details_list, info, path, items, position_context
        )

    async def _foresee_and_complete(
        self,
        plan: _Plan,
        item_type: Any,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        items: Sequence[Any],
        position_context: Any,
    ) -> Any:
        await self._foresee(plan.wanted, items)
        completed = self._read_all(plan, items)
        if completed is None:
            completed = super().complete_iterable_value(
                item_type, field_details_list, info, path, items, position_context
            )
        return await completed if isawaitable(completed) else completed

    def _read_all(self, plan: _Plan, items: Sequence[Any]) -> list[dict[str, Any]] | None:
        if plan.read is None or plan.others:
            return None
        context, read = self.context_value, plan.read
        try:
            return [read(item, context) for item in items]
        except Exception:
            return None

    async def _foresee(self, wanted: Sequence[_Wanted], items: Sequence[Any]) -> None:
        """Have what the fields of these objects will ask at hand. What fails here fails again where it belongs."""
        await asyncio.gather(*(self._fetch(one, items) for one in wanted), return_exceptions=True)

    async def _fetch(self, wanted: _Wanted, items: Sequence[Any]) -> None:
        context, need = self.context_value, wanted.need
        things = items
        for attribute in wanted.within:
            things = [getattr(thing, attribute) for thing in things]
        if wanted.only is not None:
            things = [thing for thing in things if thing.__class__ is wanted.only]
        pending = context.foresee(need, things)
        if pending is not None:
            await pending
        if wanted.below:
            answers: list[Any] = []
            for thing in things:
                answer = context.known(need, thing)
                answers += answer if isinstance(answer, list) else () if answer is None else (answer,)
            await self._foresee(wanted.below, answers)

    def _execute_others(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        path: Path | None,
        fields: GroupedFieldSet,
        others: Sequence[str],
        results: dict[str, Any],
        position_context: Any,
    ) -> Any:
        """As graphql-core's `execute_fields`, for the fields that are not plain."""
        awaitable: list[str] = []
        try:
            for name in others:
                result = self.execute_field(
                    parent_type,
                    source,
                    fields[name],
                    Path(path, name, parent_type.name),
                    position_context,
                )
                if result is Undefined:
                    del results[name]
                    continue
                results[name] = result
                if self.is_awaitable(result):
                    awaitable.append(name)
        except Exception:
            if awaitable:
                self.settle_in_background([results[name] for name in awaitable])
            raise
        return self._settle(results, awaitable) if awaitable else results

    async def _settle(self, results: dict[str, Any], awaitable: list[str]) -> dict[str, Any]:
        if len(awaitable) == 1:
            results[awaitable[0]] = await results[awaitable[0]]
        else:
            found = await gather_with_cancel(*(results[name] for name in awaitable))
            results.update(zip(awaitable, found, strict=True))
        return results

    def _plan_of_items(self, item_type: Any, details: FieldDetailsList) -> _Plan | None:
        named = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
        if not isinstance(named, GraphQLObjectType):
            return None
        collected = self.collect_subfields(named, details)
        return None if collected.new_defer_usages else self.plan(named, collected.grouped_field_set)

    def plan(self, parent: GraphQLObjectType, fields: GroupedFieldSet) -> _Plan:
        """How a selection set is executed; made once for an operation, or for a document that always selects the same."""
        known = self._plans.get(id(fields))
        if known is not None:
            return known[1]
        if self._shared is None:
            plan = self._make_plan(parent, fields)
        else:
            key = (parent, *((name, *(id(one.node) for one in details)) for name, details in fields.items()))
            plan = self._shared.get(key)
            if plan is None:
                plan = self._shared[key] = self._make_plan(parent, fields)
        self._plans[id(fields)] = fields, plan
        return plan

    def _make_plan(self, parent: GraphQLObjectType, fields: GroupedFieldSet) -> _Plan:
        definition = parent.extensions.get(_DEFINITION)
        if definition is None or (self.middleware_manager and self.middleware_manager.middlewares):
            return _Plan(None, list(fields))
        writer = _Writer(self)
        plan = _Plan(None, [])
        parts: list[str] = []
        for name, details in fields.items():
            part = writer.field(parent, details)
            if part is None:
                plan.others.append(name)
            plan.wanted += self._wanted(parent, details)
            parts.append(f"{name!r}: {part}")
        if len(plan.others) < len(fields):
            plan.read = writer.function(origin_of(parent), parts)
        return plan

    def _wanted(self, parent: GraphQLObjectType, details: FieldDetailsList) -> list[_Wanted]:
        found = parent.fields.get(details[0].node.name.value)
        declared = found.extensions.get(_DEFINITION) if found else None
        if found is None or not isinstance(declared, StrawberryField):
            return []
        asked: Asked | None = declared.metadata.get(ASKED)
        if asked is None and not declared.is_basic_field:
            return []
        below: list[_Wanted] = []
        inner: Any = get_named_type(found.type)
        if isinstance(inner, GraphQLObjectType) and (asked is None or asked.answer_is_value):
            below = self.plan(inner, self.collect_subfields(inner, details).grouped_field_set).wanted
        if asked is not None:
            return [_Wanted(asked.need, below=below)]
        if isinstance(inner, GraphQLUnionType) and get_nullable_type(found.type) is inner:
            return self._wanted_of_members(inner, declared.python_name, details)
        if not isinstance(found.type, GraphQLNonNull) or found.type.of_type is not inner:
            return []
        return [_Wanted(one.need, (declared.python_name, *one.within), one.below) for one in below]

    def _wanted_of_members(
        self, union: GraphQLUnionType, attribute: str, details: FieldDetailsList
    ) -> list[_Wanted]:
        return [
            _Wanted(one.need, (attribute,), one.below, only=origin_of(member))
            for member in union.types
            for one in self.plan(member, self.collect_subfields(member, details).grouped_field_set).wanted
            if not one.within
        ]


def origin_of(kind: GraphQLObjectType) -> type:
    """The class whose instances are the objects of a type; values of `Edge[Session]` are of the class `Edge`."""
    definition = kind.extensions[_DEFINITION]
    return (definition.concrete_of or definition).origin


#: Plans of operations, by the identity of the latter, which are kept for that.
_operations: Final[dict[int, tuple[OperationDefinitionNode, _Plans]]] = {}
_MOST_OPERATIONS: Final = 512


def _shared_plans(operation: OperationDefinitionNode) -> _Plans | None:
    """Plans of an operation, found and added to by everybody who sends it; None: what it selects depends on variables."""
    if operation.loc is None or "@" in operation.loc.source.body:
        return None
    known = _operations.get(id(operation))
    if known is None:
        if len(_operations) >= _MOST_OPERATIONS:
            del _operations[next(iter(_operations))]
        known = _operations[id(operation)] = operation, {}
    return known[1]


class _Writer:
    """Writes the source of one function, and collects what it refers to."""

    def __init__(self, executor: PageExecutor) -> None:
        self._executor = executor
        self._names: dict[str, Any] = {"NotPlain": NotPlain, "listed": _listed}

    def field(self, parent: GraphQLObjectType, details: FieldDetailsList) -> str | None:
        """An expression for the field's completed value of the object `s`; None when it is not plain."""
        name = details[0].node.name.value
        if name == "__typename":
            return repr(parent.name)
        found = parent.fields.get(name)
        if found is None or found.args:
            return None
        value = self._value(found)
        return None if value is None else self._completed(found.type, value, details)

    def function(self, origin: type, parts: list[str]) -> Callable[[Any, Any], dict[str, Any]]:
        source = (
            "def read(s, c):\n"
            f"    if s.__class__ is not {self._name(origin)}:\n"
            "        raise NotPlain\n"
            f"    return {{{', '.join(parts)}}}\n"
        )
        exec(_code(source), self._names)  # noqa: S102  # written above, of the schema's own names
        return self._names["read"]

    def _value(self, found: GraphQLField) -> str | None:
        declared = found.extensions.get(_DEFINITION)
        if not isinstance(declared, StrawberryField):
            return None
        if declared.is_basic_field:
            return f"s.{declared.python_name}"
        asked: Asked | None = declared.metadata.get(ASKED)
        if asked is not None:
            answer = f"c.known({self._name(asked.need)}, s)"
            return answer if asked.then is None else f"{self._name(asked.then)}(s, {answer}, c)"
        resolver = declared.base_resolver
        if resolver is None or resolver.is_async or declared.extensions or declared.permission_classes:
            return None
        if list(resolver.signature.parameters) != ["self"]:
            return None
        return f"{self._name(resolver.wrapped_func)}(s)"

    def _completed(self, kind: Any, value: str, details: FieldDetailsList) -> str | None:
        if isinstance(kind, GraphQLNonNull):
            return self._present(kind.of_type, value, details)
        present = self._present(kind, "n", details)
        return None if present is None else f"(None if (n := {value}) is None else {present})"

    def _present(self, kind: Any, value: str, details: FieldDetailsList) -> str | None:
        if isinstance(kind, GraphQLList):
            item = self._completed(kind.of_type, "i", details)
            return None if item is None else f"[{item} for i in listed({value})]"
        if isinstance(kind, CustomGraphQLEnumType):
            names = {member: kind.coerce_output_value(member) for member in kind.wrapped_cls}
            return f"{self._name(names)}[{value}]"
        if is_leaf_type(kind):
            convert = self._name(_conversion(kind))
            test = _AS_THEY_ARE.get(kind.name)
            return f"(v if (v := {value}){test} else {convert}(v))" if test else f"{convert}({value})"
        if isinstance(kind, GraphQLObjectType):
            read = self._whole(kind, details)
            return None if read is None else f"{self._name(read)}({value}, c)"
        if isinstance(kind, GraphQLUnionType):
            members = {origin_of(one): self._whole(one, details) for one in kind.types}
            return (
                None if None in members.values() else f"{self._name(members)}[(u := {value}).__class__](u, c)"
            )
        return None

    def _whole(self, kind: GraphQLObjectType, details: FieldDetailsList) -> Callable[[Any, Any], Any] | None:
        """What reads all that is selected of an object; None when some of it is not plain."""
        collected = self._executor.collect_subfields(kind, details)
        if collected.new_defer_usages:
            return None
        plan = self._executor.plan(kind, collected.grouped_field_set)
        return None if plan.others else plan.read

    def _name(self, thing: Any) -> str:
        name = f"k{len(self._names)}"
        self._names[name] = thing
        return name


@lru_cache(maxsize=512)
def _code(source: str) -> CodeType:
    """Operations are few and come again; what they select is the same text."""
    return compile(source, "<selection set>", "exec")


def _listed(value: Any) -> Any:
    if value.__class__ is list or value.__class__ is tuple:
        return value
    raise NotPlain


def _conversion(kind: GraphQLLeafType) -> Callable[[Any], Any]:
    coerce = kind.coerce_output_value

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, Exception):
            raise NotPlain
        coerced = coerce(value)
        if coerced is None or coerced is Undefined:
            raise NotPlain
        return coerced

    return convert
