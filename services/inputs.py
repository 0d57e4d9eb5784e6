"""Checks of what clients write: names, addresses, texts. What is wrong goes to `Problems`, all of it together.

Null characters and lone surrogates are legal in JSON and in no database; they are refused here, where the field is
known, rather than failing there.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from services.errors import Problems

NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
#: The form that browsers check (HTML, `input type=email`), so that a form and its server agree.
EMAIL: Final = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_MAX_EMAIL: Final = 254
SHORTEST_IDLE: Final = 60
LONGEST_IDLE: Final = 366 * 24 * 3600
_MAX_DESCRIPTION: Final = 4096
_MAX_PERSON: Final = 64
_MOST_SESSIONS: Final = 1_000_000
_MOST_KERNELS: Final = 1000
_MOST_HOSTS: Final = 100
_MAX_JSON: Final = 16 * 1024
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_LAYOUT: Final = re.compile(r"[\t\n\r]")


def check_name(value: str, problems: Problems, path: str = "input.name") -> str:
    """A name that also goes into URLs, labels and command lines."""
    if not NAME.fullmatch(value):
        problems.add(
            path,
            "A name has 1 to 64 letters, digits, dots, hyphens or underscores and begins and ends with a letter or digit.",
        )
    return value


def check_person(value: str, problems: Problems, path: str, *, required: bool = False) -> str:
    """How a person is called, in any script."""
    value = value.strip()
    if len(value) > _MAX_PERSON or _CONTROL.search(value) or (required and not value):
        least = 1 if required else 0
        problems.add(path, f"{least} to {_MAX_PERSON} characters on one line.")
    return value


def check_description(value: str, problems: Problems, path: str = "input.description") -> str:
    if len(value) > _MAX_DESCRIPTION or _UNSTORABLE.search(value):
        problems.add(path, f"At most {_MAX_DESCRIPTION} characters, without null characters.")
    return value


def check_line(value: str, problems: Problems, path: str, *, least: int, most: int) -> str:
    """A text on one line, without blanks around it."""
    value = value.strip()
    if not least <= len(value) <= most or _CONTROL.search(value):
        problems.add(path, f"{least} to {most} characters on one line.")
    return value


def check_text(value: str, problems: Problems, path: str, *, most: int) -> None:
    """A text of several lines, without other control characters."""
    if len(value) > most or _CONTROL.search(_LAYOUT.sub("", value)):
        problems.add(path, f"At most {most} characters, without control characters.")


def check_email(value: str, problems: Problems, path: str = "input.email") -> str:
    """An e-mail address, as it is kept: in lower case."""
    email = normal_email(value)
    if len(email) > _MAX_EMAIL or not EMAIL.fullmatch(email):
        problems.add(path, "An e-mail address looks like name@example.org.")
    return email


def normal_email(value: str) -> str:
    return value.strip().lower()


def check_number(
    value: int | UnsetType | None, problems: Problems, path: str, *, least: int, most: int
) -> None:
    """A number within bounds; none at all is always right."""
    if isinstance(value, int) and not least <= value <= most:
        problems.add(path, f"Between {least} and {most}.")


class Titled(Protocol):
    """A name and a description, as they are asked for; None: as it is."""

    @property
    def name(self) -> str | None: ...
    @property
    def description(self) -> str | None: ...


def check_title(given: Titled, problems: Problems) -> None:
    if given.name is not None:
        check_name(given.name, problems)
    if given.description is not None:
        check_description(given.description, problems)


class IdleRule(Protocol):
    """When sessions end of themselves, as it is asked for; None: as it is."""

    @property
    def idle_timeout_seconds(self) -> int | None: ...
    @property
    def idle_cpu_percent(self) -> int | None: ...
    @property
    def idle_accelerator_percent(self) -> int | None: ...
    @property
    def max_lifetime_seconds(self) -> int | None: ...


def check_idle(rule: IdleRule, problems: Problems) -> None:
    if rule.idle_timeout_seconds != 0:
        timeout = rule.idle_timeout_seconds
        check_number(timeout, problems, "input.idleTimeoutSeconds", least=SHORTEST_IDLE, most=LONGEST_IDLE)
    check_number(rule.idle_cpu_percent, problems, "input.idleCpuPercent", least=0, most=100)
    check_number(rule.idle_accelerator_percent, problems, "input.idleAcceleratorPercent", least=0, most=100)
    if rule.max_lifetime_seconds != 0:
        lifetime = rule.max_lifetime_seconds
        check_number(lifetime, problems, "input.maxLifetimeSeconds", least=SHORTEST_IDLE, most=LONGEST_IDLE)


def check_sessions(value: int | UnsetType | None, problems: Problems) -> None:
    """How many sessions at once; None: unlimited."""
    check_number(value, problems, "input.maxConcurrentSessions", least=0, most=_MOST_SESSIONS)


def check_kernels(value: int | UnsetType | None, problems: Problems) -> None:
    """How many containers a session may have."""
    check_number(value, problems, "input.maxKernelsPerSession", least=1, most=_MOST_KERNELS)


def check_storage_hosts(value: Sequence[str] | UnsetType | None, problems: Problems) -> None:
    """Names of storage hosts, each once. None: no list at all."""
    if value is None or value is UNSET:
        return
    path = "input.allowedStorageHosts"
    if len(value) > _MOST_HOSTS or len(set(value)) < len(value):
        problems.add(path, f"At most {_MOST_HOSTS} storage hosts, each once.")
    for position, name in enumerate(value[:_MOST_HOSTS]):
        check_name(name, problems, f"{path}.{position}")


def check_idempotency_key(value: str | None, problems: Problems) -> None:
    if value is not None and (not 1 <= len(value) <= 128 or _CONTROL.search(value)):
        problems.add("input.idempotencyKey", "A key has 1 to 128 characters.")


def check_json(value: Mapping[str, Any], problems: Problems, path: str) -> None:
    """A document that a plug-in will judge: small, and something that a database can keep."""
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        problems.add(path, "A JSON object.")
        return
    if len(text) > _MAX_JSON or b"\\u0000" in text:
        problems.add(path, f"At most {_MAX_JSON} bytes, without null characters.")


def searchable(text: str) -> str:
    """A search text without what no row can contain."""
    return _UNSTORABLE.sub("\ufffd", text)
