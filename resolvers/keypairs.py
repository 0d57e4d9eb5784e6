"""Root fields about keypairs."""

import strawberry

from resolvers.listings import listing
from resolvers.results import results
from schema import keypairs as types
from schema.context import Info
from schema.keypairs import Keypair
from services import keypairs
from services.keypairs import KeypairChanges, KeypairSpec


@strawberry.type
class KeypairQueries:
    keypairs = listing(
        "keypairs",
        keypairs.ORDERS,
        of=Keypair,
        filter=types.KeypairFilter,
        order=types.KeypairOrder,
        description="Keypairs that you see.",
    )


@strawberry.type
class KeypairMutations:
    @strawberry.field(description="Make a keypair. Its secret is in the answer, this once.")
    async def create_keypair(self, info: Info, input: types.CreateKeypairInput) -> types.CreateKeypairPayload:
        viewer = info.context.viewer
        spec = KeypairSpec(
            user_id=str(input.user_id) if input.user_id else viewer.user_id,
            policy_id=str(input.policy_id) if input.policy_id else None,
            rate_limit=input.rate_limit,
            access_key=input.access_key,
            secret_key=input.secret_key,
            idempotency_key=input.idempotency_key,
        )
        made = await keypairs.create(info.context.core, viewer, spec)
        return types.CreateKeypairPayload(keypair=Keypair.of(made.keypair), secret_key=made.secret_key)

    @strawberry.field(description="Change a keypair's policy or rate limit.")
    async def update_keypair(self, info: Info, input: types.UpdateKeypairInput) -> types.UpdateKeypairPayload:
        changes = KeypairChanges(str(input.policy_id) if input.policy_id else None, input.rate_limit)
        row = await keypairs.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateKeypairPayload(keypair=Keypair.of(row))

    @strawberry.field(
        description="Choose a user's main keypair: its limits and its policy count for logins by password."
    )
    async def set_main_keypair(
        self, info: Info, input: types.SetMainKeypairInput
    ) -> types.SetMainKeypairPayload:
        row = await keypairs.set_main(info.context.core, info.context.viewer, str(input.id))
        info.context.forget()
        return types.SetMainKeypairPayload(keypair=Keypair.of(row), user=await info.context.load(row.user_id))

    @strawberry.field(description="Activate keypairs, each for itself.")
    async def activate_keypairs(
        self, info: Info, input: types.KeypairsInput
    ) -> types.ActivateKeypairsPayload:
        done = await keypairs.activate(
            info.context.core, info.context.viewer, [str(one) for one in input.ids]
        )
        return types.ActivateKeypairsPayload(results=results(done, types.KeypairResult, "keypair", Keypair))

    @strawberry.field(description="Deactivate keypairs, each for itself: requests with them are refused.")
    async def deactivate_keypairs(
        self, info: Info, input: types.KeypairsInput
    ) -> types.DeactivateKeypairsPayload:
        done = await keypairs.deactivate(
            info.context.core, info.context.viewer, [str(one) for one in input.ids]
        )
        return types.DeactivateKeypairsPayload(results=results(done, types.KeypairResult, "keypair", Keypair))

    @strawberry.field(description="Delete a keypair that no session was ever made with.")
    async def delete_keypair(self, info: Info, input: types.DeleteKeypairInput) -> types.DeleteKeypairPayload:
        gone = await keypairs.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteKeypairPayload(deleted_id=strawberry.ID(gone))
