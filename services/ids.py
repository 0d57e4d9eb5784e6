"""Public ids: `ses_` and 26 characters, the Crockford base32 form of a UUIDv7 (RFC 9562 §5.7).

Sortable by age, short enough to read out, typed by their prefix. The same id is the primary key, the GraphQL id, what
goes over the wire and what labels a container.
"""

import secrets
import time
from datetime import datetime
from typing import Final

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH: Final = 26

#: Version 7, variant 0b10; and the bits that are random.
_VERSION: Final = 0x7 << 76 | 0b10 << 62
_RANDOM: Final = ~(0xF << 76 | 0b11 << 62) & (1 << 80) - 1
#: Two characters at a time, each 10 bits.
_PAIRS: Final = [first + second for first in ALPHABET for second in ALPHABET]
_SHIFTS: Final = tuple(range(120, -1, -10))

#: Prefix → what it names, in the words of an error message.
KINDS: Final = {
    "dom": "domain",
    "grp": "group",
    "usr": "user",
    "lgn": "login",
    "key": "keypair",
    "pol": "resource policy",
    "rgp": "resource group",
    "pre": "resource preset",
    "agt": "agent",
    "img": "image",
    "reg": "registry",
    "tsk": "task",
    "ses": "session",
    "knl": "kernel",
    "eml": "mail",
    "inv": "invitation",
    "idp": "identity provider",
    "idn": "identity",
    "evt": "audit event",
    "ann": "announcement",
}


def new(prefix: str, at: datetime | None = None) -> str:
    """Make an id; `prefix` is one of `KINDS`, and `at` the moment that it is sorted by, by default now."""
    milliseconds = time.time_ns() // 1_000_000 if at is None else int(at.timestamp() * 1000)
    random = int.from_bytes(secrets.token_bytes(10)) & _RANDOM
    return f"{prefix}_{_encode(milliseconds << 80 | _VERSION | random)}"


def following(first: str, count: int) -> list[str]:
    """So many ids from this one on, each one more than the one before (RFC 9562 §6.2, method 2): what is made together is
    found again by the first."""
    prefix, _, body = first.partition("_")
    value = 0
    for character in body:
        value = value << 5 | ALPHABET.index(character)
    return [f"{prefix}_{_encode(value + number)}" for number in range(count)]


def floor(prefix: str, at: datetime) -> str:
    """The least that an id of this moment can be: what is older sorts before it."""
    return f"{prefix}_{_encode(max(0, int(at.timestamp() * 1000)) << 80)}"


def kind(text: str) -> str | None:
    """The prefix of a well-formed id, else None."""
    prefix, _, body = text.partition("_")
    well_formed = (
        prefix in KINDS and len(body) == LENGTH and body[0] in "01234567" and set(body) <= set(ALPHABET)
    )
    return prefix if well_formed else None


def _encode(value: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])
