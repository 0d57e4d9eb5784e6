"""Resource presets: amounts under a name, and which of them can be had."""

from datetime import datetime
from enum import Enum

import strawberry

from schema.fields import permitted_actions, said
from schema.nodes import Node
from schema.paging import Direction
from schema.scalars import ByteSize
from schema.slots import Slot, SlotInput
from services.db import tables
from services.scheduling import offers


@strawberry.type(description="Amounts that sessions often ask for, under a name.")
class ResourcePreset(Node):
    row: strawberry.Private[tables.ResourcePreset]
    name: str = said("Unique.")
    description: str = said("For people.")
    slots: list[Slot] = said("What a session with it asks for.")
    shared_memory: ByteSize | None = said(
        "Its shared memory, a part of the memory; null: what sessions have that say nothing."
    )
    created_at: datetime = said("When it was made.")

    @classmethod
    def of(cls, row: tables.ResourcePreset) -> "ResourcePreset":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            description=row.description,
            slots=Slot.all(row.slots),
            shared_memory=None if row.shared_memory is None else ByteSize(row.shared_memory),
            created_at=row.created_at,
        )

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.enum(description="Whether a preset can be had.")
class PresetState(Enum):
    NOW = strawberry.enum_value(
        "NOW", description="A node and all limits have room for it; whoever waits already may still go first."
    )
    LATER = strawberry.enum_value("LATER", description="It would have to wait: the obstacle says for what.")
    NEVER = strawberry.enum_value(
        "NEVER", description="It would be refused, or wait for ever: the obstacle says why."
    )


@strawberry.type(description="What stands in the way of a preset.")
class PresetObstacle:
    message: str = said("A sentence for people, with the numbers.")
    whose: str = said("Whose limit it is, as the sentence calls it; or `the nodes`.")
    slot: str | None = said("The slot, or `sessions`; null: it is no matter of amounts.")
    asked: str | None = said("What the preset asks for; null when there is no slot.")
    free: str | None = said(
        "What the limit has left, or the node that comes nearest has free; null when that does not matter."
    )
    limit: str | None = said("The limit, or the most that one node has; null when there is no slot.")

    @classmethod
    def of(cls, found: offers.Obstacle) -> "PresetObstacle":
        return cls(
            message=found.message,
            whose=found.whose,
            slot=found.slot,
            asked=offers.shown(found.slot, found.asked),
            free=offers.shown(found.slot, found.free),
            limit=offers.shown(found.slot, found.limit),
        )


@strawberry.type(description="A preset, and whether you can have it in a group and a resource group.")
class PresetAvailability:
    preset: ResourcePreset = said("The preset.")
    state: PresetState = said("Now, later or never.")
    obstacle: PresetObstacle | None = said("What stands in the way; null when nothing does.")

    @classmethod
    def of(cls, offer: offers.Offer) -> "PresetAvailability":
        return cls(
            preset=ResourcePreset.of(offer.preset),
            state=PresetState(offer.state),
            obstacle=PresetObstacle.of(offer.obstacle) if offer.obstacle else None,
        )


@strawberry.input(description="Which presets.")
class ResourcePresetFilter:
    search: str | None = said("Part of the name or description, or the beginning of the id.", default=None)


@strawberry.enum(description="What lists of resource presets are ordered by.")
class ResourcePresetOrderField(Enum):
    NAME = strawberry.enum_value("NAME", description="By name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of resource presets.")
class ResourcePresetOrder:
    field: ResourcePresetOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new resource preset.")
class CreateResourcePresetInput:
    name: str = said("Unique.")
    slots: list[SlotInput] = said("What a session with it asks for: cpu and mem at least.")
    description: str = said("For people.", default="")
    shared_memory: ByteSize | None = said(
        "Shared memory, a part of the memory; null: what sessions have that say nothing.", default=None
    )
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a preset; what is absent stays as it is.")
class UpdateResourcePresetInput:
    id: strawberry.ID = said("The preset.")
    name: str | None = said("A new name.", default=None)
    description: str | None = said("A new description.", default=None)
    slots: list[SlotInput] | None = said("All amounts anew: cpu and mem at least.", default=None)
    shared_memory: strawberry.Maybe[ByteSize | None] = said(
        "Shared memory; null: what sessions have that say nothing.", default=None
    )


@strawberry.input(description="A preset to delete.")
class DeleteResourcePresetInput:
    id: strawberry.ID = said("A preset; sessions that were made with it are not touched.")


@strawberry.type(description="A preset was made.")
class CreateResourcePresetPayload:
    resource_preset: ResourcePreset = said("The new preset.")


@strawberry.type(description="A preset was changed.")
class UpdateResourcePresetPayload:
    resource_preset: ResourcePreset = said("The preset as it is now.")


@strawberry.type(description="A preset was deleted.")
class DeleteResourcePresetPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")
