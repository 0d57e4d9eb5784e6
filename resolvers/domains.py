"""Root fields about domains."""

import strawberry

from resolvers.inputs import changed
from resolvers.listings import listing
from resolvers.results import results
from schema import domains as types
from schema.closing import RemainingSessions
from schema.context import Info
from schema.domains import Domain
from schema.slots import pairs
from services import domains
from services.domains import DomainChanges, DomainSpec


@strawberry.type
class DomainQueries:
    domains = listing(
        "domains",
        domains.ORDERS,
        of=Domain,
        filter=types.DomainFilter,
        order=types.DomainOrder,
        description="Domains that you see.",
    )


@strawberry.type
class DomainMutations:
    @strawberry.field(description="Make a domain.")
    async def create_domain(self, info: Info, input: types.CreateDomainInput) -> types.CreateDomainPayload:
        spec = DomainSpec(
            input.name,
            input.description,
            pairs(input.total_slots),
            input.idempotency_key,
            max_concurrent_sessions=input.max_concurrent_sessions,
            allowed_storage_hosts=input.allowed_storage_hosts,
        )
        row = await domains.create(info.context.core, info.context.viewer, spec)
        return types.CreateDomainPayload(domain=Domain.of(row))

    @strawberry.field(description="Change a domain.")
    async def update_domain(self, info: Info, input: types.UpdateDomainInput) -> types.UpdateDomainPayload:
        changes = DomainChanges(
            input.name,
            input.description,
            pairs(input.total_slots),
            input.active,
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
            allowed_storage_hosts=input.allowed_storage_hosts,
        )
        row = await domains.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateDomainPayload(domain=Domain.of(row))

    @strawberry.field(description="Change several domains in the same way, each for itself.")
    async def update_domains(self, info: Info, input: types.UpdateDomainsInput) -> types.UpdateDomainsPayload:
        changes = DomainChanges(
            description=input.description,
            total_slots=pairs(input.total_slots),
            active=input.active,
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
            allowed_storage_hosts=input.allowed_storage_hosts,
            end_sessions=input.sessions is RemainingSessions.TERMINATE,
        )
        done = await domains.edit_all(
            info.context.core, info.context.viewer, [str(one) for one in input.ids], changes
        )
        return types.UpdateDomainsPayload(results=results(done, types.DomainResult, "domain", Domain))

    @strawberry.field(description="Deactivate a domain: nobody of it can log in or launch anything.")
    async def deactivate_domain(
        self, info: Info, input: types.DeactivateDomainInput
    ) -> types.DeactivateDomainPayload:
        end = input.sessions is RemainingSessions.TERMINATE
        row = await domains.deactivate(
            info.context.core, info.context.viewer, str(input.id), end_sessions=end
        )
        return types.DeactivateDomainPayload(domain=Domain.of(row))
