"""Who may do what: every mutation and subscription, as everybody, on what is the owner's, and what is answered."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from services.db.tables import AuditEvent
from tests.api import matrix
from tests.api.attempts import NEW_PASSWORD, TOKENS, Attempt, attempt
from tests.api.clients import IDS, Caller, codes
from tests.api.matrix import ACTORS
from tests.api.operations import SCHEMA, mutation, operation
from tests.api.served import Matrix, agree, refusal
from tests.api.walks import differences, filled
from tests.factories import PASSWORD, SECRET_KEY

#: Whose node is not connected here: done, and that is what is told of each.
OFFLINE = {"removeImages"}
#: What is about nothing that has an id, or does not know whether it is.
WITHOUT_TARGET = {
    "confirmTotp",
    "recalculateUsage",
    "requestPasswordReset",
    "resendVerification",
    "startTotp",
    "updateSettings",
}
#: Fields that are empty here: who is asked for a second factor has a test of its own, nothing was below the image's
#: minimum, nothing was wrong with a file and it had few passwords, and nothing beyond the first event is waited for.
EMPTY = {
    "LoginPayload.secondFactor",
    "CreateSessionPayload.raised",
    "ImportUsersPayload.problems",
    "ImportUsersPayload.task",
}


@dataclass
class Tries:
    """What came of trying mutations."""

    built: Matrix
    complaints: list[str] = field(default_factory=list[str])
    callers: list[Caller] = field(default_factory=list[Caller])
    #: `Type.field` of everything that was answered to anybody.
    seen: set[str] = field(default_factory=set[str])
    refused: dict[str, Attempt] = field(default_factory=dict[str, Attempt])
    #: Rows of the audit that were looked at.
    audited: dict[str, AuditEvent] = field(default_factory=dict[str, AuditEvent])
    #: Secrets that were shown.
    once: set[str] = field(default_factory=set[str])

    async def one(self, who: str, name: str) -> None:
        about = SCHEMA.type_map["Mutation"].fields[name]  # type: ignore[attr-defined]
        letter = matrix.letter(matrix.MUTATIONS[name][1], who)
        given, token = await self.attempt(who, name, letter)
        caller = self.caller(who)
        caller.token = caller.token if token is None else token
        answer = await caller(mutation(name), **({} if given is None else {"input": given}))
        at = f"{who}: {name}"
        found = (answer.get("data") or {}).get(name)
        self.complaints += [f"{at}: {line}" for line in await self.recorded(who, name, letter)]
        if letter != "v":
            self.complaints += refused(at, answer, matrix.CODES[letter])
        elif found is None or codes(answer) != ({"UNAVAILABLE"} if name in OFFLINE else set()):
            self.complaints.append(f"{at}: {answer}")
        else:
            self.seen |= set(filled(SCHEMA, about.type.of_type, found))
            self.once |= set(secrets_in(about.type.of_type, found))
            bearer = Caller(self.built.app, found.get("accessToken") or caller.token)
            self.complaints += [f"{at}: {line}" for line in await unreadable(bearer, found)]

    async def recorded(self, who: str, name: str, letter: str) -> Iterable[str]:
        """What is wrong with the row that it left in the audit."""
        async with self.built.world.core.db.read() as db:
            rows = [row for row in await db.scalars(select(AuditEvent).where(AuditEvent.action == name))
                    if row.id not in self.audited and row.id not in self.built.world.things]  # fmt: skip
        if who == "inactive":
            # The door does not know them: there is no operation yet.
            return [f"recorded {rows}"] if rows else []
        if len(rows) != 1:
            return [f"{len(rows)} rows in the audit"]
        row, code = rows[0], matrix.CODES.get(letter, "UNAVAILABLE" if name in OFFLINE else "")
        self.audited[row.id] = row
        by = None if letter == "U" else row.user_id
        found = (row.outcome, row.code, row.user_id, bool(row.address), bool(row.request_id))
        expected = ("REFUSED" if code else "DONE", code, by, True, True)
        wrong = [] if found == expected else [f"the audit has {found} instead of {expected}"]
        if (
            letter != "U"
            and who != "anonymous"
            and name not in TOKENS
            and by != self.built.world.people[who].row.id
        ):
            wrong.append(f"the audit says that {by} did it")
        if letter == "v" and row.target_id is None and name not in WITHOUT_TARGET:
            wrong.append("the audit does not say what it was about")
        return wrong

    def told_secrets(self) -> Iterable[str]:
        """Secrets that stand in the audit."""
        texts = [f"{row.content} {row.user_agent}" for row in self.audited.values()]
        people = [person.token for person in self.built.world.people.values()]
        for secret in {PASSWORD, NEW_PASSWORD, SECRET_KEY, *people, *self.once}:
            if any(secret in text for text in texts):
                yield f"the audit tells the secret {secret[:6]}…"

    async def attempt(self, who: str, name: str, letter: str) -> Attempt:
        """Something new for each that will use it up; those who are refused can all be refused the same."""
        if letter == "v" or name in TOKENS:
            return await attempt(self.built.world, who, name)
        if name not in self.refused:
            self.refused[name] = await attempt(self.built.world, who, name)
        return self.refused[name]

    def caller(self, who: str) -> Caller:
        self.callers.append(self.built.world.caller(self.built.app, who))
        return self.callers[-1]

    def shown_again(self) -> Iterable[str]:
        texts = [text for caller in self.callers for text in caller.texts]
        for secret in self.once:
            if sum(json.dumps(secret)[1:-1] in text for text in texts) != 1:
                yield f"the secret {secret[:6]}… was shown again"

    def never_answered(self) -> Iterable[str]:
        for name, (_, row) in matrix.TYPES.items():
            for member in matrix.fields(row):
                if name.endswith("Payload") and f"{name}.{member}" not in self.seen | EMPTY:
                    yield f"{name}.{member}: nobody was answered anything"


async def test_a_mutation_is_done_for_whom_the_table_says(built: Matrix) -> None:
    """And what it answers has every field, names nothing that may not be read, and shows a secret this once. Each attempt
    leaves its row in the audit, with who, what, whence and what came of it, and without a secret."""
    tries = Tries(built)
    for name in matrix.MUTATIONS:
        for who in ACTORS:
            await tries.one(who, name)
    await built.learn(tries.caller)
    agree([*tries.complaints, *tries.shown_again(), *tries.never_answered(), *tries.told_secrets()])


#: What a first event has.
TOLD = {
    f"{name}.{member}"
    for name in ("AgentEvent", "SessionEvent", "LogChunk", "AgentLoad", "AgentStats", "KernelStats")
    for member in matrix.fields(matrix.TYPES[name][1])
}


async def test_a_subscription_tells_each_what_the_table_says(built: Matrix) -> None:
    """Its first event; what it names is as `node(id)` shows it."""
    complaints: list[str] = []
    seen: set[str] = set()
    await built.learn()
    ours = built.world.ours
    given = {
        "agentEvents": {"after": "0"},
        "agentStats": {"agentId": ours["Agent"].id},
        "agentsStats": {"agentIds": [ours["Agent"].id]},
        "announcementsChanged": {},
        "sessionEvents": {"after": "0"},
        "sessionLogs": {"sessionId": ours["ended"].id},
        "sessionStats": {"sessionId": ours["Session"].id},
        "settingsChanged": {},
        "taskProgress": {"taskId": ours["Task"].id},
    }
    for name, row in matrix.SUBSCRIPTIONS.items():
        query = operation("Subscription", name, *given[name], whole=True)
        for who in ACTORS:
            caller, oracle = built.world.caller(built.app, who), built.oracle(who)
            answer = await caller.first_event(query, **given[name])
            at, letter = f"{who}: {name}", matrix.letter(row, who)
            if letter != "v":
                complaints += refusal(at, answer, matrix.CODES[letter])
                continue
            seen |= set(filled(SCHEMA, SCHEMA.subscription_type, answer.get("data")))
            found = (answer.get("data") or {}).get(name)
            complaints += [f"{at}: {line}" for line in differences(oracle.deep(found), found)]
            complaints += built.told_too_much(oracle, caller)
    agree([*complaints, *(f"{one}: nothing was told" for one in TOLD - seen)])


def secrets_in(kind: Any, value: Any) -> Iterable[str]:
    """Values of fields that are shown once."""
    for name, rule in matrix.fields(matrix.TYPES[kind.name][1]).items():
        if rule == "once" and value.get(name):
            yield from value[name] if isinstance(value[name], list) else [value[name]]


async def unreadable(caller: Caller, payload: Any) -> Iterable[str]:
    """Ids in an answer that who got it may not read. What is gone, and what was sent, is named by its id alone."""
    named = [item for name, item in payload.items() if not name.startswith("deletedId")]
    told = dict.fromkeys(IDS.findall(str(named)))
    if not told:
        return []
    parts = [f'a{number}: node(id: "{one}") {{ id }}' for number, one in enumerate(told)]
    answer = await caller(f"{{ {' '.join(parts[:15])} }}")
    hidden = [one for one, node in zip(told, answer["data"].values(), strict=False) if node is None]
    return [f"tells of {one}, which cannot be read" for one in hidden]


def refused(at: str, answer: dict[str, Any], code: str) -> Iterable[str]:
    """Mutations on many objects refuse each for itself."""
    if codes(answer) != {code}:
        yield f"{at}: {answer} instead of {code}"
    elif "errors" in answer:
        yield from refusal(at, answer, code)
