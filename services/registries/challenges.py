"""`WWW-Authenticate`, as registries send it (RFC 9110 §11.6.1): schemes with parameters, several in one header."""

import re
from dataclasses import dataclass, field
from typing import Final

_WORD: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SCHEME: Final = re.compile(rf"\s*,*\s*({_WORD})(?=\s|,|$)(?!\s*=)")
_PARAMETER: Final = re.compile(rf'\s*,?\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_LONGEST: Final = 4096


@dataclass(frozen=True)
class Challenge:
    """`scheme` and the parameters' names are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict[str, str])


def parse(header: str) -> list[Challenge]:
    """All challenges of a header; what is malformed ends the list."""
    header = header[:_LONGEST]
    found: list[Challenge] = []
    position = 0
    while (scheme := _SCHEME.match(header, position)) is not None:
        position = scheme.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(header, position)) is not None:
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            position = parameter.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found
