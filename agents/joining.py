"""Turning a join token into this node's own credential: one request, once in a node's life."""

import platform
import ssl

import httpx

from agents.config import Credential
from agents.protocol import PROTOCOL
from agents.sockets import Manager

_SECONDS = 30.0


class JoinFailed(Exception):
    """The node could not join, with what to do about it."""


async def join(
    manager: Manager, token: str, *, name: str, runtime: str, resource_group: str = ""
) -> Credential:
    """Ask the manager. A token works once: after a lost answer, a new one is needed.

    Raises:
        JoinFailed: refused, or out of reach.
    """
    body = {
        "token": token,
        "name": name,
        "architecture": architecture(),
        "runtime": runtime,
        "protocol": PROTOCOL,
    }
    if resource_group:
        body["resourceGroup"] = resource_group
    verify: ssl.SSLContext | bool = manager.tls or True
    try:
        async with httpx.AsyncClient(verify=verify, timeout=_SECONDS) as client:
            response = await client.post(f"{manager.url}/agents/join", json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise JoinFailed(f"{manager.url} is out of reach: {error or type(error).__name__}") from error
    if response.is_success:
        try:
            answer = response.json()
            return Credential(str(answer["agentId"]), str(answer["credential"]), manager.url)
        except (ValueError, KeyError, TypeError):
            raise JoinFailed(
                f"{manager.url} answered with something else: is a Berth manager there?"
            ) from None
    raise JoinFailed(_reason(manager, response))


def architecture() -> str:
    """As images name it: x86_64, aarch64, …"""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


def _reason(manager: Manager, response: httpx.Response) -> str:
    try:
        answer = response.json()
        error = answer.get("error", answer)
        message = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        message = None
    if isinstance(message, str) and message:
        return f"the manager refused: {message}"
    return f"{manager.url} answered with HTTP status {response.status_code}: is a Berth manager there?"
