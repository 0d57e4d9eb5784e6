"""Every mutation, once as somebody who may: its answer is complete; and as those who may not."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from graphql import GraphQLObjectType, get_named_type
from strawberry import Schema

from services.db.tables import Session, User
from tests.factories import PASSWORD, SECRET_KEY, SSH_KEY, Factories
from tests.schema import cluster
from tests.schema.cluster import Cluster
from tests.schema.conftest import Run
from tests.schema.selections import everything

NEW_PASSWORD = "other-Horse-2!"


@dataclass
class Scene:
    """What the mutations are tried on; `user` is whose everything is."""

    make: Factories
    built: Cluster

    async def user(self, **more: Any) -> User:
        return await self.make.user(domain=None, domain_id=self.built.owner.domain_id, **more)

    async def session(self, **more: Any) -> Session:
        return await self.make.session(
            user=self.built.owner,
            group=self.built.group,
            resource_group=self.built.resource_group,
            image=self.built.image,
            **more,
        )

    async def running(self) -> Session:
        session = await self.session()
        await self.make.kernel(session=session, agent=self.built.agent)
        return session


Input = Callable[[Scene], Awaitable[dict[str, Any]]]
SLOTS = [{"name": "cpu", "amount": "1.5"}, {"name": "mem", "amount": "1073741824"}]

#: Those that concern what one may be given to govern: tried as a superadmin.
GOVERNING: dict[str, Input] = {}
#: Those that concern the caller's own things: tried as their owner.
OWN: dict[str, Input] = {}
#: Those that anybody may send who is not logged in.
ENTRANCES = {
    "confirmLogin", "login", "loginWithKeypair", "redeemTicket", "refreshLogin", "requestPasswordReset", "resendVerification",
    "resetPassword", "signUp", "verifyEmail",
}  # fmt: skip
#: Those that ask for nothing but a login.
LEAVING = {
    "startTotp",
    "confirmTotp",
    "disableTotp",
    "regenerateRecoveryCodes",
    "updateProfile",
    "logout",
    "logoutEverywhere",
    "changePassword",
    "generateSshKeypair",
    "setSshPublicKeys",
}


def governing(name: str) -> Callable[[Input], Input]:
    return lambda make: GOVERNING.setdefault(name, make)


def own(name: str) -> Callable[[Input], Input]:
    return lambda make: OWN.setdefault(name, make)


@governing("createDomain")
async def _(_scene: Scene) -> dict[str, Any]:
    return {"name": "new", "totalSlots": SLOTS}


@governing("createAnnouncement")
async def _(_scene: Scene) -> dict[str, Any]:
    return {
        "title": "Maintenance",
        "text": "On **Friday**.",
        "severity": "WARNING",
        "endsAt": "2100-01-01T00:00:00Z",
    }


@governing("updateAnnouncement")
async def _(scene: Scene) -> dict[str, Any]:
    ends = scene.make.core.now() + timedelta(days=1)
    return {"id": (await scene.make.announcement(ends_at=ends)).id, "title": "Off", "endsAt": None}


@governing("deleteAnnouncement")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.announcement()).id}


@governing("updateDomains")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [scene.built.owner.domain_id], "allowedStorageHosts": ["local", "nfs-1"]}


@governing("updateGroups")
async def _(scene: Scene) -> dict[str, Any]:
    group = await scene.make.group(domain_id=scene.built.owner.domain_id)
    return {"ids": [group.id], "active": False, "sessions": "TERMINATE"}


@governing("updateUsers")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [scene.built.owner.id], "mustChangePassword": True, "groupIds": []}


@governing("assignResourcePolicy")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.policy()).id, "keypairIds": [scene.built.owner.main_keypair_id]}


@governing("updateDomain")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.owner.domain_id, "name": "renamed", "totalSlots": []}


@governing("deactivateDomain")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.domain()).id}


@governing("createGroup")
async def _(scene: Scene) -> dict[str, Any]:
    return {"domainId": scene.built.owner.domain_id, "name": "new", "totalSlots": SLOTS}


@governing("updateGroup")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.group.id, "description": "changed"}


@governing("deactivateGroup")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.group(domain_id=scene.built.owner.domain_id)).id}


@governing("addGroupMembers")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.group.id, "userIds": [(await scene.user()).id]}


@governing("removeGroupMembers")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.group.id, "userIds": [scene.built.owner.id]}


@governing("createUser")
async def _(scene: Scene) -> dict[str, Any]:
    await scene.make.policy(name="default")
    return {
        "domainId": scene.built.owner.domain_id,
        "email": "new@example.org",
        "name": "new",
        "groupIds": [scene.built.group.id],
        "totalSlots": SLOTS,
        "maxConcurrentSessions": 3,
    }


@governing("importUsers")
async def _(scene: Scene) -> dict[str, Any]:
    await scene.make.policy(name="default")
    text = f"email,name,groups\nnew@example.org,김민수,{scene.built.group.name}"
    return {"domainId": scene.built.owner.domain_id, "csv": text}


@governing("updateUser")
async def _(scene: Scene) -> dict[str, Any]:
    limits = {"totalSlots": SLOTS, "maxConcurrentSessions": None}
    return {"id": scene.built.owner.id, "fullName": "Changed", "role": "DOMAIN_ADMIN", **limits}


@governing("deactivateUsers")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.user()).id]}


@governing("reactivateUsers")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.user(active=False)).id]}


@governing("createIdentityProvider")
async def _(scene: Scene) -> dict[str, Any]:
    return {
        "name": "campus",
        "issuer": "https://id.example",
        "clientId": "berth",
        "clientSecret": "secret",
        "createUsers": True,
        "domainId": scene.built.owner.domain_id,
        "groupId": scene.built.group.id,
    }


@governing("updateIdentityProvider")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.identity_provider()).id, "title": "Other", "groupId": None}


@governing("deleteIdentityProvider")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.identity_provider()).id}


@governing("resetTotp")
async def _(scene: Scene) -> dict[str, Any]:
    return {"userId": scene.built.owner.id}


@own("unlinkIdentity")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.identity(user=scene.built.owner)).id}


@own("endLogin")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.login(user=scene.built.owner)).id}


@governing("createInvitationTokens")
async def _(scene: Scene) -> dict[str, Any]:
    return {"domainId": scene.built.owner.domain_id, "groupId": scene.built.group.id, "count": 2, "uses": 3}


@governing("revokeInvitations")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.make.invitation()).id]}


@governing("retryMails")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.make.mail()).id]}


@governing("createPasswordLink")
async def _(scene: Scene) -> dict[str, Any]:
    return {"userId": scene.built.owner.id}


@governing("updateKeypair")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.owner.main_keypair_id, "rateLimit": 7}


@governing("createResourcePolicy")
async def _(_scene: Scene) -> dict[str, Any]:
    folders = {"allowedStorageHosts": ["local"], "maxFolderBytes": "1099511627776", "maxFolders": 10}
    return {"name": "new", "totalSlots": SLOTS, "maxConcurrentSessions": 3, **folders}


@governing("updateResourcePolicy")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.policy(max_concurrent_sessions=1)).id, "maxConcurrentSessions": None}


@governing("deleteResourcePolicy")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.policy()).id}


@governing("createResourcePreset")
async def _(_scene: Scene) -> dict[str, Any]:
    return {"name": "new", "slots": SLOTS, "sharedMemory": "1048576"}


@governing("updateResourcePreset")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.preset(shared_memory=2**20)).id, "sharedMemory": None}


@governing("deleteResourcePreset")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.preset()).id}


@governing("recalculateUsage")
async def _(_scene: Scene) -> dict[str, Any]:
    return {"dryRun": True}


@governing("updateSettings")
async def _(_scene: Scene) -> dict[str, Any]:
    return {"settings": [{"key": "signUpMode", "value": "OPEN"}, {"key": "mailPassword", "value": "s3cret"}]}


@governing("createResourceGroup")
async def _(_scene: Scene) -> dict[str, Any]:
    limits = {"totalSlots": SLOTS, "maxConcurrentSessions": 3, "maxKernelsPerSession": 2}
    return {"name": "new", "lostSessionGraceSeconds": 600, **limits}


@governing("updateResourceGroup")
async def _(scene: Scene) -> dict[str, Any]:
    limits = {"totalSlots": [], "maxConcurrentSessions": 3, "maxKernelsPerSession": None}
    given = {"id": scene.built.resource_group.id, "description": "changed", "lostSessionGraceSeconds": None}
    return {**given, **limits}


@governing("deleteResourceGroup")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.resource_group()).id}


@governing("grantResourceGroup")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.resource_group.id, "granteeId": scene.built.group.id}


@governing("revokeResourceGroup")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.resource_group.id, "granteeId": scene.built.owner.id}


@governing("createJoinToken")
async def _(scene: Scene) -> dict[str, Any]:
    return {"resourceGroupId": scene.built.resource_group.id, "expiresInSeconds": 600}


@governing("updateAgent")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.agent.id, "schedulable": False}


@governing("removeAgent")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.agent(resource_group=scene.built.resource_group)).id}


@governing("updateImage")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": scene.built.image.id, "minimumSlots": SLOTS, "aliases": ["short"]}


@governing("cleanUpImages")
async def _(_scene: Scene) -> dict[str, Any]:
    return {"dryRun": True}


@governing("forgetImages")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.make.image()).id]}


@governing("installImages")
async def _(scene: Scene) -> dict[str, Any]:
    return {"imageIds": [scene.built.image.id], "agentIds": [scene.built.agent.id]}


@governing("removeImages")
async def _(scene: Scene) -> dict[str, Any]:
    image = await scene.make.image(agents=[scene.built.agent])
    return {"imageIds": [image.id], "agentIds": [scene.built.agent.id]}


@governing("createRegistry")
async def _(_scene: Scene) -> dict[str, Any]:
    return {"hostname": "new.example:5000", "url": "https://new.example:5000", "password": "pw"}


@governing("updateRegistry")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.registry(password="pw")).id, "password": None, "projects": ["p"]}


@governing("deleteRegistry")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.registry()).id}


@governing("grantRegistry")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.registry()).id, "tenantId": scene.built.group.id}


@governing("revokeRegistry")
async def _(scene: Scene) -> dict[str, Any]:
    return {
        "id": (await scene.make.registry(granted=[scene.built.group])).id,
        "tenantId": scene.built.group.id,
    }


@governing("rescanRegistries")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.make.registry()).id]}


@governing("exemptSession")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.running()).id}


@own("cancelTask")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.task(user=scene.built.owner)).id}


@own("createKeypair")
async def _(_scene: Scene) -> dict[str, Any]:
    return {}


@own("deactivateKeypairs")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.make.keypair(user=scene.built.owner)).id]}


@own("activateKeypairs")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.make.keypair(user=scene.built.owner, active=False)).id]}


@own("setMainKeypair")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.keypair(user=scene.built.owner)).id}


@own("deleteKeypair")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.make.keypair(user=scene.built.owner)).id}


@own("createSession")
async def _(scene: Scene) -> dict[str, Any]:
    return {
        "groupId": scene.built.group.id,
        "resourceGroupId": scene.built.resource_group.id,
        "imageId": scene.built.image.id,
        "slots": SLOTS,
        "environ": [{"name": "A", "value": "b"}],
    }


@own("updateSession")
async def _(scene: Scene) -> dict[str, Any]:
    return {"id": (await scene.session()).id, "name": "renamed"}


@own("terminateSessions")
async def _(scene: Scene) -> dict[str, Any]:
    return {"ids": [(await scene.running()).id]}


@own("openTerminal")
async def _(scene: Scene) -> dict[str, Any]:
    return {"sessionId": (await scene.running()).id}


@own("closeTerminal")
async def _(scene: Scene) -> dict[str, Any]:
    return {"sessionId": (await scene.running()).id, "terminalId": "t1"}


@pytest.fixture
async def scene(make: Factories) -> Scene:
    return Scene(make, await cluster.build(make))


def operation(schema: Schema, name: str, depth: int = 1) -> str:
    """The mutation with all of its payload selected."""
    field = schema._schema.type_map["Mutation"].fields[name]
    payload = get_named_type(field.type)
    assert isinstance(payload, GraphQLObjectType)
    selected = everything(payload, depth)
    if not field.args:
        return f"mutation {{ {name} {{ {selected} }} }}"
    return f"mutation Do($input: {field.args['input'].type}) {{ {name}(input: $input) {{ {selected} }} }}"


def codes(answer: dict[str, Any]) -> set[str]:
    """Codes of an answer's errors, those of single objects too."""
    found = {error["extensions"]["code"] for error in answer.get("errors", [])}
    for payload in (answer["data"] or {}).values():
        for result in (payload or {}).get("results", []):
            found |= {result["error"]["code"]} if result["error"] else set()
    return found


def test_every_mutation_is_tried_here(schema: Schema) -> None:
    assert (
        GOVERNING.keys() | OWN.keys() | ENTRANCES | LEAVING
        == schema._schema.type_map["Mutation"].fields.keys()
    )


@pytest.mark.parametrize("name", sorted(GOVERNING))
async def test_a_superadmin_gets_all_that_has_changed(
    scene: Scene, run: Run, schema: Schema, name: str
) -> None:
    answer = await run(scene.built.admin, operation(schema, name), input=await GOVERNING[name](scene))
    offline = {"removeImages"}
    assert codes(answer) == ({"UNAVAILABLE"} if name in offline else set()), answer
    assert answer["data"][name]


@pytest.mark.parametrize("name", sorted(OWN))
async def test_an_owner_gets_all_that_has_changed(scene: Scene, run: Run, schema: Schema, name: str) -> None:
    answer = await run(scene.built.user, operation(schema, name), input=await OWN[name](scene))
    assert codes(answer) == set(), answer
    assert answer["data"][name]


@pytest.mark.parametrize("name", sorted(GOVERNING.keys() | OWN.keys()))
async def test_nobody_without_a_login_gets_anything(
    scene: Scene, run: Run, schema: Schema, name: str
) -> None:
    make = {**GOVERNING, **OWN}[name]
    answer = await run(None, operation(schema, name), input=await make(scene))
    assert codes(answer) == {"UNAUTHENTICATED"}


@pytest.mark.parametrize("name", sorted((GOVERNING.keys() | OWN.keys()) - {"createKeypair"}))
async def test_somebody_else_is_refused_and_learns_nothing(
    scene: Scene, run: Run, schema: Schema, name: str
) -> None:
    stranger = scene.make.actor(await scene.make.user())
    asked = await {**GOVERNING, **OWN}[name](scene)
    answer = await run(stranger, operation(schema, name), input=asked)
    assert codes(answer) <= {"FORBIDDEN", "NOT_FOUND"}, answer
    assert codes(answer)


@pytest.mark.parametrize("name", sorted(GOVERNING))
async def test_a_user_is_refused_what_is_an_administrators(
    scene: Scene, run: Run, schema: Schema, name: str
) -> None:
    answer = await run(scene.built.user, operation(schema, name), input=await GOVERNING[name](scene))
    assert codes(answer) <= {"FORBIDDEN", "NOT_FOUND"}, answer
    assert codes(answer)


async def test_a_login_from_its_beginning_to_its_end(scene: Scene, run: Run) -> None:
    owner = scene.built.owner
    entered = (
        "accessToken refreshToken viewer { role mustChangePassword user { email } logins { id current } }"
    )

    answer = await run(
        None,
        f"mutation ($input: LoginInput!) {{ login(input: $input) {{ {entered} }} }}",
        input={"email": owner.email, "password": PASSWORD, "cookie": False},
    )
    login = answer["data"]["login"]
    assert login["viewer"]["user"]["email"] == owner.email
    assert [one["current"] for one in login["viewer"]["logins"]].count(True) == 1

    answer = await run(
        None,
        f"mutation ($input: RefreshLoginInput!) {{ refreshLogin(input: $input) {{ {entered} }} }}",
        input={"refreshToken": login["refreshToken"]},
    )
    assert answer["data"]["refreshLogin"]["refreshToken"] != login["refreshToken"]

    actor = scene.make.actor(
        owner,
        [scene.built.group],
        login_id=next(one["id"] for one in login["viewer"]["logins"] if one["current"]),
    )
    changed = "mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { accessToken viewer { role } } }"
    answer = await run(actor, changed, input={"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD})
    assert answer["data"]["changePassword"]["accessToken"]
    answer = await run(actor, "mutation { logout { deletedId } }")
    assert answer["data"]["logout"]["deletedId"] == actor.login_id
    answer = await run(actor, "mutation { logoutEverywhere { deletedIds } }")
    assert "errors" not in answer


async def test_ssh_keys_are_made_shown_once_and_set_anew(scene: Scene, run: Run) -> None:
    shown = "viewer { sshPublicKeys { type bits fingerprint comment publicKey } }"
    generate = f"mutation ($i: GenerateSshKeypairInput!) {{ generateSshKeypair(input: $i) {{ privateKey publicKey {{ publicKey }} {shown} }} }}"
    answer = await run(scene.built.user, generate, i={"algorithm": "ED25519"})
    made = answer["data"]["generateSshKeypair"]
    assert made["privateKey"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert [one["publicKey"] for one in made["viewer"]["sshPublicKeys"]] == [made["publicKey"]["publicKey"]]
    replace = f"mutation ($i: SetSshPublicKeysInput!) {{ setSshPublicKeys(input: $i) {{ {shown} }} }}"
    answer = await run(scene.built.user, replace, i={"publicKeys": [SSH_KEY]})
    (key,) = answer["data"]["setSshPublicKeys"]["viewer"]["sshPublicKeys"]
    assert (key["type"], key["bits"], key["comment"], key["publicKey"]) == (
        "ssh-ed25519",
        256,
        "somebody",
        SSH_KEY,
    )
    assert codes(await run(None, replace, i={"publicKeys": []})) == {"UNAUTHENTICATED"}


async def test_a_login_by_keypair_and_one_by_a_ticket(scene: Scene, run: Run) -> None:
    owner = scene.built.owner
    keypair = await scene.make.keypair(user=owner)
    by_key = "mutation ($input: LoginWithKeypairInput!) { loginWithKeypair(input: $input) { viewer { keypair { id } } } }"
    answer = await run(
        None, by_key, input={"accessKey": keypair.access_key, "secretKey": SECRET_KEY, "cookie": False}
    )
    assert answer["data"]["loginWithKeypair"]["viewer"]["keypair"]["id"] == keypair.id

    link = await run(
        scene.built.admin,
        "mutation ($input: CreatePasswordLinkInput!) { createPasswordLink(input: $input) { url } }",
        input={"userId": owner.id},
    )
    ticket = link["data"]["createPasswordLink"]["url"].partition("#")[2]
    redeem = "mutation ($input: RedeemTicketInput!) { redeemTicket(input: $input) { accessToken viewer { role } } }"
    asked = {"ticket": ticket, "newPassword": NEW_PASSWORD, "cookie": False}
    assert (await run(None, redeem, input=asked))["data"]["redeemTicket"]["accessToken"]
    assert codes(await run(None, redeem, input=asked)) == {"UNAUTHENTICATED"}


async def test_the_same_idempotency_key_makes_one_session(scene: Scene, run: Run, schema: Schema) -> None:
    asked = {**await OWN["createSession"](scene), "idempotencyKey": "k1"}
    first, second = [
        await run(scene.built.user, operation(schema, "createSession"), input=asked) for _ in range(2)
    ]
    assert first["data"]["createSession"]["session"]["id"] == second["data"]["createSession"]["session"]["id"]


async def test_all_wrong_fields_are_told_at_once_with_their_paths(
    scene: Scene, run: Run, schema: Schema
) -> None:
    asked = await OWN["createSession"](scene)
    asked |= {"slots": [{"name": "cpu", "amount": "-1"}, {"name": "gold", "amount": "1"}], "name": "?"}
    answer = await run(scene.built.user, operation(schema, "createSession"), input=asked)
    paths = {".".join(map(str, error["extensions"]["path"])) for error in answer["errors"]}
    assert paths == {"input.name", "input.slots.0.amount", "input.slots.1.name"}
    assert codes(answer) == {"BAD_USER_INPUT"}


@pytest.mark.parametrize("noun", ["User", "ResourceGroup"])
async def test_a_limit_that_is_absent_stays_and_null_lifts_it(scene: Scene, run: Run, noun: str) -> None:
    thing, field = {
        "User": (scene.built.owner.id, "user"),
        "ResourceGroup": (scene.built.resource_group.id, "resourceGroup"),
    }[noun]
    shown = "maxConcurrentSessions totalSlots { name amount }"
    update = (
        f"mutation ($input: Update{noun}Input!) {{ update{noun}(input: $input) {{ {field} {{ {shown} }} }} }}"
    )

    async def after(**changes: Any) -> tuple[int | None, str | None]:
        answer = await run(scene.built.admin, update, input={"id": thing, **changes})
        found = answer["data"][f"update{noun}"][field]
        cpu = next(slot["amount"] for slot in found["totalSlots"] if slot["name"] == "cpu")
        return found["maxConcurrentSessions"], cpu

    assert await after() == (None, None)
    assert await after(maxConcurrentSessions=3, totalSlots=SLOTS) == (3, "1.5")
    assert await after(description="changed") == (3, "1.5")
    assert await after(maxConcurrentSessions=None) == (None, "1.5")
    assert await after(totalSlots=[]) == (None, None)


async def test_a_forgotten_password_is_chosen_anew_by_a_link(scene: Scene, run: Run) -> None:
    owner = scene.built.owner
    ask = "mutation ($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { mailDelayed } }"
    for email in (owner.email, "nobody@example.org"):
        answer = await run(None, ask, input={"email": email})
        assert answer == {"data": {"requestPasswordReset": {"mailDelayed": False}}}
    await scene.make.ticket(user=owner, token="mailed")
    reset = "mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) { email } }"
    asked = {"token": "mailed", "newPassword": NEW_PASSWORD}
    assert (await run(None, reset, input=asked))["data"]["resetPassword"] == {"email": owner.email}
    assert codes(await run(None, reset, input=asked)) == {"UNAUTHENTICATED"}


async def test_a_login_with_a_second_factor_has_two_halves(scene: Scene, run: Run) -> None:
    owner = scene.built.owner
    code = await scene.make.totp(owner)
    enter = "mutation ($input: LoginInput!) { login(input: $input) { accessToken viewer { role } secondFactor { ticket } } }"
    answer = await run(None, enter, input={"email": owner.email, "password": PASSWORD, "cookie": False})
    asked = answer["data"]["login"]
    assert (asked["accessToken"], asked["viewer"]) == (None, None)
    confirm = "mutation ($input: ConfirmLoginInput!) { confirmLogin(input: $input) { accessToken secondFactor { ticket } } }"
    given = {"ticket": asked["secondFactor"]["ticket"], "code": code, "cookie": False}
    answer = await run(None, confirm, input=given)
    assert answer["data"]["confirmLogin"]["accessToken"]
    assert answer["data"]["confirmLogin"]["secondFactor"] is None
    assert codes(await run(None, confirm, input=given)) == {"UNAUTHENTICATED"}


@pytest.mark.parametrize("confined", ["must_change_password", "must_set_up_totp"])
async def test_who_has_something_else_to_do_first_may_do_nothing(
    scene: Scene, run: Run, schema: Schema, confined: str
) -> None:
    """All that changes anything is refused, whatever it is and whoever asks."""
    # Logins may be ended; what is imported needs a world of its own.
    let = {"endLogin", "importUsers"}
    wrong: list[str] = []
    for actor, inputs in ((scene.built.admin, GOVERNING), (scene.built.user, OWN)):
        held = replace(actor, **{confined: True})
        for name in sorted(inputs.keys() - let):
            answer = await run(held, operation(schema, name), input=await inputs[name](scene))
            if not codes(answer) or not codes(answer) <= {"FORBIDDEN", "NOT_FOUND"}:
                wrong.append(f"{name}: {answer}")
    assert wrong == []
    profile = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { user { language } } }"
    held = replace(scene.built.user, **{confined: True})
    assert codes(await run(held, profile, input={"language": "ko"})) == {"FORBIDDEN"}
    answer = await run(scene.built.user, profile, input={"language": "ko"})
    assert answer["data"]["updateProfile"]["user"] == {"language": "ko"}
