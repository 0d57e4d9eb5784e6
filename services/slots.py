"""Amounts of resources: exact decimal strings outside, integers inside.

What is counted is in milli-units (cpu "1.5" ⇄ 1500), what is measured in bytes as it is (mem "1073741824").
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from agents.protocol import SlotKind
from services.db.tables import Slots
from services.errors import Problems

MILLI: Final = 1000
#: More than any node has, and sums of many still fit 64 bits.
LARGEST: Final = 2**50


@dataclass(frozen=True)
class SlotType:
    name: str
    unit: Literal["COUNT", "BYTES"]
    description: str
    #: Smallest step, in internal units: whole devices, hundredths of a cpu.
    step: int = 1


SLOT_TYPES: Final[dict[str, SlotType]] = {
    kind.name: kind
    for kind in (
        SlotType("cpu", "COUNT", "Processor cores; fractions are a share of a core's time.", step=10),
        SlotType("mem", "BYTES", "Main memory, shared memory included."),
        SlotType("cuda.device", "COUNT", "Whole NVIDIA GPUs.", step=MILLI),
        SlotType("cuda.shares", "COUNT", "Fractions of an NVIDIA GPU.", step=10),
    )
}

#: Slots as sentences call them. Whole GPUs and parts of one are both GPUs to a reader.
_CALLED: Final = {"mem": "memory", "cuda.device": "GPU", "cuda.shares": "GPU"}

#: Slots that plug-ins of nodes may add to those that are known from the start.
_MOST_TYPES: Final = 100
_PLUGIN_SLOT: Final = re.compile(r"[a-z][a-z0-9_-]{0,30}\.[a-z0-9][a-z0-9._-]{0,30}")

#: Every session needs some of these.
MANDATORY: Final[Slots] = {"cpu": 10, "mem": 16 * 1024 * 1024}


def learn(kinds: Iterable[SlotKind]) -> None:
    """Take note of slots that nodes' accelerator plug-ins give, so that sessions can ask for them.

    What is known already stays as it is: a node cannot say that cpu is something else. Names are `plugin.slot`.
    """
    for kind in kinds:
        if kind.name in SLOT_TYPES or len(SLOT_TYPES) >= _MOST_TYPES or not _PLUGIN_SLOT.fullmatch(kind.name):
            continue
        SLOT_TYPES[kind.name] = SlotType(
            kind.name,
            "BYTES" if kind.type == "bytes" else "COUNT",
            kind.description[:200] or f"{kind.display_name or kind.name} of a plug-in."[:200],
            step=max(kind.step, MILLI if kind.type == "unique" else 1),
        )


def parse(entries: Iterable[tuple[str, str]], problems: Problems, path: str) -> Slots:
    """Read (name, amount) pairs as a client wrote them; what is wrong goes to `problems` with its path."""
    slots: Slots = {}
    for position, (name, amount) in enumerate(entries):
        here = f"{path}.{position}"
        kind = SLOT_TYPES.get(name)
        if kind is None:
            known = ", ".join(SLOT_TYPES)
            problems.add(f"{here}.name", f"There is no slot {name[:64]!r}. Known slots: {known}.")
        elif name in slots:
            problems.add(f"{here}.name", f"The slot {name!r} is given twice.")
        else:
            value = _parse_amount(kind, amount, problems, f"{here}.amount")
            if value is not None:
                slots[name] = value
    return slots


def _parse_amount(kind: SlotType, amount: str, problems: Problems, path: str) -> int | None:
    try:
        value = Decimal(amount) if len(amount) <= 40 else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        problems.add(path, f"{kind.name} must be a decimal number such as {example(kind)}.")
        return None
    if value < 0:
        problems.add(path, f"{kind.name} must not be negative.")
        return None
    if value > LARGEST:
        problems.add(path, f"{kind.name} is larger than anything here: at most {LARGEST}.")
        return None
    scaled = value * (MILLI if kind.unit == "COUNT" else 1)
    if scaled != scaled.to_integral_value() or int(scaled) % kind.step:
        problems.add(path, f"{kind.name} must be a multiple of {render(kind.name, kind.step)}.")
        return None
    return int(scaled)


def example(kind: SlotType) -> str:
    return '"1073741824" (bytes)' if kind.unit == "BYTES" else '"2"'


def render(name: str, amount: int) -> str:
    """The exact decimal string of an internal amount. Pseudo-slots such as `sessions` count plainly."""
    kind = SLOT_TYPES.get(name)
    if name == "sessions" or (kind and kind.unit == "BYTES"):
        return str(amount)
    whole, rest = divmod(amount, MILLI)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)


def describe(name: str, amount: int) -> str:
    """For sentences: `1.5 cpu`, `2 GiB of memory`, `0.3 GPU`."""
    kind = SLOT_TYPES.get(name)
    if name != "mem" and (kind is None or kind.unit != "BYTES"):
        return f"{render(name, amount)} {_CALLED.get(name, name)}"
    size = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.4g} {unit} of {_CALLED.get(name, name)}"
        size /= 1024
    raise AssertionError


def raise_to(asked: Mapping[str, int], minimum: Mapping[str, int]) -> tuple[Slots, Slots]:
    """Raise what is below a minimum. Returns (amounts, those that were raised)."""
    raised = {name: least for name, least in minimum.items() if asked.get(name, 0) < least}
    return {name: amount for name, amount in {**asked, **raised}.items() if amount}, raised


def total(parts: Iterable[Mapping[str, int]]) -> Slots:
    """The sum of several amounts."""
    result: Slots = {}
    for part in parts:
        for name, amount in part.items():
            result[name] = result.get(name, 0) + amount
    return result
