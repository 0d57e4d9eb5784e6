"""How often keypairs are used: counted in memory, written down every few seconds.

A browser's request must not wait for a write. What a crash loses is a few seconds of a statistic.
"""

from datetime import datetime

from sqlalchemy import bindparam, case, or_, update

from services.db.engine import Database
from services.db.tables import Keypair
from services.db.types import UtcDateTime

_AT = bindparam("at", type_=UtcDateTime())
#: Another manager may have written down a later use already.
_LATEST = case(
    (or_(Keypair.last_used_at.is_(None), Keypair.last_used_at < _AT), _AT), else_=Keypair.last_used_at
)


class UseBook:
    def __init__(self) -> None:
        #: Keypair → (queries since the last time, when the newest was).
        self._uses: dict[str, tuple[int, datetime]] = {}

    def note(self, keypair_id: str, at: datetime) -> None:
        count, _ = self._uses.get(keypair_id, (0, at))
        self._uses[keypair_id] = (count + 1, at)

    async def flush(self, db: Database) -> None:
        """Add what was counted to the rows; when that fails it is kept for the next time."""
        if not self._uses:
            return
        uses, self._uses = self._uses, {}
        try:
            async with db.write() as session:
                connection = await session.connection()
                await connection.execute(
                    update(Keypair)
                    .where(Keypair.id == bindparam("keypair"))
                    .values(query_count=Keypair.query_count + bindparam("more"), last_used_at=_LATEST),
                    # In one order, so that two managers never wait for each other.
                    [
                        {"keypair": keypair, "more": count, "at": at}
                        for keypair, (count, at) in sorted(uses.items())
                    ],
                )
        except BaseException:
            for keypair, (count, at) in uses.items():
                newer, latest = self._uses.get(keypair, (0, at))
                self._uses[keypair] = (newer + count, latest)
            raise
