"""`allowedActions` promises: an action is listed exactly when its mutation is not refused."""

from typing import Any

import pytest
from strawberry import Schema

from services.permissions import ACTIONS_ON, Actor
from tests.factories import Factories
from tests.resolvers.test_mutations import GOVERNING, OWN, Scene, codes, operation
from tests.schema import cluster
from tests.schema.conftest import Run

#: Permissions are SQL of the simplest kind: one database is enough for so many cases.
pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True)

ACTIONS = sorted({action for actions in ACTIONS_ON.values() for action in actions})
#: Which part of a mutation's input is the object that lists the action.
TARGETS = {
    "createGroup": "domainId",
    "createUser": "domainId",
    "createInvitationTokens": "domainId",
    "importUsers": "domainId",
    "createSession": "groupId",
    "createKeypair": "userId",
    "createJoinToken": "resourceGroupId",
    "createPasswordLink": "userId",
    "resetTotp": "userId",
    "installImages": "imageIds",
    "removeImages": "imageIds",
    "openTerminal": "sessionId",
    "closeTerminal": "sessionId",
}


@pytest.fixture
async def scene(make: Factories) -> Scene:
    return Scene(make, await cluster.build(make))


async def actor_of(scene: Scene, who: str) -> Actor:
    domain_id, make = scene.built.owner.domain_id, scene.make
    match who:
        case "superadmin":
            return scene.built.admin
        case "owner":
            return scene.built.user
        case "domain admin":
            return make.actor(await make.user(domain_id=domain_id, role="DOMAIN_ADMIN"))
        case "domain admin elsewhere":
            return make.actor(await make.user(role="DOMAIN_ADMIN"))
        case _:
            peer = await make.user(domain_id=domain_id, groups=[scene.built.group])
            return make.actor(peer, [scene.built.group])


async def asked(scene: Scene, action: str) -> dict[str, Any]:
    made = await {**GOVERNING, **OWN}[action](scene)
    if action == "createKeypair":
        made["userId"] = scene.built.owner.id
    if action == "updateUser":
        # Which roles may be given is another rule than who may be changed.
        del made["role"]
    return made


@pytest.mark.parametrize("who", ["superadmin", "domain admin", "owner", "peer", "domain admin elsewhere"])
@pytest.mark.parametrize("action", ACTIONS)
async def test_what_is_listed_can_be_done_and_what_is_not_is_refused(
    scene: Scene, run: Run, schema: Schema, action: str, who: str
) -> None:
    actor, made = await actor_of(scene, who), await asked(scene, action)
    target = made[TARGETS.get(action, "id" if "id" in made else "ids")]
    target = target[0] if isinstance(target, list) else target
    types = " ".join(f"... on {table.__name__} {{ allowedActions }}" for table in ACTIONS_ON)
    seen = await run(actor, f"query ($id: ID!) {{ node(id: $id) {{ id {types} }} }}", id=target)
    listed = (seen["data"]["node"] or {"allowedActions": []})["allowedActions"]

    refused = codes(await run(actor, operation(schema, action), input=made)) & {"FORBIDDEN", "NOT_FOUND"}

    assert (action in listed) == (not refused)
