"""What an admin may say about a plug-in: `NAME` or `NAME:KEY=VALUE,KEY=VALUE`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agents.accelerators.contract import BadOption

#: In place of names: no accelerators at all.
NONE: Final = "none"

_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Wanted:
    """A plug-in by name, with its options."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        """Raises `BadOption`."""
        name, _, rest = text.strip().partition(":")
        options: dict[str, str] = {}
        for pair in filter(None, rest.split(",")):
            key, separator, value = pair.partition("=")
            if not separator or not key.strip():
                raise BadOption(f"{text!r}: {pair!r} is not KEY=VALUE")
            options[key.strip()] = value.strip()
        if not name:
            raise BadOption(f"{text!r} names no plug-in: NAME or NAME:KEY=VALUE,KEY=VALUE")
        return cls(name, options)


def known(options: Mapping[str, str], allowed: Iterable[str]) -> None:
    """Raises `BadOption` for options that are not among those allowed."""
    allowed = tuple(allowed)
    for name in options:
        if name not in allowed:
            raise BadOption(f"there is no option {name!r}; there are: {', '.join(allowed)}")


def number(options: Mapping[str, str], name: str, default: int, *, least: int = 0, most: int) -> int:
    """A whole number. Raises `BadOption`."""
    text = options.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise BadOption(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def size(options: Mapping[str, str], name: str, default: str) -> int:
    """Bytes, with a unit of k, m, g or t (powers of 1024) where wanted. Raises `BadOption`."""
    text = options.get(name, default).lower()
    found = re.fullmatch(r"(\d{1,15})([kmgt]?)i?b?", text)
    if not found:
        raise BadOption(f"{name} must be a size such as 16g, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]


def one_of(options: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    """One of some words, the first where it is not given. Raises `BadOption`."""
    value = options.get(name, allowed[0])
    if value not in allowed:
        raise BadOption(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def switch(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    """`yes` or `no`. Raises `BadOption`."""
    return one_of(options, name, ("yes", "no") if default else ("no", "yes")) == "yes"
