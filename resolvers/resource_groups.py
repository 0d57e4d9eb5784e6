"""Root fields about resource groups and schedulers."""

from collections.abc import Mapping
from typing import Any

import strawberry
from strawberry.scalars import JSON

from resolvers.inputs import changed
from resolvers.listings import listing
from schema import resource_groups as types
from schema.context import Info
from schema.resource_groups import ResourceGroup, Scheduler, SchedulerKind
from schema.slots import pairs
from services import resource_groups
from services.errors import BadInput
from services.resource_groups import ResourceGroupChanges, ResourceGroupSpec


@strawberry.type
class ResourceGroupQueries:
    resource_groups = listing(
        "resource_groups",
        resource_groups.ORDERS,
        of=ResourceGroup,
        filter=types.ResourceGroupFilter,
        order=types.ResourceGroupOrder,
        description="Resource groups that you see.",
    )

    @strawberry.field(description="Installed scheduler plug-ins.")
    def schedulers(self, info: Info) -> list[Scheduler]:
        _ = info.context.viewer
        return [
            Scheduler(
                name=one.name,
                kind=SchedulerKind(one.kind.upper()),
                options_schema=JSON(one.options_schema) if one.options_schema is not None else None,
                problem=one.problem or None,
            )
            for one in resource_groups.schedulers()
        ]


@strawberry.type
class ResourceGroupMutations:
    @strawberry.field(description="Make a resource group.")
    async def create_resource_group(
        self, info: Info, input: types.CreateResourceGroupInput
    ) -> types.CreateResourceGroupPayload:
        spec = ResourceGroupSpec(
            name=input.name,
            description=input.description,
            sequencer=input.sequencer,
            sequencer_options=_options(input.sequencer_options, "input.sequencerOptions") or {},
            placer=input.placer,
            placer_options=_options(input.placer_options, "input.placerOptions") or {},
            total_slots=pairs(input.total_slots),
            max_concurrent_sessions=input.max_concurrent_sessions,
            max_kernels_per_session=input.max_kernels_per_session,
            lost_session_grace_seconds=input.lost_session_grace_seconds,
            idle_timeout_seconds=input.idle_timeout_seconds,
            idle_cpu_percent=input.idle_cpu_percent,
            idle_accelerator_percent=input.idle_accelerator_percent,
            max_lifetime_seconds=input.max_lifetime_seconds,
            start_retries=input.start_retries,
            backfill=input.backfill,
            backfill_options=_options(input.backfill_options, "input.backfillOptions") or {},
            idempotency_key=input.idempotency_key,
        )
        row = await resource_groups.create(info.context.core, info.context.viewer, spec)
        return types.CreateResourceGroupPayload(resource_group=ResourceGroup.of(row))

    @strawberry.field(description="Change a resource group; it holds from the next decision on.")
    async def update_resource_group(
        self, info: Info, input: types.UpdateResourceGroupInput
    ) -> types.UpdateResourceGroupPayload:
        changes = ResourceGroupChanges(
            name=input.name,
            description=input.description,
            active=input.active,
            total_slots=pairs(input.total_slots),
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
            max_kernels_per_session=changed(input.max_kernels_per_session),
            sequencer=input.sequencer,
            sequencer_options=_options(input.sequencer_options, "input.sequencerOptions"),
            placer=input.placer,
            placer_options=_options(input.placer_options, "input.placerOptions"),
            lost_session_grace_seconds=changed(input.lost_session_grace_seconds),
            idle_timeout_seconds=input.idle_timeout_seconds,
            idle_cpu_percent=input.idle_cpu_percent,
            idle_accelerator_percent=input.idle_accelerator_percent,
            max_lifetime_seconds=input.max_lifetime_seconds,
            start_retries=input.start_retries,
            backfill=input.backfill,
            backfill_options=_options(input.backfill_options, "input.backfillOptions"),
        )
        row = await resource_groups.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateResourceGroupPayload(resource_group=ResourceGroup.of(row))

    @strawberry.field(description="Delete a resource group without agents and sessions.")
    async def delete_resource_group(
        self, info: Info, input: types.DeleteResourceGroupInput
    ) -> types.DeleteResourceGroupPayload:
        gone = await resource_groups.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteResourceGroupPayload(deleted_id=strawberry.ID(gone))

    @strawberry.field(description="Let a domain, group or user use a resource group.")
    async def grant_resource_group(
        self, info: Info, input: types.ResourceGroupGrantInput
    ) -> types.GrantResourceGroupPayload:
        row = await resource_groups.grant(
            info.context.core, info.context.viewer, str(input.id), [str(input.grantee_id)]
        )
        return types.GrantResourceGroupPayload(resource_group=ResourceGroup.of(row))

    @strawberry.field(description="Take a grant back; sessions go on.")
    async def revoke_resource_group(
        self, info: Info, input: types.ResourceGroupGrantInput
    ) -> types.RevokeResourceGroupPayload:
        row = await resource_groups.revoke(
            info.context.core, info.context.viewer, str(input.id), [str(input.grantee_id)]
        )
        return types.RevokeResourceGroupPayload(resource_group=ResourceGroup.of(row))


def _options(value: Any, path: str) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise BadInput("Options are an object; `schedulers` has their schema.", path=path)
    return value
