"""What a provider is asked over HTTP: its metadata, its keys, tokens for a code, and claims about the user.

Nothing it says is believed before it is checked: addresses are its own over TLS, ID tokens are signed by its keys with an
asymmetric algorithm, for us, in answer to this very request (OpenID Connect Core §3.1.3.7).
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx
import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.db.tables import IdentityProvider
from services.errors import Unavailable
from services.identity_providers import usable_url

log = logging.getLogger(__name__)

#: No symmetric ones, for their key would be our client secret, and of course not none.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_TIMEOUT: Final = 10.0
_LARGEST: Final = 1024 * 1024
#: Seconds that clocks may differ.
_LEEWAY: Final = 60


class Refused(Exception):
    """The provider did not say what would open a login; the message is for the log and for who operates it."""


@dataclass(frozen=True)
class Metadata:
    """Of OpenID Connect Discovery."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    #: Only by the form (`client_secret_post`)?
    secret_in_form: bool
    #: Answers name their issuer (RFC 9207).
    names_issuer: bool


@dataclass
class Provider:
    """One provider during one login."""

    row: IdentityProvider
    secret: str | None = field(repr=False)
    redirect_uri: str
    client: httpx.AsyncClient

    async def metadata(self) -> Metadata:
        """Read anew for each login: a provider that moved or changed its keys is never asked by old addresses."""
        found = await self._get(f"{self.row.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.row.issuer:
            raise Refused(f"it calls itself {found.get('issuer')!r}, not {self.row.issuer!r}")
        addresses = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        userinfo = found.get("userinfo_endpoint")
        if not all(
            isinstance(one, str) and usable_url(one) for one in [*addresses, userinfo or addresses[0]]
        ):
            raise Refused("its metadata lacks an address, or has one without TLS")
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Metadata(
            authorization_endpoint=str(addresses[0]),
            token_endpoint=str(addresses[1]),
            jwks_uri=str(addresses[2]),
            userinfo_endpoint=userinfo,
            secret_in_form="client_secret_basic" not in methods,
            names_issuer=found.get("authorization_response_iss_parameter_supported") is True,
        )

    async def exchange(self, metadata: Metadata, code: str, verifier: str) -> dict[str, Any]:
        """Tokens for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        login = None
        if self.secret is None or metadata.secret_in_form:
            form["client_id"] = self.row.client_id
            if self.secret is not None:
                form["client_secret"] = self.secret
        else:
            login = httpx.BasicAuth(_quoted(self.row.client_id), _quoted(self.secret))
        request = self.client.build_request("POST", metadata.token_endpoint, data=form)
        return await self._ask(request, login)

    async def claims(self, metadata: Metadata, id_token: str, nonce: str, now: datetime) -> dict[str, Any]:
        """What a valid ID token says."""
        keys = await self._get(metadata.jwks_uri)
        try:
            token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=list(ALGORITHMS))  # pyright: ignore[reportArgumentType]
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": self.row.issuer},
                    "aud": {"essential": True, "value": self.row.client_id},
                },
                params={"nonce": nonce, "client_id": self.row.client_id},
            )
            claims.validate(now=int(now.timestamp()), leeway=_LEEWAY)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Refused(f"its ID token is not valid: {error}") from error
        except Exception as error:
            # authlib's own errors have no common public base that is kept from release to release.
            raise Refused(f"its ID token is not valid: {type(error).__name__}: {error}") from error
        if nonce != token.claims.get("nonce"):
            raise Refused("its ID token answers another request")
        return token.claims

    async def userinfo(self, metadata: Metadata, access_token: str) -> dict[str, Any]:
        """What else it says of the user."""
        if metadata.userinfo_endpoint is None:
            return {}
        headers = {"authorization": f"Bearer {access_token}"}
        return await self._ask(self.client.build_request("GET", metadata.userinfo_endpoint, headers=headers))

    async def _get(self, url: str) -> dict[str, Any]:
        return await self._ask(self.client.build_request("GET", url))

    async def _ask(self, request: httpx.Request, login: httpx.Auth | None = None) -> dict[str, Any]:
        """A JSON object; redirects are not followed, and a long answer is not read."""
        request.headers["accept"] = "application/json"
        try:
            response = await self.client.send(request, auth=login, stream=True, follow_redirects=False)
            try:
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _LARGEST:
                        raise Refused(f"{request.url} answers without end")
            finally:
                await response.aclose()
        except (httpx.HTTPError, OSError) as error:
            raise self.away(f"{request.url.host}: {type(error).__name__}") from error
        if response.status_code >= 500:
            raise self.away(f"{request.url} answers {response.status_code}")
        try:
            content = msgspec.json.decode(bytes(body))
        except (msgspec.DecodeError, ValueError) as error:
            raise Refused(f"{request.url} answers {response.status_code} and no JSON") from error
        if response.status_code != 200 or not isinstance(content, dict):
            said = content.get("error") if isinstance(content, dict) else None
            raise Refused(f"{request.url} answers {response.status_code} {said!r}")
        return content

    def away(self, why: str) -> Unavailable:
        log.warning("the identity provider %s does not answer: %s", self.row.name, why)
        return Unavailable(
            f"The identity provider {self.row.title} does not answer just now. Try again, or log in another way.",
            part=self.row.name,
            retry_after=30,
        )


def open_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)


def _quoted(text: str) -> str:
    """RFC 6749 §2.3.1: id and secret are form-encoded before they are joined."""
    return str(httpx.QueryParams({"a": text}))[2:]
