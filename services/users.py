"""Users: people, each of one domain and any number of its groups. Never deleted, only deactivated.

Nobody gives a rank above their own or acts on somebody of a higher one; administrators of a domain stay within it; and
there is always a superadmin left who may come in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET, UnsetType
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import (
    closing,
    domains,
    groups,
    idempotency,
    ids,
    inputs,
    keypairs,
    mails,
    passwords,
    permissions,
    slots,
    trail,
)
from services.auth import change, factors, standing
from services.bus import AnyHint, Wake
from services.core import Core
from services.db.tables import IS_LIVE, GroupMember, Keypair, Session, Slots, User
from services.errors import Conflict, Forbidden, Problems
from services.filters import Conditions, equal, linked
from services.mails import LANGUAGES
from services.nouns import Noun
from services.outcomes import Outcome, each
from services.permissions import RANK, Actor, Reach, Subject
from services.searches import Search


@dataclass(frozen=True)
class UserFilter:
    domain_id: str | None = None
    #: Only members of this group.
    group_id: str | None = None
    role: str | None = None
    active: bool | None = None
    #: Part of the e-mail address or a name, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class UserSpec:
    domain_id: str
    email: str
    name: str
    full_name: str = ""
    description: str = ""
    #: None: the user chooses one by a link (`NewUser.ticket`).
    password: str | None = field(default=None, repr=False)
    role: str = "USER"
    must_change_password: bool = False
    group_ids: Sequence[str] = ()
    #: Limits of all the user's sessions by slot, amounts as the client wrote them; a slot that is not named is unlimited.
    total_slots: Sequence[tuple[str, str]] = ()
    #: None: unlimited.
    max_concurrent_sessions: int | None = None
    #: Of the keypair that the user gets; None: the default one.
    policy_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class UserChanges:
    """None (where None means something: UNSET): as it is."""

    name: str | None = None
    full_name: str | None = None
    description: str | None = None
    #: A new one; all logins of the user end.
    password: str | None = field(default=None, repr=False)
    must_change_password: bool | None = None
    role: str | None = None
    active: bool | None = None
    #: Moves the user; groups of the old domain are left.
    domain_id: str | None = None
    #: Replaces all groups.
    group_ids: Sequence[str] | None = None
    #: Replaces all limits.
    total_slots: Sequence[tuple[str, str]] | None = None
    max_concurrent_sessions: int | UnsetType | None = UNSET


@dataclass(frozen=True)
class NewUser:
    """The secret key is for this once."""

    user: User
    keypair: Keypair
    secret_key: str = field(repr=False)
    #: With which the user chooses a password; None when one was given.
    ticket: str | None = field(repr=False)


ORDERS: Final = {"EMAIL": User.email, "NAME": User.name, "CREATED_AT": User.id, "ROLE": User.role}


def _conditions(where: UserFilter) -> Conditions:
    return [
        *equal(User.domain_id, where.domain_id),
        *linked(User.id, GroupMember.user_id, GroupMember.group_id, where.group_id),
        *equal(User.role, where.role),
        *equal(User.active, where.active),
    ]


_noun = Noun(User, "usr", _conditions, search=Search(User, "usr"))
find, page, total, many, get = _noun.find, _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: UserSpec) -> NewUser:
    """Make a user with a keypair, and with a link to choose a password when none is given.

    Raises:
        BadInput, NotFound, Forbidden, Conflict: the e-mail address is taken.
    """
    permissions.require_role(actor, "createUser")
    problems = Problems()
    email = inputs.check_email(spec.email, problems)
    name = inputs.check_person(spec.name, problems, "input.name", required=True)
    full_name = inputs.check_person(spec.full_name, problems, "input.fullName")
    inputs.check_description(spec.description, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    _check_role(spec.role, problems)
    limits = slots.parse(spec.total_slots, problems, "input.totalSlots")
    inputs.check_sessions(spec.max_concurrent_sessions, problems)
    if spec.password is not None:
        passwords.check(spec.password, problems, "input.password")
    problems.check()
    _check_rank(actor, spec.role)
    hashed = await passwords.hash_password(spec.password) if spec.password is not None else None

    async def make(db: AsyncSession) -> User:
        await domains.require(db, actor, spec.domain_id, "createUser")
        joined = await groups.find_all(db, spec.domain_id, spec.group_ids)
        policy_id = await keypairs.find_policy(db, spec.policy_id)
        if await db.scalar(select(User.id).where(User.email == email)) is not None:
            raise _taken(email)
        user = User(
            id=ids.new("usr"),
            domain_id=spec.domain_id,
            email=email,
            name=name,
            full_name=full_name,
            description=spec.description,
            role=spec.role,
            active=True,
            must_change_password=spec.must_change_password and hashed is not None,
            password_hash=hashed,
            total_slots=limits,
            max_concurrent_sessions=spec.max_concurrent_sessions,
            epoch=0,
            created_at=core.now(),
        )
        db.add(user)
        await db.flush()
        await add_keypair(core, db, user, policy_id)
        await groups.join(db, [(group.id, user.id) for group in joined])
        return user

    user, _ = await idempotency.once(core, actor, "createUser", spec, User, make, taken=_taken(email))
    ticket = await change.create_password_ticket(core, user.id) if user.password_hash is None else None
    async with core.db.read() as db:
        keypair = (await db.scalars(select(Keypair).where(Keypair.id == user.main_keypair_id))).one()
    return NewUser(user, keypair, keypairs.secret_of(core, keypair), ticket)


async def add_keypair(core: Core, db: AsyncSession, user: User, policy_id: str) -> Keypair:
    """Give a new user the main keypair."""
    keypair = keypairs.make(core, user.id, policy_id)
    db.add(keypair)
    user.main_keypair_id = keypair.id
    await db.flush()
    return keypair


async def edit(core: Core, actor: Actor, user_id: str, changes: UserChanges) -> User:
    """Change a user. A new password, role, status or domain ends the user's logins.

    Raises:
        BadInput, NotFound, Forbidden, Conflict: it would lock the actor out, or leave no superadmin; or the user has
            live sessions in the domain that is to be left.
    """
    problems = Problems()
    name, full_name = changes.name, changes.full_name
    if name is not None:
        name = inputs.check_person(name, problems, "input.name", required=True)
    if full_name is not None:
        full_name = inputs.check_person(full_name, problems, "input.fullName")
    if changes.description is not None:
        inputs.check_description(changes.description, problems)
    if changes.role is not None:
        _check_role(changes.role, problems)
    if changes.password is not None:
        passwords.check(changes.password, problems, "input.password")
    limits = slots.parse(changes.total_slots or (), problems, "input.totalSlots")
    inputs.check_sessions(changes.max_concurrent_sessions, problems)
    problems.check()
    hints: list[AnyHint] = []
    async with core.db.read() as db:
        # Before 40 ms of hashing are spent on whoever asks.
        await _noun.take(db, actor, user_id, "updateUser")
    hashed = await passwords.hash_password(changes.password) if changes.password is not None else None
    async with core.db.write() as db:
        if changes.role is not None or changes.active is not None:
            await standing.lock_superadmins(db)
        user = await _noun.take(db, actor, user_id, "updateUser")
        user.name = user.name if name is None else name
        user.full_name = user.full_name if full_name is None else full_name
        user.description = user.description if changes.description is None else changes.description
        await _change_standing(core, db, actor, user, changes, hints)
        if hashed is not None:
            await change.set_password(core, db, user, hashed, hints)
        if changes.must_change_password is not None:
            user.must_change_password = changes.must_change_password
        await _change_groups(db, user, changes)
        _change_limits(actor, user, changes, limits, hints)
    core.standings.forget(user_id)
    await standing.tell(core, hints)
    return user


async def edit_all(
    core: Core, actor: Actor, user_ids: Sequence[str], changes: UserChanges
) -> list[Outcome[User]]:
    """Change users in the same way, each for itself."""
    permissions.require_role(actor, "updateUsers")
    return await each(user_ids, lambda user_id: edit(core, actor, user_id, changes))


async def deactivate(
    core: Core, actor: Actor, user_ids: Sequence[str], *, end_sessions: bool = False
) -> list[Outcome[User]]:
    """Shut users out, each for itself: logins, signed requests and open streams end.

    Args:
        end_sessions: their sessions end as well, what waits too; else they go on.
    """

    async def act(user_id: str) -> User:
        user = await _switch(core, actor, user_id, "deactivateUsers", end_sessions=end_sessions)
        await closing.begin(core, user)
        return user

    return await each(user_ids, act)


async def reactivate(core: Core, actor: Actor, user_ids: Sequence[str]) -> list[Outcome[User]]:
    """Let users in again, each for itself."""
    return await each(user_ids, lambda user_id: _switch(core, actor, user_id, "reactivateUsers"))


async def edit_profile(
    core: Core,
    actor: Actor,
    *,
    name: str | None = None,
    full_name: str | None = None,
    language: str | None = None,
) -> User:
    """Change what users may change of themselves; None: as it is.

    Raises:
        BadInput, Forbidden: a new password comes first.
    """
    permissions.require_role(actor, "updateProfile")
    problems = Problems()
    if name is not None:
        name = inputs.check_person(name, problems, "input.name", required=True)
    if full_name is not None:
        full_name = inputs.check_person(full_name, problems, "input.fullName")
    if language is not None and language not in LANGUAGES:
        problems.add("input.language", f"One of {', '.join(LANGUAGES)}.")
    problems.check()
    async with core.db.write() as db:
        user = await _noun.take(db, actor, actor.user_id, "updateProfile")
        user.name = user.name if name is None else name
        user.full_name = user.full_name if full_name is None else full_name
        user.language = user.language if language is None else language
    return user


async def reset_totp(core: Core, actor: Actor, user_id: str) -> User:
    """Take the second factor from a user who has lost it. All their logins end.

    Raises:
        NotFound, Forbidden.
        Conflict: it is the actor's own: that takes a code.
    """
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        user = await _noun.take(db, actor, user_id, "resetTotp", path="input.userId")
        if user.id == actor.user_id:
            raise Conflict("Switch your own second factor off by a code (disableTotp).", path="input.userId")
        if user.totp_confirmed_at is not None:
            await mails.write(core, db, "TOTP_RESET", user.email, user.language)
        await factors.forget(db, user)
        await standing.revoke_logins(core, db, user, hints)
    await standing.tell(core, hints)
    return user


async def _switch(core: Core, actor: Actor, user_id: str, action: str, *, end_sessions: bool = False) -> User:
    """Shut one user out, or let one in again."""
    hints: list[AnyHint] = []
    async with core.db.write() as db:
        await standing.lock_superadmins(db)
        user = await _noun.take(db, actor, user_id, action, path="input.ids")
        await _set_active(core, db, actor, user, hints, active=action == "reactivateUsers")
        # Also of one who was shut out before.
        user.sessions_ending_since = core.now() if end_sessions else None
    await standing.tell(core, hints)
    return user


async def _change_standing(
    core: Core, db: AsyncSession, actor: Actor, user: User, changes: UserChanges, hints: list[AnyHint]
) -> None:
    """Role, status and domain: what a login stands on."""
    if changes.role is not None and changes.role != user.role:
        _check_rank(actor, changes.role)
        if user.id == actor.user_id:
            raise Conflict("You cannot change your own role. Ask another administrator.", path="input.role")
        await _check_not_last(db, user)
        user.role = changes.role
        await standing.revoke_logins(core, db, user, hints)
    if changes.active is not None and changes.active != user.active:
        action = "reactivateUsers" if changes.active else "deactivateUsers"
        subject = Subject(domain_id=user.domain_id, user_id=user.id, role=user.role)
        permissions.require(actor, action, subject)
        await _set_active(core, db, actor, user, hints, active=changes.active)
    if changes.domain_id is not None and changes.domain_id != user.domain_id:
        await _move(db, actor, user, changes.domain_id)
        await standing.revoke_logins(core, db, user, hints)


async def _set_active(
    core: Core, db: AsyncSession, actor: Actor, user: User, hints: list[AnyHint], *, active: bool
) -> None:
    if user.active == active:
        return
    if not active:
        if user.id == actor.user_id:
            raise Conflict("You cannot deactivate yourself. Ask another administrator.")
        await _check_not_last(db, user)
        await change.drop_password_tickets(db, user.id)
    user.active = active
    if active:
        user.sessions_ending_since = None
    await standing.revoke_logins(core, db, user, hints)


async def _check_not_last(db: AsyncSession, user: User) -> None:
    if user.role != "SUPERADMIN" or not user.active:
        return
    if await standing.lock_superadmins(db, but_user=user.id) < 1:
        raise Conflict("This is the last active superadmin. Make another one first.")


async def _move(db: AsyncSession, actor: Actor, user: User, domain_id: str) -> None:
    if permissions.reach(actor, "updateUser") is not Reach.EVERYTHING:
        raise Forbidden("Only a superadmin moves users to another domain.", path="input.domainId")
    await domains.require(db, actor, domain_id, "updateUser")
    live = select(Session.id).where(Session.user_id == user.id, IS_LIVE).limit(1)
    if await db.scalar(live) is not None:
        raise Conflict(
            "The user has live sessions in the present domain. End them first.", path="input.domainId"
        )
    left = await _leave_groups(db, user)
    trail.note(user.id, "groups", left, [])
    user.domain_id = domain_id


async def _change_groups(db: AsyncSession, user: User, changes: UserChanges) -> None:
    if changes.group_ids is None:
        return
    joined = await groups.find_all(db, user.domain_id, changes.group_ids)
    left = await _leave_groups(db, user)
    await groups.join(db, [(group.id, user.id) for group in joined])
    if left != (now := sorted(group.id for group in joined)):
        trail.note(user.id, "groups", left, now)


async def _leave_groups(db: AsyncSession, user: User) -> list[str]:
    """Returns which they were."""
    gone = delete(GroupMember).where(GroupMember.user_id == user.id).returning(GroupMember.group_id)
    return sorted(await db.scalars(gone))


def _change_limits(
    actor: Actor, user: User, changes: UserChanges, limits: Slots, hints: list[AnyHint]
) -> None:
    """Lower limits end nothing that runs; they hold for what starts from now on."""
    if changes.total_slots is None and changes.max_concurrent_sessions is UNSET:
        return
    if user.id == actor.user_id and permissions.reach(actor, "updateUser") is not Reach.EVERYTHING:
        raise Forbidden(
            "Nobody changes their own limits. Ask another administrator.", path="input.totalSlots"
        )
    if changes.total_slots is not None:
        user.total_slots = limits
    if changes.max_concurrent_sessions is not UNSET:
        user.max_concurrent_sessions = changes.max_concurrent_sessions
    # What waits may fit now.
    hints.append(Wake(anew=True))


def _check_role(role: str, problems: Problems) -> None:
    if role not in RANK:
        problems.add("input.role", f"One of {', '.join(RANK)}.")


def _check_rank(actor: Actor, role: str) -> None:
    if RANK[role] > RANK[actor.role]:
        raise Forbidden("Nobody gives a role above their own.", path="input.role")


def _taken(email: str) -> Conflict:
    return Conflict(f"There is a user with the address {email} already.", path="input.email")
