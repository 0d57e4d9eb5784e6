"""Root fields about signing up and invitations."""

import strawberry

from resolvers.context import request_of
from resolvers.listings import listing
from resolvers.results import results
from schema import signups as types
from schema.context import Info
from schema.signups import Invitation
from services import invitations, signups
from services.invitations import InvitationSpec
from services.signups import SignUpSpec


@strawberry.type
class SignUpQueries:
    invitations = listing(
        "invitations",
        invitations.ORDERS,
        of=Invitation,
        filter=types.InvitationFilter,
        order=types.InvitationOrder,
        description="Tokens with which people sign up.",
    )


@strawberry.type
class SignUpMutations:
    @strawberry.field(
        description="Make an account. The answer does not tell whether the address has one: a mail does."
    )
    async def sign_up(self, info: Info, input: types.SignUpInput) -> types.SignUpPayload:
        spec = SignUpSpec(
            email=input.email,
            name=input.name,
            password=input.password,
            full_name=input.full_name,
            language=input.language,
            invitation_token=input.invitation_token,
            terms_version=input.accepted_terms_version,
            privacy_version=input.accepted_privacy_version,
        )
        done = await signups.sign_up(info.context.core, spec, address=request_of(info).address)
        return types.SignUpPayload(
            verification_required=done.verification_required, mail_delayed=done.mail_delayed
        )

    @strawberry.field(description="Tell that an address is yours, by the link that was mailed to it.")
    async def verify_email(self, info: Info, input: types.VerifyEmailInput) -> types.VerifyEmailPayload:
        user = await signups.verify(info.context.core, input.token)
        return types.VerifyEmailPayload(email=user.email)

    @strawberry.field(
        description="Have another link mailed to verify an address with. The answer tells nothing about accounts."
    )
    async def resend_verification(
        self, info: Info, input: types.ResendVerificationInput
    ) -> types.ResendVerificationPayload:
        delayed = await signups.resend(info.context.core, input.email, address=request_of(info).address)
        return types.ResendVerificationPayload(mail_delayed=delayed)

    @strawberry.field(description="Make tokens with which people sign up.")
    async def create_invitation_tokens(
        self, info: Info, input: types.CreateInvitationTokensInput
    ) -> types.CreateInvitationTokensPayload:
        core = info.context.core
        spec = InvitationSpec(
            domain_id=str(input.domain_id),
            group_id=str(input.group_id) if input.group_id else None,
            policy_id=str(input.policy_id) if input.policy_id else None,
            description=input.description,
            count=input.count,
            uses=input.uses,
            life=input.expires_in_seconds,
            idempotency_key=input.idempotency_key,
        )
        made = await invitations.create(core, info.context.viewer, spec)
        site = core.settings.public_url
        return types.CreateInvitationTokensPayload(
            invitations=[
                types.NewInvitation(
                    invitation=Invitation.of(one.invitation),
                    token=one.token,
                    url=f"{site}/signup#{one.token}",
                )
                for one in made
            ]
        )

    @strawberry.field(description="Let nobody sign up with these any more, each for itself.")
    async def revoke_invitations(
        self, info: Info, input: types.InvitationsInput
    ) -> types.RevokeInvitationsPayload:
        done = await invitations.revoke(
            info.context.core, info.context.viewer, [str(one) for one in input.ids]
        )
        told = results(done, types.InvitationResult, "invitation", Invitation)
        return types.RevokeInvitationsPayload(results=told)
