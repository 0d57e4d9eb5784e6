"""SSH public keys of users: what lets them into their sessions.

A private key that is generated here is in the answer once and kept nowhere. A public key is taken only if it is exactly
one key in the form of OpenSSH (`TYPE BASE64 [COMMENT]`, RFC 4253 §6.6): what precedes a type in an authorized_keys file are
options, and what follows a line break is another line of it, which may be options again.
"""

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import permissions, trail
from services.core import Core
from services.db.tables import User
from services.errors import BadInput, NotFound, Problems, RateLimited
from services.permissions import Actor

MOST: Final = 20
#: Characters; an RSA key of 16,384 bits has about 2,800.
_LONGEST: Final = 4096
_LONGEST_COMMENT: Final = 128
_LEAST_RSA_BITS: Final = 2048
_MOST_RSA_BITS: Final = 16384
#: Of those generated here: NIST SP 800-57 gives RSA of 3072 bits the strength of Ed25519.
_RSA_BITS: Final = 3072
#: Making an RSA key takes a good part of a second.
_GENERATED, _WITHIN = 10, 60.0
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: Type → its bits, 0: they are in the key.
TYPES: Final = {
    "ssh-ed25519": 256,
    "ssh-rsa": 0,
    "ecdsa-sha2-nistp256": 256,
    "ecdsa-sha2-nistp384": 384,
    "ecdsa-sha2-nistp521": 521,
    "sk-ssh-ed25519@openssh.com": 256,
    "sk-ecdsa-sha2-nistp256@openssh.com": 256,
}
ALGORITHMS: Final = ("ED25519", "RSA")


@dataclass(frozen=True)
class PublicKey:
    """One public key; `text` is its line of an authorized_keys file."""

    type: str
    bits: int
    #: As `ssh-keygen -l` shows it.
    fingerprint: str
    comment: str
    text: str


@dataclass(frozen=True)
class NewKey:
    public: PublicKey
    #: In OpenSSH's form, for this once.
    private: str = field(repr=False)


def parse(text: str) -> PublicKey:
    """One public key as OpenSSH writes it.

    Raises:
        ValueError: it is none. The message says what would be right.
    """
    text = text.strip()
    if len(text) > _LONGEST or _CONTROL.search(text):
        raise ValueError(f"One key on one line, of at most {_LONGEST} characters.")
    kind, _, rest = text.partition(" ")
    encoded, _, comment = rest.strip().partition(" ")
    comment = comment.strip()
    if kind not in TYPES:
        raise ValueError(f"A public key begins with its type, without options: {', '.join(TYPES)}.")
    if len(comment) > _LONGEST_COMMENT:
        raise ValueError(f"A comment has at most {_LONGEST_COMMENT} characters.")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if not blob or base64.b64encode(blob).decode() != encoded:
        raise ValueError("After the type comes the key in base64, without blanks; copy the whole line.")
    bits = _check(kind, encoded, blob)
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    line = f"{kind} {encoded} {comment}".rstrip()
    return PublicKey(kind, bits, f"SHA256:{fingerprint}", comment, line)


async def replace(core: Core, actor: Actor, texts: Sequence[str]) -> list[PublicKey]:
    """Let the actor into sessions by these public keys, and no others, from the next start on.

    Raises:
        BadInput: one is not a public key, or there are too many.
    """
    permissions.require_role(actor, "setSshPublicKeys")
    if len(texts) > MOST:
        raise BadInput(f"At most {MOST} keys.", path="input.publicKeys")
    problems, keys = Problems(), dict[str, PublicKey]()
    for position, text in enumerate(texts):
        try:
            key = parse(text)
        except ValueError as error:
            problems.add(f"input.publicKeys.{position}", str(error))
        else:
            keys.setdefault(key.fingerprint, key)
    problems.check()
    async with core.db.write() as db:
        before = await _keys(db, actor.user_id, locked=True)
        await _keep(db, actor, before, list(keys.values()))
    return list(keys.values())


async def generate(core: Core, actor: Actor, algorithm: str, *, add: bool = False) -> NewKey:
    """Make a key pair; its public key replaces those that the actor has, or is one more of them.

    Raises:
        BadInput: there are as many as there may be.
        RateLimited.
    """
    permissions.require_role(actor, "generateSshKeypair")
    wait = await core.rates.take(f"ssh:{actor.user_id}", _GENERATED, _WITHIN)
    if wait is not None:
        raise RateLimited("Too many keys were made just now. Wait, then try again.", retry_after=wait)
    made = await asyncio.to_thread(_make, algorithm)
    new = NewKey(parse(made[1]), made[0])
    async with core.db.write() as db:
        before = await _keys(db, actor.user_id, locked=True)
        kept = before if add else []
        if len(kept) >= MOST:
            raise BadInput(f"You have {MOST} keys already. Take one away first.", path="input.add")
        await _keep(db, actor, before, [*kept, new.public])
    return new


async def authorized_keys(db: AsyncSession, user_ids: Sequence[str]) -> dict[str, list[str]]:
    """User → the lines of an authorized_keys file that lets this user in; several in one statement."""
    rows = await db.execute(select(User.id, User.ssh_public_keys).where(User.id.in_(set(user_ids))))
    return dict(rows.all())


def read(lines: Sequence[str]) -> list[PublicKey]:
    """What the database has of a user's keys; it has only what `parse` has taken."""
    return [parse(line) for line in lines]


async def _keys(db: AsyncSession, user_id: str, *, locked: bool) -> list[PublicKey]:
    query = select(User.ssh_public_keys).where(User.id == user_id)
    return read((await db.scalar(query.with_for_update() if locked else query)) or [])


async def _keep(
    db: AsyncSession, actor: Actor, before: Sequence[PublicKey], keys: Sequence[PublicKey]
) -> None:
    was, now = ([key.fingerprint for key in some] for some in (before, keys))
    if was != now:
        trail.note(actor.user_id, "ssh_public_keys", was, now)
    found = await db.scalar(
        update(User)
        .where(User.id == actor.user_id, User.active)
        .values(ssh_public_keys=[key.text for key in keys])
        .returning(User.id)
    )
    if found is None:
        raise NotFound("Your account is not active any more.")


def _make(algorithm: str) -> tuple[str, str]:
    """(private key, public key)."""
    key: Ed25519PrivateKey | RSAPrivateKey
    if algorithm == "RSA":
        key = generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    else:
        key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _check(kind: str, encoded: str, blob: bytes) -> int:
    """The bits of a key whose bytes are exactly one of its type."""
    name, *parts = _fields(blob)
    if name != kind.encode():
        raise ValueError(f"It says {kind} and is something else; copy the whole line.")
    hardware = kind.startswith("sk-")
    count = {"ssh-ed25519": 1, "ssh-rsa": 2}.get(kind, 2) + (kind == "sk-ecdsa-sha2-nistp256@openssh.com")
    if len(parts) != count or (hardware and not parts[-1].startswith(b"ssh:")):
        raise ValueError("It is not a whole key of its type; copy the whole line.")
    if kind == "sk-ssh-ed25519@openssh.com":
        return _check("ssh-ed25519", *_plain(b"ssh-ed25519", parts[0]))
    if hardware:
        return _check("ecdsa-sha2-nistp256", *_plain(b"ecdsa-sha2-nistp256", *parts[:-1]))
    try:
        load_ssh_public_key(f"{kind} {encoded}".encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("It is no key of its type; copy the whole line.") from error
    if kind != "ssh-rsa":
        return TYPES[kind]
    bits = int.from_bytes(parts[1], "big").bit_length()
    if not _LEAST_RSA_BITS <= bits <= _MOST_RSA_BITS:
        raise ValueError(f"An RSA key has {_LEAST_RSA_BITS} to {_MOST_RSA_BITS} bits; this one has {bits}.")
    return bits


def _plain(*parts: bytes) -> tuple[str, bytes]:
    """A key of these parts, in base64 and as bytes."""
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return base64.b64encode(blob).decode(), blob


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed strings that a key consists of (RFC 4251 §5); nothing may be left over."""
    parts: list[bytes] = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end or len(parts) == 8:
            raise ValueError("It is not a whole key; copy the whole line.")
        parts.append(blob[4:end])
        blob = blob[end:]
    return parts
