"""Numbered events as a stream that loses nothing over a cut: where it stands, and what was missed since."""

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import func, select

from services.core import Core
from services.db.tables import Base
from services.errors import BadInput

#: More missed changes than this are cheaper to read as a list.
_REPLAY_LIMIT: Final = 500
#: Numbers are given out before commits, so a lower one may appear a little later: read this much again.
_OVERLAP: Final = 50

Event = TypeVar("Event", bound=Base)


def position(cursor: str) -> int:
    """The number of the last event that the holder of a cursor was told of.

    Raises:
        BadInput: it is not a cursor of such a stream.
    """
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise BadInput("`after` is not a cursor of this stream; leave it out to begin now.", path="after")
    return int(cursor)


class Timeline(Generic[Event]):
    """The events of one kind of thing.

    Args:
        about: the column that says which thing an event is about.
    """

    def __init__(self, table: type[Event], about: Any) -> None:
        self._table = table
        self._number: Any = table.id  # pyright: ignore
        self._about = about

    async def newest(self, core: Core) -> int:
        async with core.db.read() as db:
            return (await db.scalar(select(func.max(self._number)))) or 0

    async def missed(self, core: Core, after: int) -> dict[str, int] | None:
        """Thing → number of its newest event, of what changed since; None when that is too much to tell one by one."""
        async with core.db.read() as db:
            rows = await db.execute(
                select(self._about, func.max(self._number))
                .where(self._number > after - _OVERLAP)
                .group_by(self._about)
                .limit(_REPLAY_LIMIT + 1)
            )
            found: dict[str, int] = dict(rows.all())
        return found if len(found) <= _REPLAY_LIMIT else None

    async def events(self, core: Core, numbers: Iterable[int]) -> dict[int, Event]:
        """Events by number; 0 is the number of none."""
        wanted = [number for number in numbers if number]
        if not wanted:
            return {}
        async with core.db.read() as db:
            rows = await db.scalars(select(self._table).where(self._number.in_(wanted)))
            return {row.id: row for row in rows}  # pyright: ignore
