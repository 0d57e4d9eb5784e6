"""Creating mutations that act once however often they are sent (Stripe's idempotency keys).

The key is written in the transaction that makes the object, so there is either both or neither. It stands for its
arguments for 24 hours; only a keyed hash of them is kept, for there may be a password among them.
"""

import hmac
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.core import Core
from services.db.tables import Base, IdempotencyKey
from services.errors import BerthError, Conflict
from services.permissions import Actor

LIFE: Final = timedelta(hours=24)

Row = TypeVar("Row", bound=Base)


async def once(
    core: Core,
    actor: Actor,
    mutation: str,
    spec: Any,
    table: type[Row],
    make: Callable[[AsyncSession], Awaitable[Row]],
    *,
    taken: Conflict,
) -> tuple[Row, bool]:
    """Make an object in one transaction, or find what the same request made before.

    Args:
        spec: what was asked for; its `idempotency_key` may be None.
        make: adds the object and all that belongs to it, and returns it.
        taken: raised when a unique name turns out to be taken only at the write, by somebody quicker.

    Returns:
        The object, and whether it was made just now.

    Raises:
        Conflict: `taken`; or the key stands for another request; or something it refers to has gone meanwhile.
    """
    key: str | None = spec.idempotency_key
    arguments = msgspec.json.encode(spec)
    try:
        async with core.db.write() as db:
            earlier = await _earlier(core, db, actor, mutation, key, arguments, table)
            if earlier is not None:
                return earlier, False
            made = await make(db)
            await db.flush()
            if key is not None:
                db.add(_record(core, actor, mutation, key, arguments, made))
    except (IntegrityError, Conflict) as error:
        # The same request may have been quicker on another connection: then its name is taken by itself.
        async with core.db.write() as db:
            earlier = await _earlier(core, db, actor, mutation, key, arguments, table)
        if earlier is not None:
            return earlier, False
        if isinstance(error, Conflict):
            raise
        raise clash(error, taken) from error
    return made, True


def clash(error: IntegrityError, taken: Conflict) -> BerthError:
    """What a violated constraint means to the caller: the name is taken, or what it refers to is gone."""
    state = getattr(error.orig, "sqlstate", None)
    if state == "23505" or "UNIQUE constraint failed" in str(error.orig):
        return taken
    return Conflict("Something that this refers to has changed just now. Read it again, then try again.")


async def _earlier(
    core: Core,
    db: AsyncSession,
    actor: Actor,
    mutation: str,
    key: str | None,
    arguments: bytes,
    table: type[Row],
) -> Row | None:
    if key is None:
        return None
    found = await db.get(IdempotencyKey, (actor.user_id, key))
    if found is None:
        return None
    if found.created_at + LIFE <= core.now():
        await db.delete(found)
        await db.flush()
        return None
    same = any(hmac.compare_digest(_hash(key, arguments), found.arguments_hash) for key in _keys(core))
    if not same or found.mutation != mutation:
        raise Conflict(
            "This idempotency key was used for another request. Use a new key for each new request.",
            path="input.idempotencyKey",
        )
    row = await db.get(table, found.object_id)
    if row is None:
        raise Conflict(
            "What this request made has been deleted since. Use a new key to make it again.",
            path="input.idempotencyKey",
        )
    return row


def _record(
    core: Core, actor: Actor, mutation: str, key: str, arguments: bytes, made: Base
) -> IdempotencyKey:
    return IdempotencyKey(
        user_id=actor.user_id,
        key=key,
        mutation=mutation,
        arguments_hash=_hash(core.keys.sealing[core.keys.current_sealing], arguments),
        object_id=made.id,  # pyright: ignore
        created_at=core.now(),
    )


def _keys(core: Core) -> list[bytes]:
    return list(core.keys.sealing.values())


def _hash(key: bytes, arguments: bytes) -> bytes:
    return hmac.digest(key, b"idempotency:" + arguments, "sha256")
