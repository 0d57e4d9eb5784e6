"""Devices that are handed out in fractions, such as GPUs by shares: a fraction never spans two of them.

What an agent has free of such a slot says nothing of how it is spread over devices. Three more columns behind a row say
all that placing needs: the most that one device has free, what wholly free devices have together, and that with the most
that any other device has. A kernel needs the first if it asks for less than a device, the second for whole devices, the
third for whole devices and a rest; so a fit is a comparison of columns, as for any slot.

The functions here run in both engines, on lists and on arrays.
"""

from collections.abc import Sequence
from typing import Final

#: A whole device, in milli-units.
WHOLE: Final = 1000
#: How many columns there are behind a row.
COLUMNS: Final = 3


def columns(devices: Sequence[int]) -> tuple[int, int, int]:
    """Of what devices have free."""
    whole, part = 0, 0
    for free in devices:
        if free >= WHOLE:
            whole += WHOLE
        else:
            part = max(part, free)
    return (WHOLE if whole else part), whole, whole + part


def needs(amount: int) -> tuple[int, int, int]:
    """What must be there for a kernel that asks for so much."""
    if amount < WHOLE:
        return amount, 0, 0
    return (0, 0, amount) if amount % WHOLE else (0, amount, 0)


def allot(devices: list[int], amount: int) -> None:
    """Take an amount that fits: whole devices, the first ones; a rest from the fullest device that has it."""
    rest = amount % WHOLE
    fullest = -1
    for device in range(len(devices)):
        if rest <= devices[device] < WHOLE and (fullest < 0 or devices[device] < devices[fullest]):
            fullest = device
    left = amount - rest
    for device in range(len(devices)):
        if devices[device] >= WHOLE:
            if left > 0:
                devices[device] = 0
                left -= WHOLE
            elif rest > 0 and fullest < 0:
                fullest = device
    if rest > 0 and fullest >= 0:
        devices[fullest] -= rest
