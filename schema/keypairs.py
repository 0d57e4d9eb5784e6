"""Keypairs: what requests are signed with."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from schema.context import Context, Info
from schema.errors import Problem
from schema.fields import USED, answered, each, one, permitted_actions, refers, said
from schema.nodes import Node
from schema.paging import Direction
from schema.slots import SlotLimit
from schema.users import Role
from services.db import tables

if TYPE_CHECKING:
    from schema.policies import ResourcePolicy
    from schema.users import User


@strawberry.type(
    description="An access key and its secret; requests are signed with it and its policy limits sessions."
)
class Keypair(Node):
    row: strawberry.Private[tables.Keypair]
    access_key: str = said("The public part.")
    active: bool = said("False: requests with it are refused.")
    created_at: datetime = said("When it was made.")
    last_used_at: datetime | None = said(
        "When a request of it came last, written down every few seconds; null: never."
    )
    query_count: int = said(
        "Requests that were signed with it or came from a login bound to it, written down every few seconds."
    )
    rate_limit: int = said("Most requests in 15 minutes.")

    @classmethod
    def of(cls, row: tables.Keypair) -> "Keypair":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            access_key=row.access_key,
            active=row.active,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            query_count=row.query_count,
            rate_limit=row.rate_limit,
        )

    user: Annotated["User", strawberry.lazy("schema.users")] = refers("user_id", "Whose it is.", always=True)

    policy: Annotated["ResourcePolicy", strawberry.lazy("schema.policies")] = refers(
        "policy_id", "The policy that limits its sessions.", always=True
    )

    @answered(USED, "Sessions of it that occupy a node now.")
    def concurrent_sessions(self, used: dict[str, int], _context: Context) -> int:
        return used.get("sessions", 0)

    @strawberry.field(description="What its sessions occupy, and what its policy allows.")
    async def usage(self, info: Info) -> list[SlotLimit]:
        policy = await info.context.find(self.row.policy_id)
        limits = policy.row.total_slots if policy is not None else {}
        return SlotLimit.all(limits, await info.context.used(self.row.id))

    @answered(one("user_id"), "Are the browser logins of its user bound to it?")
    def is_main(self, owner: Any, _context: Context) -> bool:
        return owner is not None and owner.row.main_keypair_id == self.row.id

    @answered(one("user_id"), "What requests with it may do: the role of its user.")
    def role(self, owner: Any, _context: Context) -> Role:
        return owner.role

    @answered(each("keypair_sessions"), "Sessions that were ever made with it; up to 10,000 are counted.")
    def session_count(self, counted: list[int], _context: Context) -> int:
        return counted[0]

    @answered(each("keypair_requests"), "Its requests in the last 15 minutes, of `rateLimit`.")
    def request_count(self, counted: list[int], _context: Context) -> int:
        return counted[0]

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.input(description="Which keypairs; all given conditions hold together.")
class KeypairFilter:
    active: bool | None = said("Only active (true) or inactive (false) ones.", default=None)
    user_id: strawberry.ID | None = said("Only those of this user.", default=None)
    policy_id: strawberry.ID | None = said("Only those with this policy.", default=None)
    search: str | None = said(
        "Part of the access key, or of its user's e-mail address or names (of less than three letters, the beginning), or the "
        "beginning of either's id.",
        default=None,
    )


@strawberry.enum(description="What lists of keypairs are ordered by.")
class KeypairOrderField(Enum):
    ACCESS_KEY = strawberry.enum_value("ACCESS_KEY", description="By access key.")
    LAST_USED_AT = strawberry.enum_value(
        "LAST_USED_AT", description="By when they were last used; never comes before everything else."
    )
    QUERY_COUNT = strawberry.enum_value("QUERY_COUNT", description="By how often they were used.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By age.")


@strawberry.input(description="An order of keypairs.")
class KeypairOrder:
    field: KeypairOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="A new keypair.")
class CreateKeypairInput:
    user_id: strawberry.ID | None = said("Whose; by default yours.", default=None)
    policy_id: strawberry.ID | None = said(
        "Its policy; by default that of the user's main keypair.", default=None
    )
    rate_limit: int | None = said("Most requests in 15 minutes; by default 1000.", default=None)
    access_key: str | None = said(
        "16 to 64 capital letters and digits; made at random when absent.", default=None
    )
    secret_key: str | None = said("32 to 128 printable characters; made at random when absent.", default=None)
    idempotency_key: str | None = said(
        "The same key gives the same object again, for 24 hours.", default=None
    )


@strawberry.input(description="Changes of a keypair; what is absent stays as it is.")
class UpdateKeypairInput:
    id: strawberry.ID = said("The keypair.")
    policy_id: strawberry.ID | None = said("Another policy.", default=None)
    rate_limit: int | None = said("Most requests in 15 minutes.", default=None)


@strawberry.input(description="A keypair that is to be its user's main one.")
class SetMainKeypairInput:
    id: strawberry.ID = said("An active keypair.")


@strawberry.input(description="Several keypairs.")
class KeypairsInput:
    ids: list[strawberry.ID] = said("The keypairs.")


@strawberry.input(description="A keypair to delete.")
class DeleteKeypairInput:
    id: strawberry.ID = said("A keypair that no session was ever made with.")


@strawberry.type(description="What became of one of several keypairs.")
class KeypairResult:
    id: strawberry.ID = said("The keypair's id as it was given.")
    keypair: Keypair | None = said("The keypair as it is now; null when it was not done.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="A keypair was made.")
class CreateKeypairPayload:
    keypair: Keypair = said("The new keypair.")
    secret_key: str = said("The secret part. It is shown this once and cannot be read again.")


@strawberry.type(description="A keypair was changed.")
class UpdateKeypairPayload:
    keypair: Keypair = said("The keypair as it is now.")


@strawberry.type(description="A keypair is its user's main one now.")
class SetMainKeypairPayload:
    keypair: Keypair = said("The keypair.")
    user: Annotated["User", strawberry.lazy("schema.users")] = said("Its user, as they are now.")


@strawberry.type(description="Keypairs were activated, each for itself.")
class ActivateKeypairsPayload:
    results: list[KeypairResult] = said("One for each id.")


@strawberry.type(description="Keypairs were deactivated, each for itself.")
class DeactivateKeypairsPayload:
    results: list[KeypairResult] = said("One for each id.")


@strawberry.type(description="A keypair was deleted.")
class DeleteKeypairPayload:
    deleted_id: strawberry.ID = said("The id that is gone.")
