"""An OpenID provider in a process of its own: discovery, the code flow with PKCE, keys, userinfo.

It keeps to the standards (OpenID Connect Core, RFC 6749, 7636, 9207) as far as a login needs, and breaks them in one place
where a test asks for it. Whoever comes is who the test says; nobody types a password here.
"""

import base64
import hashlib
import json
import secrets
import socket
import sys
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID, CLIENT_SECRET = "berth", "s3cret+of/berth"


class Provider:
    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
        self.other = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
        #: Who comes next, and what shall be wrong.
        self.claims: dict[str, Any] = {}
        self.fault = ""
        self.codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}

    async def next(self, request: Request) -> Response:
        asked = await request.json()
        self.claims, self.fault = asked["claims"], asked.get("fault", "")
        return Response(status_code=204)

    async def discovery(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": "https://other.example" if self.fault == "discovery" else self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        wrong = (
            asked.get("client_id") != CLIENT_ID
            or asked.get("response_type") != "code"
            or "openid" not in asked.get("scope", "").split()
            or asked.get("code_challenge_method") != "S256"
            or not asked.get("redirect_uri", "").endswith("/callback")
        )
        if wrong:
            return JSONResponse({"error": "invalid_request"}, 400)
        answer = {"state": asked["state"], "iss": self.issuer}
        if self.fault == "denied":
            answer["error"] = "access_denied"
        else:
            answer["code"] = secrets.token_urlsafe(24)
            self.codes[answer["code"]] = asked, self.claims
        if self.fault == "mix-up":
            answer["iss"] = "https://other.example"
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)

    async def token(self, request: Request) -> Response:
        if self.fault == "down":
            return Response("no", 503)
        form = dict(parse_qsl((await request.body()).decode()))
        asked, claims = self.codes.pop(str(form.get("code")), (None, {}))
        verifier = str(form.get("code_verifier", "")).encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=").decode()
        expected = base64.b64encode(b"berth:s3cret%2Bof%2Fberth").decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return JSONResponse({"error": "invalid_client"}, 401)
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge != asked["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        access_token = secrets.token_urlsafe(24)
        self.tokens[access_token] = claims
        content = {"access_token": access_token, "token_type": "Bearer", "expires_in": 60}
        return JSONResponse({**content, "id_token": self._id_token(claims, asked["nonce"])})

    async def userinfo(self, request: Request) -> Response:
        claims = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if claims is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        return JSONResponse({**claims, "sub": "somebody else"} if self.fault == "userinfo" else claims)

    def _id_token(self, about: dict[str, Any], nonce: str) -> str:
        now = int(time.time())
        said = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": nonce}
        claims = {**about, **said}
        if self.fault in ("userinfo", "by userinfo"):
            claims = {"sub": about["sub"], **said}
        match self.fault:
            case "issuer":
                claims["iss"] = "https://other.example"
            case "audience":
                claims["aud"] = "somebody-else"
            case "expired":
                claims |= {"iat": now - 7200, "exp": now - 3600}
            case "nonce":
                claims["nonce"] = "another"
            case "no nonce":
                del claims["nonce"]
            case "no subject":
                del claims["sub"]
            case "unsigned":
                head, body = ({"alg": "none"}, claims)
                parts = [
                    base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (head, body)
                ]
                return b".".join([*parts, b""]).decode()
            case "symmetric":
                return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET * 3))
            case _:
                pass
        key = self.other if self.fault == "signature" else self.key
        return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, key)


def main() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        issuer = f"http://127.0.0.1:{listening.getsockname()[1]}"
        provider = Provider(issuer)
        app = Starlette(
            routes=[
                Route("/next", provider.next, methods=["POST"]),
                Route("/.well-known/openid-configuration", provider.discovery),
                Route("/keys", provider.keys),
                Route("/authorize", provider.authorize),
                Route("/token", provider.token, methods=["POST"]),
                Route("/userinfo", provider.userinfo),
            ]
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        listening.listen()
        sys.stdout.write(f"{issuer}\n")
        sys.stdout.flush()
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
