"""Root fields about resource policies."""

import strawberry

from resolvers.inputs import changed
from resolvers.listings import listing
from schema import policies as types
from schema.context import Info
from schema.keypairs import Keypair
from schema.policies import ResourcePolicy
from schema.slots import pairs
from services import policies
from services.policies import PolicyChanges, PolicySpec


@strawberry.type
class PolicyQueries:
    resource_policies = listing(
        "policies",
        policies.ORDERS,
        of=ResourcePolicy,
        filter=types.ResourcePolicyFilter,
        order=types.ResourcePolicyOrder,
        description="Resource policies that you see.",
    )


@strawberry.type
class PolicyMutations:
    @strawberry.field(description="Make a resource policy.")
    async def create_resource_policy(
        self, info: Info, input: types.CreateResourcePolicyInput
    ) -> types.CreateResourcePolicyPayload:
        spec = PolicySpec(
            name=input.name,
            description=input.description,
            total_slots=pairs(input.total_slots),
            max_concurrent_sessions=input.max_concurrent_sessions,
            max_kernels_per_session=input.max_kernels_per_session,
            idle_timeout_seconds=input.idle_timeout_seconds,
            idle_cpu_percent=input.idle_cpu_percent,
            idle_accelerator_percent=input.idle_accelerator_percent,
            max_lifetime_seconds=input.max_lifetime_seconds,
            allowed_storage_hosts=input.allowed_storage_hosts,
            max_folder_bytes=input.max_folder_bytes,
            max_folders=input.max_folders,
            idempotency_key=input.idempotency_key,
        )
        row = await policies.create(info.context.core, info.context.viewer, spec)
        return types.CreateResourcePolicyPayload(resource_policy=ResourcePolicy.of(row))

    @strawberry.field(description="Change a resource policy; it holds from the next decision on.")
    async def update_resource_policy(
        self, info: Info, input: types.UpdateResourcePolicyInput
    ) -> types.UpdateResourcePolicyPayload:
        changes = PolicyChanges(
            name=input.name,
            description=input.description,
            total_slots=pairs(input.total_slots),
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
            max_kernels_per_session=input.max_kernels_per_session,
            idle_timeout_seconds=input.idle_timeout_seconds,
            idle_cpu_percent=input.idle_cpu_percent,
            idle_accelerator_percent=input.idle_accelerator_percent,
            max_lifetime_seconds=input.max_lifetime_seconds,
            allowed_storage_hosts=changed(input.allowed_storage_hosts),
            max_folder_bytes=changed(input.max_folder_bytes),
            max_folders=changed(input.max_folders),
        )
        row = await policies.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateResourcePolicyPayload(resource_policy=ResourcePolicy.of(row))

    @strawberry.field(description="Give keypairs a resource policy, all of them or none.")
    async def assign_resource_policy(
        self, info: Info, input: types.AssignResourcePolicyInput
    ) -> types.AssignResourcePolicyPayload:
        rows = await policies.assign(
            info.context.core, info.context.viewer, str(input.id), [str(one) for one in input.keypair_ids]
        )
        return types.AssignResourcePolicyPayload(
            resource_policy=await info.context.load(str(input.id)), keypairs=[Keypair.of(row) for row in rows]
        )

    @strawberry.field(description="Delete a resource policy that no keypair refers to.")
    async def delete_resource_policy(
        self, info: Info, input: types.DeleteResourcePolicyInput
    ) -> types.DeleteResourcePolicyPayload:
        gone = await policies.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteResourcePolicyPayload(deleted_id=strawberry.ID(gone))
