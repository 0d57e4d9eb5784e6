"""Traces and described clusters, as `berth simulate` reads them."""

import csv
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, cast

from scheduler.queues import Request, Shape
from scheduler.simulation import Arrival
from scheduler.snapshot import Snapshot, SnapshotBuilder
from services.slots import LARGEST, MILLI, SLOT_TYPES

GROUP: Final = "simulated"
_REQUIRED: Final = ("arrival", "duration", "user")
#: Columns that are no slot.
_OTHERS: Final = (*_REQUIRED, "group", "kernels", "priority", "max_duration")
_SUFFIXES: Final = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_MOST_NODES: Final = 1_000_000


class BadTrace(Exception):
    """A file that cannot be read as what it should be: where, and what would be right."""


@dataclass(frozen=True)
class Workload:
    """A cluster and what arrives at it."""

    snapshot: Snapshot
    arrivals: list[Arrival]


def read(trace: Path, cluster: Path) -> Workload:
    """Read both. Raises `BadTrace`."""
    rows, columns = _rows(trace)
    nodes = _nodes(cluster)
    names = sorted({*columns, *(name for _, _, slots in nodes for name in slots)})
    build = SnapshotBuilder()
    for name, architecture, slots in nodes:
        capacity = {slot: slots.get(slot, 0) for slot in names}
        build.agent(name, resource_group=GROUP, architecture=architecture, capacity=capacity, used={})
    return Workload(build.build(), [_arrival(trace, number, row, names) for number, row in rows])


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """(line, cells) of each session, and the columns that are slots."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in _REQUIRED if name not in header]
            if missing:
                raise BadTrace(
                    f"{path}: the first line must name the columns {', '.join(_REQUIRED)} and one for each slot, such as "
                    f"cpu; it lacks {', '.join(missing)}."
                )
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadTrace(f"{path} cannot be read: {error}") from error
    columns = [name for name in header if name not in _OTHERS]
    if not columns:
        raise BadTrace(f"{path}: no column is a slot; name at least one, such as cpu or cuda.device.")
    if not rows:
        raise BadTrace(f"{path}: there are no sessions below the first line.")
    return rows, columns


def _arrival(path: Path, line: int, row: Mapping[str, Any], names: Iterable[str]) -> Arrival:
    where = f"{path}:{line}"
    if None in row or None in row.values():
        raise BadTrace(f"{where}: it has not as many cells as the first line.")

    def whole(column: str, least: int, absent: int | None = None) -> int | None:
        text = str(row.get(column) or "").strip()
        if not text and column not in _REQUIRED:
            return absent
        try:
            value = int(Decimal(text))
        except (InvalidOperation, ValueError, OverflowError):
            value = least - 1
        if not least <= value <= LARGEST:
            raise BadTrace(f"{where}: {column} must be a number of at least {least}, not {text[:40]!r}.")
        return value

    at, runs = whole("arrival", 0), whole("duration", 1)
    amounts = [_amount(where, name, str(row.get(name) or "0").strip()) for name in names]
    request = Request(
        session_id=f"line {line}",
        resource_group=GROUP,
        shape=Shape(tuple(amounts)),
        kernels=whole("kernels", 1, 1) or 1,
        queued=(at or 0) * 1_000_000 + line,
        priority=whole("priority", -1000, 0) or 0,
        user=str(row["user"]).strip(),
        group=str(row.get("group") or "").strip(),
        max_duration=whole("max_duration", 1),
    )
    return Arrival(at or 0, runs or 1, request)


def _nodes(path: Path) -> list[tuple[str, str, dict[str, int]]]:
    """(name, architecture, capacity) of each node."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadTrace(f"{path} cannot be read: {error}") from error
    described = document.get("nodes")
    if not isinstance(described, list) or not described:
        raise BadTrace(f"{path}: describe the cluster by tables [[nodes]] with `count` and `slots`.")
    nodes: list[tuple[str, str, dict[str, int]]] = []
    for number, table in enumerate(cast("list[dict[str, Any]]", described), 1):
        where = f"{path}: [[nodes]] {number}"
        count, given = table.get("count", 1), table.get("slots")
        if not isinstance(count, int) or not 1 <= count <= _MOST_NODES:
            raise BadTrace(f"{where}: count must be a number from 1 to {_MOST_NODES}.")
        if not isinstance(given, dict) or not given:
            raise BadTrace(f'{where}: slots must be a table such as {{ cpu = 64, mem = "256g" }}.')
        capacity = {
            name: _amount(where, name, str(amount)) for name, amount in cast("dict[str, Any]", given).items()
        }
        kind = str(table.get("name", f"node{number}"))
        nodes += [(f"{kind}-{n:06d}", str(table.get("architecture", "")), capacity) for n in range(count)]
    return nodes


def _amount(where: str, name: str, text: str) -> int:
    """Internal units. Bytes may end in k, m, g or t, of 1024 each."""
    kind = SLOT_TYPES.get(name)
    unit = MILLI
    if kind is not None and kind.unit == "BYTES":
        unit = _SUFFIXES.get(text[-1:].lower(), 1)
        text = text[:-1] if unit > 1 else text
    try:
        amount = Decimal(text) * unit
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= LARGEST:
        raise BadTrace(f"{where}: {name} must be an amount such as 2 or, of bytes, 8g; not {text[:40]!r}.")
    return int(amount)
