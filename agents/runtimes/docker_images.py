"""Images of an engine: what it has of ours, brought and removed."""

from collections.abc import Sequence
from typing import Any, Final

from agents.protocol import ImageInfo
from agents.runtimes.contract import PullProgressSink, RuntimeFailure
from agents.runtimes.engine import Engine, absent_is_done

#: An image with one of these labels is one to start sessions from.
_FAMILIES: Final = ("berth.image.version", "ai.backend.kernelspec")
_ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


class Images:
    """All images on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._architectures: dict[str, str] = {}

    async def all(self) -> Sequence[ImageInfo]:
        """Those that sessions may start from."""
        engine = self._engine
        listed: list[Any] = await engine.call(
            engine.docker.images.list(), "ENGINE_UNREACHABLE", "Listing images"
        )
        found: list[ImageInfo] = []
        for image in listed:
            labels = image.get("Labels") or {}
            if not any(family in labels for family in _FAMILIES):
                continue
            architecture = await self._architecture(image["Id"])
            found += [
                ImageInfo(reference, image["Id"], architecture, int(image["Size"]), labels)
                for reference in image.get("RepoTags") or ()
                if reference != "<none>:<none>"
            ]
        return found

    async def pull(self, image: str, progress: PullProgressSink, username: str, password: str) -> None:
        """Bring an image from its registry."""
        engine = self._engine
        auth = {"username": username, "password": password} if username else None
        layers: dict[str, tuple[int, int]] = {}

        async def follow() -> None:
            name = _with_host(image) if auth else image
            async for step in engine.docker.images.pull(name, auth=auth, stream=True):
                if "error" in step:
                    raise RuntimeFailure("PULL_FAILED", f"Pulling {image}: {step['error']}")
                detail = step.get("progressDetail") or {}
                if step.get("status") == "Downloading" and detail.get("total"):
                    layers[step["id"]] = (int(detail["current"]), int(detail["total"]))
                elif (
                    step.get("status") in ("Download complete", "Pull complete") and step.get("id") in layers
                ):
                    total = layers[step["id"]][1]
                    layers[step["id"]] = (total, total)
                if layers:
                    progress(
                        sum(now for now, _ in layers.values()), sum(total for _, total in layers.values())
                    )

        await engine.call(follow(), "PULL_FAILED", f"Pulling {image}", deadline=24 * 3600)

    async def remove(self, image: str) -> None:
        """Remove an image; one that is not there is no error."""
        engine = self._engine
        try:
            await engine.call(
                absent_is_done(engine.docker.images.delete(image)), "REMOVE_FAILED", f"Removing {image}"
            )
        finally:
            self._architectures.clear()

    async def _architecture(self, identity: str) -> str:
        if identity not in self._architectures:
            engine = self._engine
            found = await engine.call(
                engine.docker.images.inspect(identity), "ENGINE_UNREACHABLE", "Inspecting an image"
            )
            named = str(found.get("Architecture") or "")
            self._architectures[identity] = _ARCHITECTURES.get(named, named)
        return self._architectures[identity]


def _with_host(image: str) -> str:
    """With the registry's host in its name, which is where a password is sent to."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"
