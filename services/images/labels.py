"""What an image's name and labels say.

Two families of labels are understood: our own `berth.*`, and `ai.backend.*`, which existing images carry.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from services import slots
from services.db.tables import Slots
from services.errors import Problems

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_MULTIPLES: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


#: An image with one of these labels is one to start sessions from (as nodes have it: `agents.runtimes.docker_images`).
FAMILIES: Final = ("berth.image.version", "ai.backend.kernelspec")
_MINIMUMS: Final = ("ai.backend.resource.min.", "berth.min.")
_PORTS: Final = ("berth.service-ports", "ai.backend.service-ports")
_TEXTS: Final = (
    "berth.environment",
    "berth.environment.version",
    "berth.base",
    "ai.backend.runtime-type",
    "ai.backend.base-distro",
)
_PORT: Final = re.compile(r"([\w.-]{1,64}):([\w.-]{1,32}):(?:\[(\d{1,5})(?:\s*,\s*\d{1,5})*\]|(\d{1,5}))")
_LONGEST_TEXT: Final = 100
_MOST_PORTS: Final = 50


@dataclass(frozen=True)
class Described:
    """What an image's labels say."""

    language: str
    version: str
    base: str
    minimum_slots: Slots
    service_ports: list[dict[str, Any]]
    environment_names: list[str]


class Reference(NamedTuple):
    registry: str
    namespace: str
    name: str
    tag: str


def split(reference: str) -> Reference:
    """Take a reference apart as Docker does: the first part is a registry if it looks like a host."""
    path, _, tag = reference.partition("@")[0].rpartition(":")
    if not path or "/" in tag:
        path, tag = reference.partition("@")[0], "latest"
    first, slash, rest = path.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, path = (first, rest) if is_host else ("docker.io", path)
    namespace, _, name = path.rpartition("/")
    return Reference(registry, namespace, name, tag)


def is_ours(labels: Mapping[str, str]) -> bool:
    """Does an image say that sessions may start from it?"""
    return any(family in labels for family in FAMILIES)


def nonsense(labels: Mapping[str, str]) -> list[str]:
    """What an image's labels say that cannot be, a sentence each. `describe` takes the same as not said."""
    found: list[str] = []
    for label, text in labels.items():
        family = next((one for one in _MINIMUMS if label.startswith(one)), None)
        slot = label.removeprefix(family or "")
        if family and slot in slots.SLOT_TYPES and _amount(slot, text) is None:
            found.append(f"{label}: {text[:50]!r} is no amount")
        elif label in _TEXTS and (len(text) > _LONGEST_TEXT or not text.isprintable()):
            found.append(f"{label}: at most {_LONGEST_TEXT} characters on one line")
        elif label in _PORTS and text.strip() and not _are_ports(text):
            found.append(f"{label}: {text[:50]!r} is no list of NAME:PROTOCOL:PORT")
    return found


def _are_ports(text: str) -> bool:
    # Commas separate ports, and the numbers of one in brackets.
    parts = re.split(r",(?![^\[]*\])", text)
    matches = [_PORT.fullmatch(part.strip()) for part in parts]
    return len(parts) <= _MOST_PORTS and all(
        match is not None and 0 < int(match[3] or match[4]) < 65536 for match in matches
    )


def describe(labels: Mapping[str, str], name: str, tag: str) -> Described:
    """Read labels of either family; ours win. What is malformed counts as absent."""
    minimum: Slots = {}
    for family in _MINIMUMS:
        for label, text in labels.items():
            slot = label.removeprefix(family)
            if label.startswith(family) and slot in slots.SLOT_TYPES:
                amount = _amount(slot, text)
                if amount is not None:
                    minimum[slot] = amount
    ports = labels.get("berth.service-ports", labels.get("ai.backend.service-ports", ""))
    names = labels.get("berth.environ", labels.get("ai.backend.envs.corecount", ""))
    return Described(
        language=labels.get("berth.environment", labels.get("ai.backend.runtime-type", name)),
        version=labels.get("berth.environment.version", tag.partition("-")[0]),
        base=labels.get("berth.base", labels.get("ai.backend.base-distro", "")),
        minimum_slots=minimum,
        service_ports=_ports(ports),
        environment_names=[part.strip() for part in names.split(",") if part.strip()],
    )


def _amount(slot: str, text: str) -> int | None:
    if slots.SLOT_TYPES[slot].unit == "BYTES":
        match = _SIZE.fullmatch(text.strip())
        return int(float(match[1]) * _MULTIPLES[match[2].lower()]) if match else None
    problems = Problems()
    return slots.parse([(slot, text.strip())], problems, "label").get(slot)


def _ports(text: str) -> list[dict[str, Any]]:
    """`name:protocol:port`, several separated by commas; of several ports in brackets the first counts."""
    ports: list[dict[str, Any]] = []
    for match in re.finditer(r"([\w.-]+):([\w.-]+):\[?(\d+)(?:[\d,\s]*\])?", text):
        name, protocol, port = match[1], match[2], int(match[3])
        if 0 < port < 65536:
            ports.append({"name": name, "protocol": protocol, "port": port})
    return ports
