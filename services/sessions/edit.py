"""Changing what may be changed of a session once it is there."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from services import inputs, permissions, subjects
from services.bus import SessionChanged, Wake
from services.core import Core
from services.db.tables import FINAL, Session
from services.errors import Conflict, NotFound, Problems
from services.permissions import Actor


async def edit(core: Core, actor: Actor, session_id: str, *, name: str) -> Session:
    """Rename a session.

    Raises:
        BadInput, NotFound, Forbidden, Conflict: its owner has another live session of this name, or it has ended.
    """
    problems = Problems()
    inputs.check_name(name, problems)
    problems.check()
    try:
        async with core.db.write() as db:
            session = await db.scalar(
                select(Session)
                .where(Session.id == session_id, permissions.visible(actor, Session))
                .with_for_update()
            )
            if session is None:
                raise NotFound("There is no such session, or it is not yours to see.", path="input.id")
            permissions.require(actor, "updateSession", await subjects.one(db, actor, session))
            if session.status in FINAL:
                raise Conflict("The session has ended; its name stays as it was.")
            session.name = name
            session.version += 1
    except IntegrityError as error:
        raise Conflict(f"There already is a live session named {name!r}.", path="input.name") from error
    for hint in (SessionChanged(session_id=session_id), Wake(session_id=session_id)):
        await core.bus.publish(hint)
    return session
