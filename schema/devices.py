"""Accelerators of nodes, and how busy they are."""

from collections.abc import Mapping
from typing import Any

import strawberry

from agents import protocol
from schema.fields import said
from schema.scalars import ByteSize
from schema.slots import SlotUsage
from services import slots


@strawberry.type(description="An accelerator of a node, such as a GPU.")
class Device:
    device_id: str = said("Unique on its node, the same after a restart.")
    plugin: str = said("The agent's plug-in that knows about it.")
    model: str = said("What it is.")
    memory: ByteSize = said("Its own memory; 0: none.")
    numa_node: int | None = said("Where in the node it is; null: it does not say.")
    healthy: bool = said("False: nothing new is put on it; what runs there is left alone.")
    reason: str | None = said("What is wrong with it; null: nothing.")
    slots: list[SlotUsage] = said("What it gives, and what sessions hold of it.")

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Device":
        held: dict[str, int] = found.get("held", {})
        return cls(
            device_id=found.get("id", ""),
            plugin=found.get("plugin", ""),
            model=found.get("model", ""),
            memory=ByteSize(found.get("memory", 0)),
            numa_node=found.get("numa_node"),
            healthy=found.get("healthy", True),
            reason=found.get("reason") or None,
            slots=SlotUsage.all({**held, **found.get("capacity", {})}, held),
        )


@strawberry.type(description="A plug-in of an agent that does not work: its devices are not given out.")
class PluginFault:
    plugin: str = said("The plug-in.")
    message: str = said("What is wrong.")


@strawberry.type(description="Load of one accelerator at one moment.")
class DeviceStats:
    device_id: str = said("The device.")
    utilisation: float = said("Percent of the time in which it worked.")
    memory_used: ByteSize = said("Its own memory in use.")
    memory_total: ByteSize = said("Its own memory.")
    temperature: float | None = said("Degrees Celsius; null: it does not say.")
    power: float | None = said("Watts; null: it does not say.")

    @classmethod
    def of(cls, stats: protocol.DeviceStats) -> "DeviceStats":
        return cls(
            device_id=stats.id,
            utilisation=stats.utilisation,
            memory_used=ByteSize(stats.memory_used),
            memory_total=ByteSize(stats.memory_total),
            temperature=stats.temperature,
            power=stats.power,
        )


@strawberry.type(description="A container's part in the load of one accelerator.")
class DeviceUse:
    device_id: str = said("The device.")
    slot: str = said("The slot by which it was given.")
    amount: str = said("How much of it: an exact decimal number.")
    utilisation: float | None = said("Percent of what it was given; null: not known.")
    memory_used: ByteSize = said("What it has of the device's memory.")
    memory_limit: ByteSize | None = said("The most that each of its processes may have; null: no limit.")

    @classmethod
    def of(cls, use: protocol.DeviceUse) -> "DeviceUse":
        return cls(
            device_id=use.device,
            slot=use.slot,
            amount=slots.render(use.slot, use.amount),
            utilisation=use.utilisation,
            memory_used=ByteSize(use.memory_used),
            memory_limit=ByteSize(use.memory_limit) if use.memory_limit else None,
        )
