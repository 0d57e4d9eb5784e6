"""The first start: what must be there before anybody can come in. Every start runs it; the second finds all there."""

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services import groups, ids, inputs, keypairs, passwords, presets, resource_groups, trail, users
from services.auth import change
from services.core import Core
from services.db.tables import Base, Domain, Group, Keypair, ResourceGroup, ResourcePolicy, User
from services.errors import Problems
from services.scheduling import gangs
from services.trail import Entry

NAME: Final = "default"
#: Of the lock that managers of one database take, one after the other.
_LOCK: Final = 0x62657274685F31


Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True)
class FirstRun:
    """What there is to begin with."""

    domain_id: str
    group_id: str
    policy_id: str
    resource_group_id: str
    #: The first superadmin.
    user_id: str
    email: str
    access_key: str
    #: Of the first superadmin's keypair, for a file that only the owner reads.
    secret_key: str = field(repr=False)
    #: With which the first superadmin chooses a password; None once there is one.
    ticket: str | None = field(repr=False)
    #: Did this start make the superadmin?
    created: bool


async def ensure_first_run(core: Core, admin_email: str, admin_password: str | None) -> FirstRun:
    """Make what is missing: domain, group, resource policy and resource group `default`, and a superadmin; and with the
    first superadmin some resource presets.

    Nothing that is there is changed: not the password of a superadmin who has one, nor a grant taken back.

    Args:
        admin_password: None: it is chosen by a link, and each start without a password makes a new one.

    Raises:
        BadInput: the address or password is not acceptable.
    """
    problems = Problems()
    email = inputs.check_email(admin_email, problems, "admin_email")
    if admin_password is not None:
        passwords.check(admin_password, problems, "admin_password")
    problems.check()
    async with core.db.read() as db:
        found = await _superadmin(db, email)
    needs_hash = admin_password is not None and (found is None or found.password_hash is None)
    hashed = await passwords.hash_password(admin_password or "") if needs_hash else None
    with trail.following(
        Entry(core.now(), "first start", user_agent="berth manager") if found is None else None
    ):
        return await _make_missing(core, email, hashed)


async def _make_missing(core: Core, email: str, hashed: str | None) -> FirstRun:
    async with core.db.write() as db:
        if core.db.dialect == "postgresql":
            await db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        usual: dict[str, Any] = {"name": NAME, "created_at": core.now()}
        domain = await _first(db, Domain(id=ids.new("dom"), **usual))
        own = {"domain_id": domain.id}
        group = await _first(db, Group(id=ids.new("grp"), **own, **usual), **own)
        policy = ResourcePolicy(id=ids.new("pol"), max_kernels_per_session=gangs.MOST, **usual)
        policy = await _first(db, policy)
        nodes = ResourceGroup(id=ids.new("rgp"), **usual)
        resource_group = await _first(db, nodes)
        if resource_group is nodes:
            await resource_groups.add_grants(db, nodes.id, [domain.id])
        user = await _superadmin(db, email)
        created = user is None
        if user is None:
            user = await _new_superadmin(core, db, domain, group, policy, email)
            await presets.add_first(core, db)
        if user.password_hash is None and hashed is not None:
            user.password_hash = hashed
        ticket = None
        if user.password_hash is None:
            ticket = change.add_password_ticket(core, db, user.id)
        keypair = await _keypair(core, db, user, policy)
        return FirstRun(
            domain_id=domain.id,
            group_id=group.id,
            policy_id=policy.id,
            resource_group_id=resource_group.id,
            user_id=user.id,
            email=user.email,
            access_key=keypair.access_key,
            secret_key=keypairs.secret_of(core, keypair),
            ticket=ticket,
            created=created,
        )


async def _superadmin(db: AsyncSession, email: str) -> User | None:
    """The oldest active superadmin, by preference the one of this address."""
    return await db.scalar(
        select(User)
        .where(User.role == "SUPERADMIN", User.active)
        .order_by(User.email != email, User.id)
        .limit(1)
    )


async def _first(db: AsyncSession, new: Row, **within: str) -> Row:
    """The row of the usual name, else the oldest, else the new one, added."""
    table: Any = type(new)
    found: Row | None = await db.scalar(
        select(table).filter_by(**within).order_by(table.name != NAME, table.id).limit(1)
    )
    if found is not None:
        return found
    db.add(new)
    await db.flush()
    return new


async def _new_superadmin(
    core: Core, db: AsyncSession, domain: Domain, group: Group, policy: ResourcePolicy, email: str
) -> User:
    user = User(
        id=ids.new("usr"),
        domain_id=domain.id,
        email=email,
        name=email.partition("@")[0],
        role="SUPERADMIN",
        created_at=core.now(),
    )
    db.add(user)
    await db.flush()
    await users.add_keypair(core, db, user, policy.id)
    await groups.join(db, [(group.id, user.id)])
    return user


async def _keypair(core: Core, db: AsyncSession, user: User, policy: ResourcePolicy) -> Keypair:
    keypair = await db.get(Keypair, user.main_keypair_id) if user.main_keypair_id else None
    return keypair or await users.add_keypair(core, db, user, policy.id)
