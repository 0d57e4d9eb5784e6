"""What a mutation does, noted while it is done: the audit's row is committed with the change that it is about.

    begin ─▶ `following(entry)` ─▶ db.write() … commit ─▶ … ─▶ db.write() … commit ─▶ end
                                    │ carries the row                │ and what it adds
                                    ▼                                ▼
                              a change without its row cannot be    `audits.settle`: how it ended, if that is news

Whoever begins (one place for all mutations: `resolvers/auditing.py`) has the entry followed; every transaction that is
committed meanwhile takes its row along, and what the ORM changes in rows with an id of ours is noted with the values before
and after. Statements that change rows without reading them leave no such values; what was asked for is always there.
A refused attempt commits nothing, so its row is written at its end.

Who does something for several at once (`services/together.py`) follows nobody, and writes their rows himself (`write`).
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.orm import UOWTransaction

from services import ids
from services.db.tables import AuditEvent, AuditTarget, Base

#: What is shown in a secret's place.
MASK: Final = "••••••"
#: What a name sounds like whose value nobody shall read, in inputs and columns alike.
_SECRET: Final = re.compile(
    r"password|passphrase|secret|token|ticket|hash|credential|private|recovery|totp|sealed|encrypted|cookie"
    r"|^otp|^code$|_key$(?<!access_key)(?<!idempotency_key)|^nonce$",
    re.IGNORECASE,
)
#: Texts of people's own: how long they are says enough.
_BODIES: Final = re.compile(r"script|command|csv|content|body|^data$", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]+@")
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_LONGEST_TEXT: Final = 200
_MOST_ARGUMENTS: Final = 100
_MOST_CHANGES: Final = 200
_MOST_TARGETS: Final = 1000
#: Of these a change is no news of theirs: they move with every use.
_UNTOLD: Final = frozenset({"eml", "evt", "lgn"})

Argument = tuple[str, str]


class Change(msgspec.Struct, frozen=True, array_like=True):
    """Of one field of one row; values as JSON has them, secrets masked. `before` of a new value and `after` of a gone one
    are null."""

    object: str
    field: str
    before: Any
    after: Any


class Content(msgspec.Struct, frozen=True):
    """What of an event is read and not searched."""

    arguments: list[Argument] = []
    targets: list[str] = []
    changes: list[Change] = []


@dataclass
class Entry:
    """One attempt to change something, as far as it has come."""

    at: datetime
    action: str
    #: Empty: nobody was logged in.
    user_id: str = ""
    domain_id: str = ""
    address: str = ""
    user_agent: str = ""
    request_id: str = ""
    arguments: list[Argument] = field(default_factory=list[Argument])
    #: Ids that the input names: what it was about, unless something better is known.
    named: list[str] = field(default_factory=list[str])
    targets: list[str] = field(default_factory=list[str])
    changes: list[Change] = field(default_factory=list[Change])
    outcome: str = "DONE"
    code: str = ""
    id: str = field(init=False)
    closed: bool = False
    #: Rows that it has made.
    made: list[str] = field(default_factory=list[str])
    #: What the database has of it.
    written: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        self.id = ids.new("evt", self.at)

    def state(self) -> tuple[Any, ...]:
        return self.outcome, self.code, self.user_id, tuple(self.targets), len(self.changes)

    def about(self) -> list[str]:
        """What it is about as far as is known: what it has made of the noun that it is called after, else what it names,
        else what it has changed or made."""
        noun = self.action.lower()
        made = [one for one in self.made if ids.KINDS[ids.kind(one) or ""].replace(" ", "") in noun]
        changed = [one.object for one in self.changes if ids.kind(one.object)]
        return made or self.named or list(dict.fromkeys(changed)) or self.made


_current: ContextVar[Entry | None] = ContextVar("audited", default=None)


def current() -> Entry | None:
    """Whose doing this is; None: nobody's who is followed, or it has ended."""
    entry = _current.get()
    return None if entry is None or entry.closed else entry


@contextmanager
def following(entry: Entry | None) -> Generator[None]:
    """Have what is committed meanwhile take the entry's row along; None: nothing takes any."""
    token = _current.set(entry)
    try:
        yield
    finally:
        _current.reset(token)


def identify(user_id: str, domain_id: str) -> None:
    """It has turned out who it is that asks: somebody who logs in."""
    entry = current()
    if entry is not None:
        entry.user_id, entry.domain_id, entry.targets = user_id, domain_id, [user_id]


def note(object_id: str, name: str, before: Any, after: Any) -> None:
    """A change that a statement makes without the ORM."""
    entry = current()
    if entry is not None and len(entry.changes) < _MOST_CHANGES:
        entry.changes.append(Change(object_id, name, _shown(name, before), _shown(name, after)))


async def carry(db: AsyncSession) -> Callable[[], None] | None:
    """Write what is new of the entry that is followed, in a transaction that is about to be committed.

    Returns: what is to be called once it is committed.
    """
    entry = current()
    if entry is None:
        return None
    await db.flush()
    entry.targets = entry.targets or entry.about()
    return None if entry.written == entry.state() else await write(db, [entry])


async def write(db: AsyncSession, entries: Sequence[Entry]) -> Callable[[], None]:
    """Write rows, or what is new of them, a statement a table. Returns what is to be called once it is committed."""
    if not entries:
        return lambda: None
    connection = await db.connection()
    states = [entry.state() for entry in entries]
    insert = _insert(db, AuditEvent)
    again = {
        name: insert.excluded[name]
        for name in ("user_id", "domain_id", "target_id", "outcome", "code", "content")
    }
    await connection.execute(
        insert.on_conflict_do_update(index_elements=[AuditEvent.id], set_=again),
        [_row(one) for one in entries],
    )
    more = [
        {"target_id": target, "event_id": entry.id}
        for entry in entries
        for target in dict.fromkeys(entry.targets[1:])
    ]
    if more:
        await connection.execute(_insert(db, AuditTarget).on_conflict_do_nothing(), more)

    def committed() -> None:
        for entry, state in zip(entries, states, strict=True):
            entry.written = state

    return committed


def flatten(given: Mapping[str, Any]) -> list[Argument]:
    """An input as (path, text), without what nobody shall read."""
    found: list[Argument] = []
    _flatten(given, "", "", found)
    return found


def named_ids(given: Mapping[str, Any]) -> list[str]:
    """Ids that an input names: those of its object, else all."""
    own = [*_ids(given.get("id")), *_ids(given.get("ids"))]
    return own or [
        one for name, value in given.items() if name.endswith(("Id", "Ids")) for one in _ids(value)
    ]


@lru_cache(maxsize=2048)
def sounds_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


@lru_cache(maxsize=2048)
def _is_body(name: str) -> bool:
    return _BODIES.search(name) is not None


def _ids(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values[:_MOST_TARGETS] if isinstance(one, str) and ids.kind(one)]


def _flatten(value: Any, path: str, name: str, found: list[Argument]) -> None:
    if value is None or len(found) >= _MOST_ARGUMENTS:
        return
    if isinstance(value, Mapping):
        of: Mapping[str, Any] = value
        for key, item in of.items():
            hidden = key == "value" and not {"environ", "settings"}.isdisjoint(path.split("."))
            _flatten(item, f"{path}.{key}" if path else key, "secret" if hidden else key, found)
    elif isinstance(value, list) and not sounds_secret(name):
        for position, item in enumerate(value):
            _flatten(item, f"{path}.{position}", name, found)
    else:
        found.append((path, _text(name, value)))


def _text(name: str, value: Any) -> str:
    if sounds_secret(name) and not isinstance(value, bool):
        return MASK
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, str):
        text = msgspec.json.encode(value, enc_hook=str).decode()
        return text if len(text) <= _LONGEST_TEXT else f"({len(text)} characters)"
    if len(value) > _LONGEST_TEXT or (value and _is_body(name)):
        return f"({len(value)} characters)"
    if "://" in value:
        value = _USERINFO.sub(f"{MASK}@", value)
    return value if value.isprintable() else _UNSTORABLE.sub("\ufffd", value)


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes) or sounds_secret(name):
        return MASK
    if isinstance(value, str):
        return _text(name, value)
    text = msgspec.json.encode(value, enc_hook=str)
    return msgspec.json.decode(text) if len(text) <= 10 * _LONGEST_TEXT else f"({len(text)} characters)"


def _row(entry: Entry) -> dict[str, Any]:
    content = Content(entry.arguments, entry.targets[:_MOST_TARGETS], entry.changes)
    return {
        "id": entry.id,
        "at": entry.at,
        "user_id": entry.user_id or None,
        "domain_id": entry.domain_id or None,
        "action": entry.action,
        "target_id": entry.targets[0] if entry.targets else None,
        "address": _storable(entry.address)[:64],
        "user_agent": _storable(entry.user_agent)[:255],
        "request_id": entry.request_id,
        "outcome": entry.outcome,
        "code": entry.code,
        "content": msgspec.json.encode(content).decode(),
    }


def _storable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


def _insert(db: AsyncSession, table: type[Base]) -> Any:
    return (postgresql if db.get_bind().dialect.name == "postgresql" else sqlite).insert(table)


class RecordedSession(SyncSession):
    """A transaction whose changes are noted, where somebody is followed."""


@event.listens_for(RecordedSession, "before_flush")
def _note_rows(session: SyncSession, _context: UOWTransaction, _instances: Any) -> None:
    entry = current()
    if entry is None:
        return
    for row in session.new:
        if (row_id := _told(row)) is not None:
            entry.made.append(row_id)
    for row in session.dirty:
        row_id = _told(row)
        if row_id is None or row_id in entry.made:
            continue
        for attribute in inspect(row).attrs:
            history = attribute.history
            if history.has_changes():
                note(row_id, attribute.key, _only(history.deleted), _only(history.added))
    for row in session.deleted:
        if (row_id := _told(row)) is not None:
            for name in (
                "name",
                "title",
                "description",
                "access_key",
                "reference",
                "hostname",
                "issuer",
                "email",
            ):
                if before := getattr(row, name, ""):
                    note(row_id, name, before, None)


def _told(row: object) -> str | None:
    """The id of a row whose changes are worth telling."""
    row_id = getattr(row, "id", None)
    prefix = ids.kind(row_id) if isinstance(row_id, str) else None
    return row_id if prefix is not None and prefix not in _UNTOLD else None


def _only(values: Sequence[Any] | None) -> Any:
    return values[0] if values else None
