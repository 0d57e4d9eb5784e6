"""Root fields about identity providers."""

import strawberry
from msgspec import UNSET, UnsetType

from resolvers.inputs import changed
from resolvers.listings import listing
from schema import identity_providers as types
from schema.context import Info
from schema.identity_providers import IdentityProvider
from schema.users import User
from services import identities, identity_providers
from services.identity_providers import ProviderChanges, ProviderSpec


@strawberry.type
class IdentityProviderQueries:
    identity_providers = listing(
        "identity_providers",
        identity_providers.ORDERS,
        of=IdentityProvider,
        filter=types.IdentityProviderFilter,
        order=types.IdentityProviderOrder,
        description="Identity providers; `server` has the buttons for everybody.",
    )


@strawberry.type
class IdentityProviderMutations:
    @strawberry.field(description="Make an identity provider known.")
    async def create_identity_provider(
        self, info: Info, input: types.CreateIdentityProviderInput
    ) -> types.CreateIdentityProviderPayload:
        spec = ProviderSpec(
            name=input.name,
            issuer=input.issuer,
            client_id=input.client_id,
            client_secret=input.client_secret,
            title=input.title,
            description=input.description,
            allowed_email_domains=input.allowed_email_domains,
            create_users=input.create_users,
            domain_id=str(input.domain_id) if input.domain_id else None,
            group_id=str(input.group_id) if input.group_id else None,
            active=input.active,
            idempotency_key=input.idempotency_key,
        )
        row = await identity_providers.create(info.context.core, info.context.viewer, spec)
        return types.CreateIdentityProviderPayload(identity_provider=IdentityProvider.of(row))

    @strawberry.field(description="Change an identity provider.")
    async def update_identity_provider(
        self, info: Info, input: types.UpdateIdentityProviderInput
    ) -> types.UpdateIdentityProviderPayload:
        group: strawberry.ID | UnsetType | None = changed(input.group_id)
        changes = ProviderChanges(
            name=input.name,
            issuer=input.issuer,
            client_id=input.client_id,
            client_secret=changed(input.client_secret),
            title=input.title,
            description=input.description,
            allowed_email_domains=input.allowed_email_domains,
            create_users=input.create_users,
            domain_id=str(input.domain_id) if input.domain_id else None,
            group_id=str(group) if group is not UNSET and group is not None else group,
            active=input.active,
        )
        row = await identity_providers.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateIdentityProviderPayload(identity_provider=IdentityProvider.of(row))

    @strawberry.field(description="Delete an identity provider; users and their logins stay.")
    async def delete_identity_provider(
        self, info: Info, input: types.DeleteIdentityProviderInput
    ) -> types.DeleteIdentityProviderPayload:
        gone = await identity_providers.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteIdentityProviderPayload(deleted_id=strawberry.ID(gone))

    @strawberry.field(
        description="Forget by which identity provider a user is known; it opens no login any more until they are linked again."
    )
    async def unlink_identity(
        self, info: Info, input: types.UnlinkIdentityInput
    ) -> types.UnlinkIdentityPayload:
        user = await identities.unlink(info.context.core, info.context.viewer, str(input.id))
        return types.UnlinkIdentityPayload(deleted_id=input.id, user=User.of(user))
