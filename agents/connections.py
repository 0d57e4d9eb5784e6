"""The websocket as both ends see it: three methods, whatever library is beneath."""

import contextlib
import logging
from typing import Protocol

from agents.deadlines import within

log = logging.getLogger(__name__)

#: A close frame's reason holds at most this many bytes (RFC 6455 §5.5: 125 less the code).
MAX_REASON = 123
#: Seconds that a peer gets to answer a close frame before we stop caring.
CLOSE_SECONDS = 5.0


class ConnectionLost(Exception):
    """The peer is gone. `code` as in RFC 6455 (1006: without a close frame)."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code = code
        self.reason = reason


class Connection(Protocol):
    """An accepted websocket.

    `receive` is called by one task at a time and must be cancellable without losing a frame that was not returned;
    `send` may be called by several. Both apply the transport's flow control: `send` returns once the frame is with the
    transport's bounded buffer, and an unread peer is not read ahead of without bound.
    """

    async def receive(self) -> bytes | str:
        """The next frame: bytes of a binary one, str of a text one. Raises `ConnectionLost` at the end."""
        ...

    async def send(self, data: bytes | str) -> None:
        """Send one frame, binary for bytes and text for str. Raises `ConnectionLost` when the peer is gone."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close with this code. Closing what is closed does nothing."""
        ...


async def close(connection: Connection, code: int, reason: str) -> None:
    """Close without ever raising or waiting long: the peer may be the very thing that does not answer."""
    reason = reason.encode()[:MAX_REASON].decode(errors="ignore")
    try:
        with contextlib.suppress(ConnectionLost):
            await within(CLOSE_SECONDS, connection.close(code, reason))
    except TimeoutError:
        log.debug("a peer did not answer close frame %d within %g s", code, CLOSE_SECONDS)
    except Exception:  # a dead transport fails in its own library's ways, and there is nothing left to save
        log.debug("closing a connection failed", exc_info=True)
