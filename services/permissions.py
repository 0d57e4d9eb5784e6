"""Who may do what: one table, from which lists are scoped, single objects checked and `allowedActions` made.

An action is named like the GraphQL field that performs it; reading is `read:NOUN`. Its reach says on which objects:

    EVERYTHING  all
    DOMAIN      those of the actor's domain
    MINE        the actor's own, and what the actor's groups or grants bring along
    NOTHING     none (the field answers FORBIDDEN)

What a reach means for a noun is written once more: as SQL in `visible`, as Python in `allows`; a property test holds
the two together.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, false, or_, select, true

from services import allowances
from services.db.tables import (
    Agent,
    Announcement,
    AuditEvent,
    Base,
    Domain,
    Group,
    GroupMember,
    Identity,
    IdentityProvider,
    Image,
    Invitation,
    Kernel,
    Keypair,
    Login,
    Mail,
    Registry,
    RegistryGrant,
    ResourceGroup,
    ResourceGroupGrant,
    ResourcePolicy,
    ResourcePreset,
    Session,
    Task,
    User,
    now,
)
from services.errors import Forbidden, NotFound


class Reach(Enum):
    EVERYTHING = "EVERYTHING"
    DOMAIN = "DOMAIN"
    MINE = "MINE"
    NOTHING = "NOTHING"


_ALL, _DOM, _OWN, _NO = Reach.EVERYTHING, Reach.DOMAIN, Reach.MINE, Reach.NOTHING

ROLES: Final = ("SUPERADMIN", "DOMAIN_ADMIN", "USER")
RANK: Final = {"USER": 0, "DOMAIN_ADMIN": 1, "SUPERADMIN": 2}

#: action → (superadmin, domain admin, user)
TABLE: Final[dict[str, tuple[Reach, Reach, Reach]]] = {
    # reading
    "read:domain": (_ALL, _DOM, _DOM),
    "read:group": (_ALL, _DOM, _OWN),
    "read:user": (_ALL, _DOM, _OWN),
    "read:login": (_OWN, _OWN, _OWN),
    "read:identity": (_ALL, _DOM, _OWN),
    "read:keypair": (_ALL, _DOM, _OWN),
    "read:policy": (_ALL, _ALL, _OWN),
    "read:resourceGroup": (_ALL, _OWN, _OWN),
    "read:preset": (_ALL, _ALL, _ALL),
    "read:agent": (_ALL, _NO, _NO),
    "read:image": (_ALL, _OWN, _OWN),
    "read:registry": (_ALL, _OWN, _OWN),
    "read:task": (_ALL, _OWN, _OWN),
    # a domain's administrators see all of their domain's, others what is on now
    "read:announcement": (_ALL, _OWN, _OWN),
    "read:session": (_ALL, _DOM, _OWN),
    "read:kernel": (_ALL, _DOM, _OWN),
    "read:mail": (_ALL, _NO, _NO),
    "read:invitation": (_ALL, _DOM, _NO),
    "read:auditEvent": (_ALL, _DOM, _OWN),
    # domains and groups
    "createDomain": (_ALL, _NO, _NO),
    "updateDomain": (_ALL, _NO, _NO),
    "updateDomains": (_ALL, _NO, _NO),
    "deactivateDomain": (_ALL, _NO, _NO),
    "createGroup": (_ALL, _DOM, _NO),
    "updateGroup": (_ALL, _DOM, _NO),
    "updateGroups": (_ALL, _DOM, _NO),
    "deactivateGroup": (_ALL, _DOM, _NO),
    "addGroupMembers": (_ALL, _DOM, _NO),
    "removeGroupMembers": (_ALL, _DOM, _NO),
    # users
    "createUser": (_ALL, _NO, _NO),
    "importUsers": (_ALL, _NO, _NO),
    "updateUser": (_ALL, _DOM, _NO),
    "updateUsers": (_ALL, _DOM, _NO),
    "deactivateUsers": (_ALL, _NO, _NO),
    "reactivateUsers": (_ALL, _NO, _NO),
    "resetTotp": (_ALL, _DOM, _NO),
    "startTotp": (_OWN, _OWN, _OWN),
    "confirmTotp": (_OWN, _OWN, _OWN),
    "disableTotp": (_OWN, _OWN, _OWN),
    "regenerateRecoveryCodes": (_OWN, _OWN, _OWN),
    "unlinkIdentity": (_ALL, _DOM, _OWN),
    "updateProfile": (_OWN, _OWN, _OWN),
    "generateSshKeypair": (_OWN, _OWN, _OWN),
    "setSshPublicKeys": (_OWN, _OWN, _OWN),
    "createInvitationTokens": (_ALL, _DOM, _NO),
    "revokeInvitations": (_ALL, _DOM, _NO),
    # keypairs and their policies
    "createKeypair": (_ALL, _DOM, _OWN),
    "updateKeypair": (_ALL, _NO, _NO),
    "setMainKeypair": (_ALL, _DOM, _OWN),
    "activateKeypairs": (_ALL, _DOM, _OWN),
    "deactivateKeypairs": (_ALL, _DOM, _OWN),
    "deleteKeypair": (_ALL, _DOM, _OWN),
    "createResourcePolicy": (_ALL, _NO, _NO),
    "updateResourcePolicy": (_ALL, _NO, _NO),
    "assignResourcePolicy": (_ALL, _NO, _NO),
    "deleteResourcePolicy": (_ALL, _NO, _NO),
    # the cluster
    "createResourceGroup": (_ALL, _NO, _NO),
    "updateResourceGroup": (_ALL, _NO, _NO),
    "deleteResourceGroup": (_ALL, _NO, _NO),
    "grantResourceGroup": (_ALL, _NO, _NO),
    "revokeResourceGroup": (_ALL, _NO, _NO),
    "createResourcePreset": (_ALL, _NO, _NO),
    "updateResourcePreset": (_ALL, _NO, _NO),
    "deleteResourcePreset": (_ALL, _NO, _NO),
    "createJoinToken": (_ALL, _NO, _NO),
    "recalculateUsage": (_ALL, _NO, _NO),
    "updateAgent": (_ALL, _NO, _NO),
    "removeAgent": (_ALL, _NO, _NO),
    "updateImage": (_ALL, _NO, _NO),
    "forgetImages": (_ALL, _NO, _NO),
    "installImages": (_ALL, _NO, _NO),
    "removeImages": (_ALL, _NO, _NO),
    "cleanUpImages": (_ALL, _NO, _NO),
    # the installation
    "read:setting": (_ALL, _NO, _NO),
    "updateSettings": (_ALL, _NO, _NO),
    "retryMails": (_ALL, _NO, _NO),
    "read:identityProvider": (_ALL, _NO, _NO),
    "createIdentityProvider": (_ALL, _NO, _NO),
    "updateIdentityProvider": (_ALL, _NO, _NO),
    "deleteIdentityProvider": (_ALL, _NO, _NO),
    "createRegistry": (_ALL, _NO, _NO),
    "updateRegistry": (_ALL, _NO, _NO),
    "deleteRegistry": (_ALL, _NO, _NO),
    "grantRegistry": (_ALL, _NO, _NO),
    "revokeRegistry": (_ALL, _NO, _NO),
    "rescanRegistries": (_ALL, _NO, _NO),
    # work in the background
    "cancelTask": (_ALL, _OWN, _OWN),
    "read:usage": (_ALL, _DOM, _OWN),
    # announcements
    "createAnnouncement": (_ALL, _DOM, _NO),
    "updateAnnouncement": (_ALL, _DOM, _NO),
    "deleteAnnouncement": (_ALL, _DOM, _NO),
    # sessions
    "createSession": (_OWN, _OWN, _OWN),
    "updateSession": (_ALL, _DOM, _OWN),
    "terminateSessions": (_ALL, _DOM, _OWN),
    "exemptSession": (_ALL, _DOM, _NO),
    "openTerminal": (_OWN, _OWN, _OWN),
    "closeTerminal": (_OWN, _OWN, _OWN),
}

#: Actions that concern one existing object of a noun: what `allowedActions` may list.
ACTIONS_ON: Final[dict[type[Base], tuple[str, ...]]] = {
    Domain: (
        "updateDomain",
        "updateDomains",
        "deactivateDomain",
        "createGroup",
        "createUser",
        "importUsers",
        "createInvitationTokens",
    ),
    Invitation: ("revokeInvitations",),
    Group: (
        "updateGroup",
        "updateGroups",
        "deactivateGroup",
        "addGroupMembers",
        "removeGroupMembers",
        "createSession",
    ),
    User: ("updateUser", "updateUsers", "deactivateUsers", "reactivateUsers", "resetTotp", "createKeypair"),
    Identity: ("unlinkIdentity",),
    Keypair: (
        "updateKeypair",
        "setMainKeypair",
        "activateKeypairs",
        "deactivateKeypairs",
        "deleteKeypair",
    ),
    ResourcePolicy: ("updateResourcePolicy", "assignResourcePolicy", "deleteResourcePolicy"),
    ResourceGroup: (
        "updateResourceGroup",
        "deleteResourceGroup",
        "grantResourceGroup",
        "revokeResourceGroup",
        "createJoinToken",
    ),
    ResourcePreset: ("updateResourcePreset", "deleteResourcePreset"),
    Announcement: ("updateAnnouncement", "deleteAnnouncement"),
    Agent: ("updateAgent", "removeAgent"),
    Image: ("updateImage", "forgetImages", "installImages", "removeImages"),
    Mail: ("retryMails",),
    IdentityProvider: ("updateIdentityProvider", "deleteIdentityProvider"),
    Registry: ("updateRegistry", "deleteRegistry", "grantRegistry", "revokeRegistry", "rescanRegistries"),
    Task: ("cancelTask",),
    Session: ("updateSession", "terminateSessions", "exemptSession", "openTerminal", "closeTerminal"),
}

READ: Final[dict[type[Base], str]] = {
    Domain: "read:domain",
    Group: "read:group",
    User: "read:user",
    Login: "read:login",
    Identity: "read:identity",
    Keypair: "read:keypair",
    ResourcePolicy: "read:policy",
    ResourceGroup: "read:resourceGroup",
    ResourcePreset: "read:preset",
    Agent: "read:agent",
    Image: "read:image",
    Registry: "read:registry",
    Task: "read:task",
    Announcement: "read:announcement",
    Session: "read:session",
    Kernel: "read:kernel",
    Mail: "read:mail",
    IdentityProvider: "read:identityProvider",
    Invitation: "read:invitation",
    AuditEvent: "read:auditEvent",
}


@dataclass(frozen=True)
class Actor:
    """Who asks. Made anew for each request from its token; `group_ids` are the groups that the user is a member of."""

    user_id: str
    domain_id: str
    role: str
    group_ids: frozenset[str] = field(default_factory=frozenset[str])
    #: The keypair whose limits count.
    keypair_id: str = ""
    #: Empty for a signed request.
    login_id: str = ""
    must_change_password: bool = False
    #: An administrator who needs a second factor and has none.
    must_set_up_totp: bool = False

    @property
    def grantee_ids(self) -> tuple[str, ...]:
        """What a resource group or a registry may have been granted to."""
        return (self.user_id, self.domain_id, *sorted(self.group_ids))


@dataclass(frozen=True)
class Subject:
    """Whose an object is. Empty: nobody's in particular."""

    domain_id: str = ""
    group_id: str = ""
    user_id: str = ""
    #: Role of the user whom it is or belongs to: nobody acts on a higher rank.
    role: str = "USER"
    #: It belongs to the actor by a grant (a resource group, a registry and its active images) or to everybody.
    granted: bool = False


#: All that somebody may do who has to choose a new password first (changing it and logging out ask for no action).
_BEFORE_NEW_PASSWORD: Final = {
    "read:user": Reach.MINE,
    "read:login": Reach.MINE,
    "read:keypair": Reach.MINE,
    "read:group": Reach.MINE,
    "read:domain": Reach.DOMAIN,
}


#: The same for an administrator who has to set up a second factor first.
_BEFORE_TOTP: Final = {**_BEFORE_NEW_PASSWORD, "startTotp": Reach.MINE, "confirmTotp": Reach.MINE}


def reach(actor: Actor, action: str) -> Reach:
    if actor.must_change_password:
        return _BEFORE_NEW_PASSWORD.get(action, Reach.NOTHING)
    if actor.must_set_up_totp:
        return _BEFORE_TOTP.get(action, Reach.NOTHING)
    return TABLE[action][ROLES.index(actor.role)]


def permitted(actor: Actor) -> list[str]:
    """All that the actor may do on something at all."""
    return sorted(action for action in TABLE if reach(actor, action) is not Reach.NOTHING)


def allows(actor: Actor, action: str, subject: Subject) -> bool:
    """May the actor perform the action on an object that is the subject's?"""
    own = subject.user_id == actor.user_id
    if not own and RANK[subject.role] > RANK[actor.role] and not action.startswith("read:"):
        return False
    match reach(actor, action):
        case Reach.EVERYTHING:
            return True
        case Reach.DOMAIN:
            return bool(subject.domain_id) and subject.domain_id == actor.domain_id
        case Reach.MINE:
            if subject.user_id:
                return own
            return subject.granted or (bool(subject.group_id) and subject.group_id in actor.group_ids)
        case Reach.NOTHING:
            return False


def require(actor: Actor, action: str, subject: Subject, *, visible: bool = True) -> None:
    """Raise unless allowed.

    Args:
        visible: whether the actor may know that the object exists.

    Raises:
        NotFound: the object is not the actor's to know of; the same as if it did not exist.
        Forbidden: the actor may see it, but not do this.
    """
    if allows(actor, action, subject):
        return
    if not visible:
        raise NotFound("There is no such object, or it is not yours to see.")
    _refuse_while_confined(actor)
    raise Forbidden(f"Your role does not allow {action} here. Ask an administrator of your domain.")


def require_role(actor: Actor, action: str) -> None:
    """Raise `Forbidden` when the actor may perform the action on nothing at all."""
    if reach(actor, action) is Reach.NOTHING:
        _refuse_while_confined(actor)
        raise Forbidden(f"Your role does not allow {action}. Ask an administrator.")


def require_second_factor(actor: Actor) -> None:
    """Raise `Forbidden` for who has a second factor to set up, and no password to choose first."""
    if not actor.must_change_password:
        _refuse_while_confined(actor)


def _refuse_while_confined(actor: Actor) -> None:
    if actor.must_change_password:
        raise Forbidden(
            "Choose a new password first (changePassword); until then nothing else is allowed.",
            help="Call `changePassword`, then go on with the access token that it answers.",
        )
    if actor.must_set_up_totp:
        raise Forbidden(
            "Administrators need a second factor here; until you have one nothing else is allowed.",
            help="Call `startTotp`, then `confirmTotp` with a code of your authenticator app.",
        )


def visible(actor: Actor, table: type[Base], action: str | None = None) -> ColumnElement[bool]:
    """The rows of a table on which the actor may perform the action (by default: which the actor may read)."""
    action = action or READ[table]
    match reach(actor, action):
        case Reach.EVERYTHING:
            return true()
        case Reach.DOMAIN if action.startswith("read:"):
            return _in_domain(actor, table)
        case Reach.DOMAIN:
            return and_(_in_domain(actor, table), _not_above(actor, table))
        case Reach.MINE:
            return _mine(actor, table)
        case Reach.NOTHING:
            return false()


def _in_domain(actor: Actor, table: type[Base]) -> ColumnElement[bool]:
    if table is Domain:
        return Domain.id == actor.domain_id
    if table is Keypair or table is Identity:
        return table.user_id.in_(select(User.id).where(User.domain_id == actor.domain_id))
    if table is Kernel:
        return Kernel.session_id.in_(select(Session.id).where(Session.domain_id == actor.domain_id))
    column: Any = getattr(table, "domain_id", None)
    return false() if column is None else column == actor.domain_id


def _not_above(actor: Actor, table: type[Base]) -> ColumnElement[bool]:
    """Its owner's rank is at most the actor's; what has no owner is nobody's rank."""
    above = [role for role in ROLES if RANK[role] > RANK[actor.role]]
    if table is User:
        return User.role.not_in(above)
    owner: Any = getattr(table, "user_id", None)
    return true() if owner is None else owner.not_in(select(User.id).where(User.role.in_(above)))


def _mine(actor: Actor, table: type[Base]) -> ColumnElement[bool]:
    """The actor's own rows, and what the actor's groups or grants bring along."""
    if table is Group:
        return Group.id.in_(select(GroupMember.group_id).where(GroupMember.user_id == actor.user_id))
    if table is ResourceGroup:
        return ResourceGroup.id.in_(
            select(ResourceGroupGrant.resource_group_id).where(
                ResourceGroupGrant.grantee_id.in_(actor.grantee_ids)
            )
        )
    if table is ResourcePolicy:
        return ResourcePolicy.id.in_(select(Keypair.policy_id).where(Keypair.user_id == actor.user_id))
    if table is Image:
        return or_(
            and_(Image.active, allowances.usable(actor.grantee_ids)),
            Image.id.in_(select(Session.image_id).where(Session.user_id == actor.user_id)),
        )
    if table is Registry:
        return Registry.id.in_(
            select(RegistryGrant.registry_id).where(RegistryGrant.grantee_id.in_(actor.grantee_ids))
        )
    if table is Announcement:
        return _announced(actor)
    if table is User:
        return User.id == actor.user_id
    if table is Kernel:
        return Kernel.session_id.in_(select(Session.id).where(Session.user_id == actor.user_id))
    column: Any = getattr(table, "user_id", None)
    return false() if column is None else column == actor.user_id


def _announced(actor: Actor) -> ColumnElement[bool]:
    """What is on now for the actor's domain; its administrators see all of it."""
    at = now()
    on = and_(
        Announcement.starts_at <= at,
        or_(Announcement.ends_at.is_(None), Announcement.ends_at > at),
        or_(Announcement.domain_id.is_(None), Announcement.domain_id == actor.domain_id),
    )
    return or_(on, Announcement.domain_id == actor.domain_id) if actor.role == "DOMAIN_ADMIN" else on
