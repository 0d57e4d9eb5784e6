"""Signing up: closed, by invitation or open to everybody; consent with its version; the address verified by mail.

Nobody learns who has an account. For an address that has one, all is done as for a new one, under an address that
nobody can have, and taken back; the answer and the statements are the same, and the mail tells the owner.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import groups, ids, inputs, invitations, keypairs, mails, passwords, trail, users
from services.auth import recovery
from services.core import Core
from services.db.tables import Consent, Domain, Group, Invitation, Ticket, User
from services.errors import BadInput, Conflict, Forbidden, Problems, Unavailable
from services.keys import digest
from services.mails import LANGUAGES
from services.options import (
    EMAIL_VERIFICATION,
    PRIVACY_VERSION,
    SIGN_UP_DOMAIN,
    SIGN_UP_GROUP,
    SIGN_UP_MODE,
    TERMS_VERSION,
)
from services.permissions import Actor

VERIFY: Final = "verify"
#: What a consent is to.
TERMS, PRIVACY = "TERMS_OF_SERVICE", "PRIVACY_POLICY"


@dataclass(frozen=True)
class SignUpSpec:
    email: str
    name: str
    password: str = field(repr=False)
    full_name: str = ""
    language: str = "en"
    invitation_token: str | None = field(default=None, repr=False)
    #: Versions that were read and agreed to.
    terms_version: str | None = None
    privacy_version: str | None = None


@dataclass(frozen=True)
class SignedUp:
    """The same for everybody."""

    verification_required: bool
    mail_delayed: bool


@dataclass(frozen=True)
class _Place:
    domain_id: str
    group_id: str | None
    policy_id: str | None


async def sign_up(core: Core, spec: SignUpSpec, *, address: str) -> SignedUp:
    """Make an account, or write to the one who has it.

    Raises:
        Forbidden: nobody signs up here.
        BadInput: a field is wrong, a consent is missing or of an old version, the invitation is not good.
        RateLimited: too many mails were asked for.
        Unavailable: the settings name a domain or group that is not there.
    """
    mode = core.options.value(SIGN_UP_MODE)
    if mode == "CLOSED":
        raise Forbidden("Nobody can sign up here. Ask an administrator for an account.")
    email = _checked(core, spec, invitation_needed=mode == "INVITATION")
    await recovery.limit(core, "signup", email, address)
    if spec.invitation_token is not None:
        await invitations.check(core, spec.invitation_token)
    hashed = await passwords.hash_password(spec.password)
    async with core.db.write() as db:
        place = await _place(core, db, spec)
        owners_language = await db.scalar(select(User.language).where(User.email == email))
        ticket = secrets.token_urlsafe(32)
        made = await _make(
            core, db, spec, email, hashed, place, ticket, address, taken=owners_language is not None
        )
        if made:
            kind = "EMAIL_VERIFICATION" if core.options.value(EMAIL_VERIFICATION) else "WELCOME"
            language, link = spec.language, f"/verify#{ticket}"
        else:
            kind, language, link = "ADDRESS_IN_USE", owners_language or spec.language, "/login"
        life = core.settings.reset_ticket_life
        await mails.write(core, db, kind, email, language, link=link, life=life)
    return SignedUp(core.options.value(EMAIL_VERIFICATION), await mails.are_delayed(core))


async def verify(core: Core, token: str) -> User:
    """Believe that an address is its user's, who has read a mail to it.

    Raises:
        BadInput: the link is unknown, used or expired.
    """
    good: list[ColumnElement[bool]] = [
        Ticket.token_hash == digest(token[:512].encode(errors="replace").decode(errors="replace")),
        Ticket.purpose == VERIFY,
        Ticket.used_at.is_(None),
        Ticket.expires_at > core.now(),
    ]
    async with core.db.write() as db:
        user_id = await db.scalar(
            update(Ticket).where(*good).values(used_at=core.now()).returning(Ticket.user_id)
        )
        user = None if user_id is None else await db.get(User, user_id)
        if user is None:
            raise BadInput(
                "This link is unknown, used or expired. If you cannot log in yet, ask for a new one "
                "(resendVerification).",
                path="input.token",
            )
        user.email_verified = True
        trail.identify(user.id, user.domain_id)
    return user


async def resend(core: Core, email: str, *, address: str) -> bool:
    """Mail another link to verify an address with. Returns whether mails are delayed just now.

    The answer and the statements are the same for an address that has no account, or needs no link.

    Raises:
        RateLimited
    """
    email = inputs.normal_email(email)
    await recovery.limit(core, "verify", email, address)
    user = await recovery.find(core, email)
    user_id = "" if user.email_verified else user.id
    ticket, life = secrets.token_urlsafe(32), core.settings.reset_ticket_life
    async with core.db.write() as db:
        await recovery.add_ticket(core, db, VERIFY, user_id, ticket)
        await mails.write(
            core,
            db,
            "EMAIL_VERIFICATION",
            user.email,
            user.language,
            link=f"/verify#{ticket}",
            life=life,
            if_user=user_id,
        )
    return await mails.are_delayed(core)


async def consents(core: Core, _actor: Actor, user_ids: Sequence[str]) -> dict[str, list[Consent]]:
    """What users have agreed to, oldest first; the caller sees the users."""
    found: dict[str, list[Consent]] = {}
    async with core.db.read() as db:
        rows = await db.scalars(select(Consent).where(Consent.user_id.in_(user_ids)).order_by(Consent.id))
        for row in rows:
            found.setdefault(row.user_id, []).append(row)
    return found


def _checked(core: Core, spec: SignUpSpec, *, invitation_needed: bool) -> str:
    """The address as it is kept, once nothing is wrong with what was asked for."""
    problems = Problems()
    email = inputs.check_email(spec.email, problems)
    inputs.check_person(spec.name, problems, "input.name", required=True)
    inputs.check_person(spec.full_name, problems, "input.fullName")
    passwords.check(spec.password, problems, "input.password")
    if spec.language not in LANGUAGES:
        problems.add("input.language", f"One of {', '.join(LANGUAGES)}.")
    if invitation_needed and not spec.invitation_token:
        problems.add("input.invitationToken", "Who signs up here needs an invitation from an administrator.")
    for option, given, path, what in (
        (TERMS_VERSION, spec.terms_version, "input.acceptedTermsVersion", "terms of service"),
        (PRIVACY_VERSION, spec.privacy_version, "input.acceptedPrivacyVersion", "privacy policy"),
    ):
        version = core.options.value(option)
        if version and given != version:
            problems.add(
                path, f"Read the {what} of version {version} and agree to it (`server` has the text)."
            )
    problems.check()
    return email


async def _place(core: Core, db: AsyncSession, spec: SignUpSpec) -> _Place:
    """Where the new user belongs: where the invitation says, else where the settings say."""
    if spec.invitation_token is not None:
        return await _invited(db, await invitations.use(core, db, spec.invitation_token))
    name = core.options.value(SIGN_UP_DOMAIN)
    domains = select(Domain.id).where(Domain.active).order_by(Domain.name != "default", Domain.id)
    domain_id = await db.scalar(domains.where(Domain.name == name) if name else domains.limit(1))
    if domain_id is None:
        raise Unavailable("Signing up is not set up: tell an administrator.", part="signUpDomain")
    wanted = core.options.value(SIGN_UP_GROUP)
    group_id = await db.scalar(
        select(Group.id).where(
            Group.domain_id == domain_id, Group.name == (wanted or "default"), Group.active
        )
    )
    if wanted and group_id is None:
        raise Unavailable("Signing up is not set up: tell an administrator.", part="signUpGroup")
    return _Place(domain_id, group_id, None)


async def _invited(db: AsyncSession, invitation: Invitation) -> _Place:
    active = await db.scalar(select(Domain.active).where(Domain.id == invitation.domain_id))
    if not active:
        raise BadInput("This invitation is into a domain that is closed.", path="input.invitationToken")
    group_id = await db.scalar(select(Group.id).where(Group.id == invitation.group_id, Group.active))
    return _Place(invitation.domain_id, group_id, invitation.policy_id)


async def _make(
    core: Core,
    db: AsyncSession,
    spec: SignUpSpec,
    email: str,
    hashed: str,
    place: _Place,
    ticket: str,
    address: str,
    *,
    taken: bool,
) -> bool:
    """Make the user with all that belongs to it; for an address that is taken, in vain. Returns whether it is made."""
    savepoint = await db.begin_nested()
    try:
        await _add(
            core,
            db,
            spec,
            f"{secrets.token_hex(16)}@invalid" if taken else email,
            hashed,
            place,
            ticket,
            address,
        )
    except IntegrityError:
        # Somebody else signed up with this address a moment ago.
        taken = True
    if taken:
        await savepoint.rollback()
        db.expunge_all()
    else:
        await savepoint.commit()
    return not taken


async def _add(
    core: Core,
    db: AsyncSession,
    spec: SignUpSpec,
    email: str,
    hashed: str,
    place: _Place,
    ticket: str,
    address: str,
) -> None:
    try:
        policy_id = await keypairs.find_policy(db, place.policy_id)
    except Conflict as error:
        raise Unavailable(
            "Signing up is not set up: tell an administrator.", part="resource policies"
        ) from error
    user = User(
        id=ids.new("usr"),
        domain_id=place.domain_id,
        email=email,
        name=spec.name.strip(),
        full_name=spec.full_name.strip(),
        role="USER",
        active=True,
        password_hash=hashed,
        language=spec.language,
        email_verified=False,
        created_at=core.now(),
    )
    db.add(user)
    await db.flush()
    await users.add_keypair(core, db, user, policy_id)
    if place.group_id is not None:
        await groups.join(db, [(place.group_id, user.id)])
    _consent(core, db, user, address)
    await db.flush()
    await recovery.add_ticket(core, db, VERIFY, user.id, ticket)


def _consent(core: Core, db: AsyncSession, user: User, address: str) -> None:
    """Write down what the user agreed to; `_checked` has seen that the versions are those in force."""
    for document, option in ((TERMS, TERMS_VERSION), (PRIVACY, PRIVACY_VERSION)):
        if version := core.options.value(option):
            db.add(
                Consent(
                    user_id=user.id,
                    document=document,
                    version=version,
                    address=address[:255],
                    accepted_at=core.now(),
                )
            )
