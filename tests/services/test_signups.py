"""Signing up: who may, into what, after which consent and mail; and nothing that tells who has an account."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from services import auth, invitations, signups
from services.core import Core
from services.db.tables import (
    Consent,
    Domain,
    Group,
    GroupMember,
    Invitation,
    Keypair,
    Mail,
    ResourcePolicy,
    User,
)
from services.errors import BadInput, Conflict, Forbidden, NotFound, RateLimited, Unauthenticated, Unavailable
from services.invitations import InvitationSpec
from services.keys import Keys
from services.mails import queue
from services.options import EMAIL_VERIFICATION, PRIVACY_VERSION, SIGN_UP_GROUP, SIGN_UP_MODE, TERMS_VERSION
from services.signups import SignedUp, SignUpSpec
from tests.factories import Clock, Factories

ADDRESS = "192.0.2.1"
PASSWORD = "good-Horse-1"
SPEC = SignUpSpec("Kim@Example.org", "Kim", PASSWORD, terms_version="1", privacy_version="1", language="ko")


@pytest.fixture(autouse=True)
async def _house(core: Core, make: Factories) -> None:
    """Somewhere to belong to."""
    domain = await make.domain(name="default")
    await make.group(domain=domain, name="default")
    await make.policy(name="default")
    set_options(core, {})


def set_options(core: Core, values: dict[Any, Any]) -> None:
    chosen = {SIGN_UP_MODE: "OPEN", **values}
    core.options.replace({option.key: value for option, value in chosen.items()})


async def sign_up(core: Core, spec: SignUpSpec = SPEC, address: str = ADDRESS, **more: Any) -> SignedUp:
    return await signups.sign_up(core, replace(spec, **more), address=address)


async def mailed(core: Core) -> list[tuple[str, str, str]]:
    """(kind, recipient, the link's secret) of all mails, oldest first."""
    async with core.db.read() as db:
        mails = list(await db.scalars(select(Mail).order_by(Mail.id)))
    texts = [(mail, queue.read(core, mail)) for mail in mails]
    links = [
        (mail, re.search(r"#([\w-]{30,})", content.text) if content else None) for mail, content in texts
    ]
    return [(mail.kind, mail.recipient, link.group(1) if link else "") for mail, link in links]


async def users_of(core: Core, email: str = "kim@example.org") -> list[User]:
    async with core.db.read() as db:
        return list(await db.scalars(select(User).where(User.email == email)))


async def invite(core: Core, make: Factories, **more: Any) -> tuple[str, Invitation]:
    admin = await make.superadmin()
    async with core.db.read() as db:
        domain_id = (await db.scalars(select(Domain.id).where(Domain.name == "default"))).one()
    (made,) = await invitations.create(core, admin, InvitationSpec(**{"domain_id": domain_id, **more}))
    return made.token, made.invitation


async def test_who_signs_up_logs_in_after_following_the_link(core: Core) -> None:
    assert await sign_up(core) == SignedUp(verification_required=True, mail_delayed=False)
    ((kind, to, token),) = await mailed(core)
    assert (kind, to) == ("EMAIL_VERIFICATION", "kim@example.org")
    with pytest.raises(Unauthenticated) as refused:
        await auth.login(core, SPEC.email, PASSWORD, address=ADDRESS)
    assert refused.value.extra["reason"] == "EMAIL_NOT_VERIFIED"
    with pytest.raises(Unauthenticated) as wrong:
        await auth.login(core, SPEC.email, "wrong-horse-1", address=ADDRESS)
    assert "reason" not in wrong.value.extra
    assert (await signups.verify(core, token)).email == to
    with pytest.raises(BadInput):
        await signups.verify(core, token)
    login = await auth.login(core, SPEC.email, PASSWORD, address=ADDRESS)
    assert login.actor.role == "USER"


async def test_a_new_user_has_what_a_user_has(core: Core) -> None:
    await sign_up(core, full_name="Kim Kim")
    (user,) = await users_of(core)
    assert (user.name, user.full_name, user.language, user.email_verified) == ("Kim", "Kim Kim", "ko", False)
    async with core.db.read() as db:
        keypair = (await db.scalars(select(Keypair).where(Keypair.user_id == user.id))).one()
        policy = await db.get(ResourcePolicy, keypair.policy_id)
        names = await db.scalars(select(Group.name).join(GroupMember, GroupMember.group_id == Group.id))
        consents = list(await db.scalars(select(Consent).order_by(Consent.document)))
    assert keypair.id == user.main_keypair_id
    assert policy is not None
    assert policy.name == "default"
    assert list(names) == ["default"]
    assert [(one.user_id, one.document, one.version, one.address) for one in consents] == [
        (user.id, "PRIVACY_POLICY", "1", ADDRESS),
        (user.id, "TERMS_OF_SERVICE", "1", ADDRESS),
    ]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"email": "kim"}, "input.email"),
        ({"email": "kim@example.org\nBcc: all@example.org"}, "input.email"),
        ({"name": "  "}, "input.name"),
        ({"name": "a\nb"}, "input.name"),
        ({"password": "short-1"}, "input.password"),
        ({"language": "tlh"}, "input.language"),
        ({"terms_version": None}, "input.acceptedTermsVersion"),
        ({"privacy_version": "0"}, "input.acceptedPrivacyVersion"),
        ({"invitation_token": "\ud800"}, "input.invitationToken"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_made(
    core: Core, wrong: dict[str, Any], path: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await sign_up(core, **wrong)
    assert refused.value.path == path
    assert await users_of(core) == []
    assert await mailed(core) == []


async def test_modes(core: Core, make: Factories) -> None:
    token, _ = await invite(core, make)
    set_options(core, {SIGN_UP_MODE: "CLOSED"})
    for more in ({}, {"invitation_token": token}):
        with pytest.raises(Forbidden):
            await sign_up(core, **more)
    set_options(core, {SIGN_UP_MODE: "INVITATION"})
    with pytest.raises(BadInput) as refused:
        await sign_up(core)
    assert refused.value.path == "input.invitationToken"
    await sign_up(core, invitation_token=token)
    assert len(await users_of(core)) == 1


async def test_an_invitation_says_where_one_belongs_and_with_what(core: Core, make: Factories) -> None:
    domain, policy = await make.domain(), await make.policy()
    group = await make.group(domain=domain)
    token, invitation = await invite(core, make, domain_id=domain.id, group_id=group.id, policy_id=policy.id)
    assert token not in repr(invitation.__dict__)
    await sign_up(core, invitation_token=token)
    (user,) = await users_of(core)
    async with core.db.read() as db:
        keypair = await db.get(Keypair, user.main_keypair_id)
        member = await db.get(GroupMember, (group.id, user.id))
    assert keypair is not None
    assert (user.domain_id, user.role, keypair.policy_id) == (domain.id, "USER", policy.id)
    assert member is not None


@pytest.mark.parametrize("why", ["used", "expired", "revoked", "domain"])
async def test_an_invitation_that_is_not_good_is_refused(
    core: Core, make: Factories, clock: Clock, why: str
) -> None:
    domain = await make.domain(active=why != "domain")
    token, invitation = await invite(core, make, domain_id=domain.id)
    match why:
        case "used":
            await sign_up(core, email="first@example.org", invitation_token=token)
        case "expired":
            clock.advance(timedelta(days=7))
        case "revoked":
            await invitations.revoke(core, await make.superadmin(), [invitation.id])
        case _:
            pass
    with pytest.raises(BadInput):
        await sign_up(core, invitation_token=token)
    assert await users_of(core) == []


async def test_of_many_who_sign_up_at_once_with_the_last_use_one_gets_in(core: Core, make: Factories) -> None:
    token, invitation = await invite(core, make)
    outcomes = await asyncio.gather(
        *(
            sign_up(core, email=f"kim{n}@example.org", address=f"192.0.2.{n}", invitation_token=token)
            for n in range(8)
        ),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in outcomes) == {SignedUp: 1, BadInput: 7}
    async with core.db.read() as db:
        made = await db.scalar(select(func.count()).select_from(User).where(User.email.like("kim%")))
    assert made == 1
    assert (await make.fresh(invitation)).uses == 1


async def test_of_many_who_sign_up_at_once_with_one_address_one_account_is_made(core: Core) -> None:
    outcomes = await asyncio.gather(*(sign_up(core, address=f"192.0.2.{n}") for n in range(5)))
    assert len(set(outcomes)) == 1
    assert len(await users_of(core)) == 1
    assert Counter(kind for kind, _, _ in await mailed(core)) == {
        "EMAIL_VERIFICATION": 1,
        "ADDRESS_IN_USE": 4,
    }


async def test_an_address_with_an_account_gets_the_same_answer_at_the_same_cost_and_its_owner_a_mail(
    core: Core,
    make: Factories,
    count_statements: Callable[[Core], AbstractContextManager[list[str]]],
) -> None:
    owner = await make.user(email="kim@example.org")
    token, invitation = await invite(core, make, uses=2)
    counts: list[int] = []
    answers: list[SignedUp] = []
    for email in ("new@example.org", "kim@example.org"):
        with count_statements(core) as statements:
            answers.append(await sign_up(core, email=email, invitation_token=token))
        counts.append(len(statements))
    assert answers[0] == answers[1]
    assert counts[0] == counts[1]
    assert [(kind, to) for kind, to, _ in await mailed(core)] == [
        ("EMAIL_VERIFICATION", "new@example.org"),
        ("ADDRESS_IN_USE", "kim@example.org"),
    ]
    (kept,) = await users_of(core)
    assert (kept.id, kept.password_hash) == (owner.id, owner.password_hash)
    assert (await make.fresh(invitation)).uses == 2
    async with core.db.read() as db:
        assert (
            await db.scalar(select(func.count()).select_from(User).where(User.email.like("%@invalid"))) == 0
        )


async def test_who_reads_the_mailbox_takes_the_account_from_whom_signed_up_with_the_address(
    core: Core,
) -> None:
    """Somebody else was quicker with a password of theirs."""
    await sign_up(core, password="thief-Horse-1")
    await auth.request_reset(core, SPEC.email, address=ADDRESS)
    kind, _, token = (await mailed(core))[-1]
    assert kind == "PASSWORD_RESET"
    await auth.reset_password(core, token, PASSWORD)
    assert await auth.login(core, SPEC.email, PASSWORD, address=ADDRESS)
    with pytest.raises(Unauthenticated):
        await auth.login(core, SPEC.email, "thief-Horse-1", address=ADDRESS)


async def test_without_verification_one_can_log_in_at_once(core: Core) -> None:
    set_options(core, {EMAIL_VERIFICATION: False})
    assert not (await sign_up(core)).verification_required
    assert [kind for kind, _, _ in await mailed(core)] == ["WELCOME"]
    assert await auth.login(core, SPEC.email, PASSWORD, address=ADDRESS)
    assert not (await users_of(core))[0].email_verified


async def test_without_a_version_nobody_is_asked_to_agree(core: Core) -> None:
    set_options(core, {TERMS_VERSION: "", PRIVACY_VERSION: "2"})
    await sign_up(core, terms_version=None, privacy_version="2")
    (user,) = await users_of(core)
    found = await signups.consents(core, Factories(core).actor(user), [user.id])
    assert [(one.document, one.version) for one in found[user.id]] == [("PRIVACY_POLICY", "2")]


async def test_a_lost_link_is_mailed_again_to_whom_needs_it_and_costs_the_same_for_anybody(
    core: Core,
    make: Factories,
    count_statements: Callable[[Core], AbstractContextManager[list[str]]],
) -> None:
    await sign_up(core)
    verified = await make.user()
    asked: list[list[str]] = []
    for email in (SPEC.email, verified.email, "nobody@example.org", "\ud800"):
        with count_statements(core) as statements:
            await signups.resend(core, email, address=ADDRESS)
        asked.append(statements)
    assert [one for one in asked if one != asked[0]] == []
    mails = await mailed(core)
    assert [(kind, to) for kind, to, _ in mails] == [("EMAIL_VERIFICATION", "kim@example.org")] * 2
    await signups.verify(core, mails[1][2])
    assert await auth.login(core, SPEC.email, PASSWORD, address=ADDRESS)


async def test_a_link_to_verify_chooses_no_password_and_the_other_way_round(core: Core, clock: Clock) -> None:
    await sign_up(core)
    ((_, _, token),) = await mailed(core)
    with pytest.raises(Unauthenticated):
        await auth.reset_password(core, token, "other-Horse-1")
    clock.advance(core.settings.reset_ticket_life)
    with pytest.raises(BadInput):
        await signups.verify(core, token)


async def test_nobody_signs_a_whole_town_up(core: Core, clock: Clock) -> None:
    for number in range(30):
        await sign_up(core, email=f"u{number}@example.org")
    with pytest.raises(RateLimited):
        await sign_up(core)


async def test_a_setting_that_names_no_group_is_told(core: Core) -> None:
    set_options(core, {SIGN_UP_GROUP: "nowhere"})
    with pytest.raises(Unavailable) as refused:
        await sign_up(core)
    assert refused.value.extra["part"] == "signUpGroup"


async def test_administrators_invite_into_their_own_domain_and_choose_no_policy(
    core: Core, make: Factories
) -> None:
    domain, policy = await make.domain(), await make.policy()
    admin = make.actor(await make.user(domain=domain, role="DOMAIN_ADMIN"))
    made = await invitations.create(core, admin, InvitationSpec(domain.id, count=3))
    assert len({one.token for one in made}) == 3
    with pytest.raises(NotFound):
        await invitations.create(core, admin, InvitationSpec((await make.domain()).id))
    with pytest.raises(NotFound):
        await invitations.create(core, admin, InvitationSpec(domain.id, group_id=(await make.group()).id))
    with pytest.raises(Forbidden):
        await invitations.create(core, admin, InvitationSpec(domain.id, policy_id=policy.id))
    for spec in (
        InvitationSpec(domain.id, count=0),
        InvitationSpec(domain.id, uses=0),
        InvitationSpec(domain.id, life=1),
    ):
        with pytest.raises(BadInput):
            await invitations.create(core, admin, spec)


async def test_tokens_of_a_lost_reply_are_given_again(core: Core, make: Factories) -> None:
    domain, admin = await make.domain(), await make.superadmin()
    spec = InvitationSpec(domain.id, count=3, idempotency_key="k")
    first = await invitations.create(core, admin, spec)
    again = await asyncio.gather(*(invitations.create(core, admin, spec) for _ in range(2)))
    told = [(one.invitation.id, one.token) for one in first]
    assert [[(one.invitation.id, one.token) for one in each] for each in again] == [told, told]
    assert len({one.token for one in first}) == 3
    for one in first:
        await invitations.check(core, one.token)
    with pytest.raises(Conflict):
        await invitations.create(core, admin, replace(spec, count=2))
    # A key that seals anew does not make the old tokens others.
    keys = Keys.generate()
    core.keys = replace(
        core.keys, sealing={**core.keys.sealing, "e2": keys.sealing["e1"]}, current_sealing="e2"
    )
    with pytest.raises(Conflict):
        # What stands for a request is hashed by all keys, what it made is too.
        await invitations.create(core, admin, replace(spec, uses=2))
    rotated = await invitations.create(core, admin, spec)
    assert [(one.invitation.id, one.token) for one in rotated] == told
