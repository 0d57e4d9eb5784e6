"""The matrix's world behind the application, what is known of it, and how an answer is judged."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql import parse
from starlette.applications import Starlette

from schema.limits import Limits, beyond
from tests.api import matrix, worlds
from tests.api.clients import Caller, codes
from tests.api.operations import SCHEMA, SELECT
from tests.api.walks import Oracle, differences
from tests.api.worlds import World

#: Things asked for at once: as many as one operation may have aliases.
ALIASES = Limits().aliases


def agree(complaints: Iterable[str]) -> None:
    """Fail with all that does not agree, a line each."""
    found = sorted(complaints)
    if found:
        pytest.fail("\n".join([f"{len(found)} do not agree with the table:", *found[:50]]), pytrace=False)


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

    async def learn(self, caller: Callable[[str], Caller] | None = None) -> None:
        """Ask for everything as those who see it."""
        caller = caller or (lambda who: self.world.caller(self.app, who))
        superadmin = caller("superadmin")
        owners = {
            person.login.id: caller(who) for who, person in self.world.people.items() if who != "inactive"
        }
        for kind in worlds.TYPES.values():
            shown = await asked(superadmin, kind, self.world.ids(kind), SELECT.of(kind))
            self.reference |= {thing_id: answer["data"]["node"] for thing_id, answer in shown.items()}
        for thing_id, owner in owners.items():
            shown = await asked(owner, "Login", [thing_id], SELECT.of("Login"))
            self.reference[thing_id] = shown[thing_id]["data"]["node"]

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


async def asked(caller: Caller, kind: str, thing_ids: Sequence[str], selection: str) -> dict[str, Any]:
    """The same of each of these things of a kind by `node(id)`: id → its part of the answer, as if asked for alone."""
    answers: dict[str, Any] = {}
    at_once = next(size for size in (ALIASES, 5, 1) if size == 1 or _fits(kind, thing_ids[:size], selection))
    for begin in range(0, len(thing_ids), at_once):
        aliases = _aliases(thing_ids[begin : begin + at_once])
        answer = await caller(_document(kind, aliases, selection))
        for alias, thing_id in aliases.items():
            answers[thing_id] = {"data": {"node": (answer.get("data") or {}).get(alias)}}
            errors = [one for one in answer.get("errors", ()) if one.get("path", [alias])[0] == alias]
            if errors:
                answers[thing_id]["errors"] = errors
    return answers


def _aliases(thing_ids: Sequence[str]) -> dict[str, str]:
    return {f"a{number}": thing_id for number, thing_id in enumerate(thing_ids)}


def _document(kind: str, aliases: dict[str, str], selection: str) -> str:
    parts = [f'{alias}: node(id: "{thing_id}") {{ ...all }}' for alias, thing_id in aliases.items()]
    return f"{{ {' '.join(parts)} }} fragment all on {kind} {{ {selection} }}"


def _fits(kind: str, thing_ids: Sequence[str], selection: str) -> bool:
    """Is it small enough to be answered?"""
    return not beyond(Limits(), SCHEMA, parse(_document(kind, _aliases(thing_ids), selection)), {})
