"""Second factors: codes that count once, recovery codes, logins in two halves, and who has to have one."""

import asyncio
import base64
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import numpy as np
import pytest
import zxingcpp
from sqlalchemy import select, update

from services import auth, identities, keypairs, sshkeys, users
from services.auth import SecondFactor, devices, factors, totp
from services.core import Core
from services.db.tables import Mail, RecoveryCode, User
from services.errors import BadInput, Conflict, Forbidden, NotFound, RateLimited, Unauthenticated
from services.keypairs import KeypairSpec
from services.options import ADMINS_NEED_TOTP
from tests.factories import PASSWORD, SECRET_KEY, Clock, Factories
from tests.services.auth.visits import ADDRESS, NEW_PASSWORD, log_in


def code_of(secret: str, clock: Clock) -> str:
    return totp.code(secret, totp.step_at(clock.now()))


async def enrolled(core: Core, make: Factories, clock: Clock, **more: object) -> tuple[User, str, list[str]]:
    """A user with a second factor, its secret and recovery codes."""
    user = await make.user(**more)
    actor = make.actor(user)
    started = await factors.start(core, actor, PASSWORD)
    codes = await factors.confirm(core, actor, code_of(started.secret, clock))
    clock.advance(timedelta(seconds=totp.STEP))
    return user, started.secret, codes


async def half(core: Core, user: User, password: str = PASSWORD) -> str:
    asked = await log_in(core, user, password)
    assert isinstance(asked, SecondFactor)
    return asked.ticket


async def confirm(core: Core, ticket: str, code: str) -> auth.LoginResult:
    return await auth.confirm_login(core, ticket, code, address=ADDRESS)


def test_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B; the last six of its eight digits."""
    secret = base64.b32encode(b"12345678901234567890").decode()
    for seconds, expected in (
        (59, "287082"),
        (1111111109, "081804"),
        (1234567890, "005924"),
        (20000000000, "353130"),
    ):
        assert totp.code(secret, totp.step_at(datetime.fromtimestamp(seconds, UTC))) == expected


async def test_a_second_factor_makes_a_login_two_steps(core: Core, make: Factories, clock: Clock) -> None:
    user, secret, codes = await enrolled(core, make, clock)
    assert len(set(codes)) == 10
    ticket = await half(core, user)
    with pytest.raises(Unauthenticated):
        await confirm(core, ticket, "000000")
    result = await confirm(core, ticket, code_of(secret, clock))
    assert (await auth.authenticate_bearer(core, result.access_token)).user_id == user.id
    with pytest.raises(Unauthenticated):
        await confirm(core, ticket, code_of(secret, clock))


async def test_a_code_counts_once_and_none_before_it_any_more(
    core: Core, make: Factories, clock: Clock
) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    used = code_of(secret, clock)
    await confirm(core, await half(core, user), used)
    for code in (used, totp.code(secret, totp.step_at(clock.now()) - 1)):
        with pytest.raises(Unauthenticated):
            await confirm(core, await half(core, user), code)
    clock.advance(timedelta(seconds=totp.STEP))
    assert await confirm(core, await half(core, user), code_of(secret, clock))


async def test_of_many_who_use_one_code_at_once_one_gets_in(
    core: Core, make: Factories, clock: Clock
) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    tickets = [await half(core, user) for _ in range(5)]
    outcomes = await asyncio.gather(
        *(confirm(core, ticket, code_of(secret, clock)) for ticket in tickets), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {auth.LoginResult: 1, Unauthenticated: 4}


async def test_a_recovery_code_opens_a_login_once(core: Core, make: Factories, clock: Clock) -> None:
    user, _, codes = await enrolled(core, make, clock)
    actor = make.actor(user)
    assert await confirm(core, await half(core, user), codes[3].upper())
    with pytest.raises(Unauthenticated):
        await confirm(core, await half(core, user), codes[3])
    assert await confirm(core, await half(core, user), codes[4].replace("-", ""))
    assert await factors.codes_left(core, actor, [user.id]) == {user.id: [8]}
    other, _, _ = await enrolled(core, make, clock)
    with pytest.raises(Unauthenticated):
        await confirm(core, await half(core, other), codes[5])


async def test_the_database_has_neither_secret_nor_codes(core: Core, make: Factories, clock: Clock) -> None:
    user, secret, codes = await enrolled(core, make, clock)
    async with core.db.read() as db:
        row = await db.get_one(User, user.id)
        hashes = list(await db.scalars(select(RecoveryCode.code_hash)))
    assert secret.encode() not in (row.totp_secret or b"")
    assert base64.b32decode(secret) not in (row.totp_secret or b"")
    assert not {code.encode() for code in codes} & set(hashes)


async def test_codes_are_not_guessed(core: Core, make: Factories, clock: Clock) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    ticket = await half(core, user)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await confirm(core, ticket, "000000")
    with pytest.raises(RateLimited):
        await confirm(core, ticket, code_of(secret, clock))
    with pytest.raises(RateLimited):
        await confirm(core, await half(core, user), code_of(secret, clock))


@pytest.mark.parametrize("why", ["late", "password", "deactivated", "unknown"])
async def test_half_a_login_ends(core: Core, make: Factories, clock: Clock, why: str) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    ticket = await half(core, user)
    match why:
        case "late":
            clock.advance(factors.LIFE)
        case "password":
            await auth.change_password(core, make.actor(user), PASSWORD, NEW_PASSWORD)
        case "deactivated":
            await users.deactivate(core, await make.superadmin(), [user.id])
        case _:
            ticket = "\ud800"
    with pytest.raises(Unauthenticated):
        await confirm(core, ticket, code_of(secret, clock))


async def test_a_link_to_choose_a_password_is_no_way_round_it(
    core: Core, make: Factories, clock: Clock
) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    ticket = await auth.create_password_ticket(core, user.id)
    asked = await auth.redeem_ticket(core, ticket, NEW_PASSWORD, address=ADDRESS)
    assert isinstance(asked, SecondFactor)
    assert await confirm(core, asked.ticket, code_of(secret, clock))


async def test_it_is_set_up_and_switched_off_by_who_has_the_password(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    actor = make.actor(user)
    with pytest.raises(Conflict):
        await factors.confirm(core, actor, "123456")
    with pytest.raises(BadInput):
        await factors.start(core, actor, "wrong-horse-1")
    started = await factors.start(core, actor, PASSWORD)
    assert started.secret in started.url
    with pytest.raises(BadInput):
        await factors.confirm(core, actor, "000000")
    assert isinstance(await log_in(core, user), auth.LoginResult)
    await factors.confirm(core, actor, code_of(started.secret, clock))
    with pytest.raises(Conflict):
        await factors.start(core, actor, PASSWORD)
    clock.advance(timedelta(seconds=totp.STEP))
    with pytest.raises(BadInput):
        await factors.disable(core, actor, "wrong-horse-1", code_of(started.secret, clock))
    with pytest.raises(BadInput):
        await factors.disable(core, actor, PASSWORD, "000000")
    await factors.disable(core, actor, PASSWORD, code_of(started.secret, clock))
    assert isinstance(await log_in(core, user), auth.LoginResult)


async def test_an_administrator_takes_it_from_a_user_whose_logins_end(
    core: Core, make: Factories, clock: Clock
) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    login = await confirm(core, await half(core, user), code_of(secret, clock))
    admin = make.actor(await make.user(domain_id=user.domain_id, role="DOMAIN_ADMIN"))
    stranger = make.actor(await make.user(role="DOMAIN_ADMIN"))
    with pytest.raises(NotFound):
        await users.reset_totp(core, stranger, user.id)
    await users.reset_totp(core, admin, user.id)
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, login.access_token)
    assert isinstance(await log_in(core, user), auth.LoginResult)
    with pytest.raises(Conflict):
        await users.reset_totp(core, admin, admin.user_id)


async def test_administrators_can_be_made_to_have_one(core: Core, make: Factories, clock: Clock) -> None:
    admin, user = await make.user(role="DOMAIN_ADMIN"), await make.user()
    core.options.replace({ADMINS_NEED_TOTP.key: True})
    result = await log_in(core, admin)
    assert isinstance(result, auth.LoginResult)
    actor = await auth.authenticate_bearer(core, result.access_token)
    assert actor.must_set_up_totp
    with pytest.raises(Forbidden, match="second factor"):
        await users.edit(core, actor, user.id, users.UserChanges(description="x"))
    started = await factors.start(core, actor, PASSWORD)
    await factors.confirm(core, actor, code_of(started.secret, clock))
    actor = await auth.authenticate_bearer(core, result.access_token)
    assert not actor.must_set_up_totp
    other = await log_in(core, user)
    assert isinstance(other, auth.LoginResult)
    assert not other.actor.must_set_up_totp


async def test_a_secret_of_another_user_does_not_open(core: Core, make: Factories, clock: Clock) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    other = await make.user()
    async with core.db.write() as db:
        sealed = await db.scalar(select(User.totp_secret).where(User.id == user.id))
        await db.execute(
            update(User).where(User.id == other.id).values(totp_secret=sealed, totp_confirmed_at=clock.now())
        )
    with pytest.raises(ValueError, match="sealed"):
        await confirm(core, await half(core, other), code_of(secret, clock))


async def test_one_login_of_several_is_ended(core: Core, make: Factories) -> None:
    user = await make.user()
    mine, lost = await log_in(core, user), await log_in(core, user)
    stranger = make.actor(await make.user())
    with pytest.raises(NotFound):
        await auth.end_login(core, stranger, lost.actor.login_id)
    assert await auth.end_login(core, mine.actor, lost.actor.login_id) == lost.actor.login_id
    with pytest.raises(Unauthenticated):
        await auth.authenticate_bearer(core, lost.access_token)
    assert await auth.authenticate_bearer(core, mine.access_token)
    with pytest.raises(NotFound):
        await auth.end_login(core, mine.actor, lost.actor.login_id)


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/129.0 Safari/537.36 Edg/129.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 Version/17.6 Safari/604.1",
            "Safari on iPhone",
        ),
        ("curl/8.5.0", "curl"),
        ("<script>alert(1)</script>", "An unknown program"),
        ("", "An unknown program"),
    ],
)
def test_a_device_is_named_in_our_own_words(user_agent: str, device: str) -> None:
    assert devices.describe(user_agent) == device


async def mailed(core: Core) -> list[str]:
    async with core.db.read() as db:
        return list(await db.scalars(select(Mail.kind).order_by(Mail.id)))


async def test_recovery_codes_are_replaced_by_the_apps_code_alone(
    core: Core, make: Factories, clock: Clock
) -> None:
    user, secret, old = await enrolled(core, make, clock)
    actor = make.actor(user)
    for wrong in (old[0], "000000", code_of(secret, clock)[:5]):
        with pytest.raises(BadInput):
            await factors.regenerate(core, actor, wrong)
    assert await mailed(core) == []
    code = code_of(secret, clock)
    new = await factors.regenerate(core, actor, code)
    assert await mailed(core) == ["RECOVERY_CODES_REPLACED"]
    assert not set(new) & set(old)
    assert await factors.codes_left(core, actor, [user.id]) == {user.id: [10]}
    with pytest.raises(BadInput):
        await factors.regenerate(core, actor, code)
    with pytest.raises(Unauthenticated):
        await confirm(core, await half(core, user), old[0])
    assert await confirm(core, await half(core, user), new[0])
    assert await factors.codes_left(core, actor, [user.id]) == {user.id: [9]}
    with pytest.raises(Conflict):
        await factors.regenerate(core, make.actor(await make.user()), "000000")


async def test_what_weakens_a_second_factor_is_told_by_mail(
    core: Core, make: Factories, clock: Clock
) -> None:
    user, secret, codes = await enrolled(core, make, clock)
    await confirm(core, await half(core, user), codes[0])
    await factors.disable(core, make.actor(user), PASSWORD, code_of(secret, clock))
    assert await mailed(core) == ["RECOVERY_CODE_USED", "TOTP_DISABLED"]
    other, _, _ = await enrolled(core, make, clock)
    superadmin = await make.superadmin()
    await users.reset_totp(core, superadmin, other.id)
    # Nothing is taken from who has none, and so there is nothing to tell.
    await users.reset_totp(core, superadmin, other.id)
    assert await mailed(core) == ["RECOVERY_CODE_USED", "TOTP_DISABLED", "TOTP_RESET"]


def modules(svg: str) -> np.ndarray:
    """What an SVG of lines draws, a module an element; 0 is dark."""
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(int, root.attrib["viewBox"].split())
    drawn = np.full((height, width), 255, dtype=np.uint8)
    (lines,) = [one for one in root if one.attrib.get("stroke") == "#000"]
    x = y = 0.0
    for command, given in re.findall(r"([Mmh])([-0-9. ]+)", lines.attrib["d"]):
        numbers = [float(one) for one in given.split()]
        if command == "h":
            drawn[int(y), int(x) : int(x + numbers[0])] = 0
            x += numbers[0]
        else:
            x, y = (numbers[0], numbers[1]) if command == "M" else (x + numbers[0], y + numbers[1])
    return drawn


async def test_the_qr_code_says_the_url(core: Core, make: Factories) -> None:
    """Read by another library than the one that has drawn it."""
    user = await make.user(email=f"{'long-' * 12}@example.org")
    started = await factors.start(core, make.actor(user), PASSWORD)
    drawn = modules(started.qr_code)
    assert drawn[:4].min() == drawn[:, :4].min() == 255
    picture = np.kron(drawn, np.ones((4, 4), dtype=np.uint8))
    assert [one.text for one in zxingcpp.read_barcodes(picture)] == [started.url]


async def test_a_login_by_keypair_takes_the_second_factor_too(
    core: Core, make: Factories, clock: Clock
) -> None:
    user, secret, _ = await enrolled(core, make, clock)
    keypair = await make.keypair(user=user)
    asked = await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address=ADDRESS)
    assert isinstance(asked, SecondFactor)
    result = await confirm(core, asked.ticket, code_of(secret, clock))
    assert result.actor.keypair_id == keypair.id
    clock.advance(timedelta(seconds=totp.STEP))
    asked = await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address=ADDRESS)
    assert isinstance(asked, SecondFactor)
    await keypairs.deactivate(core, make.actor(user), [keypair.id])
    with pytest.raises(Unauthenticated):
        await confirm(core, asked.ticket, code_of(secret, clock))


async def test_who_needs_a_second_factor_and_has_none_makes_nothing_that_outlives_it(
    core: Core, make: Factories
) -> None:
    admin = await make.user(role="DOMAIN_ADMIN")
    keypair = await make.keypair(user=admin)
    core.options.replace({ADMINS_NEED_TOTP.key: True})
    with pytest.raises(Forbidden, match="second factor"):
        await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address=ADDRESS)
    result = await log_in(core, admin)
    assert isinstance(result, auth.LoginResult)
    actor = result.actor
    signed = replace(actor, login_id="", keypair_id=keypair.id)
    identity = await make.identity(user=admin)
    for held in (actor, signed):
        for refused in (
            keypairs.create(core, held, KeypairSpec(admin.id)),
            keypairs.activate(core, held, [keypair.id]),
            auth.change_password(core, held, PASSWORD, NEW_PASSWORD),
            sshkeys.generate(core, held, "ED25519"),
            sshkeys.replace(core, held, []),
            identities.unlink(core, held, identity.id),
            factors.regenerate(core, held, "000000"),
        ):
            try:
                outcome = await refused
            except Forbidden:
                continue
            assert isinstance(outcome, list)
            assert [type(one.error) for one in outcome] == [Forbidden]


async def test_a_keypair_sets_up_no_second_factor_of_who_has_no_password(core: Core, make: Factories) -> None:
    user = await make.user()
    keypair = await make.keypair(user=user)
    async with core.db.write() as db:
        (await db.get_one(User, user.id)).password_hash = None
    by_keypair = await auth.login_with_keypair(core, keypair.access_key, SECRET_KEY, address=ADDRESS)
    assert isinstance(by_keypair, auth.LoginResult)
    for actor in (by_keypair.actor, make.actor(user)):
        with pytest.raises(Forbidden):
            await factors.start(core, actor, None)
    person = await make.login(user=user)
    assert await factors.start(core, make.actor(user, login_id=person.id), None)
