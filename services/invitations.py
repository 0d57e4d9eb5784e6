"""Invitation tokens: administrators make them, and who has one signs up with it, into the domain and group that it says.

A token is shown once and kept as its hash. Uses are counted by the UPDATE that grants one, in the transaction that makes
the user: however many sign up at once with the last use, one of them gets in.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services import domains, groups, ids, inputs, keypairs, permissions
from services.core import Core
from services.db.tables import Invitation
from services.errors import BadInput, Forbidden, Problems
from services.filters import Conditions, equal, searched
from services.keys import digest
from services.nouns import Noun
from services.outcomes import Outcome, each
from services.permissions import Actor, Reach

MOST_AT_ONCE: Final = 100
MOST_USES: Final = 10_000
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
    """
    permissions.require_role(actor, "createInvitationTokens")
    problems = Problems()
    inputs.check_description(spec.description, problems)
    inputs.check_number(spec.count, problems, "input.count", least=1, most=MOST_AT_ONCE)
    inputs.check_number(spec.uses, problems, "input.uses", least=1, most=MOST_USES)
    inputs.check_number(spec.life, problems, "input.expiresInSeconds", least=_SHORTEST, most=_LONGEST)
    problems.check()
    tokens = [secrets.token_urlsafe(24) for _ in range(spec.count)]
    async with core.db.write() as db:
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
                id=ids.new("inv"),
                token_hash=digest(token),
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
            for token in tokens
        ]
        db.add_all(made)
    return [NewInvitation(row, token) for row, token in zip(made, tokens, strict=True)]


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
