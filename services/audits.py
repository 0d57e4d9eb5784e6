"""The audit log: who changed what, when, from where, and who tried in vain. Nothing here changes an event.

`services/trail.py` has how events come to be. They are read by keyset of their ids, which are in the order of time, so that
a period needs no index of its own. What is older than the setting says is deleted in parts, each in a transaction.
"""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, delete, or_, select

from services import ids, inputs, slots, trail
from services.core import Core
from services.db.tables import AuditEvent, AuditTarget
from services.db.texts import contains_ascii
from services.errors import BerthError
from services.filters import Conditions, equal
from services.nouns import Noun
from services.options import AUDIT_RETENTION
from services.searches import Search
from services.together import Together
from services.trail import Change, Content, Entry

log = logging.getLogger(__name__)

#: What is done so often that it is kept no longer than this, when it was done: renewing a login.
ROUTINE: Final = "refreshLogin"
_ROUTINE_LIFE: Final = timedelta(days=7)
#: Refused attempts of one user, or of one address where nobody is logged in, that are written down a minute; of more it is
#: written how many they were (`services/refusals.py`).
REFUSED_A_MINUTE: Final = 120
_MINUTE: Final = 60.0
_PART: Final = 2000


@dataclass(frozen=True)
class AuditFilter:
    user_id: str | None = None
    domain_id: str | None = None
    action: str | None = None
    #: Id of something that it was about.
    target: str | None = None
    outcome: str | None = None
    code: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: The beginning of an action, an address, a request's or an event's id, or part of an argument.
    search: str | None = None


ORDERS: Final = {"CREATED_AT": AuditEvent.id}


def _conditions(where: AuditFilter) -> Conditions:
    return [
        *equal(AuditEvent.user_id, where.user_id),
        *equal(AuditEvent.domain_id, where.domain_id),
        *equal(AuditEvent.action, where.action),
        *equal(AuditEvent.outcome, where.outcome),
        *equal(AuditEvent.code, where.code),
        *([] if where.target is None else [_about(inputs.searchable(where.target))]),
        *([] if where.since is None else [AuditEvent.id >= ids.floor("evt", where.since)]),
        *([] if where.until is None else [AuditEvent.id < ids.floor("evt", where.until)]),
    ]


def _reading(text: str) -> ColumnElement[bool]:
    """All events are read: an index of the parts of their arguments would cost each mutation more than it may."""
    begins = (AuditEvent.action, AuditEvent.address, AuditEvent.request_id)
    return or_(
        *(contains_ascii(column, text, begins=True) for column in begins),
        AuditEvent.id.startswith(text.lower(), autoescape=True),
        contains_ascii(AuditEvent.content, text),
    )


_noun = Noun(AuditEvent, "evt", _conditions, search=Search(AuditEvent, "evt", reading=_reading))
find, page, total, many, get = _noun.find, _noun.page, _noun.total, _noun.many, _noun.get


def content(row: AuditEvent) -> Content:
    """What was asked for, what it was about, and what it changed."""
    return msgspec.json.decode(row.content, type=Content)


def told(change: Change) -> tuple[str, str | None, str | None]:
    """(field as the API calls it, before, after), as texts for people and programs."""
    head, *rest = change.field.split("_")
    name = head + "".join(part.title() for part in rest)
    return name, _value(change.field, change.before), _value(change.field, change.after)


@asynccontextmanager
async def recording(core: Core, entry: Entry) -> AsyncGenerator[Entry]:
    """Follow what the block does, and write down how it ended. What is not a mutation is recorded by this."""
    try:
        with trail.following(entry):
            yield entry
    except BerthError as error:
        entry.outcome, entry.code = "REFUSED", error.code
        raise
    except BaseException:
        entry.outcome, entry.code = "FAILED", "INTERNAL"
        raise
    finally:
        await settle(core, entry)


async def settle(core: Core, entry: Entry) -> None:
    """Write down how it ended, unless that is what was committed with it. Never fails: what was done is done."""
    entry.closed = True
    entry.targets = entry.targets or entry.about()
    if entry.written == entry.state():
        return
    try:
        if entry.outcome != "DONE" and entry.written is None and not await _room(core, entry):
            log.info("too many refused attempts to write all down: %s by %s", entry.action, entry.address)
            core.refusals.note(entry.user_id or entry.address, entry)
            return
        intake: Together[Entry, None] = core.rounds.setdefault(
            "audit", Together[Entry, None](partial(_write, core))
        )
        await intake.ask(entry)
    except Exception:
        log.exception(
            "the audit of %s by %s could not be written: %s", entry.action, entry.user_id, entry.outcome
        )


async def keep_books(core: Core) -> None:
    """A duty of every few seconds: write down how many refused attempts there were beyond those that have rows."""
    if entries := core.refusals.take(core.now()):
        await _write(core, entries)


async def purge(core: Core) -> int:
    """Delete what is older than the setting says. Returns how many events were."""
    now, life = core.now(), timedelta(days=core.options.value(AUDIT_RETENTION))
    routine = [AuditEvent.action == ROUTINE, AuditEvent.outcome == "DONE"]
    old = await _delete(core, [AuditEvent.id < ids.floor("evt", now - life)])
    return old + await _delete(
        core, [*routine, AuditEvent.id < ids.floor("evt", now - min(_ROUTINE_LIFE, life))]
    )


async def _write(core: Core, entries: Sequence[Entry]) -> list[None]:
    async with core.db.write() as db:
        committed = await trail.write(db, entries)
    committed()
    return [None] * len(entries)


async def _room(core: Core, entry: Entry) -> bool:
    whose = entry.user_id or entry.address
    return await core.rates.take(f"audit:{whose}", REFUSED_A_MINUTE, _MINUTE) is None


async def _delete(core: Core, where: Sequence[ColumnElement[bool]]) -> int:
    count = 0
    while True:
        async with core.db.write() as db:
            part = list(
                await db.scalars(select(AuditEvent.id).where(*where).order_by(AuditEvent.id).limit(_PART))
            )
            if part:
                await db.execute(delete(AuditTarget).where(AuditTarget.event_id.in_(part)))
                await db.execute(delete(AuditEvent).where(AuditEvent.id.in_(part)))
        count += len(part)
        if len(part) < _PART:
            return count


def _about(target: str) -> ColumnElement[bool]:
    beside = select(AuditTarget.event_id).where(AuditTarget.target_id == target)
    return or_(AuditEvent.target_id == target, AuditEvent.id.in_(beside))


def _value(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and name.endswith("slots"):
        amounts: dict[str, int] = value
        return ", ".join(f"{slot} {slots.render(slot, amount)}" for slot, amount in amounts.items())
    return msgspec.json.encode(value).decode()
