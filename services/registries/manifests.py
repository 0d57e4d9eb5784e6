"""Manifests, indexes and configurations of images: Docker's image manifest 2.2 and OCI's image specification 1.1.

All of it is written by strangers: what is not as it should be is `BrokenManifest`, and never more.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from services.registries.faults import BrokenManifest

_DOCKER: Final = "application/vnd.docker.distribution.manifest"
_INDEXES: Final = (f"{_DOCKER}.list.v2+json", "application/vnd.oci.image.index.v1+json")
_MANIFESTS: Final = (f"{_DOCKER}.v2+json", "application/vnd.oci.image.manifest.v1+json")
_OLD: Final = (f"{_DOCKER}.v1+json", f"{_DOCKER}.v1+prettyjws")
_CONFIGS: Final = (
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
)
ACCEPTED: Final = (*_MANIFESTS, *_INDEXES)
#: Bytes of an image's configuration.
CONFIG_LIMIT: Final = 8 * 2**20
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_PLATFORMS: Final = 64
_MOST_LAYERS: Final = 1000
_MOST_LABELS: Final = 500
_LONGEST_LABELS: Final = 256 * 1024
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
#: As nodes name their own.
_ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: int = 0
    media_type: str = ""
    platform: dict[str, Any] | None = None


class _Index(msgspec.Struct):
    manifests: list[_Descriptor]


class _Manifest(msgspec.Struct, rename="camel"):
    config: _Descriptor
    layers: list[_Descriptor]


class _Typed(msgspec.Struct, rename="camel"):
    media_type: str = ""


class _Inner(msgspec.Struct, rename={"labels": "Labels"}):
    labels: dict[str, str] | None = None


class _Config(msgspec.Struct):
    architecture: str
    os: str = "linux"
    config: _Inner | None = None


@dataclass(frozen=True)
class Manifest:
    """`config`: its digest, by which engines know the image; `size`: bytes of its layers, as they are stored."""

    config: str
    size: int


@dataclass(frozen=True)
class Found:
    """An image in a registry."""

    architecture: str
    digest: str
    size: int
    labels: dict[str, str]


def is_index(body: bytes, kind: str) -> bool:
    """Does a document name images by platform, rather than being one? `kind`: its media type as it was sent."""
    return (kind if kind in (*_INDEXES, *_MANIFESTS) else _decoded(body, _Typed).media_type) in _INDEXES


def platforms(body: bytes) -> list[str]:
    """Digests of an index's images for Linux."""
    index = _decoded(body, _Index)
    if len(index.manifests) > _MOST_PLATFORMS:
        raise BrokenManifest(f"The index names more than {_MOST_PLATFORMS} images.")
    found: list[str] = []
    for one in index.manifests:
        platform = one.platform or {}
        # What is for no system is an attestation beside the images.
        if platform.get("os", "linux") == "linux" and platform.get("architecture") != "unknown":
            found.append(_digest(one.digest))
    return found


def read(body: bytes, kind: str) -> Manifest:
    """An image's manifest."""
    typed = kind if kind in (*_MANIFESTS, *_OLD) else _decoded(body, _Typed).media_type or kind
    if typed in _OLD:
        raise BrokenManifest("Its manifest is of version 1, which engines no longer read. Push it again.")
    if typed not in _MANIFESTS:
        raise BrokenManifest(f"This is no image: {typed[:100]!r}.")
    manifest = _decoded(body, _Manifest)
    if manifest.config.media_type not in _CONFIGS:
        raise BrokenManifest(f"This is no image: {manifest.config.media_type[:100]!r}.")
    size = sum(layer.size for layer in manifest.layers)
    if (
        len(manifest.layers) > _MOST_LAYERS
        or not 0 <= size < 2**62
        or any(one.size < 0 for one in manifest.layers)
    ):
        raise BrokenManifest("Its layers' sizes are nonsense.")
    return Manifest(_digest(manifest.config.digest), size)


def found(manifest: Manifest, config: bytes) -> Found:
    """The image, from its manifest and its configuration."""
    document = _decoded(config, _Config)
    if document.os != "linux":
        raise BrokenManifest(f"It is for {document.os[:50]!r}, not for Linux.")
    named: str = document.architecture
    architecture = _ARCHITECTURES.get(named, named)
    if not re.fullmatch(r"[a-z0-9_]{1,32}", architecture):
        raise BrokenManifest("Its architecture is nonsense.")
    labels = (document.config and document.config.labels) or {}
    length = sum(len(name) + len(value) for name, value in labels.items())
    if len(labels) > _MOST_LABELS or length > _LONGEST_LABELS:
        raise BrokenManifest("It has more labels than an image has.")
    if any(_UNSTORABLE.search(text) for item in labels.items() for text in item):
        raise BrokenManifest("Its labels have characters that no text has.")
    return Found(architecture, manifest.config, manifest.size, labels)


def check_digest(body: bytes, digest: str) -> None:
    """
    Raises:
        BrokenManifest: the content is not what its name says.
    """
    if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
        raise BrokenManifest(f"What {digest[:19]}… names is something else.")


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise BrokenManifest("It names its parts by something that is no SHA-256 digest.")
    return text


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenManifest(f"It is not what an image's documents are: {str(error)[:200]}.") from None
