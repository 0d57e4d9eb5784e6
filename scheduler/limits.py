"""What scopes have and may have, counted up as the cycle places sessions."""

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final, NamedTuple

from scheduler.plan import LimitReached
from scheduler.snapshot import SESSIONS, Limit, Row

#: The cap of what has none.
UNLIMITED: Final = 2**63 - 1


class Charge(NamedTuple):
    cell: int
    amount: int


class Ledger:
    """Shared by all resource groups of a cycle: a scope's limit holds over all of them together.

    A cell is one scope's account of one slot, a place in the columns `used` and `caps`.
    """

    def __init__(self, slots: Sequence[str], limits: Sequence[Limit]) -> None:
        columns = {slot: column for column, slot in enumerate(slots)}
        columns[SESSIONS] = -1
        self._limits = limits
        self.used = array("q", [limit.used for limit in limits])
        caps = [limit.cap for limit in limits]
        self.caps = array("q", [UNLIMITED if cap is None or cap > UNLIMITED else cap for cap in caps])
        #: Scope → column, cell, column, cell …; -1 is the column of sessions. Slots that nobody knows are left out.
        self.cells: dict[str, list[int]] = {}
        for cell, limit in enumerate(limits):
            column = columns.get(limit.slot)
            if column is not None:
                self.cells.setdefault(limit.scope, []).extend((column, cell))

    @cached_property
    def _cells(self) -> dict[tuple[str, str], int]:
        return {(limit.scope, limit.slot): cell for cell, limit in enumerate(self._limits)}

    def used_of(self, scope: str, slot: str) -> int:
        cell = self._cells.get((scope, slot))
        return 0 if cell is None else self.used[cell]

    def charges(self, scopes: Iterable[str], needs: Row, kernels: int) -> list[Charge]:
        """What placing a session adds to which cells, in the order of its scopes.

        A slot of which it needs nothing is left out: it cannot be what stands in the way.
        """
        result: list[Charge] = []
        for scope in scopes:
            cells = self.cells.get(scope, ())
            for column, cell in zip(cells[::2], cells[1::2], strict=True):
                amount = 1 if column < 0 else needs[column] * kernels
                if amount:
                    result.append(Charge(cell, amount))
        return result

    def shortage(self, charges: Iterable[Charge]) -> Charge | None:
        """The first limit in the way, None where all have room."""
        used, caps = self.used, self.caps
        for charge in charges:
            cell, amount = charge
            if used[cell] + amount > caps[cell]:
                return charge
        return None

    def reason(self, shortage: Charge) -> LimitReached:
        cell, amount = shortage
        limit = self._limits[cell]
        return LimitReached(
            scope=limit.scope, slot=limit.slot, asked=amount, used=self.used[cell], cap=self.caps[cell]
        )

    def add(self, charges: Iterable[Charge], *, sign: int = 1) -> None:
        for cell, amount in charges:
            self.used[cell] += sign * amount
