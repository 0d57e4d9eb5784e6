"""Identity providers: who else may say who somebody is."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.context import Context, Info, Need
from schema.fields import answered, permitted_actions, refers, said
from schema.nodes import Node
from schema.paging import Direction
from services import identities, oidc
from services.db import tables

if TYPE_CHECKING:
    from schema.domains import Domain
    from schema.groups import Group
    from schema.users import User


@strawberry.type(description="A way to log in by an identity provider, for a button.")
class LoginProvider:
    name: str = said("Unique.")
    title: str = said("What the button says.")
    url: str = said(
        "Where the button leads: open it in the browser, with `?next=/path` to come back to a page."
    )


@strawberry.type(description="Who else may say who somebody is, by OpenID Connect.")
class IdentityProvider(Node):
    row: strawberry.Private[tables.IdentityProvider]
    name: str = said("Unique; part of the addresses of its logins.")
    title: str = said("What its button says.")
    description: str = said("For administrators.")
    issuer: str = said("Its address, as it calls itself.")
    client_id: str = said("What it calls us.")
    has_client_secret: bool = said("Is there a client secret? It is written and never shown.")
    allowed_email_domains: list[str] = said("Domains of e-mail addresses that may come in; empty: all.")
    create_users: bool = said("Who has no account here gets one.")
    active: bool = said("False: nobody can log in by it.")
    created_at: datetime = said("When it was made known.")

    @classmethod
    def of(cls, row: tables.IdentityProvider) -> "IdentityProvider":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            title=row.title,
            description=row.description,
            issuer=row.issuer,
            client_id=row.client_id,
            has_client_secret=row.client_secret_sealed is not None,
            allowed_email_domains=list(row.allowed_email_domains),
            create_users=row.create_users,
            active=row.active,
            created_at=row.created_at,
        )

    @strawberry.field(description="What it has to know as our redirect URL.")
    def redirect_url(self, info: Info) -> str:
        return oidc.redirect_url(info.context.core, self.name)

    domain: Annotated["Domain", strawberry.lazy("schema.domains")] | None = refers(
        "domain_id", "Where users belong that it creates; null: it creates none."
    )
    group: Annotated["Group", strawberry.lazy("schema.groups")] | None = refers(
        "group_id", "Of which group they become members; null: of none."
    )
    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.type(description="By whom a user is known: logs in by way of an identity provider.")
class Identity(Node):
    row: strawberry.Private[tables.Identity]
    issuer: str = said("The provider's address, as it calls itself.")
    subject_hint: str = said("The beginning of what the provider calls the user.")
    email: str = said("The user's address, as the provider said when they were linked.")
    linked_at: datetime = said("When they were linked.")
    last_used_at: datetime = said("When the user last logged in by it.")

    @classmethod
    def of(cls, row: tables.Identity) -> "Identity":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            issuer=row.issuer,
            subject_hint=identities.hint(row.subject),
            email=row.email,
            linked_at=row.linked_at,
            last_used_at=row.last_used_at,
        )

    @answered(
        Need("each", lambda thing: thing.row.issuer, "provider_titles"),
        "What the provider's button says; null: the provider is not known here any more, and opens no login.",
    )
    def provider(self, titles: list[str], _context: Context) -> str | None:
        return titles[0] if titles else None

    user: Annotated["User", strawberry.lazy("schema.users")] = refers(
        "user_id", "Who that is here.", always=True
    )
    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which identity providers; all given conditions hold together.")
class IdentityProviderFilter:
    search: str | None = said(
        "Part of the name, title, issuer or description, or the beginning of the id.", default=None
    )
    active: bool | None = said("Only active (true) or other (false) ones.", default=None)


@strawberry.enum(description="What lists of identity providers are ordered by.")
class IdentityProviderOrderField(Enum):
    NAME = strawberry.enum_value("NAME", description="By name.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of identity providers.")
class IdentityProviderOrder:
    field: IdentityProviderOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new identity provider. Tell it our `redirectUrl`.")
class CreateIdentityProviderInput:
    name: str = said("Unique; part of the addresses of its logins.")
    issuer: str = said("Its address, as it calls itself; begins with https://.")
    client_id: str = said("What it calls us.")
    client_secret: str | None = said("From the provider; null for a public client.", default=None)
    title: str = said("What its button says; by default its name.", default="")
    description: str = said("For administrators.", default="")
    allowed_email_domains: list[str] = said(
        "Domains of e-mail addresses that may come in; empty: all.", default_factory=list
    )
    create_users: bool = said("Who has no account here gets one, as a plain user.", default=False)
    domain_id: strawberry.ID | None = said("Where users belong that it creates.", default=None)
    group_id: strawberry.ID | None = said("Of which group they become members; null: of none.", default=None)
    active: bool = said("False: nobody can log in by it yet.", default=True)
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of an identity provider; what is absent stays as it is.")
class UpdateIdentityProviderInput:
    id: strawberry.ID = said("The provider.")
    name: str | None = said("A new name; its redirect URL changes with it.", default=None)
    issuer: str | None = said("A new issuer; who was linked by the old one is found anew.", default=None)
    client_id: str | None = said("What it calls us.", default=None)
    client_secret: strawberry.Maybe[str | None] = said("A new secret; null: none.", default=None)
    title: str | None = said("What its button says.", default=None)
    description: str | None = said("A new description.", default=None)
    allowed_email_domains: list[str] | None = said("All allowed domains anew.", default=None)
    create_users: bool | None = said("Whether who has no account here gets one.", default=None)
    domain_id: strawberry.ID | None = said("Where users belong that it creates.", default=None)
    group_id: strawberry.Maybe[strawberry.ID | None] = said(
        "Of which group they become members; null: of none.", default=None
    )
    active: bool | None = said("False: nobody can log in by it.", default=None)


@strawberry.input(description="An identity provider to delete.")
class DeleteIdentityProviderInput:
    id: strawberry.ID = said("The provider. Users stay, and so do logins that it opened.")


@strawberry.input(description="An identity to be forgotten.")
class UnlinkIdentityInput:
    id: strawberry.ID = said("The identity; of your own not the only way to log in.")


@strawberry.type(description="An identity was forgotten. The user's logins, but this very one, have ended.")
class UnlinkIdentityPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")
    user: Annotated["User", strawberry.lazy("schema.users")] = said("Whose it was.")


@strawberry.type(description="An identity provider was made known.")
class CreateIdentityProviderPayload:
    identity_provider: IdentityProvider = said("The new provider.")


@strawberry.type(description="An identity provider was changed.")
class UpdateIdentityProviderPayload:
    identity_provider: IdentityProvider = said("The provider as it is now.")


@strawberry.type(description="An identity provider was deleted.")
class DeleteIdentityProviderPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")
