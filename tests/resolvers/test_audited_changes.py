"""Every mutation that changes a row says in the audit what was before and after, whether the ORM made the change or a statement."""

from typing import Any, Final

import pytest
from sqlalchemy import select
from strawberry import Schema

from services import audits
from services.core import Core
from services.db.tables import AuditEvent, Occupancy
from tests.factories import PASSWORD, SSH_KEY, Factories
from tests.resolvers.test_mutations import (
    ENTRANCES,
    GOVERNING,
    LEAVING,
    NEW_PASSWORD,
    OWN,
    Scene,
    operation,
)
from tests.schema import cluster
from tests.schema.conftest import Run

#: What is noted depends on no database.
pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True)

#: Mutation → fields that change by it, of those that it is tried with.
CHANGES: Final = {
    "activateKeypairs": "active",
    "addGroupMembers": "members",
    "assignResourcePolicy": "policy_id",
    "cancelTask": "cancel_requested status",
    "changePassword": "epoch password_hash",
    "confirmTotp": "totp_confirmed_at",
    "deactivateDomain": "active",
    "deactivateGroup": "active",
    "deactivateKeypairs": "active",
    "deactivateUsers": "active epoch",
    "deleteAnnouncement": "title",
    "deleteIdentityProvider": "issuer name",
    "deleteKeypair": "access_key",
    "deleteRegistry": "hostname",
    "deleteResourceGroup": "name",
    "deleteResourcePolicy": "name",
    "deleteResourcePreset": "name",
    "disableTotp": "totp_confirmed_at totp_secret",
    "exemptSession": "idle_exempt",
    "forgetImages": "reference",
    "generateSshKeypair": "ssh_public_keys",
    "grantRegistry": "grants",
    "grantResourceGroup": "grants",
    "reactivateUsers": "active epoch",
    "recalculateUsage": "cpu",
    "regenerateRecoveryCodes": "recovery_codes",
    "removeAgent": "name status",
    "removeGroupMembers": "members",
    "resetTotp": "epoch",
    "revokeInvitations": "revoked_at",
    "revokeRegistry": "grants",
    "revokeResourceGroup": "grants",
    "setMainKeypair": "main_keypair_id",
    "setSshPublicKeys": "ssh_public_keys",
    "startTotp": "totp_secret",
    "terminateSessions": "status",
    "unlinkIdentity": "email issuer",
    "updateAgent": "schedulable",
    "updateAnnouncement": "ends_at title",
    "updateDomain": "name",
    "updateDomains": "allowed_storage_hosts",
    "updateGroup": "description",
    "updateGroups": "active sessions_ending_since",
    "updateIdentityProvider": "title",
    "updateImage": "aliases minimum_slots",
    "updateKeypair": "rate_limit",
    "updateProfile": "language",
    "updateRegistry": "password_encrypted projects",
    "updateResourceGroup": "description max_concurrent_sessions",
    "updateResourcePolicy": "max_concurrent_sessions",
    "updateResourcePreset": "shared_memory",
    "updateSession": "name",
    "updateSettings": "signUpMode",
    "updateUser": "full_name role total_slots",
    "updateUsers": "groups must_change_password",
}
#: What they make is what they are about; and what they change, if anything, moves with every use or is a node's to tell.
MAKE_OR_ASK: Final = {
    "cleanUpImages", "closeTerminal", "createPasswordLink", "endLogin", "importUsers", "installImages", "logout",
    "logoutEverywhere", "openTerminal", "removeImages", "rescanRegistries", "retryMails",
}  # fmt: skip


async def input_of(scene: Scene, mutation: str) -> dict[str, Any]:
    owner = scene.built.owner
    match mutation:
        case "changePassword":
            return {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
        case "confirmTotp":
            return {"code": await scene.make.totp(owner, confirmed=False)}
        case "disableTotp":
            return {"code": await scene.make.totp(owner), "password": PASSWORD}
        case "regenerateRecoveryCodes":
            return {"code": await scene.make.totp(owner)}
        case "startTotp":
            return {"password": PASSWORD}
        case "updateProfile":
            return {"language": "ko"}
        case "generateSshKeypair":
            return {}
        case "setSshPublicKeys":
            return {"publicKeys": [SSH_KEY]}
        case "recalculateUsage":
            async with scene.make.core.db.write() as db:
                db.add(Occupancy(scope_id=owner.domain_id, slot="cpu", used=7000))
            return {}
        case _:
            return await {**GOVERNING, **OWN}[mutation](scene)


@pytest.mark.parametrize("mutation", sorted(CHANGES))
async def test_what_was_before_and_after_is_told(
    core: Core, make: Factories, run: Run, schema: Schema, mutation: str
) -> None:
    scene = Scene(make, await cluster.build(make))
    given = await input_of(scene, mutation)
    actor = scene.built.admin if mutation in GOVERNING else scene.built.user
    answer = await run(actor, operation(schema, mutation), input=given)
    assert "errors" not in answer
    async with core.db.read() as db:
        row = (await db.scalars(select(AuditEvent).where(AuditEvent.action == mutation))).one()
    changes = audits.content(row).changes
    assert {change.field for change in changes} >= set(CHANGES[mutation].split())
    assert all(change.before is not None or change.after is not None for change in changes)


def test_no_mutation_is_missing(schema: Schema, template: object) -> None:
    names = set(schema._schema.type_map["Mutation"].fields)  # type: ignore[attr-defined]
    making = {name for name in names if name.startswith("create")}
    assert CHANGES.keys() | MAKE_OR_ASK | making | ENTRANCES == names
    assert not CHANGES.keys() & (MAKE_OR_ASK | making | ENTRANCES)
    assert LEAVING - CHANGES.keys() <= MAKE_OR_ASK
