"""Events that must not be lost: numbered, on the disk before they are sent, forgotten once acknowledged.

SQLite with `synchronous=FULL` in WAL mode: an appended event survives a kill and a power cut (invariant I9). The
numbers rise by one and are never used twice under one journal id; a journal that cannot be read is put aside and a new
one, with a new id, starts again at 1.

Its files are made larger than they need to be when it is opened, so that events can still be written, and the end of
sessions told, on a disk that has become full.
"""

import asyncio
import contextlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from agents.protocol import Event, ImagesChanged, KernelLog, KernelPhase

log = logging.getLogger(__name__)

#: Unacknowledged events kept at most.
MAX_EVENTS = 20_000
#: Bytes of unacknowledged events kept at most: kept logs go first (their kernels' ends are worth more).
MAX_BYTES = 256 * 1024 * 1024
#: Bytes kept in the database and in its write-ahead log, which begins again after as many (1000 pages of 4 KiB).
ROOM_BYTES = 4 * 1024 * 1024
#: Kernels whose last phase is remembered.
MAX_KERNELS = 10_000

T = TypeVar("T")
Body = KernelPhase | KernelLog | ImagesChanged
_Row = tuple[int, float, bool, bytes]

_encode = msgspec.msgpack.Encoder().encode
_decode_body = msgspec.msgpack.Decoder(Body).decode
_decode_log = msgspec.msgpack.Decoder(KernelLog).decode
_decode_phase = msgspec.msgpack.Decoder(KernelPhase).decode

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS meta (id TEXT NOT NULL, newest INTEGER NOT NULL, acknowledged INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, at REAL NOT NULL, log INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS phases (
    kernel TEXT PRIMARY KEY, generation INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL
);
"""

_REMEMBER = """
INSERT INTO phases VALUES (?, ?, ?, ?) ON CONFLICT (kernel) DO UPDATE
SET generation = excluded.generation, number = excluded.number, body = excluded.body
WHERE excluded.generation >= phases.generation
"""


class Journal:
    """The node's journal of events. One writer: all calls run in one thread of its own, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._db: sqlite3.Connection | None = None
        self.id = ""
        #: The newest number given, and the newest that the manager has acknowledged.
        self.newest = 0
        self.acknowledged = 0
        self._count = 0
        self._bytes = 0

    async def open(self) -> None:
        """Open or make it. Raises `sqlite3.Error` or `OSError` when the disk refuses even a new one."""
        await self._do(self._open)

    async def close(self) -> None:
        """Idempotent."""
        if self._db is not None:
            await self._do(self._close)
        self._thread.shutdown(wait=True)

    async def append(self, bodies: Sequence[Body]) -> list[Event]:
        """Number events and put them on the disk, all or none; on return they are safe.

        Raises:
            sqlite3.Error: the disk is full or broken; nothing was written, the numbers are not used up.
        """
        return await self._do(lambda: self._append(bodies)) if bodies else []

    async def after(self, seq: int, limit: int) -> list[Event]:
        """The oldest events after a number, at most `limit`."""
        return await self._do(lambda: self._after(seq, limit))

    async def acknowledge(self, seq: int) -> None:
        """Forget events up to and with `seq`. Beyond `newest`: the numbers go on from there (a restored disk)."""
        if seq > self.acknowledged:
            await self._do(lambda: self._acknowledge(seq))

    async def oldest(self) -> int:
        """The number of the oldest event still held; 0: none."""
        return await self._do(self._oldest)

    async def phases(self) -> list[KernelPhase]:
        """The last phase of each kernel that was here, acknowledged or not, oldest first."""
        return await self._do(self._phases)

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._load()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # the disk, a lock: not the file's content
            self._close()
            aside = self._path.with_name(f"{self._path.name}.broken-{int(time.time())}")
            log.error("the journal cannot be read (%s); it is kept as %s and a new one begins", error, aside)  # noqa: TRY400
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.rename(aside)
            self._load()

    def _load(self) -> None:
        db = self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.executescript(_TABLES)
        row = db.execute("SELECT id, newest, acknowledged FROM meta").fetchone()
        if row is None:
            row = (secrets.token_hex(8), 0, 0)
            db.execute("INSERT INTO meta VALUES (?, ?, ?)", row)
        self.id, self.newest, self.acknowledged = row
        self._measure()
        self._reserve()

    def _measure(self) -> None:
        count = "SELECT count(*), coalesce(sum(length(body)), 0) FROM events"
        self._count, self._bytes = self._connection.execute(count).fetchone()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the journal is closed")
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _append(self, bodies: Sequence[Body]) -> list[Event]:
        now = time.time()
        events = [Event(seq, now, body) for seq, body in enumerate(bodies, self.newest + 1)]
        rows = [(e.seq, e.at, isinstance(e.body, KernelLog), _encode(e.body)) for e in events]
        size = sum(len(row[3]) for row in rows)
        try:
            self._insert(events, rows, size)
        except sqlite3.OperationalError:
            events = [msgspec.structs.replace(event, body=_without_log(event.body)) for event in events]
            rows = [(e.seq, e.at, False, _encode(e.body)) for e in events]
            size = sum(len(row[3]) for row in rows)
            self._insert(events, rows, size)
        self.newest = events[-1].seq
        self._count += len(rows)
        self._bytes += size
        return events

    def _insert(self, events: list[Event], rows: list[_Row], size: int) -> None:
        db = self._connection
        with self._transaction():
            self._make_room(len(rows), size)
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            for event, row in zip(events, rows, strict=True):
                if isinstance(event.body, KernelPhase):
                    last = (event.body.kernel, event.body.generation, event.seq, row[3])
                    db.execute(_REMEMBER, last)
            db.execute("DELETE FROM phases WHERE number <= ?", (events[-1].seq - 20 * MAX_KERNELS,))
            db.execute("UPDATE meta SET newest = ?", (events[-1].seq,))

    def _reserve(self) -> None:
        """Make room in both files by writing what is then deleted: neither ever shrinks while it is open."""
        try:
            with self._transaction():
                self._connection.execute("CREATE TABLE room AS SELECT zeroblob(?) AS zeros", (ROOM_BYTES,))
            with self._transaction():
                self._connection.execute("DROP TABLE room")
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)")
        except sqlite3.OperationalError as error:
            log.warning("no room can be kept in the journal for a full disk: %s", error)

    def _make_room(self, count: int, size: int) -> None:
        """A manager that is away for weeks must not fill the node's disk."""
        if self._bytes + size > MAX_BYTES:
            log.warning("the journal is full: kept logs are emptied")
            self._empty_logs()
        if self._count + count > MAX_EVENTS or self._bytes + size > MAX_BYTES:
            # The manager takes numbers without a gap, so it can only be the oldest: half of all that is held.
            query = "SELECT seq FROM events ORDER BY seq LIMIT 1 OFFSET ?"
            row = self._connection.execute(query, (self._count // 2,)).fetchone()
            upto = row[0] if row else self.newest
            log.warning("the journal is full: events up to %d are dropped unacknowledged", upto)
            self._drop(upto)

    def _empty_logs(self) -> None:
        query = "SELECT seq, body FROM events WHERE log"
        for seq, body in self._connection.execute(query).fetchall():
            kept = msgspec.structs.replace(_decode_log(body), data=b"")
            self._connection.execute(
                "UPDATE events SET log = 0, body = ? WHERE seq = ?", (_encode(kept), seq)
            )
        self._measure()

    def _drop(self, upto: int) -> None:
        count = "SELECT count(*), coalesce(sum(length(body)), 0) FROM events WHERE seq <= ?"
        gone, size = self._connection.execute(count, (upto,)).fetchone()
        self._connection.execute("DELETE FROM events WHERE seq <= ?", (upto,))
        self._count -= gone
        self._bytes -= size

    def _after(self, seq: int, limit: int) -> list[Event]:
        query = "SELECT seq, at, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows = self._connection.execute(query, (seq, limit)).fetchall()
        return [Event(row[0], row[1], _decode_body(row[2])) for row in rows]

    def _acknowledge(self, seq: int) -> None:
        newest = max(self.newest, seq)
        with self._transaction():
            self._drop(seq)
            self._connection.execute("UPDATE meta SET newest = ?, acknowledged = ?", (newest, seq))
        self.newest, self.acknowledged = newest, seq

    def _oldest(self) -> int:
        return self._connection.execute("SELECT coalesce(min(seq), 0) FROM events").fetchone()[0]

    def _phases(self) -> list[KernelPhase]:
        query = "SELECT body FROM (SELECT * FROM phases ORDER BY number DESC LIMIT ?) ORDER BY number"
        return [_decode_phase(row[0]) for row in self._connection.execute(query, (MAX_KERNELS,)).fetchall()]

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._measure()
            raise


def _without_log(body: Body) -> Body:
    return msgspec.structs.replace(body, data=b"") if isinstance(body, KernelLog) else body
