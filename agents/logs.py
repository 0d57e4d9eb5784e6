"""How the agent logs: lines for people, or one JSON object a line for machines. Never a secret, never two lines."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

#: Characters of one message at most: a name of a megabyte must not become a line of one (RELIABILITY: log injection).
MAX_MESSAGE = 2000

Format = Literal["plain", "json"]


#: What a line says of what it is part of: name → value.
Labels = Callable[[], Mapping[str, str]]


class Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower():8} {_message(record)}"
        if labels := _labels(record):
            line += f" ({' '.join(labels.values())})"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_labels(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def labelled(labels: Labels) -> Callable[[logging.LogRecord], bool]:
    """A filter of a handler that notes, when a line is written, what it is part of."""

    def note(record: logging.LogRecord) -> bool:
        record.labels = labels()
        return True

    return note


def configure(kind: Format, level: str, labels: Labels | None = None) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if labels is not None:
        handler.addFilter(labelled(labels))
    handler.setFormatter(Json() if kind == "json" else Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # A line for each frame and each request would be all that one sees.
    for chatty in ("websockets", "httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _labels(record: logging.LogRecord) -> Mapping[str, str]:
    return getattr(record, "labels", {})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}… ({len(text)} characters)"
