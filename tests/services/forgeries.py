"""Tokens that must not be believed: our own access tokens and signed requests, each spoilt in one way."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import jwt

from services import tokens
from services.keys import Keys

BODY = b'{"query":"{viewer{user{id}}}"}'
Claims = dict[str, Any]


def encode(header: Any, claims: Any, key: bytes, digestmod: str = "sha256") -> str:
    """A JWS made by hand, as no library would."""
    signed = b".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
    return (signed + b"." + _b64(hmac.digest(key, signed, digestmod))).decode()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Forger:
    """Makes good tokens of one purpose, and spoilt ones."""

    def __init__(self, kid: str, key: bytes, claims: Claims, other_key: bytes) -> None:
        self.kid, self.key, self.claims, self.other_key = kid, key, claims, other_key

    def good(self, **changes: Any) -> str:
        claims = {**self.claims, **changes}
        return jwt.encode(claims, self.key, algorithm="HS256", headers={"kid": self.kid})

    def without(self, name: str) -> str:
        claims = {key: value for key, value in self.claims.items() if key != name}
        return jwt.encode(claims, self.key, algorithm="HS256", headers={"kid": self.kid})

    def header(self, **changes: Any) -> str:
        header = {"alg": "HS256", "typ": "JWT", "kid": self.kid, **changes}
        header = {key: value for key, value in header.items() if value is not None}
        return encode(header, self.claims, self.key)

    def swapped(self, **changes: Any) -> str:
        """A good token whose claims were changed, with the signature it had."""
        header, _, signature = self.good().split(".")
        return ".".join([header, _b64(json.dumps({**self.claims, **changes}).encode()).decode(), signature])


def access_forger(keys: Keys, user_id: str, login_id: str, now: datetime) -> Forger:
    claims = {
        "aud": tokens.ACCESS_AUDIENCE,
        "sub": user_id,
        "sid": login_id,
        "epoch": 0,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 600,
        "jti": "0123456789abcdef",
    }
    return Forger(keys.current_signing, keys.signing[keys.current_signing], claims, b"o" * 32)


def request_forger(access_key: str, secret_key: str, now: datetime, body: bytes = BODY) -> Forger:
    claims = {
        "aud": tokens.REQUEST_AUDIENCE,
        "sub": access_key,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 60,
        "jti": "0123456789abcdef",
        "htm": "POST",
        "htu": "/graphql",
        "bh": _b64(hashlib.sha256(body).digest()).decode(),
    }
    return Forger(access_key, secret_key.encode(), claims, b"o" * 40)


Forgery = Callable[[Forger], str]

#: What is wrong with it → how it is made; for tokens of both purposes.
COMMON: dict[str, Forgery] = {
    "empty": lambda _: "",
    "not a token": lambda _: "abc",
    "three dots": lambda f: f.good() + ".",
    "two parts": lambda f: f.good().rsplit(".", 1)[0],
    "not base64": lambda f: "?" + f.good()[1:],
    "not ascii": lambda f: "é" + f.good(),
    "a null character": lambda f: f.good() + "\0",
    "too long": lambda f: f.good(more="x" * 10_000),
    "a header that is a list": lambda f: encode([1], f.claims, f.key),
    "claims that are a list": lambda f: encode({"alg": "HS256", "kid": f.kid}, [1], f.key),
    "a header nested without end": lambda f: _b64(b"[" * 2000).decode() + ".e30.e30",
    "no signature": lambda f: f.good().rsplit(".", 1)[0] + ".",
    "a cut signature": lambda f: f.good()[:-4],
    "another signature": lambda f: f.good()[:-8] + "AAAAAAAA",
    "alg none": lambda f: jwt.encode(f.claims, None, algorithm="none", headers={"kid": f.kid}),
    "alg None in capitals": lambda f: f.header(alg="NONE"),
    "alg HS384 with the right key": lambda f: encode(
        {"alg": "HS384", "kid": f.kid}, f.claims, f.key, "sha384"
    ),
    "alg HS512 with the right key": lambda f: encode(
        {"alg": "HS512", "kid": f.kid}, f.claims, f.key, "sha512"
    ),
    "alg RS256 over an HMAC": lambda f: f.header(alg="RS256"),
    "alg missing": lambda f: f.header(alg=None),
    "alg that is a list": lambda f: f.header(alg=["HS256"]),
    "kid missing": lambda f: f.header(kid=None),
    "kid empty": lambda f: f.header(kid=""),
    "kid that is a path": lambda f: f.header(kid="../../dev/null"),
    "kid that is a number": lambda f: f.header(kid=1),
    "kid that is SQL": lambda f: f.header(kid="' OR 1=1 --"),
    "kid of nobody": lambda f: f.header(kid="BK999999999999999999"),
    "a key of its own (jwk)": lambda f: f.header(jwk={"kty": "oct", "k": "AAAA"}),
    "a key to fetch (jku)": lambda f: f.header(jku="https://example.org/keys"),
    "a certificate to fetch (x5u)": lambda f: f.header(x5u="https://example.org/cert"),
    "a certificate (x5c)": lambda f: f.header(x5c=["AAAA"]),
    "extensions (crit)": lambda f: f.header(crit=["exp"]),
    "an unencoded payload (b64)": lambda f: f.header(b64=False),
    "compressed (zip)": lambda f: f.header(zip="DEF"),
    "another key": lambda f: jwt.encode(f.claims, f.other_key, algorithm="HS256", headers={"kid": f.kid}),
    "the kid as key": lambda f: encode({"alg": "HS256", "kid": f.kid}, f.claims, f.kid.encode()),
    "no key": lambda f: encode({"alg": "HS256", "kid": f.kid}, f.claims, b""),
    "exp missing": lambda f: f.without("exp"),
    "iat missing": lambda f: f.without("iat"),
    "aud missing": lambda f: f.without("aud"),
    "jti missing": lambda f: f.without("jti"),
    "expired": lambda f: f.good(iat=f.claims["iat"] - 120, exp=f.claims["iat"] - 60),
    "exp moved after signing": lambda f: f.swapped(exp=f.claims["exp"] + 60),
    "sub changed after signing": lambda f: f.swapped(sub="usr_01jd0000000000000000000000"),
    "exp that is a text": lambda f: f.good(exp=str(f.claims["exp"])),
    "exp that is infinite": lambda f: encode(
        {"alg": "HS256", "kid": f.kid}, {**f.claims, "exp": float("inf")}, f.key
    ),
    "exp that is not a number": lambda f: encode(
        {"alg": "HS256", "kid": f.kid}, {**f.claims, "exp": float("nan")}, f.key
    ),
    "exp of the year 10000": lambda f: f.good(exp=10**15),
    "exp that is true": lambda f: f.good(exp=True),
    "of the future": lambda f: f.good(iat=f.claims["iat"] + 3600, exp=f.claims["iat"] + 3660),
    "not valid yet": lambda f: f.good(nbf=f.claims["iat"] + 300),
    "exp before iat": lambda f: f.good(iat=f.claims["iat"] + 20, exp=f.claims["iat"] + 10),
    "several audiences": lambda f: f.good(aud=[f.claims["aud"], "other"]),
    "an audience of nobody": lambda f: f.good(aud="other"),
    "the audience's beginning": lambda f: f.good(aud=f.claims["aud"][:-1]),
}

ACCESS: dict[str, Forgery] = {
    **COMMON,
    "of the other purpose": lambda f: f.good(aud=tokens.REQUEST_AUDIENCE),
    "sub missing": lambda f: f.without("sub"),
    "sid missing": lambda f: f.without("sid"),
    "epoch missing": lambda f: f.without("epoch"),
    "epoch that is a text": lambda f: f.good(epoch="0"),
    "epoch that is true": lambda f: f.good(epoch=False),
    "sid that is a list": lambda f: f.good(sid=[f.claims["sid"]]),
    "an older epoch": lambda f: f.good(epoch=-1),
    "a later epoch": lambda f: f.good(epoch=1),
    "a login of nobody": lambda f: f.good(sid="lgn_01jd0000000000000000000000"),
    "somebody else's login": lambda f: f.good(sub="usr_01jd0000000000000000000000"),
}

REQUEST: dict[str, Forgery] = {
    **COMMON,
    "of the other purpose": lambda f: f.good(aud=tokens.ACCESS_AUDIENCE),
    "htm missing": lambda f: f.without("htm"),
    "htu missing": lambda f: f.without("htu"),
    "bh missing": lambda f: f.without("bh"),
    "for another method": lambda f: f.good(htm="GET"),
    "for another path": lambda f: f.good(htu="/other"),
    "for a query string that was not sent": lambda f: f.good(htu="/graphql?query={x}"),
    "for another body": lambda f: f.good(bh=_b64(hashlib.sha256(b"{}").digest()).decode()),
    "bh that is a list": lambda f: f.good(bh=[]),
    "in the name of another": lambda f: f.good(sub="BK999999999999999999"),
    "good for too long": lambda f: f.good(exp=f.claims["iat"] + int(timedelta(minutes=6).total_seconds())),
    "a jti that is short": lambda f: f.good(jti="1"),
    "a jti that is long": lambda f: f.good(jti="a" * 65),
    "a jti that is a number": lambda f: f.good(jti=12345678),
    "a jti with a null character": lambda f: f.good(jti="abcdefgh\0"),
}
