"""Reading a sandbox's log while its first program writes it in two parts: `log.1`, the older, and `log`, the newer."""

import os
from typing import IO

from agents.runtimes.sandboxes import Place

_CHUNK = 65536


class LogReader:
    """Reads the older part, then the newer one, then whatever takes its place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._files: list[IO[bytes]] = []

    def begin(self, tail: int) -> None:
        """Start `tail` bytes before the end; 0: at the beginning."""
        # The newer one first: what is moved aside between the two is opened twice, and then left out.
        newer, older = self._open("log"), self._open("log.1")
        if newer is not None and older is not None and _same(newer, older):
            older.close()
            older = None
        self._files = [file for file in (older, newer) if file is not None]
        if tail:
            left = tail
            for file in reversed(self._files):
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - left))
                left = max(0, left - size)

    def read(self) -> bytes:
        """The next bytes; b"" while there are no more."""
        while True:
            if not self._files:
                first = self._open("log")
                if first is None:
                    return b""
                self._files.append(first)
            if data := self._files[0].read(_CHUNK):
                return data
            if len(self._files) == 1 and not self._follow(self._files[0]):
                return b""
            # It was moved aside after its last byte was written, which may have been after this one looked.
            if data := self._files[0].read(_CHUNK):
                return data
            self._files.pop(0).close()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _follow(self, current: IO[bytes]) -> bool:
        newer, older = self._open("log"), self._open("log.1")
        if newer is None or _same(newer, current):
            for file in (newer, older):
                if file is not None:
                    file.close()
            return False
        if older is not None and (_same(older, current) or _same(older, newer)):
            older.close()
            older = None
        self._files += [file for file in (older, newer) if file is not None]
        return True

    def _open(self, name: str) -> IO[bytes] | None:
        try:
            return self._place.open(name)
        except OSError:
            return None


def _same(one: IO[bytes], other: IO[bytes]) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())
