"""Signing up, invitations, consents, verified addresses."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.errors import Problem
from schema.fields import permitted_actions, refers, said
from schema.nodes import Node
from schema.paging import Direction
from services.db import tables

if TYPE_CHECKING:
    from schema.domains import Domain
    from schema.groups import Group
    from schema.policies import ResourcePolicy
    from schema.users import User


@strawberry.enum(description="What users agree to.")
class ConsentDocument(Enum):
    TERMS_OF_SERVICE = strawberry.enum_value("TERMS_OF_SERVICE", description="The terms of service.")
    PRIVACY_POLICY = strawberry.enum_value("PRIVACY_POLICY", description="The privacy policy.")


@strawberry.type(description="A user has agreed to a text.")
class Consent:
    document: ConsentDocument = said("To which.")
    version: str = said("To which version.")
    accepted_at: datetime = said("When.")

    @classmethod
    def of(cls, row: tables.Consent) -> "Consent":
        return cls(document=ConsentDocument(row.document), version=row.version, accepted_at=row.accepted_at)


@strawberry.type(description="A text that people agree to when they sign up.")
class LegalText:
    version: str = said("What `signUp` is told when it was agreed to.")
    text: str = said("In plain text.")
    url: str | None = said("Where it can be read elsewhere; null: nowhere.")


@strawberry.type(
    description="A token with which people sign up. The token itself is shown once, when it is made."
)
class Invitation(Node):
    row: strawberry.Private[tables.Invitation]
    description: str = said("For administrators.")
    uses_allowed: int = said("How many may sign up with it.")
    uses: int = said("How many have.")
    expires_at: datetime = said("Until when.")
    revoked_at: datetime | None = said("When it was revoked; null: it was not.")
    created_at: datetime = said("When it was made.")

    @classmethod
    def of(cls, row: tables.Invitation) -> "Invitation":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            description=row.description,
            uses_allowed=row.uses_allowed,
            uses=row.uses,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            created_at=row.created_at,
        )

    domain: Annotated["Domain", strawberry.lazy("schema.domains")] = refers(
        "domain_id", "The domain that who signs up with it belongs to.", always=True
    )
    group: Annotated["Group", strawberry.lazy("schema.groups")] | None = refers(
        "group_id", "The group that they become members of; null: of none."
    )
    policy: Annotated["ResourcePolicy", strawberry.lazy("schema.policies")] | None = refers(
        "policy_id", "The policy of their keypair; null: the default one."
    )
    created_by: Annotated["User", strawberry.lazy("schema.users")] | None = refers(
        "created_by_id", "Who made it; null when you may not see them."
    )
    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which invitations; all given conditions hold together.")
class InvitationFilter:
    search: str | None = said("Part of the description, or the beginning of the id.", default=None)
    domain_id: strawberry.ID | None = said("Only those into this domain.", default=None)


@strawberry.enum(description="What lists of invitations are ordered by.")
class InvitationOrderField(Enum):
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")
    EXPIRES_AT = strawberry.enum_value("EXPIRES_AT", description="By when they end.")


@strawberry.input(description="An order of invitations.")
class InvitationOrder:
    field: InvitationOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="Tokens with which people sign up, always as plain users.")
class CreateInvitationTokensInput:
    domain_id: strawberry.ID = said("The domain that they will belong to.")
    group_id: strawberry.ID | None = said(
        "A group that they will be members of; null: of none.", default=None
    )
    policy_id: strawberry.ID | None = said(
        "The policy of their keypairs, for superadmins to choose; null: the default one.", default=None
    )
    count: int = said("How many tokens; at most 100.", default=1)
    uses: int = said("How many people may sign up with each.", default=1)
    expires_in_seconds: int = said("How long they are good.", default=7 * 24 * 3600)
    description: str = said("For administrators.", default="")
    idempotency_key: str | None = said(
        "The same key gives the same invitations with their tokens again, for 24 hours.", default=None
    )


@strawberry.input(description="Several invitations.")
class InvitationsInput:
    ids: list[strawberry.ID] = said("The invitations.")


@strawberry.type(description="An invitation, with its token this once.")
class NewInvitation:
    invitation: Invitation = said("The invitation.")
    token: str = said("With which somebody signs up. It is shown this once.")
    url: str = said("The same as a link. It is shown this once.")


@strawberry.type(description="Invitations were made.")
class CreateInvitationTokensPayload:
    invitations: list[NewInvitation] = said("All of them, with their tokens.")


@strawberry.type(description="What became of one of several invitations.")
class InvitationResult:
    id: strawberry.ID = said("The invitation's id as it was given.")
    invitation: Invitation | None = said("The invitation as it is now; null when it was not done.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="Invitations were revoked, each for itself.")
class RevokeInvitationsPayload:
    results: list[InvitationResult] = said("One for each id.")


@strawberry.input(description="Somebody who wants an account.")
class SignUpInput:
    email: str = said("The e-mail address, to log in with.")
    name: str = said("User name.")
    password: str = said("At least 8 characters with a letter, a digit and a special character.")
    full_name: str = said("Full name.", default="")
    language: str = said("Of mails: `en` or `ko`.", default="en")
    invitation_token: str | None = said(
        "From an administrator, where `server.signUpMode` is INVITATION.", default=None
    )
    accepted_terms_version: str | None = said(
        "The version in `server.termsOfService` that was read and agreed to.", default=None
    )
    accepted_privacy_version: str | None = said(
        "The version in `server.privacyPolicy` that was read and agreed to.", default=None
    )


@strawberry.type(
    description="The same answer, whether or not the address has an account already: the mail tells."
)
class SignUpPayload:
    verification_required: bool = said("True: the link in the mail comes before the first login.")
    mail_delayed: bool = said(
        "True: the mail server does not answer just now; the mail is sent as soon as it does."
    )


@strawberry.input(description="A link that was mailed to an address.")
class VerifyEmailInput:
    token: str = said("The part of the link after #.")


@strawberry.type(description="The address is its user's.")
class VerifyEmailPayload:
    email: str = said("The address; log in with it.")


@strawberry.input(description="Somebody whose link to verify an address is lost or old.")
class ResendVerificationInput:
    email: str = said("The e-mail address of the account.")


@strawberry.type(description="The same answer, whether or not there is such an account.")
class ResendVerificationPayload:
    mail_delayed: bool = said(
        "True: the mail server does not answer just now; the mail is sent as soon as it does."
    )
