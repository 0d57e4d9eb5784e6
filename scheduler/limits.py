"""What scopes have and may have, counted up as the cycle places sessions."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scheduler.plan import LimitReached
from scheduler.snapshot import SESSIONS, Limit, Request


class Cell:
    """One scope's account of one slot."""

    __slots__ = ("cap", "scope", "slot", "used")

    def __init__(self, limit: Limit) -> None:
        self.scope = limit.scope
        self.slot = limit.slot
        self.used = limit.used
        self.cap = limit.cap


class Charge(NamedTuple):
    cell: Cell
    amount: int


class Ledger:
    """Shared by all resource groups of a cycle: a scope's limit holds over all of them together."""

    def __init__(self, slots: Sequence[str], limits: Iterable[Limit]) -> None:
        self._columns = {slot: column for column, slot in enumerate(slots)}
        self._cells: dict[tuple[str, str], Cell] = {}
        self._by_scope: dict[str, list[tuple[int, Cell]]] = {}
        for limit in limits:
            column = -1 if limit.slot == SESSIONS else self._columns.get(limit.slot)
            cell = self._cells[limit.scope, limit.slot] = Cell(limit)
            if column is not None:
                self._by_scope.setdefault(limit.scope, []).append((column, cell))

    def used(self, scope: str, slot: str) -> int:
        cell = self._cells.get((scope, slot))
        return cell.used if cell else 0

    def charges(self, request: Request) -> list[Charge]:
        """What placing it adds to which cells, in the order of its scopes.

        A slot of which it needs nothing is left out: it cannot be what stands in the way.
        """
        needs = request.shape.needs
        kernels = request.kernels
        result: list[Charge] = []
        for scope in request.scopes:
            for column, cell in self._by_scope.get(scope, ()):
                amount = 1 if column < 0 else needs[column] * kernels
                if amount:
                    result.append(Charge(cell, amount))
        return result


def shortage(charges: Iterable[Charge]) -> LimitReached | None:
    """The first limit in the way, None where all have room."""
    for cell, amount in charges:
        cap = cell.cap
        if cap is not None and cell.used + amount > cap:
            return LimitReached(scope=cell.scope, slot=cell.slot, asked=amount, used=cell.used, cap=cap)
    return None


def add(charges: Iterable[Charge], *, sign: int = 1) -> None:
    for cell, amount in charges:
        cell.used += sign * amount
