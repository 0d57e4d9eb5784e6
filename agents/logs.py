"""How the agent logs: lines for people, or one JSON object a line for machines. Never a secret, never two lines."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

#: Characters of one message at most: a name of a megabyte must not become a line of one (RELIABILITY: log injection).
MAX_MESSAGE = 2000

Format = Literal["plain", "json"]


class Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower():8} {_message(record)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure(kind: Format, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if kind == "json" else Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # A line for each frame and each request would be all that one sees.
    for chatty in ("websockets", "httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}… ({len(text)} characters)"
