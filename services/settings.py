"""Settings as administrators see and change them; `services/options.py` declares them.

What is true is in the database. A manager keeps its book of them (`core.options`) in step by hints of the bus, and by
reading all of it again every few seconds: a hint that was missed does no harm that lasts. Who is told that a setting was
changed finds it in effect in the manager that did it.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import permissions, trail
from services.bus import Lagged, SettingsChanged
from services.core import Core
from services.db.engine import insert_into
from services.db.tables import Setting
from services.errors import BadInput, Problems
from services.options import OPTIONS, Option, usable
from services.permissions import Actor

_MOST_AT_ONCE: Final = 100
_SUGGESTED: Final = "`settings` lists all there are."


@dataclass(frozen=True)
class State:
    """A setting as it is. `value` is None for a secret, and `default` is what it goes back to."""

    option: Option[Any]
    value: Any = field(repr=False)
    default: Any = field(repr=False)
    #: Somebody has set it; of a secret: there is one.
    is_set: bool
    updated_at: datetime | None = None
    updated_by_id: str | None = None


@dataclass(frozen=True)
class Change:
    """`value` None: back to the default."""

    key: str
    value: Any = field(repr=False)


async def find(core: Core, actor: Actor, keys: Collection[str] | None = None) -> list[State]:
    """These settings as they are stored, by default all, in the order of a form.

    Raises:
        Forbidden: the actor may see none.
    """
    permissions.require_role(actor, "read:setting")
    async with core.db.read() as db:
        rows = {row.key: row for row in await db.scalars(select(Setting))}
    stored, _ = _values(core, rows.values())
    return [
        _state(core, option, rows.get(option.key), stored)
        for option in OPTIONS.values()
        if keys is None or option.key in keys
    ]


async def change(core: Core, actor: Actor, changes: Sequence[Change]) -> list[State]:
    """Change several settings, all or none. Returns them as they are now.

    Raises:
        Forbidden: the actor may change none.
        BadInput: one is unknown, named twice, or given what it cannot be.
    """
    permissions.require_role(actor, "updateSettings")
    values = _checked(changes)
    async with core.db.write() as db:
        keys = sorted(values)
        rows = await db.scalars(select(Setting).where(Setting.key.in_(keys)).with_for_update())
        stored, _ = _values(core, rows.all())
        for key in keys:
            before = stored.get(key, core.options.default(OPTIONS[key]))
            _note(OPTIONS[key], before, values[key])
            await _store(core, actor, db, OPTIONS[key], values[key])
    await refresh(core)
    await core.bus.publish(SettingsChanged(keys=tuple(sorted(values))))
    return await find(core, actor, values)


async def refresh(core: Core) -> None:
    """Take over what the database has."""
    # One after the other: a reading that began earlier must not be the last to be taken over.
    async with core.options.turn, core.db.read() as db:
        rows = (await db.scalars(select(Setting))).all()
        core.options.replace(*_values(core, rows))


async def follow(core: Core) -> None:
    """Keep this manager's book in step with what other managers are told. Never ends."""
    async with core.bus.subscribe(SettingsChanged) as hints:
        while True:
            try:
                await anext(hints)
                hints.drain()
            except Lagged:
                pass
            await refresh(core)


async def watch(core: Core, actor: Actor) -> AsyncGenerator[list[State]]:
    """All settings, then those that are changed, each time they are.

    Raises:
        Forbidden: the actor may see none.
    """
    async with core.bus.subscribe(SettingsChanged) as hints:
        yield await find(core, actor)
        while True:
            try:
                keys = {key for hint in [await anext(hints), *hints.drain()] for key in hint.keys}
            except Lagged:
                keys = set(OPTIONS)
            if found := await find(core, actor, keys):
                yield found


def _checked(changes: Sequence[Change]) -> dict[str, Any]:
    """Key → value, None: none. What is wrong with any of them is told together."""
    if not 1 <= len(changes) <= _MOST_AT_ONCE:
        raise BadInput(f"Between 1 and {_MOST_AT_ONCE} settings at once.", path="input.settings")
    problems, values = Problems(), dict[str, Any]()
    for number, one in enumerate(changes):
        path = f"input.settings.{number}"
        if one.key not in OPTIONS:
            problems.add(f"{path}.key", f"There is no setting of this name. {_SUGGESTED}")
        elif one.key in values:
            problems.add(f"{path}.key", "It is named twice; name it once.")
        else:
            try:
                values[one.key] = None if one.value is None else OPTIONS[one.key].read(one.value)
            except ValueError as error:
                problems.add(f"{path}.value", str(error))
    problems.check()
    return values


async def _store(core: Core, actor: Actor, db: AsyncSession, option: Option[Any], value: Any) -> None:
    # An empty secret is none: it would be taken for one that is set.
    if value is None or (option.secret and value == ""):
        await db.execute(delete(Setting).where(Setting.key == option.key))
        return
    content = {
        "document": {} if option.secret else {"value": value},
        "sealed": core.keys.seal(value, _bound_to(option.key)) if option.secret else None,
        "updated_at": core.now(),
        "updated_by_id": actor.user_id,
    }
    insert = insert_into(db, Setting).values(key=option.key, **content)
    await db.execute(insert.on_conflict_do_update(index_elements=[Setting.key], set_=content))


def _note(option: Option[Any], before: Any, after: Any) -> None:
    """For the audit: a secret is none of its readers' business, but whether it was there is."""
    if option.secret:
        before, after = (trail.MASK if one else None for one in (before, after))
    if before != after:
        trail.note("settings", option.key, before, after)


def _values(core: Core, rows: Collection[Setting]) -> tuple[dict[str, Any], list[str]]:
    """Key → stored value; and what cannot be used."""
    found: dict[str, Any] = {}
    lost: list[str] = []
    for row in rows:
        if row.sealed is None:
            found[row.key] = row.document.get("value")
            continue
        try:
            found[row.key] = core.keys.unseal(row.sealed, _bound_to(row.key))
        except ValueError as error:
            lost.append(f"the setting {row.key} cannot be read, set it again: {error}")
    kept, problems = usable(found)
    return kept, [*lost, *problems]


def _state(core: Core, option: Option[Any], row: Setting | None, stored: Mapping[str, Any]) -> State:
    default = core.options.default(option)
    return State(
        option=option,
        value=None if option.secret else stored.get(option.key, default),
        default=None if option.secret else default,
        is_set=bool(stored.get(option.key, default)) if option.secret else row is not None,
        updated_at=row.updated_at if row else None,
        updated_by_id=row.updated_by_id if row else None,
    )


def _bound_to(key: str) -> str:
    return f"setting:{key}"
