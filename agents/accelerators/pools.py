"""The node's devices, and what may still be put on each: the allocation map. No I/O, no clock, no memory of its own.

Who holds what is not kept here but handed in, from the attempts that the agent knows: those are found again from labels,
so the map after a restart is the map before it, and a device is given back when nothing of a kernel is left and not
earlier.

A device may fail, vanish or be set to give other slots while kernels hold it. Those kernels are left alone. Nothing new
is put on such a device, and of its capacity only what is held counts: so what the node says that it has is never less
than what it runs, and what is free is what can really be had.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agents.accelerators.choices import choose
from agents.accelerators.contract import Allocation, Amounts, Chooser, Request
from agents.protocol import Device, SlotKind

#: Where amounts are counted whose device is not known.
SOMEWHERE: Final = ""


class NoRoom(Exception):
    """A request does not fit; the message says what was asked for, and what there is."""


@dataclass(frozen=True)
class Pool:
    """What all plug-ins of the node have found. Replaced when something of it changes."""

    kinds: Mapping[str, SlotKind] = field(default_factory=dict[str, SlotKind])
    devices: Mapping[str, Device] = field(default_factory=dict[str, Device])
    #: Plug-in → its own choice of devices, where it has one.
    choosers: Mapping[str, Chooser] = field(default_factory=dict[str, Chooser])

    def free(self, held: Amounts) -> dict[str, dict[str, int]]:
        """Device → slot → what may be put on it; devices that nothing may be put on are left out."""
        return {
            name: {
                slot: max(amount - held.get(name, {}).get(slot, 0), 0)
                for slot, amount in device.capacity.items()
            }
            for name, device in self.devices.items()
            if device.healthy and not _otherwise_held(device, held)
        }

    def capacity(self, held: Amounts) -> dict[str, int]:
        """Slot → what the node has of it: what is held, and what is free."""
        total = dict.fromkeys(self.kinds, 0)
        for amounts in (*self.free(held).values(), *held.values()):
            for slot, amount in amounts.items():
                total[slot] = total.get(slot, 0) + amount
        return total

    def listed(self, held: Amounts) -> tuple[Device, ...]:
        """The devices with what is held of each; those that are held and no longer there come last."""
        there = [
            msgspec.structs.replace(device, held=dict(held.get(name, {})))
            for name, device in self.devices.items()
        ]
        gone = [
            Device(name, "", healthy=False, reason="It is no longer there.", held=dict(amounts))
            for name, amounts in sorted(held.items())
            if name not in self.devices and name != SOMEWHERE
        ]
        return (*there, *gone)

    def place(
        self,
        wanted: Mapping[str, int],
        held: Amounts,
        *,
        named: Allocation | None = None,
        spanning: Iterable[str] = (),
    ) -> dict[str, dict[str, int]]:
        """The devices for what a kernel asks of this pool; slots of others are left out.

        Args:
            named: slot → devices that were chosen elsewhere; they are only looked at whether they fit.

        Raises:
            NoRoom: it does not fit, or what was named or chosen is not free.
        """
        free = self.free(held)
        asked = {slot: amount for slot, amount in wanted.items() if slot in self.kinds and amount > 0}
        found: dict[str, dict[str, int]] = {}
        for slot in asked.keys() & (named or {}).keys():
            found[slot] = dict((named or {})[slot])
        missing = {slot: amount for slot, amount in asked.items() if slot not in found}
        for plugin, part in self._by_plugin(missing).items():
            found |= self._chosen(plugin, part, free, held, frozenset(spanning))
        for slot, amounts in found.items():
            self._check(slot, asked[slot], amounts, free)
        return found

    def _by_plugin(self, wanted: Mapping[str, int]) -> dict[str, dict[str, int]]:
        parts: dict[str, dict[str, int]] = {}
        for slot, amount in wanted.items():
            owner = next((d.plugin for d in self.devices.values() if slot in d.capacity), "")
            parts.setdefault(owner, {})[slot] = amount
        return parts

    def _chosen(
        self, plugin: str, wanted: Mapping[str, int], free: Amounts, held: Amounts, spanning: frozenset[str]
    ) -> dict[str, dict[str, int]]:
        own = {name: amounts for name, amounts in free.items() if self.devices[name].plugin == plugin}
        request = Request(wanted, own, self.devices, self.kinds, spanning & wanted.keys())
        for slot, amount in wanted.items():
            somewhere = held.get(SOMEWHERE, {}).get(slot, 0)
            if sum(amounts.get(slot, 0) for amounts in own.values()) - somewhere < amount:
                raise NoRoom(self._lacking(slot, amount, own))
        try:
            chooser = self.choosers.get(plugin)
            chosen = chooser.choose(request) if chooser else choose(request)
        except Exception as error:
            raise NoRoom(f"the plug-in {plugin} failed to choose a device: {error}") from error
        if chosen is None:
            slot = next(iter(wanted))
            raise NoRoom(self._lacking(slot, wanted[slot], own))
        return {slot: dict(chosen.get(slot, {})) for slot in wanted}

    def _check(self, slot: str, asked: int, amounts: Mapping[str, int], free: Amounts) -> None:
        """What a plug-in or the manager says is looked at again: a device is never given twice."""
        step = self.kinds[slot].step
        if sum(amounts.values()) != asked or any(amount <= 0 or amount % step for amount in amounts.values()):
            raise NoRoom(f"{slot}: {dict(amounts)} is no way to give {asked}")
        for name, amount in amounts.items():
            left = free.get(name, {}).get(slot, 0)
            if amount > left:
                why = self.devices[name].reason if name in self.devices else "There is no such device."
                raise NoRoom(f"{slot}: {amount} asked for on {name}, {left} free there. {why}".rstrip())

    def _lacking(self, slot: str, asked: int, free: Amounts) -> str:
        amounts = [amounts.get(slot, 0) for amounts in free.values()]
        sentence = (
            f"{slot}: {asked} asked for, {sum(amounts)} free, on one device at most {max(amounts, default=0)}"
        )
        sick = [d for d in self.devices.values() if slot in d.capacity and not d.healthy]
        return sentence + "".join(f"; {device.id}: {device.reason}" for device in sick)


def _otherwise_held(device: Device, held: Amounts) -> bool:
    """Whether a kernel holds it by a slot that it does not give any more, as after a change of its mode."""
    return any(amount > 0 and slot not in device.capacity for slot, amount in held.get(device.id, {}).items())
