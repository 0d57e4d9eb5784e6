"""Root fields about resource presets."""

from typing import Annotated

import strawberry
from msgspec import UNSET

from resolvers.inputs import given, orders
from schema import presets as types
from schema.context import Info
from schema.paging import After, Before, Connection, First, Last, page_args
from schema.presets import PresetAvailability, ResourcePreset
from schema.slots import pairs
from services import offers, presets
from services.presets import PresetChanges, PresetSpec


@strawberry.type
class PresetQueries:
    @strawberry.field(description="Resource presets.")
    def resource_presets(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: types.ResourcePresetFilter | None = None,
        order_by: list[types.ResourcePresetOrder] | None = None,
    ) -> Connection[ResourcePreset]:
        order = orders(order_by, presets.ORDERS, "CREATED_AT")
        return info.context.search(
            "presets", page_args(first, after, last, before), order=order, where=given(filter)
        )

    @strawberry.field(
        description="All presets by name (at most 500), each with whether you can have it in a group and a resource group."
    )
    async def available_presets(
        self,
        info: Info,
        group_id: Annotated[strawberry.ID, strawberry.argument(description="One of your groups.")],
        resource_group_id: Annotated[
            strawberry.ID, strawberry.argument(description="A resource group that was granted to you.")
        ],
    ) -> list[PresetAvailability]:
        found = await offers.find(
            info.context.core, info.context.viewer, str(group_id), str(resource_group_id)
        )
        return [PresetAvailability.of(offer) for offer in found]


@strawberry.type
class PresetMutations:
    @strawberry.field(description="Make a resource preset.")
    async def create_resource_preset(
        self, info: Info, input: types.CreateResourcePresetInput
    ) -> types.CreateResourcePresetPayload:
        spec = PresetSpec(
            name=input.name,
            slots=pairs(input.slots),
            description=input.description,
            shared_memory=input.shared_memory,
            idempotency_key=input.idempotency_key,
        )
        row = await presets.create(info.context.core, info.context.viewer, spec)
        return types.CreateResourcePresetPayload(resource_preset=ResourcePreset.of(row))

    @strawberry.field(description="Change a resource preset; sessions stay as they are.")
    async def update_resource_preset(
        self, info: Info, input: types.UpdateResourcePresetInput
    ) -> types.UpdateResourcePresetPayload:
        shared = input.shared_memory
        changes = PresetChanges(
            name=input.name,
            description=input.description,
            slots=None if input.slots is None else pairs(input.slots),
            shared_memory=UNSET if shared is None else shared.value,
        )
        row = await presets.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateResourcePresetPayload(resource_preset=ResourcePreset.of(row))

    @strawberry.field(description="Delete a resource preset.")
    async def delete_resource_preset(
        self, info: Info, input: types.DeleteResourcePresetInput
    ) -> types.DeleteResourcePresetPayload:
        gone = await presets.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteResourcePresetPayload(deleted_id=strawberry.ID(gone))
