"""Users: people."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.closing import RemainingSessions
from schema.context import Context, Info
from schema.errors import Problem
from schema.fields import USED, answered, belongs, permitted_actions, refers, said
from schema.nodes import Node
from schema.paging import After, Before, Connection, Direction, First, Last, page_args
from schema.slots import SlotInput, SlotLimit
from services.db import tables

if TYPE_CHECKING:
    from schema.domains import Domain
    from schema.groups import Group
    from schema.identity_providers import Identity
    from schema.keypairs import Keypair
    from schema.sessions import Session
    from schema.signups import Consent

Groups = Connection[Annotated["Group", strawberry.lazy("schema.groups")]]
Keypairs = Connection[Annotated["Keypair", strawberry.lazy("schema.keypairs")]]
Sessions = Connection[Annotated["Session", strawberry.lazy("schema.sessions")]]


@strawberry.enum(description="What a user may do.")
class Role(Enum):
    SUPERADMIN = strawberry.enum_value("SUPERADMIN", description="Everything.")
    DOMAIN_ADMIN = strawberry.enum_value("DOMAIN_ADMIN", description="Everything inside the own domain.")
    USER = strawberry.enum_value("USER", description="The own sessions, in the own groups.")


@strawberry.type(description="A person. Never deleted, only deactivated, so that history keeps its owner.")
class User(Node):
    row: strawberry.Private[tables.User]
    email: str = said("What they log in with; lower case, unique.")
    name: str = said("User name.")
    full_name: str = said("Full name.")
    description: str = said("For administrators.")
    role: Role = said("What they may do.")
    active: bool = said("False once deactivated: no login, no request.")
    email_verified: bool = said(
        "Somebody has read a mail to the address, or an administrator vouches for it."
    )
    language: str = said("Of mails to them: `en` or `ko`.")
    totp_enabled: bool = said("They have a second factor.")
    must_change_password: bool = said("True: the next login must choose a new password first.")
    created_at: datetime = said("When they were added.")
    max_concurrent_sessions: int | None = said("Their sessions at once; null: unlimited.")

    @classmethod
    def of(cls, row: tables.User) -> "User":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            email=row.email,
            name=row.name,
            full_name=row.full_name,
            description=row.description,
            role=Role(row.role),
            active=row.active,
            email_verified=row.email_verified,
            totp_enabled=row.totp_confirmed_at is not None,
            language=row.language,
            must_change_password=row.must_change_password,
            created_at=row.created_at,
            max_concurrent_sessions=row.max_concurrent_sessions,
        )

    domain: Annotated["Domain", strawberry.lazy("schema.domains")] = refers(
        "domain_id", "The domain that they belong to.", always=True
    )

    @strawberry.field(description="Groups that they are members of, as far as you see them.")
    def groups(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Groups:
        return info.context.page("groups", page_args(first, after, last, before), user_id=self.row.id)

    @strawberry.field(description="Their keypairs, as far as you see them.")
    def keypairs(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Keypairs:
        return info.context.page("keypairs", page_args(first, after, last, before), user_id=self.row.id)

    main_keypair: Annotated["Keypair", strawberry.lazy("schema.keypairs")] | None = refers(
        "main_keypair_id", "The keypair that browser logins are bound to; null when you may not see it."
    )

    @strawberry.field(description="Their sessions, newest first, as far as you see them.")
    def sessions(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Sessions:
        return info.context.page("sessions", page_args(first, after, last, before), user_id=self.row.id)

    @answered(USED, "What all their sessions together may occupy, with whichever keypair, and do.")
    def total_slots(self, used: dict[str, int], _context: Context) -> list[SlotLimit]:
        return SlotLimit.all(self.row.total_slots, used)

    @answered(USED, "Their sessions that occupy a node now.")
    def concurrent_sessions(self, used: dict[str, int], _context: Context) -> int:
        return used.get("sessions", 0)

    identities: list[Annotated["Identity", strawberry.lazy("schema.identity_providers")]] = belongs(
        "identities", "By which identity providers they are known, oldest first."
    )

    consents: list[Annotated["Consent", strawberry.lazy("schema.signups")]] = belongs(
        "consents", "What they have agreed to, oldest first."
    )

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on them.")


@strawberry.input(description="Which users; all given conditions hold together.")
class UserFilter:
    search: str | None = said(
        "Part of the e-mail address or a name (of less than three letters, its beginning), or the beginning of the id.",
        default=None,
    )
    active: bool | None = said("Only active (true) or deactivated (false) ones.", default=None)
    role: Role | None = said("Only those of this role.", default=None)
    domain_id: strawberry.ID | None = said("Only those of this domain.", default=None)
    group_id: strawberry.ID | None = said("Only members of this group.", default=None)


@strawberry.enum(description="What lists of users are ordered by.")
class UserOrderField(Enum):
    EMAIL = strawberry.enum_value("EMAIL", description="By e-mail address.")
    NAME = strawberry.enum_value("NAME", description="By user name.")
    ROLE = strawberry.enum_value("ROLE", description="By role, in the order of the alphabet.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of users.")
class UserOrder:
    field: UserOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new user; a keypair is made with it.")
class CreateUserInput:
    domain_id: strawberry.ID = said("The domain that they belong to.")
    email: str = said("Unique.")
    name: str = said("User name.")
    password: str | None = said(
        "At least 8 characters with a letter, a digit and a special character; null: chosen by a link.",
        default=None,
    )
    full_name: str = said("Full name.", default="")
    description: str = said("For administrators.", default="")
    role: Role = said("What they may do; not more than you.", default=Role.USER)
    group_ids: list[strawberry.ID] = said("Groups of the domain to be a member of.", default_factory=list)
    must_change_password: bool = said("The first login must choose a new password.", default=False)
    total_slots: list[SlotInput] = said(
        "Limits of all their sessions together; unlimited where not given.", default_factory=list
    )
    max_concurrent_sessions: int | None = said("Their sessions at once; null: unlimited.", default=None)
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a user; what is absent stays as it is.")
class UpdateUserInput:
    id: strawberry.ID = said("The user.")
    name: str | None = said("A new user name.", default=None)
    full_name: str | None = said("A new full name.", default=None)
    description: str | None = said("A new description.", default=None)
    password: str | None = said("A new password; ends all their logins.", default=None)
    domain_id: strawberry.ID | None = said("Another domain; groups of the old one are left.", default=None)
    role: Role | None = said("Another role; not more than yours. Ends all their logins.", default=None)
    must_change_password: bool | None = said(
        "Whether the next login must choose a new password.", default=None
    )
    group_ids: list[strawberry.ID] | None = said("All group memberships anew.", default=None)
    total_slots: list[SlotInput] | None = said("All limits anew; unlimited where not given.", default=None)
    max_concurrent_sessions: strawberry.Maybe[int | None] = said(
        "Their sessions at once; null: unlimited.", default=None
    )


@strawberry.input(description="The same changes of several users; what is absent stays as it is.")
class UpdateUsersInput:
    ids: list[strawberry.ID] = said("The users.")
    description: str | None = said("A new description.", default=None)
    domain_id: strawberry.ID | None = said("Another domain; groups of the old one are left.", default=None)
    role: Role | None = said("Another role; not more than yours. Ends all their logins.", default=None)
    must_change_password: bool | None = said(
        "Whether the next login must choose a new password.", default=None
    )
    group_ids: list[strawberry.ID] | None = said("All group memberships anew.", default=None)
    total_slots: list[SlotInput] | None = said("All limits anew; unlimited where not given.", default=None)
    max_concurrent_sessions: strawberry.Maybe[int | None] = said(
        "Their sessions at once; null: unlimited.", default=None
    )


@strawberry.input(description="Users to deactivate.")
class DeactivateUsersInput:
    ids: list[strawberry.ID] = said("The users.")
    sessions: RemainingSessions = said("What becomes of their sessions.", default=RemainingSessions.KEEP)


@strawberry.input(description="Several users.")
class UsersInput:
    ids: list[strawberry.ID] = said("The users.")


@strawberry.type(description="What became of one of several users.")
class UserResult:
    id: strawberry.ID = said("The user's id as it was given.")
    user: User | None = said("The user as it is now; null when it was not done.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="A user was made.")
class CreateUserPayload:
    user: User = said("The new user.")
    password_link: str | None = said("With which the user chooses a password; null when one was given.")


@strawberry.type(description="Users were changed, each for itself.")
class UpdateUsersPayload:
    results: list[UserResult] = said("One for each id.")


@strawberry.type(description="A user was changed.")
class UpdateUserPayload:
    user: User = said("The user as it is now.")


@strawberry.type(description="Users were deactivated, each for itself.")
class DeactivateUsersPayload:
    results: list[UserResult] = said("One for each id.")


@strawberry.type(description="Users were brought back, each for itself.")
class ReactivateUsersPayload:
    results: list[UserResult] = said("One for each id.")
