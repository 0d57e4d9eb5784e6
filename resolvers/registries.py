"""Root fields about registries."""

import strawberry

from resolvers.inputs import changed
from resolvers.listings import listing
from schema import registries as types
from schema.context import Info
from schema.registries import Registry
from schema.tasks import Task
from services import registries
from services.registries import RegistryChanges, RegistrySpec


@strawberry.type
class RegistryQueries:
    registries = listing(
        "registries",
        registries.ORDERS,
        of=Registry,
        filter=types.RegistryFilter,
        order=types.RegistryOrder,
        description="Registries whose images you may use; for superadmins all.",
    )


@strawberry.type
class RegistryMutations:
    @strawberry.field(description="Make a registry known; from then on it governs the images of its host.")
    async def create_registry(
        self, info: Info, input: types.CreateRegistryInput
    ) -> types.CreateRegistryPayload:
        spec = RegistrySpec(
            hostname=input.hostname,
            url=input.url,
            kind=input.kind.name,
            username=input.username,
            password=input.password,
            projects=input.projects,
            trusted_hosts=input.trusted_hosts,
            verify_tls=input.verify_tls,
            idempotency_key=input.idempotency_key,
        )
        row = await registries.create(info.context.core, info.context.viewer, spec)
        return types.CreateRegistryPayload(registry=Registry.of(row))

    @strawberry.field(description="Change a registry.")
    async def update_registry(
        self, info: Info, input: types.UpdateRegistryInput
    ) -> types.UpdateRegistryPayload:
        changes = RegistryChanges(
            url=input.url,
            username=input.username,
            password=changed(input.password),
            projects=input.projects,
            trusted_hosts=input.trusted_hosts,
            verify_tls=input.verify_tls,
            active=input.active,
        )
        row = await registries.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateRegistryPayload(registry=Registry.of(row))

    @strawberry.field(description="Forget a registry and its images; those that are needed are hidden.")
    async def delete_registry(
        self, info: Info, input: types.DeleteRegistryInput
    ) -> types.DeleteRegistryPayload:
        gone = await registries.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteRegistryPayload(deleted_id=strawberry.ID(gone))

    @strawberry.field(description="Let a domain or a group use a registry's images.")
    async def grant_registry(self, info: Info, input: types.RegistryGrantInput) -> types.GrantRegistryPayload:
        row = await registries.grant(
            info.context.core, info.context.viewer, str(input.id), str(input.tenant_id)
        )
        return types.GrantRegistryPayload(registry=Registry.of(row))

    @strawberry.field(description="Take that back; what runs or waits goes on.")
    async def revoke_registry(
        self, info: Info, input: types.RegistryGrantInput
    ) -> types.RevokeRegistryPayload:
        row = await registries.revoke(
            info.context.core, info.context.viewer, str(input.id), str(input.tenant_id)
        )
        return types.RevokeRegistryPayload(registry=Registry.of(row))

    @strawberry.field(
        description="Look through registries, in the background; one that is being looked through already is that task."
    )
    async def rescan_registries(
        self, info: Info, input: types.RescanRegistriesInput
    ) -> types.RescanRegistriesPayload:
        wanted = None if input.ids is None else [str(one) for one in input.ids]
        row = await registries.rescan(info.context.core, info.context.viewer, wanted)
        return types.RescanRegistriesPayload(task=Task.of(row))
