"""Many users at once, from a CSV file (`services/user_files.py`): all of its rows, or none and what is wrong with each.

Who has no password gets a link to choose one, in the answer or by mail. Hashing one takes 40 ms, so a file with many passwords is
checked at once and made by a task (`services/import_tasks.py`): its hashes first, then all users in one transaction.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import (
    domains,
    groups,
    idempotency,
    ids,
    keypairs,
    mails,
    passwords,
    permissions,
    tasks,
)
from services.auth import change
from services.core import Core
from services.db.tables import Group, ResourcePolicy, Task, User
from services.errors import BadInput, BerthError, Conflict
from services.permissions import Actor
from services.user_files import Row, Wrong, read

#: So many are hashed while somebody waits for the answer; more by a task.
MOST_PASSWORDS: Final = 50
KIND: Final = "IMPORT_USERS"
_MOST_PROBLEMS: Final = 200


@dataclass(frozen=True)
class ImportSpec:
    domain_id: str
    csv: str = field(repr=False)
    #: Only say what would happen.
    dry_run: bool = False
    #: Leave users alone whose address is known already; else these are wrong.
    skip_existing: bool = False
    #: Make up passwords, to be changed at the first login, for those who have none in the file; else they get links.
    generate_passwords: bool = False
    #: Mail the links to choose a password, instead of answering them.
    mail_links: bool = False


@dataclass(frozen=True)
class Import:
    rows: Sequence[Row]
    problems: Sequence[Wrong]
    done: bool
    #: What does it, where it takes long.
    task: Task | None = None


@dataclass(frozen=True)
class _Known:
    """What the database has of what the file names."""

    emails: frozenset[str]
    groups: Mapping[str, Group]
    policies: Mapping[str, str]
    default_policy: str


async def import_users(core: Core, actor: Actor, spec: ImportSpec) -> Import:
    """Make all users of a file in one transaction, or (`dry_run`) say what that would do. With many passwords in the file a
    task makes them, and the answer has what it will do.

    Raises:
        BadInput: a row is wrong, and it is no dry run; the fields are named `input.csv.LINE.COLUMN`. Nothing is made.
        NotFound, Forbidden, Conflict: somebody else made one of the users at the same moment.
    """
    permissions.require_role(actor, "importUsers")
    rows, problems = await look(core, actor, spec)
    if spec.dry_run:
        return Import(rows, problems[:_MOST_PROBLEMS], done=False)
    _refuse(problems)
    given = given_passwords(rows)
    if len(given) > MOST_PASSWORDS:
        return Import(rows, (), done=False, task=await _start(core, actor, spec, len(given)))
    hashed = await asyncio.gather(*map(passwords.hash_password, given.values()))
    try:
        async with core.db.write() as db:
            await make(core, db, actor, spec, rows, dict(zip(given, hashed, strict=True)))
    except IntegrityError as error:
        raise taken(error) from error
    return Import(rows, (), done=True)


async def look(core: Core, actor: Actor, spec: ImportSpec) -> tuple[list[Row], list[Wrong]]:
    """The rows of a file, with passwords made up where that is asked for, and all that is wrong with them.

    Raises:
        NotFound, Forbidden.
    """
    rows, problems = read(spec.csv)
    _check_passwords(spec, rows, problems)
    async with core.db.read() as db:
        await domains.require(db, actor, spec.domain_id, "importUsers")
        problems += _against(spec, rows, await _known(db, spec, rows))
    return rows, sorted(problems, key=lambda wrong: wrong.line)


def given_passwords(rows: Sequence[Row]) -> dict[int, str]:
    """Line → the password that the file has, of who is to be made."""
    return {
        row.line: row.password
        for row in rows
        if row.password is not None and not row.skipped and not row.generated
    }


async def make(
    core: Core,
    db: AsyncSession,
    actor: Actor,
    spec: ImportSpec,
    rows: Sequence[Row],
    hashes: Mapping[int, str],
) -> None:
    """Make the users of a file within a transaction, if nothing has come to be wrong with it since it was looked at.

    Args:
        hashes: of the passwords in the file, by line.

    Raises:
        BadInput, NotFound, Forbidden. IntegrityError: somebody else was quicker; see `taken`.
    """
    await domains.require(db, actor, spec.domain_id, "importUsers")
    known = await _known(db, spec, rows)
    _refuse(_against(spec, rows, known))
    new = [row for row in rows if not row.skipped]
    if given_passwords(new).keys() - hashes.keys():
        raise Conflict("A user of the file was deleted just now. Nothing was imported; try again.")
    drawn = {row.line: passwords.keep_drawn(row.password) for row in new if row.generated and row.password}
    await _make(core, db, spec, new, known, {**drawn, **hashes})


def taken(error: IntegrityError) -> BerthError:
    return idempotency.clash(
        error, Conflict("One of the addresses was taken just now. Nothing was imported; try again.")
    )


async def _start(core: Core, actor: Actor, spec: ImportSpec, count: int) -> Task:
    sealed = core.keys.seal(msgspec.json.encode(spec).decode(), KIND)
    return await tasks.start(
        core, actor, KIND, {"spec": sealed.hex()}, message=f"{count} passwords are hashed first."
    )


def _check_passwords(spec: ImportSpec, rows: Sequence[Row], problems: list[Wrong]) -> None:
    if spec.generate_passwords:
        for row in rows:
            if row.password is None:
                row.password, row.generated = _made_up(), True
    long = sum(row.password is not None and not row.generated for row in rows) > MOST_PASSWORDS
    shown = any(row.generated or (row.password is None and not spec.mail_links) for row in rows)
    if long and shown:
        problems.append(
            Wrong(
                0,
                "password",
                f"A file with more than {MOST_PASSWORDS} passwords is imported in the background, where nothing can be "
                "shown: give everybody a password, or have links mailed to the others.",
            )
        )


async def _known(db: AsyncSession, spec: ImportSpec, rows: Sequence[Row]) -> _Known:
    """In a constant number of statements."""
    emails = await db.scalars(select(User.email).where(User.email.in_({row.email for row in rows})))
    named = {name for row in rows for name in row.group_names}
    found = await db.scalars(select(Group).where(Group.domain_id == spec.domain_id, Group.name.in_(named)))
    wanted = {row.policy_name for row in rows if row.policy_name}
    policies = await db.execute(
        select(ResourcePolicy.name, ResourcePolicy.id).where(ResourcePolicy.name.in_(wanted))
    )
    return _Known(
        emails=frozenset(emails),
        groups={group.name: group for group in found},
        policies=dict(policies.all()),
        default_policy=await keypairs.find_policy(db, None),
    )


def _against(spec: ImportSpec, rows: Sequence[Row], known: _Known) -> list[Wrong]:
    """What is wrong with the rows beside what is there; marks those that are there already."""
    problems: list[Wrong] = []
    for row in rows:
        if row.email in known.emails:
            row.skipped = spec.skip_existing
            if not spec.skip_existing:
                problems.append(Wrong(row.line, "email", "There is a user with this address already."))
                continue
        problems += [
            Wrong(row.line, "groups", f"The domain has no group {name!r}.")
            for name in row.group_names
            if name not in known.groups
        ]
        if row.policy_name and row.policy_name not in known.policies:
            problems.append(Wrong(row.line, "policy", f"There is no resource policy {row.policy_name!r}."))
    return problems


def _refuse(problems: Sequence[Wrong]) -> None:
    if problems:
        fields = [
            (".".join(filter(None, ("input.csv", str(wrong.line), wrong.column))), _sentence(wrong))
            for wrong in problems[:_MOST_PROBLEMS]
        ]
        raise BadInput("; ".join(message for _, message in fields), path=fields[0][0], fields=fields)


def _sentence(wrong: Wrong) -> str:
    where = ", ".join(filter(None, (f"line {wrong.line}" if wrong.line else "", wrong.column)))
    return f"{where}: {wrong.message}" if where else wrong.message


async def _make(
    core: Core,
    db: AsyncSession,
    spec: ImportSpec,
    rows: Sequence[Row],
    known: _Known,
    hashes: Mapping[int, str],
) -> None:
    """All rows of these users; whose they are first, since the others refer to them."""
    at = core.now()
    for row in rows:
        row.user = User(
            id=ids.new("usr"),
            domain_id=spec.domain_id,
            email=row.email,
            name=row.name,
            full_name=row.full_name,
            description=row.description,
            role=row.role,
            active=True,
            # Somebody else has seen it.
            must_change_password=row.line in hashes,
            password_hash=hashes.get(row.line),
            total_slots={},
            max_concurrent_sessions=None,
            ssh_public_keys=[],
            language="en",
            epoch=0,
            created_at=at,
        )
    made = [(row, row.user) for row in rows if row.user is not None]
    db.add_all(user for _, user in made)
    await db.flush()
    for row, user in made:
        policy_id = known.policies.get(row.policy_name, known.default_policy)
        keypair = keypairs.make(core, user.id, policy_id)
        db.add(keypair)
        user.main_keypair_id = keypair.id
        if row.line not in hashes:
            ticket = change.add_password_ticket(core, db, user.id)
            if spec.mail_links:
                life = core.settings.password_ticket_life
                link = f"/welcome#{ticket}"
                db.add(mails.make(core, "ACCOUNT_MADE", user.email, user.language, link=link, life=life))
            else:
                row.ticket = ticket
    members = [(known.groups[name].id, user.id) for row, user in made for name in row.group_names]
    await groups.join(db, members)


def _made_up() -> str:
    """A random password that keeps all rules; some 100 bits."""
    return f"{secrets.token_urlsafe(12)}-{secrets.choice('abcdefghjkmnpqrstuvwxyz')}{secrets.randbelow(10)}"
