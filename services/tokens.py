"""JSON Web Tokens: the manager's own access tokens, and the ones that scripts sign their requests with.

Both are HS256 and nothing else. `kid` is looked up in a table and never followed anywhere; a token that brings its own
key (`jwk`, `jku`, `x5u`, `x5c`) or wants extensions (`crit`) is refused. Each purpose has an audience of its own, so
that a token of one is worthless for the other. (RFC 8725; ASVS 5.0 §9.1, 9.2.)

A script makes a token for each request:

    token = jwt.encode(
        {
            "aud": "berth:request", "sub": access_key, "jti": secrets.token_hex(16),
            "iat": now, "exp": now + 60,
            "htm": "POST", "htu": "/graphql",
            "bh": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode(),
        },
        secret_key, algorithm="HS256", headers={"kid": access_key},
    )
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import jwt

from services.errors import Unauthenticated
from services.keys import Keys

ALGORITHM: Final = "HS256"
ACCESS_AUDIENCE: Final = "berth:access"
REQUEST_AUDIENCE: Final = "berth:request"
#: A signed request is good for at most so long.
REQUEST_LIFE: Final = timedelta(minutes=5)
#: Characters; ours have about 450.
_LONGEST: Final = 4096
#: Access tokens whose claims are remembered, and tokens whose key is.
_KEPT: Final = 2048
_FORBIDDEN_HEADERS: Final = ("jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "cty")
_JTI: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True)
class AccessClaims:
    user_id: str
    login_id: str
    epoch: int


@dataclass(frozen=True)
class RequestClaims:
    jti: str
    #: When it is surely void, our tolerance for clocks included.
    void_at: datetime


def issue_access(
    keys: Keys, claims: AccessClaims, now: datetime, life: timedelta, *, until: datetime | None = None
) -> tuple[str, datetime]:
    """Sign an access token for a login; it ends with the login at the latest (`until`). Returns it and its end."""
    expires_at = (now + life if until is None else min(now + life, until)).replace(microsecond=0)
    token = jwt.encode(
        {
            "aud": ACCESS_AUDIENCE,
            "sub": claims.user_id,
            "sid": claims.login_id,
            "epoch": claims.epoch,
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": secrets.token_urlsafe(12),
        },
        keys.signing[keys.current_signing],
        algorithm=ALGORITHM,
        headers={"kid": keys.current_signing},
    )
    return token, expires_at


def key_id(token: str) -> str:
    """The `kid` of a token whose header is one of ours; nothing is verified yet.

    Raises:
        Unauthenticated: it is no such token.
    """
    if len(token) > _LONGEST or not token.isascii():
        raise _refused()
    return _key_id(token)


@lru_cache(maxsize=_KEPT)
def _key_id(token: str) -> str:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise _refused() from error
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or not isinstance(kid, str) or not kid:
        raise _refused()
    if any(name in header for name in _FORBIDDEN_HEADERS):
        raise _refused()
    return kid


def read_access(keys: Keys, token: str, now: datetime) -> AccessClaims:
    """Verify one of our own access tokens.

    Raises:
        Unauthenticated: it is not ours, changed, of another purpose, or expired.
    """
    key = keys.signing.get(key_id(token))
    if key is None:
        raise _refused()
    claims = _access_claims(token, key)
    _check_times(claims, now, skew=timedelta(0))
    user_id, login_id, epoch = claims["sub"], claims["sid"], claims["epoch"]
    if not isinstance(login_id, str) or type(epoch) is not int:
        raise _refused()
    return AccessClaims(user_id, login_id, epoch)


@lru_cache(maxsize=_KEPT)
def _access_claims(token: str, key: bytes) -> Mapping[str, Any]:
    """What a token says with this key's signature is always the same: it comes with every request of its login."""
    return _verified(token, key, ACCESS_AUDIENCE, ("exp", "iat", "aud", "sub", "jti", "sid", "epoch"))


def read_request(
    token: str,
    secret: str,
    *,
    access_key: str,
    method: str,
    target: str,
    body: bytes,
    now: datetime,
    skew: timedelta,
) -> RequestClaims:
    """Verify the token of a signed request against what was really sent.

    Args:
        target: path, and query string where there is one, as the client sent them.

    Raises:
        Unauthenticated: it is not signed with this secret, or for another request, or not of now. What does not fit
            the request is named, for only who has the secret learns it.
    """
    claims = _verified(
        token, secret.encode(), REQUEST_AUDIENCE, ("exp", "iat", "aud", "jti", "htm", "htu", "bh")
    )
    expires = _check_times(claims, now, skew=skew)
    issued = datetime.fromtimestamp(claims["iat"], UTC)
    if expires - issued > REQUEST_LIFE:
        raise Unauthenticated("A signed request is good for at most 5 minutes: make `exp` earlier.")
    if claims.get("sub", access_key) != access_key:
        raise Unauthenticated("`sub` is the access key that signs, or is left out.")
    if not isinstance(claims["jti"], str) or not _JTI.fullmatch(claims["jti"]):
        raise Unauthenticated(
            "`jti` has 8 to 64 letters, digits, hyphens and underscores, new for each request."
        )
    if claims["htm"] != method.upper() or claims["htu"] != target:
        raise Unauthenticated("The request was signed for another method (`htm`) or path (`htu`).")
    if not isinstance(claims["bh"], str) or not hmac.compare_digest(claims["bh"].encode(), body_hash(body)):
        raise Unauthenticated("The request was signed for another body (`bh`).")
    return RequestClaims(claims["jti"], expires + skew)


def body_hash(body: bytes) -> bytes:
    """Base64url of the SHA-256, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=")


def _verified(token: str, key: bytes, audience: str, required: tuple[str, ...]) -> dict[str, Any]:
    """Signature, audience and presence of claims; moments are checked by our own clock, which tests can set."""
    options: Any = {
        "require": list(required),
        "strict_aud": True,
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
    }
    try:
        return jwt.decode(token, key, algorithms=[ALGORITHM], audience=audience, options=options)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise _refused() from error


def _check_times(claims: Mapping[str, Any], now: datetime, *, skew: timedelta) -> datetime:
    """Returns when it expires."""
    expires, issued = _moment(claims["exp"]), _moment(claims["iat"])
    if expires <= now - skew:
        raise Unauthenticated("The token has expired.")
    # Our own clock may be set back by a little between two managers.
    if issued > now + max(skew, timedelta(seconds=30)) or issued > expires:
        raise Unauthenticated("The token is from the future. Set the clock of the machine that signs.")
    if "nbf" in claims and _moment(claims["nbf"]) > now + skew:
        raise Unauthenticated("The token is not valid yet.")
    return expires


def _moment(value: Any) -> datetime:
    if type(value) is not int or not 0 <= value < 2**33:
        raise _refused()
    return datetime.fromtimestamp(value, UTC)


def _refused() -> Unauthenticated:
    return Unauthenticated("The token is not valid. Log in again, or sign the request anew.")
