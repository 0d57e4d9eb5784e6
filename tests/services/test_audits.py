"""The audit: committed with what it tells of, without secrets, seen by whom it concerns, gone when it is old."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from services import audits, auth, keypairs, sessions, settings, trail, users
from services.audits import AuditFilter
from services.core import Core
from services.db.tables import AuditEvent, AuditTarget, Base
from services.errors import Conflict, Forbidden, Unauthenticated
from services.options import Kind
from services.paging import PageArgs
from services.permissions import Actor
from services.settings import Change
from services.trail import MASK, Entry
from services.users import UserChanges
from tests.factories import PASSWORD, Clock, Factories
from tests.services.world import World


async def rows(core: Core) -> list[AuditEvent]:
    async with core.db.read() as db:
        return list(await db.scalars(select(AuditEvent).order_by(AuditEvent.id)))


def entry(core: Core, action: str, actor: Actor | None = None, **more: Any) -> Entry:
    who = {"user_id": actor.user_id, "domain_id": actor.domain_id} if actor else {}
    return Entry(core.now(), action, address="192.0.2.1", **who, **more)


async def done(core: Core, actor: Actor, action: str, work: Callable[[], Awaitable[Any]]) -> AuditEvent:
    """What the wrapper of mutations does; returns the row."""
    begun = entry(core, action, actor)
    async with audits.recording(core, begun):
        await work()
    async with core.db.read() as db:
        return await db.get_one(AuditEvent, begun.id)


async def test_the_row_is_committed_with_the_change_and_not_after_it(core: Core, make: Factories) -> None:
    """A manager that is killed between the two leaves no change without its row."""
    admin, user = await make.superadmin(), await make.user()
    begun = entry(core, "updateUser", admin, named=[user.id])
    with trail.following(begun):
        await users.edit(core, admin, user.id, UserChanges(name="renamed"))
    (row,) = await rows(core)
    assert (row.user_id, row.target_id, row.outcome) == (admin.user_id, user.id, "DONE")
    (change,) = audits.content(row).changes
    assert audits.told(change) == ("name", user.name, "renamed")


async def test_a_change_whose_row_cannot_be_written_is_not_made(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    begun = entry(core, "a" * 20, admin)
    begun.id = None  # type: ignore[assignment]
    with pytest.raises(Exception, match=r"NULL|null|NoneType"), trail.following(begun):
        await users.edit(core, admin, user.id, UserChanges(name="renamed"))
    assert (await make.fresh(user)).name == user.name


async def test_a_refused_attempt_leaves_its_row_though_it_commits_nothing(
    core: Core, make: Factories
) -> None:
    actor, user = make.actor(await make.user()), await make.user()
    begun = entry(core, "updateUser", actor, named=[user.id])
    with pytest.raises(Exception, match=r"no such|not allow"):
        async with audits.recording(core, begun):
            await users.edit(core, actor, user.id, UserChanges(name="renamed"))
    (row,) = await rows(core)
    assert (row.outcome, row.target_id) == ("REFUSED", user.id)
    assert row.code in ("NOT_FOUND", "FORBIDDEN")


async def test_what_was_committed_before_a_refusal_is_told_as_refused_in_the_end(
    core: Core, make: Factories
) -> None:
    admin, user = await make.superadmin(), await make.user()

    async def two_things() -> None:
        await users.edit(core, admin, user.id, UserChanges(name="renamed"))
        raise Conflict("The second was not to be.")

    with pytest.raises(Conflict):
        await done(core, admin, "twoThings", two_things)
    (row,) = await rows(core)
    assert (row.outcome, row.code) == ("REFUSED", "CONFLICT")
    assert [one.field for one in audits.content(row).changes] == ["name"]


async def test_secrets_are_masked_before_and_after(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    changes = UserChanges(password="another-Horse-7!", total_slots=[("cpu", "1.5")])
    row = await done(core, admin, "updateUser", lambda: users.edit(core, admin, user.id, changes))
    told = {name: (before, after) for name, before, after in map(audits.told, audits.content(row).changes)}
    assert told["passwordHash"] == (MASK, MASK)
    assert told["totalSlots"] == ("", "cpu 1.5")
    given = [Change("mailPassword", "of-the-mail-server"), Change("loginAttempts", 9)]
    row = await done(core, admin, "updateSettings", lambda: settings.change(core, admin, given))
    told = {name: (before, after) for name, before, after in map(audits.told, audits.content(row).changes)}
    assert told == {"mailPassword": (None, MASK), "loginAttempts": ("5", "9")}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"password": "p", "cookie": True}, [("password", MASK), ("cookie", "true")]),
        ({"newPassword": "p", "ticket": "t"}, [("newPassword", MASK), ("ticket", MASK)]),
        ({"secretKey": "s", "accessKey": "AK"}, [("secretKey", MASK), ("accessKey", "AK")]),
        ({"code": "123456"}, [("code", MASK)]),
        ({"recoveryCodes": ["a", "b"]}, [("recoveryCodes", MASK)]),
        ({"environ": [{"name": "K", "value": "v"}]}, [("environ.0.name", "K"), ("environ.0.value", MASK)]),
        ({"settings": [{"key": "k", "value": "v"}]}, [("settings.0.key", "k"), ("settings.0.value", MASK)]),
        ({"startupCommand": "curl -u me:pw"}, [("startupCommand", "(13 characters)")]),
        ({"url": "https://me:pw@registry.example"}, [("url", f"https://{MASK}@registry.example")]),
        ({"name": "n" * 300, "none": None}, [("name", "(300 characters)")]),
        ({"name": "\ud800\0"}, [("name", "\ufffd\ufffd")]),
        ({"slots": [{"name": "cpu", "amount": "1"}]}, [("slots.0.name", "cpu"), ("slots.0.amount", "1")]),
        (
            {"policyPresent": "notPresent", "rateLimit": 7},
            [("policyPresent", "notPresent"), ("rateLimit", "7")],
        ),
        (
            {"kind": Kind.TEXT, "at": datetime(2026, 1, 1, tzinfo=UTC)},
            [("kind", "TEXT"), ("at", '"2026-01-01T00:00:00Z"')],
        ),
        ({"deep": {"options": {"apiToken": "t"}}}, [("deep.options.apiToken", MASK)]),
    ],
)
def test_what_was_asked_for_is_kept_without_what_nobody_shall_read(given: Any, shown: Any) -> None:
    assert trail.flatten(given) == shown


def test_an_input_without_end_is_not_kept_without_end() -> None:
    assert len(trail.flatten({"ids": ["x"] * 10_000})) <= 100


def test_every_column_that_keeps_a_secret_is_masked() -> None:
    kept = [f"{table.name}.{column.name}" for table in Base.metadata.sorted_tables for column in table.columns
            if column.type.python_type is str and trail.sounds_secret(column.name)]  # fmt: skip
    assert "users.password_hash" in kept
    assert not trail.sounds_secret("access_key")
    assert not trail.sounds_secret("environment_names")


async def test_of_sessions_that_are_made_together_each_has_its_own_row(core: Core) -> None:
    world = await World(core).build()
    people = [await world.user() for _ in range(5)]
    await world.agent()
    begun = [entry(core, "createSession", one) for one in people]

    async def create(one: Actor, of: Entry) -> str:
        with trail.following(of):
            return (await world.launch(one)).id

    made = await asyncio.gather(*map(create, people, begun))
    told = {(row.user_id, row.target_id, row.outcome) for row in await rows(core)}
    assert told == {(one.user_id, session, "DONE") for one, session in zip(people, made, strict=True)}
    # Nothing is left to be written: it was all in the transaction that made them.
    assert all(one.written == one.state() for one in begun)


async def test_what_is_about_several_is_found_by_each_of_them(core: Core) -> None:
    world = await World(core).build()
    actor = await world.user()
    await world.agent()
    made = [(await world.launch(actor)).id for _ in range(3)]
    begun = entry(core, "terminateSessions", actor, named=made)
    async with audits.recording(core, begun):
        await sessions.terminate(core, actor, made)
    for one in made:
        found = await audits.page(core, actor, AuditFilter(target=one), [], PageArgs())
        assert [row.id for row in found.rows] == [begun.id]
    await audits.purge(core)
    assert len(await rows(core)) == 1


async def test_who_logs_in_is_known_by_the_row(core: Core, make: Factories) -> None:
    user = await make.user()
    async with audits.recording(core, entry(core, "login")):
        await auth.login(core, user.email, PASSWORD, address="192.0.2.1")
    with pytest.raises(Unauthenticated):
        async with audits.recording(core, entry(core, "login", arguments=[("email", user.email)])):
            await auth.login(core, user.email, "wrong-horse-1", address="192.0.2.1")
    good, bad = await rows(core)
    assert (good.user_id, good.domain_id, good.target_id, good.outcome) == (
        user.id,
        user.domain_id,
        user.id,
        "DONE",
    )
    assert (bad.user_id, bad.outcome, bad.code) == (None, "REFUSED", "UNAUTHENTICATED")


async def test_what_goes_on_afterwards_is_not_its_doing(core: Core, make: Factories) -> None:
    """A task that a mutation has begun outlives it and takes its context along."""
    admin, user = await make.superadmin(), await make.user()
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        await users.edit(core, admin, user.id, UserChanges(name="later"))

    async with audits.recording(core, entry(core, "rescan", admin)):
        task = asyncio.create_task(later())
    go.set()
    await task
    (row,) = await rows(core)
    assert audits.content(row).changes == []


async def test_refused_attempts_without_end_are_not_all_written_down(
    core: Core, clock: Clock, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "REFUSED_A_MINUTE", 3)
    admin = await make.superadmin()

    async def refused() -> None:
        with pytest.raises(Forbidden):
            async with audits.recording(core, entry(core, "login")):
                raise Forbidden("No.")

    for _ in range(5):
        await refused()
    assert len(await rows(core)) == 3
    # What is done is written down whatever else was refused; and others have their own measure.
    user = await make.user()
    await done(core, admin, "updateUser", lambda: users.edit(core, admin, user.id, UserChanges(name="x")))
    assert len(await rows(core)) == 4
    await audits.keep_books(core)
    assert told(await rows(core)) == [("manyRefused", "FORBIDDEN", {"attempts": "2", "actions.login": "2"})]
    # More of the same minute are in the same row, also after it was written.
    await refused()
    await audits.keep_books(core)
    await audits.keep_books(core)
    assert told(await rows(core)) == [("manyRefused", "FORBIDDEN", {"attempts": "3", "actions.login": "3"})]
    clock.advance(timedelta(seconds=62))
    for _ in range(5):
        await refused()
    await audits.keep_books(core)
    assert len(await rows(core)) == 4 + 1 + 3 + 1
    assert [one[2]["attempts"] for one in told(await rows(core))] == ["3", "2"]


def told(found: Sequence[AuditEvent]) -> list[tuple[str, str, dict[str, str]]]:
    return [
        (row.action, row.code, dict(audits.content(row).arguments))
        for row in found
        if row.action == "manyRefused"
    ]


async def test_each_sees_what_concerns_them(core: Core, make: Factories) -> None:
    domain, other = await make.domain(), await make.domain()
    admin = await make.user(domain=domain, role="DOMAIN_ADMIN")
    user, stranger = await make.user(domain=domain), await make.user(domain=other)
    for one in (admin, user, stranger):
        await make.audit_event(user=one)
    await make.audit_event(user=user, user_id=None, domain_id=None, action="login")

    async def seen(actor: Actor) -> set[str | None]:
        page = await audits.page(core, actor, AuditFilter(), [], PageArgs())
        return {row.user_id for row in page.rows}

    assert await seen(await make.superadmin()) == {admin.id, user.id, stranger.id, None}
    assert await seen(make.actor(admin)) == {admin.id, user.id}
    assert await seen(make.actor(user)) == {user.id}


async def test_it_is_filtered(core: Core, make: Factories, clock: Clock) -> None:
    admin, user = await make.superadmin(), await make.user()
    start = core.now()
    one = await make.audit_event(user=user, at=start, request_id="abc", address="198.51.100.7")
    clock.advance(timedelta(hours=1))
    two = await make.audit_event(
        user=user, at=core.now(), action="login", outcome="REFUSED", code="UNAUTHENTICATED", target_id=None,
        content='{"arguments":[["email","kim@example.org"]]}',
    )  # fmt: skip
    hour = start + timedelta(minutes=30)
    for where, expected in (
        (AuditFilter(), [one, two]),
        (AuditFilter(user_id=user.id), [one, two]),
        (AuditFilter(user_id=admin.user_id), []),
        (AuditFilter(domain_id=user.domain_id, action="login"), [two]),
        (AuditFilter(target=user.id), [one]),
        (AuditFilter(outcome="REFUSED"), [two]),
        (AuditFilter(code="UNAUTHENTICATED"), [two]),
        (AuditFilter(since=hour), [two]),
        (AuditFilter(until=hour), [one]),
        (AuditFilter(since=start, until=core.now() + timedelta(seconds=1)), [one, two]),
        (AuditFilter(search="kim@"), [two]),
        (AuditFilter(search="198.51."), [one]),
        (AuditFilter(search="ABC"), [one]),
        (AuditFilter(search="%"), []),
    ):
        found = await audits.page(core, admin, where, [], PageArgs())
        assert sorted(row.id for row in found.rows) == [row.id for row in expected], where
        assert (await audits.total(core, admin, where)).count == len(expected)


async def test_what_is_old_is_deleted_in_parts(
    core: Core, clock: Clock, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "_PART", 2)
    admin, user = await make.superadmin(), await make.user()
    await settings.change(core, admin, [Change("auditRetentionDays", 30)])
    old = [await make.audit_event(user=user, at=core.now()) for _ in range(5)]
    async with core.db.write() as db:
        db.add(AuditTarget(target_id=user.id, event_id=old[0].id))
    clock.advance(timedelta(days=20))
    routine = await make.audit_event(user=user, at=core.now(), action="refreshLogin")
    suspicious = await make.audit_event(user=user, at=core.now(), action="refreshLogin", outcome="REFUSED")
    clock.advance(timedelta(days=10))
    assert await audits.purge(core) == 1
    assert {row.id for row in await rows(core)} == {*(one.id for one in old), suspicious.id} - {routine.id}
    clock.advance(timedelta(seconds=1))
    assert await audits.purge(core) == 5
    assert [row.id for row in await rows(core)] == [suspicious.id]
    async with core.db.read() as db:
        assert await db.scalar(select(func.count()).select_from(AuditTarget)) == 0


async def test_a_page_costs_the_same_however_much_there_is(
    core: Core, make: Factories, count_statements: Any
) -> None:
    admin, user = await make.superadmin(), await make.user()
    counts: list[int] = []
    for _ in range(2):
        for _ in range(10):
            await make.audit_event(user=user)
        with count_statements(core) as statements:
            await audits.page(core, admin, AuditFilter(user_id=user.id), [], PageArgs(first=20))
        counts.append(len(statements))
    assert counts[0] == counts[1]


async def test_who_changes_the_own_password_is_what_that_is_about(core: Core, make: Factories) -> None:
    user = await make.user()
    actor = make.actor(user)
    row = await done(
        core, actor, "changePassword", lambda: auth.change_password(core, actor, PASSWORD, "other-Horse-2!")
    )
    assert row.target_id == user.id


async def test_a_keypair_that_is_deleted_is_still_told_of(core: Core, make: Factories) -> None:
    admin, user = await make.superadmin(), await make.user()
    keypair = await make.keypair(user=user, active=False)
    row = await done(core, admin, "deleteKeypair", lambda: keypairs.delete(core, admin, keypair.id))
    (change,) = audits.content(row).changes
    assert audits.told(change) == ("accessKey", keypair.access_key, None)
