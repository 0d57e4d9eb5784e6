"""The Docker engine's API with a deadline on every call, and its failures in words for people.

A stopped engine accepts connections and never answers: without a deadline every caller would hang with it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path
from typing import Any, Final, TypeVar

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError

from agents.runtimes.contract import RuntimeFailure

T = TypeVar("T")

CALL_SECONDS: Final = 30.0

_HEADER: Final = 8
#: From here on an error's status is aiodocker's own: no connection.
_NO_ANSWER: Final = 900


def candidates() -> list[str]:
    """Where an engine may be, in the order in which they are tried: named, Docker, rootless Docker, Podman."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        return [named]
    run = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    sockets = (
        "/var/run/docker.sock",
        f"{run}/docker.sock",
        "/run/podman/podman.sock",
        f"{run}/podman/podman.sock",
    )
    return [f"unix://{path}" for path in sockets if Path(path).is_socket()]


class Engine:
    """One engine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.docker = aiodocker.Docker(url=url)

    async def close(self) -> None:
        await self.docker.close()

    async def call(self, work: Awaitable[T], code: str, what: str, deadline: float = CALL_SECONDS) -> T:
        """Do one call.

        Args:
            code: of the failure, where nothing more precise is known.
            what: what was tried, as the beginning of a sentence.

        Raises:
            RuntimeFailure
        """
        try:
            async with asyncio.timeout(deadline):
                return await work
        except TimeoutError as error:
            raise RuntimeFailure(
                "ENGINE_UNREACHABLE",
                f"{what}: the container engine did not answer within {deadline:g} seconds.",
            ) from error
        except DockerError as error:
            if error.status >= _NO_ANSWER:
                raise self._silent(what) from error
            raise _explain(error, code, what) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._silent(what) from error

    def _silent(self, what: str) -> RuntimeFailure:
        return RuntimeFailure(
            "ENGINE_UNREACHABLE", f"{what}: the container engine at {self.url} does not answer."
        )

    async def frames(self, container: str, *, follow: bool) -> AsyncGenerator[bytes]:
        """Output of a container's main process from its beginning, standard output and error as they came."""
        parameters = {"stdout": "1", "stderr": "1", "follow": "1" if follow else "0"}
        request: Any = self.docker._query(  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  # the public one loses bytes
            f"containers/{container}/logs",
            method="GET",
            params=parameters,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        async with request as response:
            buffer = bytearray()
            async for chunk in response.content.iter_any():
                buffer += chunk
                while len(buffer) >= _HEADER:
                    size = int.from_bytes(buffer[4:_HEADER], "big")
                    if len(buffer) < _HEADER + size:
                        break
                    yield bytes(buffer[_HEADER : _HEADER + size])
                    del buffer[: _HEADER + size]


async def absent_is_done(work: Awaitable[Any]) -> None:
    """What is not there, or not running any more, need not be ended."""
    try:
        await work
    except DockerError as error:
        if error.status not in (304, 404, 409):
            raise


def is_missing(error: DockerError) -> bool:
    return error.status == 404


def _explain(error: DockerError, code: str, what: str) -> RuntimeFailure:
    text = str(error.message)
    lowered = text.lower()
    if "no space left" in lowered or "disk quota exceeded" in lowered:
        return RuntimeFailure(
            "NO_SPACE",
            f"{what}: the node's disk is full. An administrator must free some space; then try again.",
        )
    if error.status == 404 and code in ("PULL_FAILED", "CREATE_FAILED"):
        return RuntimeFailure("IMAGE_NOT_FOUND", f"{what}: there is no such image ({text}).")
    if error.status in (401, 403) or "denied" in lowered:
        return RuntimeFailure(code, f"{what}: the registry refused access ({text}).")
    return RuntimeFailure(code, f"{what}: {text}")
