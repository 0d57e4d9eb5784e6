"""Files of many users with passwords, in the background: hashed with progress, then made in one transaction, or not at all."""

import msgspec
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from services import imports, passwords, tasks
from services.auth import standing
from services.db.tables import Task
from services.errors import BadInput, Forbidden
from services.imports import ImportSpec
from services.permissions import Actor
from services.tasks import Run


async def _import(run: Run) -> None:
    """The work of IMPORT_USERS. The file is forgotten with the transaction that makes its users: who begins again and finds
    none has nothing left to do."""
    sealed = run.arguments.get("spec")
    if sealed is None:
        return
    core, actor = run.core, await _actor(run)
    spec = msgspec.json.decode(core.keys.unseal(bytes.fromhex(sealed), imports.KIND), type=ImportSpec)
    rows, problems = await imports.look(core, actor, spec)
    if problems:
        told = "; ".join(f"line {one.line}: {one.message}" for one in problems[:10])
        raise BadInput(f"Nothing was imported, for something has changed since: {told}")
    given = imports.given_passwords(rows)
    run.advance(0, len(given))
    hashed = await passwords.hash_many(list(given.values()), run.advance)
    actor = await _actor(run)
    try:
        async with run.write() as db:
            await imports.make(core, db, actor, spec, rows, dict(zip(given, hashed, strict=True)))
            await db.execute(update(Task).where(Task.id == run.id).values(arguments={}))
    except IntegrityError as error:
        raise imports.taken(error) from error
    for row in rows:
        run.note("SKIPPED" if row.skipped else "ADDED", row.email)
    run.advance(message="")


async def _actor(run: Run) -> Actor:
    """Who started it, with what they may do by now."""
    found = await standing.of_user(run.core, run.user_id)
    if found is None:
        raise Forbidden("Who started this may not come in any more. Nothing was imported.")
    return found.actor


IMPORT = tasks.Kind(imports.KIND, _import, restartable=True)
