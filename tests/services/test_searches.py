"""Finding rows of long tables by a part of a text: the same on both databases, and as true as the rows are."""

from collections.abc import Sequence

import pytest
from sqlalchemy import delete, text, update

from services import ids, keypairs, mails, searches, sessions, users
from services.core import Core
from services.db import searching
from services.db.tables import Mail, User
from services.keypairs import KeypairFilter
from services.paging import Order, PageArgs, Total
from services.sessions import SessionFilter
from services.users import UserFilter
from tests.factories import Factories

PEOPLE = {
    "kim": "김민수",
    "ohara": 'O\'Hara "Quo" --',
    "percent": "100%_sure\\done",
    "elodie": "Élodie",
}


async def people(make: Factories) -> dict[str, str]:
    """Id → who."""
    return {(await make.user(email=f"{who}@example.org", name=name)).id: who for who, name in PEOPLE.items()}


async def found(core: Core, make: Factories, asked: str) -> list[str]:
    """Ids of the users that a superadmin is shown, of whom the total says how many they are."""
    admin, where = await make.superadmin(email=f"{ids.new('usr')[4:]}@chief.test"), UserFilter(search=asked)
    page = await users.page(core, admin, where, [], PageArgs(first=100))
    assert await users.total(core, admin, where) == Total(len(page.rows), exact=True)
    return [row.id for row in page.rows]


@pytest.mark.parametrize(
    ("asked", "who"),
    [
        ("김민수", ["kim"]),
        ("김민", ["kim"]),
        ("김", ["kim"]),
        ("민수", []),  # of two letters, only the beginning
        ("o'hARA", ["ohara"]),
        ('"quo"', ["ohara"]),
        ('hara "', ["ohara"]),
        ("' OR '1'='1", []),
        ('" OR "', []),
        ("100%_s", ["percent"]),
        ("0%_", ["percent"]),
        ("1%0", []),
        ("100__", []),
        ("re\\d", ["percent"]),
        ("Ki", ["kim"]),
        ("  kim  ", ["kim"]),
        ("kim OR", []),
        ("kim*", []),
        ("@EXAMPLE.ORG", ["kim", "ohara", "percent", "elodie"]),
    ],
)
async def test_a_part_of_a_text_is_found_in_any_case_and_without_wildcards(
    core: Core, make: Factories, asked: str, who: Sequence[str]
) -> None:
    everybody = await people(make)
    assert sorted(everybody.get(one, one) for one in await found(core, make, asked)) == sorted(who)


async def test_letters_beyond_ascii_have_two_cases_where_the_database_knows_them(
    core: Core, make: Factories
) -> None:
    everybody = await people(make)
    async with core.db.read() as db:
        known = core.db.dialect == "sqlite" or await db.scalar(text("SELECT lower('É') = 'é'"))
    who = [everybody[one] for one in await found(core, make, "éLOD")]
    assert who == (["elodie"] if known else [])
    assert [everybody[one] for one in await found(core, make, "ÉLOD")] == ["elodie"]


async def test_the_beginning_of_an_id_is_found_and_what_all_of_them_begin_with_is_not(
    core: Core, make: Factories
) -> None:
    one = next(iter(await people(make)))
    assert await found(core, make, one[:29].upper()) == [one]
    assert await found(core, make, "usr") == []


async def test_what_is_found_is_what_was_committed(core: Core, make: Factories) -> None:
    user = await make.user(name="before", email="e@example.org")
    async with core.db.engine.execution_options(immediate=True).connect() as connection:
        await connection.execute(update(User).where(User.id == user.id).values(name="undone"))
        await connection.rollback()
    assert (await found(core, make, "before"), await found(core, make, "undone")) == ([user.id], [])
    async with core.db.write() as db:
        await db.execute(update(User).where(User.id == user.id).values(name="after", epoch=1))
    assert (await found(core, make, "before"), await found(core, make, "after")) == ([], [user.id])


async def test_what_was_deleted_is_not_found_even_when_its_place_is_taken(
    core: Core, make: Factories
) -> None:
    admin = await make.superadmin()
    rows = [await make.mail(recipient=f"{name}@example.org") for name in ("one", "two", "three")]
    async with core.db.write() as db:
        await db.execute(delete(Mail).where(Mail.id == rows[0].id))
    if core.db.dialect == "sqlite":
        # It numbers the rows anew that have no number of their own.
        async with core.db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await (await connection.get_raw_connection()).driver_connection.execute("VACUUM")  # type: ignore[union-attr]
    rows.append(await make.mail(recipient="four@example.org"))
    for name, row in zip(("one", "two", "three", "four"), [None, *rows[1:]], strict=True):
        page = await mails.page(core, admin, mails.MailFilter(search=f"{name}@"), [], PageArgs())
        assert [one.id for one in page.rows] == ([row.id] if row else [])


async def test_keypairs_are_found_by_whose_they_are(core: Core, make: Factories) -> None:
    admin, owner = await make.superadmin(), await make.user(name="Grace Hopper")
    made = {str(owner.main_keypair_id), (await make.keypair(user=owner)).id}
    await make.keypair()
    for asked in ("hopper", owner.id, owner.id[:29]):
        page = await keypairs.page(core, admin, KeypairFilter(search=asked), [], PageArgs())
        assert {one.id for one in page.rows} == made


@pytest.mark.parametrize("descending", [False, True])
async def test_many_are_found_as_few_are(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch, descending: bool
) -> None:
    admin = await make.superadmin()
    for number in range(5):
        owner = await make.user(name=f"needle-{number}")
        await make.keypair(user=owner)
        await make.session(name=f"Needle-{number}", user=owner)
        await make.session(name=f"hay-{number}", user=owner)
    lists = [
        (users, UserFilter(search="NEEDLE")),
        (keypairs, KeypairFilter(search="NEEDLE")),
        (sessions, SessionFilter(search="NEEDLE")),
    ]
    for module, where in lists:
        for column in module.ORDERS.values():
            order, args = [Order(column, descending)], PageArgs(first=3)
            few = await module.page(core, admin, where, order, args)
            with monkeypatch.context() as patch:
                patch.setattr(searches, "FEW", 2)
                many = await module.page(core, admin, where, order, args)
                total = await module.total(core, admin, where)
            assert [row.id for row in many.rows] == [row.id for row in few.rows]
            assert (len(few.rows), total) == (3, Total(2, exact=False))


async def test_many_of_whom_something_else_holds_for_few_are_counted(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "FEW", 2)
    admin = await make.superadmin()
    for number in range(4):
        await make.user(name=f"needle-{number}", active=number > 0)
    assert await users.total(core, admin, UserFilter(search="needle", active=False)) == Total(1, exact=True)
    assert await users.total(core, admin, UserFilter(search="needle", active=True)) == Total(2, exact=False)


async def test_what_a_migration_took_along_is_made_again_when_a_manager_starts(
    core: Core, make: Factories
) -> None:
    """For the rows that there are by then. PostgreSQL finds them without an index, too, and is told to be without one
    where the extension is not to be had."""
    before = await make.user(name="Ada Before")
    async with core.db.engine.begin() as connection:
        for table in searching.TEXTS:
            if core.db.dialect == "sqlite":
                for what in ("TRIGGER {}_inserted", "TRIGGER {}_updated", "TRIGGER {}_deleted", "TABLE {}", "TABLE {}_numbers"):  # fmt: skip
                    await connection.exec_driver_sql("DROP " + what.format(f"{table}_search"))
            else:
                await connection.exec_driver_sql(f"DROP INDEX IF EXISTS ix_{table}_search")
    if core.db.dialect == "postgresql":
        assert await found(core, make, "da befo") == [before.id]
    async with core.db.engine.begin() as connection:
        await connection.run_sync(searching.install)
        await connection.run_sync(searching.install)
        lacking = await connection.run_sync(searching.missing)
        able = core.db.dialect == "sqlite" or await connection.scalar(
            text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")
        )
    assert lacking == ([] if able else list(searching.TEXTS))
    after = await make.user(name="Ada After")
    assert await found(core, make, "da befo") == [before.id]
    assert await found(core, make, "da afte") == [after.id]
