"""Amounts of resources, as exact decimal strings."""

from collections.abc import Mapping
from enum import Enum
from typing import overload

import strawberry

from schema.fields import said
from services import slots


@strawberry.enum(description="How a slot is measured.")
class SlotUnit(Enum):
    COUNT = strawberry.enum_value("COUNT", description="Counted, with fractions: 1.5 cores.")
    BYTES = strawberry.enum_value("BYTES", description="A whole number of bytes.")


@strawberry.type(description="A kind of resource that sessions ask for.")
class SlotType:
    name: str = said("Such as cpu, mem or cuda.device.")
    unit: SlotUnit = said("How amounts are measured.")
    description: str = said("What it is, in a sentence.")
    step: str = said("The smallest difference between two amounts.")

    @classmethod
    def of(cls, kind: slots.SlotType) -> "SlotType":
        return cls(
            name=kind.name,
            unit=SlotUnit(kind.unit),
            description=kind.description,
            step=slots.render(kind.name, kind.step),
        )


@strawberry.type(description="An amount of a resource.")
class Slot:
    name: str = said("The slot's name.")
    amount: str = said("An exact decimal number; bytes for memory.")
    type: SlotType = said("What kind of resource it is.")

    @classmethod
    def all(cls, amounts: Mapping[str, int]) -> list["Slot"]:
        return [
            cls(name=name, amount=slots.render(name, amount), type=slot_type(name))
            for name, amount in sorted(amounts.items())
        ]


@strawberry.type(description="A limit on a resource and how much of it is in use.")
class SlotLimit:
    name: str = said("The slot's name.")
    amount: str | None = said("The most that may be in use at once; null: unlimited.")
    used: str = said("What is in use now.")
    type: SlotType = said("What kind of resource it is.")

    @classmethod
    def all(cls, limits: Mapping[str, int], used: Mapping[str, int]) -> list["SlotLimit"]:
        names = sorted(
            {*slots.SLOT_TYPES, *limits} if not used else {*slots.SLOT_TYPES, *limits, *used} - {"sessions"}
        )
        return [
            cls(
                name=name,
                amount=slots.render(name, limits[name]) if name in limits else None,
                used=slots.render(name, used.get(name, 0)),
                type=slot_type(name),
            )
            for name in names
        ]


@strawberry.type(description="What there is of a resource and how much of it is in use.")
class SlotUsage:
    name: str = said("The slot's name.")
    capacity: str = said("All that there is.")
    used: str = said("What sessions occupy.")
    type: SlotType = said("What kind of resource it is.")

    @classmethod
    def all(cls, capacity: Mapping[str, int], used: Mapping[str, int]) -> list["SlotUsage"]:
        return [
            cls(
                name=name,
                capacity=slots.render(name, amount),
                used=slots.render(name, used.get(name, 0)),
                type=slot_type(name),
            )
            for name, amount in sorted(capacity.items())
        ]


@strawberry.input(description="An amount of a resource.")
class SlotInput:
    name: str = said("The slot's name; `slotTypes` lists them.")
    amount: str = said('An exact decimal number: "1.5"; bytes for memory: "1073741824".')


def slot_type(name: str) -> SlotType:
    kind = slots.SLOT_TYPES.get(name) or slots.SlotType(name, "COUNT", "A resource of a plug-in.")
    return SlotType.of(kind)


@overload
def pairs(inputs: list[SlotInput]) -> list[tuple[str, str]]: ...
@overload
def pairs(inputs: list[SlotInput] | None) -> list[tuple[str, str]] | None: ...
def pairs(inputs: list[SlotInput] | None) -> list[tuple[str, str]] | None:
    """As services take amounts; None: none were given."""
    return None if inputs is None else [(one.name, one.amount) for one in inputs]
