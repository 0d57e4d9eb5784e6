"""The doors of logins by identity providers: a browser is sent away and comes back, so these are no GraphQL."""

import html
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from resolvers.cookies import refresh_cookie
from services import audits, oidc
from services.auth import SecondFactor
from services.core import Core
from services.errors import BerthError
from services.oidc.flow import LIFE
from services.trail import Entry

_STATUS: Final = {
    "BAD_USER_INPUT": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "RATE_LIMITED": 429,
    "UNAVAILABLE": 503,
}
#: Only to the callback, and also when a page of the provider leads there.
_PATH: Final = "/auth/oidc"


def routes(core: Core, *, secure: bool) -> list[BaseRoute]:
    """A login's two addresses; the console's buttons lead to the first."""

    async def begin(request: Request) -> Response:
        try:
            begun = await oidc.begin(
                core,
                request.path_params["name"],
                next_path=request.query_params.get("next", "/"),
                address=_address(request),
            )
        except BerthError as error:
            return _problem(error)
        answer = RedirectResponse(begun.url, 303)
        _keep(answer, begun.cookie, int(LIFE.total_seconds()), secure=secure)
        return _private(answer)

    async def finish(request: Request) -> Response:
        name, user_agent = request.path_params["name"], request.headers.get("user-agent", "")[:500]
        entry = Entry(
            at=core.now(),
            action="loginByProvider",
            address=_address(request),
            user_agent=user_agent,
            arguments=[("name", name[:64] if name.isprintable() else "")],
        )
        try:
            async with audits.recording(core, entry):
                done = await oidc.finish(
                    core,
                    name,
                    request.cookies.get(_cookie(secure=secure), ""),
                    dict(request.query_params),
                    address=_address(request),
                    user_agent=user_agent,
                )
        except BerthError as error:
            answer: Response = _problem(error)
        else:
            answer = _entered(core, done, secure=secure)
        _keep(answer, "", 0, secure=secure)
        return _private(answer)

    return [
        Route(f"{_PATH}/{{name}}", begin, methods=["GET"]),
        Route(f"{_PATH}/{{name}}/callback", finish, methods=["GET"]),
    ]


def _entered(core: Core, done: oidc.Finished, *, secure: bool) -> Response:
    if isinstance(done.login, SecondFactor):
        # After the #, so that no server and no log sees it.
        return RedirectResponse(f"/login?{urlencode({'next': done.next})}#{done.login.ticket}", 303)
    answer = RedirectResponse(done.next, 303)
    life = int((done.login.refresh_expires_at - core.now()).total_seconds())
    answer.headers.append("set-cookie", refresh_cookie(done.login.refresh_token, life, secure=secure))
    return answer


def _problem(error: BerthError) -> Response:
    """A page that says it; the console may not even be loaded."""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Berth</title>'
        f'<body><h1>You are not logged in</h1><p>{html.escape(error.message)}</p><p><a href="/login">Log in</a></p>'
    )
    headers = {}
    if (wait := error.extra.get("retry_after")) is not None:
        headers["retry-after"] = str(max(1, round(wait)))
    return HTMLResponse(page, _STATUS.get(error.code, 400), headers)


def _cookie(*, secure: bool) -> str:
    return "__Secure-berth-oidc" if secure else "berth-oidc"


def _keep(answer: Response, value: str, life: int, *, secure: bool) -> None:
    jar: SimpleCookie = SimpleCookie()
    name = _cookie(secure=secure)
    jar[name] = value
    # Lax: the way back is a link of another site.
    jar[name].update({"path": _PATH, "httponly": "yes", "samesite": "Lax", "max-age": str(life)})
    if secure:
        jar[name]["secure"] = "yes"
    answer.headers.append("set-cookie", jar[name].OutputString())


def _private(answer: Response) -> Response:
    answer.headers["cache-control"] = "no-store"
    return answer


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
