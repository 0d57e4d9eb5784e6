"""Passwords: what they must be, and how they are kept (argon2id, OWASP's parameters)."""

import asyncio
import os
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHash

from services.errors import Problems, Unavailable

MIN_LENGTH: Final = 8
#: Bytes; more would only cost time.
MAX_BYTES: Final = 1024

#: OWASP Password Storage Cheat Sheet: m=19 MiB, t=2, p=1.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
#: For what we drew ourselves: 96 bits are not guessed, however fast one may guess.
_LIGHT: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)
#: A hash of nothing anybody knows, checked where there is none: an unknown user takes as long as a known one.
_DUMMY: Final = _HASHER.hash(os.urandom(32))
_THREADS: Final = max(1, min(4, os.cpu_count() or 1))
#: Hashes under way or waiting; beyond it, logins are put off rather than piled up.
_MOST_WAITING: Final = 200
_POOL: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
#: For what nobody waits for.
_BULK: Final = ThreadPoolExecutor(1, thread_name_prefix="argon2-bulk")

T = TypeVar("T")


class _Load:
    waiting = 0


def broken_rules(password: str) -> list[str]:
    """Each rule that the password breaks, as a sentence; none: it will do."""
    try:
        size = len(_normal(password).encode())
    except UnicodeEncodeError:
        return ["A password consists of characters."]
    found: list[str] = []
    if len(password) < MIN_LENGTH:
        found.append(f"A password has at least {MIN_LENGTH} characters.")
    if size > MAX_BYTES:
        found.append(f"A password has at most {MAX_BYTES} bytes.")
    if not any(character.isalpha() for character in password):
        found.append("A password has at least one letter.")
    if not any(character.isdigit() for character in password):
        found.append("A password has at least one digit.")
    if not any(_special(character) for character in password):
        found.append("A password has at least one special character, such as ! or -.")
    return found


def check(password: str, problems: Problems, path: str) -> None:
    """Report every rule that a new password breaks."""
    for rule in broken_rules(password):
        problems.add(path, rule)


async def hash_password(password: str) -> str:
    """The PHC string to keep. About 40 ms of one core, in the pool.

    Raises:
        Unavailable: too many are waiting.
    """
    return await _in_pool(lambda: _HASHER.hash(_normal(password)))


def keep_drawn(password: str) -> str:
    """The PHC string of a password of 96 random bits or more, in a fraction of a millisecond. It is `outdated`, so the first
    login hashes it as any other; until then checking it takes as long as checking any."""
    return _LIGHT.hash(_normal(password))


async def hash_many(given: Sequence[str], told: Callable[[int], None]) -> list[str]:
    """The PHC strings of many passwords, by one thread beside those of logins, which do not wait for it.

    Args:
        told: is given how many are done, after each.
    """
    loop, hashes = asyncio.get_running_loop(), list[str]()
    for password in given:
        hashes.append(await loop.run_in_executor(_BULK, _HASHER.hash, _normal(password)))
        told(len(hashes))
    return hashes


async def verify(password: str, kept: str | None) -> bool:
    """Is it the password? With nothing kept it takes just as long, and is not.

    Raises:
        Unavailable: too many are waiting.
    """
    return await _in_pool(lambda: _verify(password, kept))


def outdated(kept: str) -> bool:
    """Was it hashed with other parameters than today's?"""
    return _HASHER.check_needs_rehash(kept)


def _verify(password: str, kept: str | None) -> bool:
    try:
        given = _normal(password).encode()
    except UnicodeEncodeError:
        given = b""
    # What is too long cannot be right, but takes the time all the same.
    possible = len(given) <= MAX_BYTES
    matches = _matches(kept or _DUMMY, given[:MAX_BYTES])
    if kept is not None and f"$m={_LIGHT.memory_cost}," in kept:
        # Who was never logged in does not answer faster.
        _matches(_DUMMY, given[:MAX_BYTES])
    return matches and possible and kept is not None


def _matches(kept: str, given: bytes) -> bool:
    try:
        return _HASHER.verify(kept, given)
    except (Argon2Error, InvalidHash):
        return False


def _normal(password: str) -> str:
    """One form of each character, whatever keyboard it was typed on (NIST SP 800-63B §5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _special(character: str) -> bool:
    return not character.isalnum() and not character.isspace() and character.isprintable()


async def _in_pool(work: Callable[[], T]) -> T:
    if _Load.waiting >= _MOST_WAITING:
        raise Unavailable("Too many people are logging in just now. Try again.", part="login", retry_after=2)
    _Load.waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_POOL, work)
    finally:
        _Load.waiting -= 1
