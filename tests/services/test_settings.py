"""Settings: declared once, set together or not at all, in effect in every manager."""

import asyncio
import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from agents.hub import Hub
from agents.protocol import CreateKernel
from services import auth, options, policies, resource_groups, sessions, settings
from services.commands import Commands
from services.core import Core
from services.db.engine import open_database
from services.db.tables import Setting
from services.errors import BadInput, Forbidden, RateLimited, Unauthenticated
from services.keys import Keys
from services.options import (
    LOGIN_ATTEMPTS,
    MAIL_PASSWORD,
    OPTIONS,
    SIGN_UP_MODE,
    Kind,
    Option,
    OptionBook,
)
from services.permissions import Actor
from services.policies import PolicySpec
from services.resource_groups import ResourceGroupSpec
from services.settings import Change
from tests.factories import Clock, Factories
from tests.services.test_idle import built, codes
from tests.services.test_networks import Nodes, deliver
from tests.services.test_sessions import running

PASSWORD = "the mail server's"


@pytest.fixture
async def admin(make: Factories) -> Actor:
    return await make.superadmin()


def beside(core: Core) -> Core:
    """Another manager of the same database, which hears nothing of the first."""
    return Core(core.db, type(core.bus)(), Hub(), core.keys, core.stats, core.progress)


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_a_setting_can_be_its_own_default_and_is_described(option: Option[Any]) -> None:
    assert option.read(option.default) == option.default
    assert option.description.endswith((".", "?"))
    assert bool(option.choices) == (option.kind is Kind.CHOICE)
    assert (option.least is not None and option.most is not None) == (option.kind is Kind.INTEGER)
    assert len(option.key) <= 64


def test_every_setting_is_read_by_something() -> None:
    root = Path(__file__).resolve().parents[2]
    names = {name for name, value in vars(options).items() if isinstance(value, Option)}
    modules = [
        path
        for folder in ("server", "services", "resolvers", "schema")
        for path in (root / folder).rglob("*.py")
    ]
    words = {
        word
        for path in modules
        if path.name != "options.py"
        for word in re.findall(r"[A-Z_]{4,}", path.read_text())
    }
    assert len(names) == len(OPTIONS)
    assert names - words == set()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("signUpMode", "open"),
        ("signUpMode", True),
        ("emailVerification", "true"),
        ("emailVerification", 1),
        ("mailPort", 0),
        ("mailPort", 65536),
        ("mailPort", True),
        ("mailPort", "587"),
        ("mailPort", 2**80),
        ("mailHost", "smtp.example.org:25"),
        ("mailHost", "a" * 300),
        ("mailHost", ["smtp"]),
        ("mailSender", "nobody"),
        ("mailSender", "Berth <berth@example.org>\r\nBcc: all@example.org"),
        ("mailSender", "Berth <a@example.org> <b@example.org>"),
        ("mailPassword", "two\nlines"),
        ("mailPassword", "\ud800"),
        ("defaultIdleTimeoutSeconds", 59),
        ("auditRetentionDays", -1),
    ],
)
async def test_what_a_setting_cannot_be_is_refused_with_its_path(
    core: Core, admin: Actor, key: str, value: Any
) -> None:
    given = [Change("loginAttempts", 9), Change(key, value), Change("gold", 1), Change("loginAttempts", 9)]
    with pytest.raises(BadInput) as refused:
        await settings.change(core, admin, given)
    paths = [path for path, _ in refused.value.fields]
    assert paths == ["input.settings.1.value", "input.settings.2.key", "input.settings.3.key"]
    # All or none.
    assert core.options.value(LOGIN_ATTEMPTS) == LOGIN_ATTEMPTS.default
    async with core.db.read() as db:
        assert (await db.scalars(select(Setting))).all() == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mailSender", "berth@example.org"),
        ("mailSender", "벗 <Berth@Example.org>"),
        ("mailHost", "2001:db8::25"),
        ("mailHost", ""),
        ("defaultIdleTimeoutSeconds", 0),
        ("defaultIdleTimeoutSeconds", 60),
    ],
)
async def test_what_a_setting_can_be_is_kept(core: Core, admin: Actor, key: str, value: Any) -> None:
    (state,) = await settings.change(core, admin, [Change(key, value)])
    assert (state.value, state.is_set, state.updated_by_id) == (value, True, admin.user_id)


async def test_who_is_told_that_it_was_changed_finds_it_in_effect(core: Core, admin: Actor) -> None:
    await settings.change(core, admin, [Change("signUpMode", "OPEN"), Change("loginAttempts", 9)])
    assert (core.options.value(SIGN_UP_MODE), core.options.value(LOGIN_ATTEMPTS)) == ("OPEN", 9)
    (state,) = await settings.change(core, admin, [Change("signUpMode", None)])
    assert (state.value, state.is_set, state.updated_at) == ("CLOSED", False, None)
    assert (core.options.value(SIGN_UP_MODE), core.options.value(LOGIN_ATTEMPTS)) == ("CLOSED", 9)


async def test_the_configuration_is_what_a_setting_goes_back_to(core: Core, admin: Actor) -> None:
    core.options = OptionBook(configured=options.configured({"signUpMode": "INVITATION"}))
    assert core.options.value(SIGN_UP_MODE) == "INVITATION"
    await settings.change(core, admin, [Change("signUpMode", "OPEN")])
    assert core.options.value(SIGN_UP_MODE) == "OPEN"
    (state,) = await settings.change(core, admin, [Change("signUpMode", None)])
    assert (state.value, state.default) == ("INVITATION", "INVITATION")
    assert core.options.value(SIGN_UP_MODE) == "INVITATION"


@pytest.mark.parametrize("wrong", [{"gold": 1}, {"mailPort": 0}])
def test_a_configuration_with_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        options.configured(wrong)


async def test_a_secret_is_written_and_never_read(core: Core, admin: Actor) -> None:
    (state,) = await settings.change(core, admin, [Change("mailPassword", PASSWORD)])
    assert (state.value, state.default, state.is_set) == (None, None, True)
    assert core.options.value(MAIL_PASSWORD) == PASSWORD
    async with core.db.read() as db:
        row = (await db.scalars(select(Setting))).one()
    assert PASSWORD not in repr((row.document, row.sealed))
    assert PASSWORD not in repr([core.options, state, Change("mailPassword", PASSWORD)])
    for nothing in ("", None):
        (state,) = await settings.change(core, admin, [Change("mailPassword", nothing)])
        assert not state.is_set
        assert core.options.value(MAIL_PASSWORD) == ""
        await settings.change(core, admin, [Change("mailPassword", PASSWORD)])


async def test_another_manager_reads_it_with_or_without_a_hint(core: Core, admin: Actor) -> None:
    other = beside(core)
    await settings.change(core, admin, [Change("loginAttempts", 9), Change("mailPassword", PASSWORD)])
    assert other.options.value(LOGIN_ATTEMPTS) == LOGIN_ATTEMPTS.default
    await settings.refresh(other)
    assert (other.options.value(LOGIN_ATTEMPTS), other.options.value(MAIL_PASSWORD)) == (9, PASSWORD)

    listening = Core(core.db, core.bus, Hub(), core.keys, core.stats, core.progress)
    duty = asyncio.create_task(settings.follow(listening))
    while not any(core.bus._queues.values()):  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await settings.change(core, admin, [Change("loginAttempts", 10)])
    async with asyncio.timeout(60):
        while listening.options.value(LOGIN_ATTEMPTS) != 10:
            await asyncio.sleep(0.01)
    duty.cancel()


async def test_what_the_database_has_and_this_release_does_not_allow_is_not_used(
    core: Core, admin: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    await settings.change(
        core,
        admin,
        [Change("loginAttempts", 9), Change("signUpMode", "OPEN"), Change("mailPassword", PASSWORD)],
    )
    async with core.db.write() as db:
        await db.execute(update(Setting).where(Setting.key == "loginAttempts").values(document={"value": 0}))
        db.add(Setting(key="ofANewerRelease", document={"value": 1}))
    other = beside(core)
    other.keys = Keys.generate()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await settings.refresh(other)
    assert (other.options.value(SIGN_UP_MODE), other.options.value(MAIL_PASSWORD)) == ("OPEN", "")
    assert other.options.value(LOGIN_ATTEMPTS) == LOGIN_ATTEMPTS.default
    # Said once, not at every reading.
    assert [one.levelname for one in caplog.records] == ["WARNING", "WARNING"]
    shown = {one.option.key: one for one in await settings.find(other, admin)}
    assert shown["loginAttempts"].value == LOGIN_ATTEMPTS.default
    assert not shown["mailPassword"].is_set


async def test_two_that_set_the_same_leave_one_of_the_two(core: Core, admin: Actor) -> None:
    """Also where there was no row before, and in either order of the keys."""
    url = core.db.engine.url
    other = beside(core)
    other.db = open_database(url)
    try:
        mine = [Change("loginAttempts", 7), Change("mailHost", "seven.example.org")]
        theirs = [Change("mailHost", "eight.example.org"), Change("loginAttempts", 8)]
        await asyncio.gather(settings.change(core, admin, mine), settings.change(other, admin, theirs))
        states = await settings.find(core, admin, {"loginAttempts", "mailHost"})
        assert [one.value for one in states] in ([7, "seven.example.org"], [8, "eight.example.org"])
    finally:
        await other.db.close()


async def test_only_a_superadmin_sees_and_changes_settings(core: Core, make: Factories) -> None:
    for role in ("USER", "DOMAIN_ADMIN"):
        actor = make.actor(await make.user(role=role))
        with pytest.raises(Forbidden):
            await settings.find(core, actor)
        with pytest.raises(Forbidden):
            await settings.change(core, actor, [Change("loginAttempts", 9)])
        with pytest.raises(Forbidden):
            await anext(settings.watch(core, actor))


async def test_a_form_that_is_open_hears_of_changes(core: Core, admin: Actor) -> None:
    heard = settings.watch(core, admin)
    assert {one.option.key for one in await anext(heard)} == set(OPTIONS)
    await settings.change(core, admin, [Change("loginAttempts", 9)])
    assert [(one.option.key, one.value) for one in await anext(heard)] == [("loginAttempts", 9)]
    await heard.aclose()


@pytest.mark.parametrize("count", [0, 101])
async def test_between_one_and_a_hundred_at_once(core: Core, admin: Actor, count: int) -> None:
    with pytest.raises(BadInput, match="at once"):
        await settings.change(core, admin, [Change("loginAttempts", 9)] * count)


async def test_settings_of_sessions_are_in_effect_without_a_restart(core: Core, clock: Clock) -> None:
    """How long a failed start pauses, how an image is fetched, how long before its end a session is warned."""
    hour = {"max_lifetime_seconds": 3600}
    world = await built(core, policy=hour, group={"start_retries": 2})
    admin, actor = await world.user("SUPERADMIN"), await world.user()
    given = {"retryPauseSeconds": 7, "imagePullPolicy": "ALWAYS", "endWarningSeconds": 60}
    await settings.change(core, admin, [Change(key, value) for key, value in given.items()])

    session = await world.launch(actor)
    await world.dispatch()
    nodes = Nodes((await world.kernel(session.id)).agent_id or "")
    core.hub = nodes  # type: ignore[assignment]
    await deliver(Commands(core, world.links), nodes)
    ((_, command),) = nodes.took(CreateKernel)
    assert command.spec.pull_policy == "always"
    await world.report(session.id, "ERROR", code="NO_SPACE", message="The disk is full.")
    assert (await world.session(session.id)).retry_at == core.now() + timedelta(seconds=7)

    lasting = await running(world, actor)
    for seconds, told in ((3539, []), (1, ["LIFETIME_WARNING"])):
        clock.advance(timedelta(seconds=seconds))
        await sessions.end_aged(core)
        assert await codes(core, actor, lasting) == told


async def test_settings_are_what_new_groups_and_policies_have_that_say_nothing(
    core: Core, admin: Actor
) -> None:
    given = {"defaultStartRetries": 7, "defaultBackfill": False, "defaultIdleTimeoutSeconds": 600}
    await settings.change(core, admin, [Change(key, value) for key, value in given.items()])
    group = await resource_groups.create(core, admin, ResourceGroupSpec(name="silent"))
    assert (group.start_retries, group.backfill, group.idle_timeout_seconds) == (7, False, 600)
    spec = ResourceGroupSpec(name="own", start_retries=0, backfill=True, idle_timeout_seconds=0)
    group = await resource_groups.create(core, admin, spec)
    assert (group.start_retries, group.backfill, group.idle_timeout_seconds) == (0, True, 0)
    policy = await policies.create(core, admin, PolicySpec(name="silent"))
    assert policy.idle_timeout_seconds == 600


async def test_how_often_a_login_may_fail_is_a_setting(core: Core, admin: Actor, make: Factories) -> None:
    user = await make.user()
    await settings.change(core, admin, [Change("loginAttempts", 1)])
    with pytest.raises(Unauthenticated):
        await auth.login(core, user.email, "wrong-horse-1", address="192.0.2.1")
    with pytest.raises(RateLimited):
        await auth.login(core, user.email, "wrong-horse-1", address="192.0.2.1")
    await settings.change(core, admin, [Change("loginAttempts", 2)])
    other = await make.user()
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await auth.login(core, other.email, "wrong-horse-1", address="192.0.2.1")
