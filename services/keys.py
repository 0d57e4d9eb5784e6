"""The manager's secrets: what signs tokens and what encrypts secrets at rest."""

import hashlib
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


@dataclass(frozen=True)
class Keys:
    """Key material, from the secrets file. Several keys by id make rotation possible: `current` signs, all verify."""

    #: Key id → 32 bytes that sign access tokens (HS256).
    signing: dict[str, bytes]
    #: Key id → 32 bytes that encrypt at rest (AES-256-GCM).
    sealing: dict[str, bytes]
    current_signing: str
    current_sealing: str

    @classmethod
    def generate(cls) -> "Keys":
        return cls(
            signing={"s1": secrets.token_bytes(32)},
            sealing={"e1": secrets.token_bytes(32)},
            current_signing="s1",
            current_sealing="e1",
        )

    def seal(self, plain: str, bound_to: str) -> bytes:
        """Encrypt; the result opens only for the same `bound_to` (the row's id), so that rows cannot be swapped."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        box = AESGCM(self.sealing[self.current_sealing]).encrypt(nonce, plain.encode(), bound_to.encode())
        return b":".join([self.current_sealing.encode(), nonce + box])

    def unseal(self, sealed: bytes, bound_to: str) -> str:
        """Decrypt.

        Raises:
            ValueError: it was sealed with a key that is gone, for something else, or was changed.
        """
        key_id, _, body = sealed.partition(b":")
        key = self.sealing.get(key_id.decode(errors="replace"))
        if key is None:
            raise ValueError(f"sealed with the key {key_id!r}, which the secrets file no longer has")
        try:
            return AESGCM(key).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], bound_to.encode()).decode()
        except InvalidTag as error:
            raise ValueError("sealed for something else, or changed since") from error


def digest(token: str) -> bytes:
    """What is stored of a random token. Tokens have 256 bits, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode()).digest()
