"""What each mutation is tried with: something of the owner's, made for this one attempt where it would not outlive it."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from services.db.tables import Session, User
from tests.api.worlds import ANONYMOUS, World
from tests.factories import PASSWORD, SECRET_KEY, SSH_KEY

#: A mutation's input, and another token to send it with; None: the actor's own.
Attempt = tuple[dict[str, Any] | None, str | None]
Make = Callable[[World, str], Awaitable[Attempt]]

#: Mutations about the login of whom tries them.
TOKENS: Final = {
    "changePassword", "login", "loginWithKeypair", "logout", "logoutEverywhere", "redeemTicket", "refreshLogin",
    "requestPasswordReset", "resetPassword", "signUp", "confirmLogin", "startTotp", "confirmTotp", "disableTotp", "regenerateRecoveryCodes",
    "updateProfile", "verifyEmail", "resendVerification",
}  # fmt: skip
NEW_PASSWORD: Final = "other-Horse-2!"
SLOTS: Final = [{"name": "cpu", "amount": "1"}, {"name": "mem", "amount": "1073741824"}]

_MADE: Final[dict[str, Make]] = {}


async def attempt(world: World, who: str, mutation: str) -> Attempt:
    """The input with which somebody tries a mutation on what is the owner's."""
    if mutation in _MADE:
        return await _MADE[mutation](world, who)
    return await _plain(world, mutation), None


async def _plain(world: World, mutation: str) -> dict[str, Any]:
    ours, make = world.ours, world.make
    domain, group, nodes = ours["Domain"], ours["Group"], ours["ResourceGroup"]
    owner = world.people["owner"].row
    match mutation:
        case "createDomain" | "createResourceGroup" | "createResourcePolicy":
            return {"name": world.name()}
        case "cleanUpImages" | "recalculateUsage" | "generateSshKeypair":
            return {}
        case "createRegistry":
            return {"hostname": (host := f"{world.name()}.example"), "url": f"https://{host}"}
        case "deleteRegistry":
            return {"id": world.add(await make.registry()).id}
        case "grantRegistry" | "revokeRegistry":
            return {"id": ours["Registry"].id, "tenantId": group.id}
        case "updateSettings":
            return {"settings": [{"key": "mailHost", "value": f"{world.name()}.example.org"}]}
        case "setSshPublicKeys":
            return {"publicKeys": [SSH_KEY]}
        case "createResourcePreset":
            return {"name": world.name(), "slots": SLOTS}
        case "createGroup":
            return {"domainId": domain.id, "name": world.name()}
        case "createJoinToken":
            return {"resourceGroupId": nodes.id}
        case "createKeypair":
            return {"userId": owner.id}
        case "createPasswordLink":
            return {"userId": owner.id}
        case "createSession":
            return {
                "groupId": group.id,
                "resourceGroupId": nodes.id,
                "imageId": ours["Image"].id,
                "slots": [{"name": "cpu", "amount": "0.1"}, SLOTS[1]],
            }
        case "createUser":
            return {"domainId": domain.id, "email": f"{world.name()}@example.org", "name": "n"}
        case "importUsers":
            return {"domainId": domain.id, "csv": f"email,groups\n{world.name()}@example.org,{group.name}"}
        case "updateUsers":
            return {"ids": [owner.id], "description": "changed"}
        case "updateDomains":
            return {"ids": [domain.id], "allowedStorageHosts": ["local"]}
        case "updateGroups":
            return {"ids": [group.id], "allowedStorageHosts": ["local"]}
        case "assignResourcePolicy":
            return {"id": ours["ResourcePolicy"].id, "keypairIds": [ours["Keypair"].id]}
        case "updateUser":
            return {"id": owner.id, "description": "changed"}
        case "deactivateUsers" | "reactivateUsers":
            return {"ids": [(await _user(world, active=mutation == "deactivateUsers")).id]}
        case "addGroupMembers":
            return {"id": group.id, "userIds": [(await _user(world)).id]}
        case "removeGroupMembers":
            return {"id": group.id, "userIds": [(await _user(world, groups=[group])).id]}
        case "deactivateDomain":
            made = await make.domain()
            return {"id": world.add(made, domain=made.id).id}
        case "deactivateGroup":
            made = await make.group(domain=domain)
            return {"id": world.add(made, domain=domain.id, group=made.id).id}
        case "activateKeypairs" | "deactivateKeypairs":
            return {"ids": [ours["Keypair"].id]}
        case "setMainKeypair":
            return {"id": owner.main_keypair_id}
        case "createAnnouncement":
            return {"title": "t", "domainId": domain.id}
        case "deleteAnnouncement":
            made = await make.announcement(domain=domain, author_id=owner.id)
            return {"id": world.add(made, domain=domain.id).id}
        case "deleteKeypair":
            return {"id": await _keypair(world)}
        case "deleteResourceGroup":
            return {"id": world.add(await make.resource_group()).id}
        case "deleteResourcePolicy":
            return {"id": world.add(await make.policy()).id}
        case "deleteResourcePreset":
            return {"id": world.add(await make.preset()).id}
        case "grantResourceGroup" | "revokeResourceGroup":
            return {"id": nodes.id, "granteeId": group.id}
        case "forgetImages":
            return {"ids": [world.add(await make.image(), granted=frozenset({"*"})).id]}
        case "installImages" | "removeImages":
            image = world.add(await make.image(), granted=frozenset({"*"}))
            return {"imageIds": [image.id], "agentIds": [ours["Agent"].id]}
        case "createIdentityProvider":
            return {"name": world.name(), "issuer": "https://id.example", "clientId": "berth"}
        case "deleteIdentityProvider":
            return {"id": world.add(await make.identity_provider()).id}
        case "resetTotp":
            return {"userId": (await _user(world)).id}
        case "endLogin":
            login = await make.login(user=owner)
            return {"id": world.add(login, domain=owner.domain_id, owner=owner.id).id}
        case "createInvitationTokens":
            return {"domainId": domain.id, "groupId": group.id}
        case "revokeInvitations":
            return {"ids": [world.add(await make.invitation(domain=domain), domain=domain.id).id]}
        case "retryMails":
            return {"ids": [world.add(await make.mail()).id]}
        case "removeAgent":
            return {"id": world.add(await make.agent(resource_group=nodes)).id}
        case "rescanRegistries":
            return {"ids": [ours["Registry"].id]}
        case "cancelTask":
            return {"id": world.add(await make.task(user=owner), domain=owner.domain_id, owner=owner.id).id}
        case "updateSession":
            return {"id": (await _session(world)).id, "name": world.name()}
        case "exemptSession":
            return {"id": (await _session(world)).id}
        case "terminateSessions":
            return {"ids": [(await _session(world)).id]}
        case "openTerminal":
            return {"sessionId": ours["Session"].id}
        case "closeTerminal":
            return {"sessionId": ours["Session"].id, "terminalId": "t1"}
        case _:
            kind = mutation.removeprefix("update")
            return {"id": ours[kind].id}


async def _user(world: World, **more: Any) -> User:
    domain = world.ours["Domain"]
    user = await world.make.user(domain=domain, policy=world.ours["ResourcePolicy"], **more)
    return world.add(user, domain=domain.id, owner=user.id)


async def _keypair(world: World) -> str:
    owner = world.people["owner"].row
    made = await world.make.keypair(user=owner, policy=world.ours["ResourcePolicy"])
    return world.add(made, domain=owner.domain_id, owner=owner.id).id


async def _session(world: World) -> Session:
    ours, owner = world.ours, world.people["owner"].row
    session = await world.make.session(
        user=owner, group=ours["Group"], image=ours["Image"], resource_group=ours["ResourceGroup"]
    )
    await world.make.kernel(session=session, agent=ours["Agent"])
    return world.add(session, domain=owner.domain_id, owner=owner.id)


def _made(name: str) -> Callable[[Make], Make]:
    return lambda make: _MADE.setdefault(name, make)


# What ends logins is tried as somebody like the actor, who is not needed any more.


@_made("logout")
@_made("logoutEverywhere")
async def _(world: World, who: str) -> Attempt:
    return None, (await world.twin(who))[1]


@_made("changePassword")
async def _(world: World, who: str) -> Attempt:
    return {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}, (await world.twin(who))[1]


@_made("redeemTicket")
async def _(world: World, who: str) -> Attempt:
    user, _ = await world.twin("owner" if who == ANONYMOUS else who)
    ticket = world.name()
    await world.make.ticket(user=user, token=ticket)
    return {"ticket": ticket, "newPassword": NEW_PASSWORD, "cookie": False}, None


@_made("resetPassword")
async def _(world: World, who: str) -> Attempt:
    user, _ = await world.twin("owner" if who == ANONYMOUS else who)
    token = world.name()
    await world.make.ticket(user=user, token=token)
    return {"token": token, "newPassword": NEW_PASSWORD}, None


@_made("unlinkIdentity")
async def _(world: World, who: str) -> Attempt:
    user = world.people["owner"].row if who == "owner" else await _user(world)
    identity = await world.make.identity(user=user)
    return {"id": world.add(identity, domain=user.domain_id, owner=user.id).id}, None


@_made("requestPasswordReset")
async def _(world: World, who: str) -> Attempt:
    return {"email": world.people["owner" if who == ANONYMOUS else who].row.email}, None


@_made("startTotp")
async def _(world: World, who: str) -> Attempt:
    return {"password": PASSWORD}, (await world.twin(who))[1]


@_made("confirmTotp")
async def _(world: World, who: str) -> Attempt:
    user, token = await world.twin(who)
    return {"code": await world.make.totp(user, confirmed=False)}, token


@_made("regenerateRecoveryCodes")
async def _(world: World, who: str) -> Attempt:
    user, token = await world.twin(who)
    return {"code": await world.make.totp(user)}, token


@_made("disableTotp")
async def _(world: World, who: str) -> Attempt:
    user, token = await world.twin(who)
    return {"code": await world.make.totp(user), "password": PASSWORD}, token


@_made("confirmLogin")
async def _(world: World, who: str) -> Attempt:
    user, _ = await world.twin("owner" if who == ANONYMOUS else who)
    ticket, code = world.name(), await world.make.totp(user)
    await world.make.ticket(user=user, token=ticket, purpose="second-factor", data={"epoch": user.epoch})
    return {"ticket": ticket, "code": code, "cookie": False}, None


@_made("updateProfile")
async def _(world: World, who: str) -> Attempt:
    return {"language": "ko"}, (await world.twin(who))[1]


@_made("signUp")
async def _(world: World, who: str) -> Attempt:
    token = world.name()
    world.add(await world.make.invitation(domain=world.ours["Domain"], token=token))
    account = {"email": f"{world.name()}@example.org", "name": "n", "password": NEW_PASSWORD}
    return {
        **account,
        "invitationToken": token,
        "acceptedTermsVersion": "1",
        "acceptedPrivacyVersion": "1",
    }, None


@_made("verifyEmail")
async def _(world: World, who: str) -> Attempt:
    user, _ = await world.twin("owner" if who == ANONYMOUS else who)
    token = world.name()
    await world.make.ticket(user=user, token=token, purpose="verify")
    return {"token": token}, None


@_made("resendVerification")
async def _(world: World, who: str) -> Attempt:
    return {"email": world.people["owner" if who == ANONYMOUS else who].row.email}, None


@_made("login")
async def _(world: World, who: str) -> Attempt:
    person = world.people["owner" if who == ANONYMOUS else who]
    return {"email": person.row.email, "password": PASSWORD, "cookie": False}, None


@_made("loginWithKeypair")
async def _(world: World, who: str) -> Attempt:
    user = world.people["owner" if who == ANONYMOUS else who].row
    keypair = await world.make.keypair(user=user, policy=world.ours["ResourcePolicy"])
    return {"accessKey": keypair.access_key, "secretKey": SECRET_KEY, "cookie": False}, None


@_made("refreshLogin")
async def _(world: World, who: str) -> Attempt:
    user, token = world.people["owner" if who == ANONYMOUS else who].row, world.name()
    await world.make.login(user=user, refresh_token=token)
    return {"refreshToken": token}, None
