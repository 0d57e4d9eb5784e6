"""Which devices a request gets: the choice that leaves the most useful remainders.

A fraction goes where it makes the least capacity useless. What is left of a device is useless to a request that is
larger than it; so the *waste* of a device with `f` free is the mean of `f` over those popular sizes that no longer fit
(the fragmentation measure of Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent", USENIX ATC 2023, for the devices of one node). The device whose waste grows least is taken; among
equals the fullest (best fit), then the first. All arithmetic is exact.

Whole devices are taken so that a kernel's lie on few NUMA nodes and are of one model, and so that what is left over stays
together as well: from the smallest group that has enough.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from agents.accelerators.contract import WHOLE, Allocation, Amounts, Request
from agents.protocol import Device, SlotKind

#: The sizes that people ask for, in thousandths of a device.
POPULAR = (100, 200, 250, 500, 1000)


def choose(request: Request) -> Allocation | None:
    """The devices for a request; None when it does not fit."""
    whole = {name: n for name, n in request.wanted.items() if request.kinds[name].type == "unique"}
    parts = {name: amount for name, amount in request.wanted.items() if name not in whole}
    chosen: dict[str, Mapping[str, int]] = {}
    for name, amount in whole.items():
        found = _whole(name, amount, request.free, request.devices)
        if found is None:
            return None
        chosen[name] = dict.fromkeys(found, WHOLE)
    if parts:
        found_parts = _fractions(parts, request)
        if found_parts is None:
            return None
        chosen |= found_parts
    return chosen


def waste(free: int, capacity: int, popular: Sequence[int] = POPULAR) -> Fraction:
    """The part of a device that is free and yet useless to a popular request, 0 to 1."""
    too_large = sum(1 for size in popular if free * WHOLE < size * capacity)
    return Fraction(free * too_large, capacity * len(popular))


# Fractions


def _fractions(wanted: Mapping[str, int], request: Request) -> dict[str, dict[str, int]] | None:
    """All of one kernel's fractions lie on the same device; on several only where asked for, or where those are whole."""
    may_span = request.spanning.issuperset(wanted)
    for count in range(1, len(request.free) + 1):
        if shares := _split(wanted, count, request.kinds):
            found = _fit(shares, request, whole=count > 1 and not may_span)
            if found is not None:
                return found
    return None


def _split(wanted: Mapping[str, int], count: int, kinds: Mapping[str, SlotKind]) -> list[dict[str, int]]:
    """Equal parts, up to one step of a slot, the larger ones first; none where a part would be nothing."""
    shares: list[dict[str, int]] = [{} for _ in range(count)]
    for name, amount in wanted.items():
        steps, odd = divmod(amount, kinds[name].step)
        each, more = divmod(steps, count)
        for position, share in enumerate(shares):
            share[name] = (each + (position < more)) * kinds[name].step + (odd if position == 0 else 0)
            if share[name] <= 0:
                return []
    return shares


def _fit(
    shares: Sequence[Mapping[str, int]], request: Request, *, whole: bool
) -> dict[str, dict[str, int]] | None:
    chosen: dict[str, dict[str, int]] = {name: {} for name in shares[0]}
    left = list(request.free)
    for share in shares:
        fitting = [device for device in left if _fits(share, device, request, whole=whole)]
        if not fitting:
            return None
        best = min(fitting, key=_harm(share, request))
        left.remove(best)
        for name, amount in share.items():
            chosen[name][best] = amount
    return chosen


def _fits(share: Mapping[str, int], device: str, request: Request, *, whole: bool) -> bool:
    capacity, free = request.devices[device].capacity, request.free[device]
    return all(
        free.get(name, 0) >= amount and (not whole or capacity[name] == amount)
        for name, amount in share.items()
    )


def _harm(share: Mapping[str, int], request: Request) -> Callable[[str], tuple[Fraction, Fraction]]:
    """How much waste grows, then how much stays free; ties keep the order of the devices."""

    def of(device: str) -> tuple[Fraction, Fraction]:
        capacity, free = request.devices[device].capacity, request.free[device]
        growth = left = Fraction(0)
        for name, amount in share.items():
            after = free[name] - amount
            growth += waste(after, capacity[name]) - waste(free[name], capacity[name])
            left += Fraction(after, capacity[name])
        return growth, left

    return of


# Whole devices


def _whole(slot: str, amount: int, free: Amounts, devices: Mapping[str, Device]) -> list[str] | None:
    count, odd = divmod(amount, WHOLE)
    idle = [device for device, amounts in free.items() if amounts.get(slot, 0) >= WHOLE]
    if odd or count > len(idle):
        return None
    by_model = _grouped(idle, lambda device: devices[device].model)
    for groups in (_of_one_numa_node(by_model, devices), by_model):
        enough = [group for group in groups if len(group) >= count]
        if enough:
            smallest = min(enough, key=len)
            return _from_fewest(smallest, count, devices)
    largest_first = sorted(by_model, key=len, reverse=True)
    return [device for group in largest_first for device in group][:count]


def _of_one_numa_node(groups: Sequence[list[str]], devices: Mapping[str, Device]) -> list[list[str]]:
    return [part for group in groups for part in _grouped(group, lambda device: devices[device].numa_node)]


def _from_fewest(group: Sequence[str], count: int, devices: Mapping[str, Device]) -> list[str]:
    """From as few NUMA nodes as can be: the fullest ones whole, the rest from the smallest that has enough."""
    nodes = sorted(_grouped(group, lambda device: devices[device].numa_node), key=len, reverse=True)
    chosen: list[str] = []
    while len(chosen) < count:
        missing = count - len(chosen)
        enough = [node for node in nodes if len(node) >= missing]
        node = enough[-1] if enough else nodes[0]
        nodes.remove(node)
        chosen += node[:missing]
    return chosen


def _grouped(ids: Sequence[str], key: Callable[[str], object]) -> list[list[str]]:
    groups: dict[object, list[str]] = {}
    for device in ids:
        groups.setdefault(key(device), []).append(device)
    return list(groups.values())
