"""Fractions of devices, said to a scheduler that adds amounts up.

Two devices with 0.4 free each have no room for 0.6, which a sum does not show; a node would refuse what was planned for
it. So for each fraction that waiting sessions ask for there is one more slot, *in pieces of* that fraction: a node has as
many of them as fit on its devices, one by one. A request takes of every size what it can spoil at most. So what the
scheduler plans has room; it may see less than there is until the node has told of what it was given, never more.

The sizes of one slot are few: fractions beyond the first `SIZES` count as the next larger one.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from services import slots
from services.db.tables import Agent, Slots

#: Different fractions of one slot that are told apart; each costs the scheduler a column.
SIZES: Final = 8
#: The capacity of an additional slot: so much that no part of it counts, in fair shares and in how full a node is. Sums
#: over 100,000 nodes still fit 63 bits.
_BOUNDLESS: Final = 2**45
_MARK: Final = " in pieces of "


class Pieces:
    """The additional slots for one plan.

    Args:
        asked: what waiting sessions ask for.
        agents: all that may get them.
    """

    def __init__(self, asked: Iterable[Mapping[str, int]], agents: Iterable[Agent]) -> None:
        divisible = {
            kind["name"]
            for agent in agents
            for kind in agent.hardware.get("slot_kinds", ())
            if kind["type"] == "count"
        }
        sizes: dict[str, set[int]] = {}
        for request in asked if divisible else ():
            for slot in divisible & request.keys():
                if request[slot] > 0:
                    sizes.setdefault(slot, set()).add(_size(request[slot]))
        self._sizes = {slot: _thinned(sorted(found)) for slot, found in sizes.items()}

    @property
    def sizes(self) -> Mapping[str, list[int]]:
        """Slot → the sizes of its pieces."""
        return self._sizes

    def needs(self, amounts: Slots) -> Slots:
        """What a request asks for, with what it takes of each size."""
        more = {
            _name(slot, size): -(-amounts[slot] // size) * size
            for slot, sizes in self._sizes.items()
            for size in sizes
            if amounts.get(slot, 0) > 0
        }
        return {**amounts, **more}

    def of(self, agent: Agent, used: Slots) -> tuple[Slots, Slots]:
        """(capacity, used) of a node, with those of each size."""
        capacity, taken = dict(agent.slots), dict(used)
        for slot, sizes in self._sizes.items():
            if slot not in agent.slots:
                continue
            free = _free(agent, slot)
            unseen = max(used.get(slot, 0) - _held(agent, slot), 0)
            for size in sizes:
                room = sum(one // size * size for one in free) - -(-unseen // size) * size
                capacity[_name(slot, size)] = _BOUNDLESS
                taken[_name(slot, size)] = _BOUNDLESS - max(room, 0)
        return capacity, taken


def plain(name: str) -> tuple[str, bool]:
    """The slot that a name stands for, and whether it is one of pieces."""
    slot, mark, _ = name.partition(_MARK)
    return slot, bool(mark)


def _size(amount: int) -> int:
    """Whole multiples are pieces of a whole device; what is more than one and no multiple is nowhere in one piece."""
    return amount if amount % slots.MILLI else slots.MILLI


def _name(slot: str, size: int) -> str:
    return f"{slot}{_MARK}{slots.render(slot, size)}"


def _thinned(sizes: list[int]) -> list[int]:
    """At most `SIZES`, the largest always among them."""
    if len(sizes) <= SIZES:
        return sizes
    return sorted({sizes[-1 - position * len(sizes) // SIZES] for position in range(SIZES)})


def _free(agent: Agent, slot: str) -> list[int]:
    """What each device has free. A node that tells of no devices is taken as one of them."""
    devices: list[dict[str, Any]] = [d for d in agent.hardware.get("devices", ()) if _gives(d, slot)]
    if not devices:
        return [agent.slots.get(slot, 0)]
    return [
        max(device["capacity"][slot] - device.get("held", {}).get(slot, 0), 0)
        for device in devices
        if device.get("healthy", True) and not device.get("held", {}).keys() - device["capacity"].keys()
    ]


def _held(agent: Agent, slot: str) -> int:
    return sum(d.get("held", {}).get(slot, 0) for d in agent.hardware.get("devices", ()))


def _gives(device: Mapping[str, Any], slot: str) -> bool:
    return slot in device.get("capacity", {})
