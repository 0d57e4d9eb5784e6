"""Time-based one-time passwords (RFC 6238: SHA-1, six digits, 30 seconds), as every authenticator app makes them."""

import base64
import hmac
import io
import secrets
import struct
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

import segno

DIGITS: Final = 6
#: Seconds.
STEP: Final = 30
#: Steps before and after the present one whose codes are taken: clocks differ, and people type slowly.
TOLERANCE: Final = 1
_SECRET_BYTES: Final = 20


def new_secret() -> str:
    """In base32, as apps take it by hand."""
    return base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def url(secret: str, account: str, issuer: str) -> str:
    """What a QR code for an app has (Key URI format)."""
    label = quote(f"{issuer}:{account}")
    details = urlencode({"secret": secret, "issuer": issuer, "digits": DIGITS, "period": STEP})
    return f"otpauth://totp/{label}?{details}"


def qr_code(text: str) -> str:
    """A QR code as an SVG document, dark on white with the quiet zone of four modules that the standard wants, in whatever
    size it is shown (ISO/IEC 18004; error correction M, a seventh of it may be lost)."""
    drawn = io.BytesIO()
    made = segno.make(text, error="m", boost_error=False, micro=False)
    made.save(drawn, kind="svg", xmldecl=False, omitsize=True, border=4, dark="#000", light="#fff")
    return drawn.getvalue().decode().strip()


def step_at(moment: datetime) -> int:
    return int(moment.timestamp()) // STEP


def code(secret: str, step: int) -> str:
    """The code of one step (RFC 4226 §5.3)."""
    mac = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), "sha1")
    start = mac[-1] & 0xF
    number = struct.unpack(">I", mac[start : start + 4])[0] & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def find_step(secret: str, given: str, now: datetime, *, after: int) -> int | None:
    """The step whose code it is, None when it is none's. A step up to `after` was used: its code is taken no more."""
    present = step_at(now)
    found = None
    for step in range(present - TOLERANCE, present + TOLERANCE + 1):
        # All are compared, so that the time tells nothing.
        if hmac.compare_digest(code(secret, step).encode(), given.encode(errors="replace")) and step > after:
            found = step
    return found
