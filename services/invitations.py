"""Invitation tokens: administrators make them, and who has one signs up with it, into the domain and group that it says.

A token is shown once and kept as its hash. It is derived from the invitation's id by the managers' key, so that who repeats a
request by its idempotency key, for the reply may have been lost, gets the same tokens again. Uses are counted by the UPDATE that grants one, in the transaction that makes
the user: however many sign up at once with the last use, one of them gets in.
"""

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import domains, groups, idempotency, ids, inputs, keypairs, permissions
from services.core import Core
from services.db.tables import Invitation
from services.errors import BadInput, Conflict, Forbidden, Problems
from services.filters import Conditions, equal, searched
from services.keys import digest
from services.nouns import Noun
from services.outcomes import Outcome, each
from services.permissions import Actor, Reach

MOST_AT_ONCE: Final = 100
MOST_USES: Final = 10_000
_TOKEN_BYTES: Final = 24
_SHORTEST: Final = 60
_LONGEST: Final = 366 * 24 * 3600


@dataclass(frozen=True)
class InvitationFilter:
    domain_id: str | None = None
    #: Part of the description, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class InvitationSpec:
    domain_id: str
    group_id: str | None = None
    #: Of the new user's keypair, for superadmins to choose; None: the default one.
    policy_id: str | None = None
    description: str = ""
    #: So many tokens, each for so many people.
    count: int = 1
    uses: int = 1
    life: int = 7 * 24 * 3600
    idempotency_key: str | None = None


@dataclass(frozen=True)
class NewInvitation:
    invitation: Invitation
    #: For this once.
    token: str = field(repr=False)


ORDERS: Final = {"CREATED_AT": Invitation.id, "EXPIRES_AT": Invitation.expires_at}


def _conditions(where: InvitationFilter) -> Conditions:
    return [
        *equal(Invitation.domain_id, where.domain_id),
        *searched(where.search, Invitation.id, Invitation.description),
    ]


_noun = Noun(Invitation, "inv", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: InvitationSpec) -> list[NewInvitation]:
    """Make tokens.

    Raises:
        BadInput, NotFound, Forbidden: of a policy, which only a superadmin chooses.
        Conflict: the idempotency key stands for another request.
    """
    permissions.require_role(actor, "createInvitationTokens")
    problems = Problems()
    inputs.check_description(spec.description, problems)
    inputs.check_number(spec.count, problems, "input.count", least=1, most=MOST_AT_ONCE)
    inputs.check_number(spec.uses, problems, "input.uses", least=1, most=MOST_USES)
    inputs.check_number(spec.life, problems, "input.expiresInSeconds", least=_SHORTEST, most=_LONGEST)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    problems.check()

    async def make(db: AsyncSession) -> Invitation:
        await domains.require(db, actor, spec.domain_id, "createInvitationTokens")
        if spec.group_id is not None:
            await groups.find_all(db, spec.domain_id, [spec.group_id], path="input.groupId")
        if spec.policy_id is not None:
            if permissions.reach(actor, "updateKeypair") is not Reach.EVERYTHING:
                raise Forbidden(
                    "Only a superadmin chooses a keypair's policy. Leave it out.", path="input.policyId"
                )
            await keypairs.find_policy(db, spec.policy_id)
        made = [
            Invitation(
                id=invitation_id,
                token_hash=digest(_tokens(core, invitation_id)[0]),
                domain_id=spec.domain_id,
                group_id=spec.group_id,
                policy_id=spec.policy_id,
                description=spec.description,
                uses_allowed=spec.uses,
                uses=0,
                expires_at=core.now() + timedelta(seconds=spec.life),
                created_by_id=actor.user_id,
                created_at=core.now(),
            )
            for invitation_id in ids.following(ids.new("inv"), spec.count)
        ]
        db.add_all(made)
        return made[0]

    taken = Conflict("Something like this was made just now. Try again.")
    first, _ = await idempotency.once(
        core, actor, "createInvitationTokens", spec, Invitation, make, taken=taken
    )
    async with core.db.read() as db:
        together = ids.following(first.id, spec.count)
        rows = await db.scalars(select(Invitation).where(Invitation.id.in_(together)).order_by(Invitation.id))
        return [NewInvitation(row, _token_of(core, row)) for row in rows]


async def revoke(core: Core, actor: Actor, invitation_ids: Sequence[str]) -> list[Outcome[Invitation]]:
    """Let nobody sign up with these any more, each for itself; who has, stays."""
    return await each(invitation_ids, lambda one: _revoke(core, actor, one))


async def check(core: Core, token: str) -> None:
    """Refuse a token that is not good, before anything is done for whom has it.

    Raises:
        BadInput
    """
    async with core.db.read() as db:
        if await db.scalar(select(Invitation.id).where(*_usable(core, token))) is None:
            raise _void()


async def use(core: Core, db: AsyncSession, token: str) -> Invitation:
    """Use a token up, once, within a transaction.

    Raises:
        BadInput: it is not good, or no more.
    """
    found = await db.scalar(
        update(Invitation)
        .where(*_usable(core, token))
        .values(uses=Invitation.uses + 1)
        .returning(Invitation)
        .execution_options(synchronize_session=False)
    )
    if found is None:
        raise _void()
    return found


async def _revoke(core: Core, actor: Actor, invitation_id: str) -> Invitation:
    async with core.db.write() as db:
        row = await _noun.take(db, actor, invitation_id, "revokeInvitations", path="input.ids")
        row.revoked_at = row.revoked_at or core.now()
    return row


def _tokens(core: Core, invitation_id: str) -> list[str]:
    """What an invitation's token would be, by the present key first."""
    present = core.keys.current_sealing
    keys = [core.keys.sealing[present], *(key for name, key in core.keys.sealing.items() if name != present)]
    derived = (hmac.digest(key, f"invitation:{invitation_id}".encode(), "sha256") for key in keys)
    return [base64.urlsafe_b64encode(one[:_TOKEN_BYTES]).decode() for one in derived]


def _token_of(core: Core, row: Invitation) -> str:
    found = next((one for one in _tokens(core, row.id) if digest(one) == row.token_hash), None)
    if found is None:
        raise Conflict(
            "The key that these tokens were made by is gone. Use a new idempotency key to make others.",
            path="input.idempotencyKey",
        )
    return found


def _usable(core: Core, token: str) -> list[ColumnElement[bool]]:
    return [
        Invitation.token_hash == digest(token[:512].encode(errors="replace").decode(errors="replace")),
        Invitation.uses < Invitation.uses_allowed,
        Invitation.expires_at > core.now(),
        Invitation.revoked_at.is_(None),
    ]


def _void() -> BadInput:
    return BadInput(
        "This invitation is unknown, used up, expired or revoked. Ask whom you have it from for another one.",
        path="input.invitationToken",
    )
