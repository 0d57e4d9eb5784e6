"""Ids in inputs and arguments: what is not theirs to see is refused to each exactly as if it did not exist."""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from graphql import get_named_type

from schema import identities
from schema.identities import Kinds
from services import ids
from tests.api import matrix, worlds
from tests.api.clients import Caller, codes
from tests.api.id_inputs import Argument, IdField, arguments, base, filters, hidden_of, id_fields, own_of
from tests.api.matrix import ACTORS
from tests.api.operations import SCHEMA, mutation
from tests.api.served import Matrix, agree
from tests.api.walks import Oracle

#: Those whom something is hidden from.
LOGGED_IN = [who for who in ACTORS if who not in ("anonymous", "inactive", "superadmin")]


#: To take a grant from whom does not have it is done already.
HARMLESS = {("revokeRegistry", "tenantId"), ("revokeResourceGroup", "granteeId")}
#: What nobody does for others, superadmins included.
OWN = {"createSession", "openTerminal", "closeTerminal"}


def test_every_id_of_an_input_has_its_kinds_in_the_table() -> None:
    for name, row in (matrix.INPUTS | matrix.ARGUMENTS).items():
        of, _, member = name.partition(".")
        kind: Any = SCHEMA.type_map[of]
        there = kind.fields[member].args if member else kind.fields
        ids_there = {one for one, about in there.items() if get_named_type(about.type).name == "ID"}
        assert ids_there == {one for one, kinds in matrix.fields(row).items() if kinds}, name


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> Iterable[str]:
    for table, rows in after.items():
        if rows != before[table]:
            yield f"{table}: {sorted(set(rows) ^ set(before[table]))} changed"


def misplaced(at: str, paths: list[list[str]], answer: dict[str, Any]) -> Iterable[str]:
    """What does not exist is told with the field that names it: this one, or another that is not theirs either."""
    for error in answer.get("errors", ()):
        told = error["extensions"].get("path")
        if error["extensions"]["code"] == "NOT_FOUND" and told not in paths:
            yield f"{at}: the path is {told}: {error['message']}"


def compared(at: str, answers: dict[str, dict[str, Any]]) -> Iterable[str]:
    """Answers by the id that was sent: the same but for it."""
    texts = {json.dumps(answer).replace(sent, "ID") for sent, answer in answers.items()}
    if len(texts) != 1:
        yield f"{at}: a hidden id and an unknown one differ: {sorted(texts)}"


def test_each_id_is_of_the_kinds_that_the_table_says() -> None:
    for name, row in (matrix.INPUTS | matrix.ARGUMENTS).items():
        for member, wanted in matrix.fields(row).items():
            if wanted:
                found = identities.kinds(member, "" if "." in name else name)
                assert found == (() if wanted == "*" else tuple(wanted.split(","))), f"{name}.{member}"


async def test_an_id_of_the_wrong_kind_is_refused_with_what_was_expected(built: Matrix) -> None:
    """In every input, filter and argument, by its path; not as if it did not exist. And too many of them are."""
    complaints: list[str] = []
    caller, oracle = built.world.caller(built.app, "superadmin"), built.oracle("superadmin")
    for at, path, wanted, ask in wrong_ids(oracle, caller):
        for wrong in ("nothing", *(ids.new(prefix) for prefix in worlds.TYPES if prefix not in wanted)):
            (error, *more) = (await ask(wrong)).get("errors") or [{"message": "no error"}]
            expected = "expected an id that starts with " + wanted[0] + "_"
            if (
                more
                or error.get("extensions", {}).get("path") != path
                or expected not in error["message"]
                or error["extensions"]["code"] != "BAD_USER_INPUT"
            ):
                complaints.append(f"{at}: {error}")
    for one in id_fields():
        if one.many:
            given = {one.name: [ids.new(one.kinds[0]) for _ in range(identities.LONGEST + 1)]}
            answer = await caller(mutation(one.mutation), input=base(oracle, one.mutation) | given)
            if codes(answer) != {"BAD_USER_INPUT"}:
                complaints.append(f"{one.mutation}(input.{one.name}): a list without an end: {answer}")
    agree(complaints)


def wrong_ids(
    oracle: Oracle, caller: Caller
) -> Iterator[tuple[str, list[str], Kinds, Callable[[str], Awaitable[dict[str, Any]]]]]:
    """Where an id may be, its path, kinds that are right there, and how to ask with another."""
    for one in id_fields():
        path = ["input", one.name, *(["0"] if one.many else [])]

        def change(wrong: str, one: IdField = one) -> Awaitable[dict[str, Any]]:
            return caller(mutation(one.mutation), input=base(oracle, one.mutation) | one.put(wrong))

        yield f"{one.mutation}(input.{one.name})", path, one.kinds, change
    for argument in arguments():

        def read(wrong: str, argument: Argument = argument) -> Awaitable[dict[str, Any]]:
            ask = caller if argument.root == "Query" else caller.first_event
            return ask(argument.operation, **argument.given(oracle, wrong))

        if argument.field != "node":
            yield f"{argument.field}({argument.name})", argument.path, argument.kinds, read
    for name, member, prefix in filters():
        query = f"query ($id: ID!) {{ {name}(filter: {{{member}: $id}}) {{ totalCount }} }}"

        def find(wrong: str, query: str = query) -> Awaitable[dict[str, Any]]:
            return caller(query, id=wrong)

        yield f"{name}(filter.{member})", ["filter", member], (prefix,), find


async def test_a_hidden_id_in_an_input_is_refused_like_an_unknown_one(built: Matrix) -> None:
    """And nothing has changed by any of it."""
    complaints: list[str] = []
    before = await built.world.rows()
    for who in LOGGED_IN:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        for one in id_fields():
            others = [["input", other.name] for other in id_fields() if other.mutation == one.mutation]
            for prefix in one.kinds:
                at = f"{who}: {one.mutation}(input.{one.name}: {prefix}_…)"
                answers: dict[str, dict[str, Any]] = {}
                for sent in (ids.new(prefix), *hidden_of(oracle, prefix)):
                    given = base(oracle, one.mutation) | one.put(sent)
                    answers[sent] = await caller(mutation(one.mutation), input=given)
                    complaints += misplaced(at, others, answers[sent])
                    if codes(answers[sent]) not in ({"NOT_FOUND"}, {"FORBIDDEN"}):
                        complaints.append(f"{at}: {answers[sent]}")
                complaints += compared(at, answers)
    agree([*complaints, *changed(before, await built.world.rows())])


async def test_an_unknown_id_is_told_with_its_path_and_takes_nothing_of_the_rest(built: Matrix) -> None:
    """To whom everything else is allowed; of a list, the id that is there is left alone as well."""
    complaints: list[str] = []
    before = await built.world.rows()
    for one in id_fields():
        who = "owner" if one.mutation in OWN else "superadmin"
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        payload: Any = SCHEMA.type_map["Mutation"].fields[one.mutation].type.of_type  # type: ignore[attr-defined]
        each_for_itself = "results" in payload.fields and one.name == "ids"
        for prefix in one.kinds:
            given = one.put(ids.new(prefix))
            if one.many and not each_for_itself:
                given[one.name].insert(0, own_of(oracle, prefix))
            answer = await caller(mutation(one.mutation), input=base(oracle, one.mutation) | given)
            at = f"{who}: {one.mutation}(input.{one.name}: {prefix}_…)"
            complaints += misplaced(at, [["input", one.name]], answer)
            if codes(answer) != {"NOT_FOUND"} and (one.mutation, one.name) not in HARMLESS:
                complaints.append(f"{at}: {answer}")
    agree([*complaints, *changed(before, await built.world.rows())])


async def test_a_hidden_id_in_a_question_finds_what_an_unknown_one_finds(built: Matrix) -> None:
    """In a list's filter, in a stream's, and as an argument."""
    complaints: list[str] = []
    for who in LOGGED_IN:
        caller, oracle = built.world.caller(built.app, who), built.oracle(who)
        complaints += [f"{who}: {line}" for line in await in_filters(oracle, caller)]
        complaints += [f"{who}: {line}" for line in await in_streams(oracle, caller)]
        complaints += [f"{who}: {line}" for line in await in_arguments(oracle, caller)]
    agree(complaints)


async def in_filters(oracle: Oracle, caller: Caller) -> list[str]:
    complaints: list[str] = []
    for name, member, prefix in filters():
        query = f"query ($id: ID!) {{ {name}(filter: {{{member}: $id}}) {{ totalCount nodes {{ id }} }} }}"
        for hidden in hidden_of(oracle, prefix):
            answers = {sent: await caller(query, id=sent) for sent in (hidden, ids.new(prefix))}
            complaints += compared(f"{name}(filter.{member})", answers)
    return complaints


async def in_streams(oracle: Oracle, caller: Caller) -> list[str]:
    """Nothing comes, although what is on a hidden node may be their own: it is not to be found by the node."""
    complaints: list[str] = []
    for name, member, prefix in filters():
        if name != "sessions":
            continue
        query = (
            f'subscription ($id: ID!) {{ sessionEvents(after: "0", filter: {{{member}: $id}}) {{ cursor }} }}'
        )
        for hidden in hidden_of(oracle, prefix):
            for sent in (hidden, ids.new(prefix)):
                answer = await caller.first_event(query, id=sent)
                if answer != {"data": None}:
                    complaints.append(f"sessionEvents(filter.{member}): {answer}")
    return complaints


async def in_arguments(oracle: Oracle, caller: Caller) -> list[str]:
    complaints: list[str] = []
    for argument in arguments():
        ask = caller if argument.root == "Query" else caller.first_event
        for prefix in argument.kinds:
            for hidden in hidden_of(oracle, prefix):
                answers = {
                    sent: await ask(argument.operation, **argument.given(oracle, sent))
                    for sent in (hidden, ids.new(prefix))
                }
                at = f"{argument.root}.{argument.field}({argument.name}: {prefix}_…)"
                complaints += compared(at, answers)
                complaints += misplaced(at, [[other] for other in argument.all], answers[hidden])
                answer = answers[hidden]
                if codes(answer) - {"NOT_FOUND"} or (answer.get("data") or {}).get(argument.field):
                    complaints.append(f"{at}: {answer}")
    return complaints
