"""Root fields about resource presets."""

import strawberry

from resolvers.inputs import GroupId, ResourceGroupId, changed
from resolvers.listings import listing
from schema import presets as types
from schema.context import Info
from schema.presets import PresetAvailability, ResourcePreset
from schema.slots import pairs
from services import presets
from services.presets import PresetChanges, PresetSpec
from services.scheduling import offers


@strawberry.type
class PresetQueries:
    resource_presets = listing(
        "presets",
        presets.ORDERS,
        of=ResourcePreset,
        filter=types.ResourcePresetFilter,
        order=types.ResourcePresetOrder,
        description="Resource presets.",
    )

    @strawberry.field(
        description="All presets by name (at most 500), each with whether you can have it in a group and a resource group."
    )
    async def available_presets(
        self,
        info: Info,
        group_id: GroupId,
        resource_group_id: ResourceGroupId,
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
        changes = PresetChanges(
            name=input.name,
            description=input.description,
            slots=pairs(input.slots),
            shared_memory=changed(input.shared_memory),
        )
        row = await presets.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateResourcePresetPayload(resource_preset=ResourcePreset.of(row))

    @strawberry.field(description="Delete a resource preset.")
    async def delete_resource_preset(
        self, info: Info, input: types.DeleteResourcePresetInput
    ) -> types.DeleteResourcePresetPayload:
        gone = await presets.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteResourcePresetPayload(deleted_id=strawberry.ID(gone))
