"""Users from a CSV file: all of them or none, and what is wrong with which cell."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from services import auth, import_tasks, imports, passwords, tasks, user_files
from services.core import Core
from services.db.tables import GroupMember, Keypair, Mail, Ticket, User
from services.errors import BadInput, BerthError, Conflict, Forbidden, NotFound
from services.imports import MOST_PASSWORDS, Import, ImportSpec
from services.mails import queue
from services.permissions import Actor
from services.tasks import Runner
from services.user_files import MOST_ROWS
from tests.factories import Factories

GOOD = """\ufeffEmail,name,full_name,groups,role,description\r
min@example.org,김민수,"Kim, Min-su",vision; speech,domain_admin,"two
lines"\r
\r
  LEE@Example.org ,,,,,\r
"""


async def governed(make: Factories) -> tuple[Actor, str]:
    await make.policy(name="default")
    domain = await make.domain()
    for name in ("vision", "speech"):
        await make.group(domain=domain, name=name)
    return await make.superadmin(domain=domain), domain.id


async def people(core: Core) -> int:
    async with core.db.read() as db:
        return await db.scalar(select(func.count()).select_from(User)) or 0


async def test_a_file_becomes_users_with_keypairs_groups_and_links(core: Core, make: Factories) -> None:
    admin, domain = await governed(make)
    done = await imports.import_users(core, admin, ImportSpec(domain, GOOD))
    assert done.done
    first, second = (row.user for row in done.rows)
    assert first is not None
    assert second is not None
    assert (first.email, first.name, first.full_name) == ("min@example.org", "김민수", "Kim, Min-su")
    assert (first.role, first.description) == ("DOMAIN_ADMIN", "two\nlines")
    assert (second.email, second.name, second.role) == ("lee@example.org", "lee", "USER")
    assert [row.line for row in done.rows] == [2, 5]
    async with core.db.read() as db:
        assert len((await db.scalars(select(GroupMember).where(GroupMember.user_id == first.id))).all()) == 2
        assert (
            len((await db.scalars(select(Keypair.id).where(Keypair.id == second.main_keypair_id))).all()) == 1
        )
    assert done.rows[0].ticket
    assert done.rows[0].password is None
    entered = await auth.redeem_ticket(core, done.rows[0].ticket, "new-pass-1", address="192.0.2.1")
    assert entered.actor.user_id == first.id


async def test_a_dry_run_says_the_same_and_does_nothing(
    core: Core, make: Factories, count_statements: Callable[[Core], AbstractContextManager[list[str]]]
) -> None:
    admin, domain = await governed(make)
    before = await people(core)
    with count_statements(core) as statements:
        found = await imports.import_users(core, admin, ImportSpec(domain, GOOD, dry_run=True))
    assert not [one for one in statements if one.lstrip().upper().startswith(("INSERT", "UPDATE"))]
    assert (found.done, list(found.problems), await people(core)) == (False, [], before)
    done = await imports.import_users(core, admin, ImportSpec(domain, GOOD))
    said = [(row.line, row.email, row.name, row.group_names, row.skipped) for row in found.rows]
    assert said == [(row.line, row.email, row.name, row.group_names, row.skipped) for row in done.rows]
    assert all(row.user is None and row.ticket is None for row in found.rows)


BAD = """email,name,groups,role,policy,password
ok@example.org,a,,,,
nobody,b,,,,
ok@example.org,c,,,,
known@example.org,d,,,,
e@example.org,=cmd|'/c calc'!A0,,,,
f@example.org,f,vision nowhere,,,
g@example.org,g,,KING,,
h@example.org,h,,,gold,
i@example.org,i,,,,short
j@example.org,j,,,,,,
"""


async def test_everything_wrong_is_named_with_line_and_column_and_nothing_is_made(
    core: Core, make: Factories
) -> None:
    admin, domain = await governed(make)
    await make.user(name="known")
    before = await people(core)
    found = await imports.import_users(core, admin, ImportSpec(domain, BAD, dry_run=True))
    assert {(wrong.line, wrong.column) for wrong in found.problems} == {
        (3, "email"),
        (4, "email"),
        (5, "email"),
        (6, "name"),
        (7, "groups"),
        (8, "role"),
        (9, "policy"),
        (10, "password"),
        (11, ""),
    }
    with pytest.raises(BadInput) as refused:
        await imports.import_users(core, admin, ImportSpec(domain, BAD))
    assert (
        "input.csv.7.groups",
        "line 7, groups: The domain has no group 'nowhere'.",
    ) in refused.value.fields
    assert len(refused.value.fields) == len(found.problems)
    assert await people(core) == before


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "email"),
        ("name\nx", 1, "email"),
        ("email,shoe\na@example.org,44", 1, "no such column"),
        ("email,email\na@example.org,b@example.org", 1, "twice"),
        ('email\n"a@example.org', 2, "not CSV"),
        ("email\n", 0, "no users"),
        ("email\na\ufffd@example.org", 0, "UTF-8"),
        ("email\n" + "x" * (512 * 1024), 0, "characters"),
        ("email\n" + "".join(f"u{n}@example.org\n" for n in range(MOST_ROWS + 1)), MOST_ROWS + 2, "At most"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(text: str, line: int, says: str) -> None:
    _, problems = user_files.read(text)
    assert [wrong.line for wrong in problems] == [line]
    assert says in problems[0].message


def test_spreadsheets_separate_by_semicolons_or_tabs_too() -> None:
    for separator in (";", "\t"):
        rows, problems = user_files.read(
            separator.join(("email", "name")) + "\n" + separator.join(("a@b.org", "A, B"))
        )
        assert problems == []
        assert (rows[0].email, rows[0].name) == ("a@b.org", "A, B")


@given(st.text(max_size=300))
def test_whatever_is_read_is_users_or_says_what_is_wrong(text: str) -> None:
    rows, problems = user_files.read("email,name,groups\n" + text)
    assert rows or problems
    assert all(wrong.message for wrong in problems)


async def test_who_is_there_already_may_be_left_alone(core: Core, make: Factories) -> None:
    admin, domain = await governed(make)
    known = await make.user(name="known", full_name="Before")
    text = "email,full_name\nknown@example.org,After\nnew@example.org,New"
    done = await imports.import_users(core, admin, ImportSpec(domain, text, skip_existing=True))
    assert [row.skipped for row in done.rows] == [True, False]
    assert (await make.fresh(known)).full_name == "Before"
    again = await imports.import_users(core, admin, ImportSpec(domain, text, skip_existing=True))
    assert [row.skipped for row in again.rows] == [True, True]


async def test_passwords_are_given_or_made_up_and_changed_at_the_first_login(
    core: Core, make: Factories
) -> None:
    admin, domain = await governed(make)
    text = "email,password\na@example.org,given-word-1\nb@example.org,"
    done = await imports.import_users(core, admin, ImportSpec(domain, text, generate_passwords=True))
    for row in done.rows:
        assert row.password is not None
        assert row.password not in repr(row)
        entered = await auth.login(core, row.email, row.password, address="192.0.2.1")
        assert entered.actor.must_change_password
    assert [row.generated for row in done.rows] == [False, True]
    async with core.db.read() as db:
        assert await db.scalar(select(func.count()).select_from(Ticket)) == 0


async def test_a_course_of_a_thousand_gets_passwords_in_one_answer(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, domain = await governed(make)
    many = "email\n" + "".join(f"u{n}@example.org\n" for n in range(MOST_ROWS))
    verified: list[str] = []
    matches = passwords._matches

    def noted(kept: str, given: bytes) -> bool:
        verified.append(kept)
        return matches(kept, given)

    done = await imports.import_users(core, admin, ImportSpec(domain, many, generate_passwords=True))
    assert done.done
    assert len({row.password for row in done.rows}) == MOST_ROWS
    first = done.rows[0]
    monkeypatch.setattr(passwords, "_matches", noted)
    assert await auth.login(core, first.email, first.password or "", address="192.0.2.1")
    light = verified[0]
    # It took as long as for anybody, and is hashed as anybody's from now on.
    assert verified == [light, passwords._DUMMY]
    assert passwords.outdated(light)
    async with core.db.read() as db:
        kept = await db.scalar(select(User.password_hash).where(User.email == first.email))
    assert kept is not None
    assert not passwords.outdated(kept)


def with_passwords(count: int, more: str = "") -> str:
    return "email,password\n" + "".join(f"u{n}@example.org,given-word-{n}\n" for n in range(count)) + more


async def work(core: Core) -> None:
    runner = Runner(core, [import_tasks.IMPORT])
    await runner.look()
    await runner.idle()


async def test_many_given_passwords_are_hashed_in_the_background_and_all_users_made_at_once(
    core: Core, make: Factories
) -> None:
    admin, domain = await governed(make)
    count, before = MOST_PASSWORDS + 1, await people(core)
    spec = ImportSpec(domain, with_passwords(count, "link@example.org,\n"), mail_links=True)
    found = await imports.import_users(core, admin, spec)
    assert (found.done, await people(core)) == (False, before)
    assert found.task is not None
    assert "given-word" not in str(found.task.arguments)
    await work(core)
    task = await tasks.get(core, admin, found.task.id)
    assert (task.status, task.current, task.total, task.arguments) == ("SUCCEEDED", count, count, {})
    assert [tuple(one) for one in task.summary] == [("ADDED", count + 1)]
    assert await people(core) == before + count + 1
    entered = await auth.login(core, "u50@example.org", "given-word-50", address="192.0.2.1")
    assert isinstance(entered, auth.LoginResult)
    assert entered.actor.must_change_password
    async with core.db.read() as db:
        mail = (await db.scalars(select(Mail))).one()
    assert (mail.kind, mail.recipient) == ("ACCOUNT_MADE", "link@example.org")
    content = queue.read(core, mail)
    assert content is not None
    ticket = content.text.partition("/welcome#")[2].split()[0]
    assert await auth.redeem_ticket(core, ticket, "new-pass-1", address="192.0.2.1")


@pytest.mark.parametrize("why", ["taken", "demoted", "cancelled"])
async def test_what_goes_wrong_meanwhile_leaves_nobody_half_imported(
    core: Core, make: Factories, why: str
) -> None:
    admin, domain = await governed(make)
    found = await imports.import_users(core, admin, ImportSpec(domain, with_passwords(MOST_PASSWORDS + 1)))
    assert found.task is not None
    if why == "taken":
        await make.user(name="u7")
    elif why == "demoted":
        async with core.db.write() as db:
            (await db.get_one(User, admin.user_id)).role = "USER"
    else:
        await tasks.cancel(core, admin, found.task.id)
    before = await people(core)
    await work(core)
    task = await make.fresh(found.task)
    assert task.status == ("CANCELLED" if why == "cancelled" else "FAILED")
    assert task.error_code == {"taken": "BAD_USER_INPUT", "demoted": "FORBIDDEN", "cancelled": ""}[why]
    assert task.arguments == {}
    assert await people(core) == before


async def test_what_the_background_could_not_show_is_refused_and_told_by_the_dry_run(
    core: Core, make: Factories
) -> None:
    admin, domain = await governed(make)
    text = with_passwords(MOST_PASSWORDS + 1, "link@example.org,\n")
    for generate in (False, True):
        spec = ImportSpec(domain, text, generate_passwords=generate)
        with pytest.raises(BadInput, match="nothing can be shown"):
            await imports.import_users(core, admin, spec)
        found = await imports.import_users(core, admin, replace(spec, dry_run=True))
        assert [wrong.column for wrong in found.problems] == ["password"]


async def test_of_files_with_one_address_that_come_at_once_one_is_imported_whole(
    core: Core, make: Factories
) -> None:
    admin, domain = await governed(make)
    before = await people(core)

    def text(number: int) -> str:
        return f"email\nown{number}@example.org\nshared@example.org\nlast{number}@example.org"

    outcomes = await asyncio.gather(
        *(imports.import_users(core, admin, ImportSpec(domain, text(number))) for number in range(4)),
        return_exceptions=True,
    )
    assert Counter(isinstance(one, Import) for one in outcomes) == {True: 1, False: 3}
    assert all(isinstance(one, Import | Conflict | BadInput) for one in outcomes)
    assert await people(core) == before + 3


async def test_a_thousand_users_take_a_constant_number_of_statements(
    core: Core, make: Factories, count_statements: Callable[[Core], AbstractContextManager[list[str]]]
) -> None:
    admin, domain = await governed(make)

    async def statements(users: int, start: int) -> int:
        text = "email,groups\n" + "".join(f"u{start + n}@example.org,vision\n" for n in range(users))
        with count_statements(core) as asked:
            await imports.import_users(core, admin, ImportSpec(domain, text))
        return len(asked)

    few, many = await statements(2, 0), await statements(300, 1000)
    assert many <= few + 8


@pytest.mark.parametrize("role", ["USER", "DOMAIN_ADMIN"])
async def test_only_a_superadmin_imports(core: Core, make: Factories, role: str) -> None:
    _, domain = await governed(make)
    with pytest.raises(Forbidden):
        await imports.import_users(
            core, make.actor(await make.user(domain_id=domain, role=role)), ImportSpec(domain, GOOD)
        )
    with pytest.raises(NotFound):
        await imports.import_users(core, await make.superadmin(), ImportSpec("dom_nothing", GOOD))
    assert issubclass(NotFound, BerthError)
