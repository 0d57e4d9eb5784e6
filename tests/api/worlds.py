"""Two domains with something of everything in both, and who may look at it.

Everything that `ours` has is the owner's, or near the owner: each row is there because somebody sees it whom somebody
else of the matrix does not.
"""

import itertools
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select
from starlette.applications import Starlette

from agents.protocol import DeviceStats, DeviceUse, KernelStats, NodeStats, Stats
from scheduler.plan import (
    DesignatedAgentsUnavailable,
    GangDoesNotFit,
    LimitReached,
    NoAgentFits,
    NoAgents,
    Reason,
    Reserved,
    SchedulerFailed,
    Waiting,
    WrongArchitecture,
)
from services import settings, tokens
from services.bus import PullAdvanced
from services.core import Core
from services.db.tables import (
    Base,
    Domain,
    Group,
    KernelLog,
    Login,
    Occupancy,
    Session,
    SessionDependency,
    User,
)
from services.sessions.reasons import Away, Writer, held_back
from services.tokens import AccessClaims
from services.usage import periods
from services.usage.totals import Additions, Scope
from tests.api.clients import Caller
from tests.factories import PASSWORD_HASH, SECRET_KEY, SSH_KEY, Factories

ANONYMOUS: Final = "anonymous"
AUDITED: Final = (
    '{"arguments":[["name","n"]],"targets":["usr_"],"changes":[["usr_","name","before","after"]]}'
)
MAIL_PASSWORD: Final = "the-password-of-the-mail-server"

#: Prefix of an id → the type that the API shows it as.
TYPES: Final = {
    "dom": "Domain", "grp": "Group", "usr": "User", "lgn": "Login", "key": "Keypair", "pol": "ResourcePolicy",
    "rgp": "ResourceGroup", "pre": "ResourcePreset", "agt": "Agent", "img": "Image", "reg": "Registry", "tsk": "Task",
    "ses": "Session", "knl": "Kernel", "eml": "Mail", "inv": "Invitation", "evt": "AuditEvent", "ann": "Announcement",
    "idp": "IdentityProvider", "idn": "Identity",
}  # fmt: skip


@dataclass
class Thing:
    """An object of the world, and what somebody may be to it."""

    id: str
    #: The type that the API shows it as.
    type: str
    domain: str = ""
    #: Group that it is of.
    group: str = ""
    owner: str = ""
    #: Who has it by a grant, or by a keypair with it, or by a session made from it; `*`: everybody.
    granted: frozenset[str] = frozenset()


@dataclass
class Person:
    row: User
    groups: list[Group]
    login: Login
    token: str = field(repr=False)


@dataclass
class World:
    """All that there is; `ours` and `theirs` name one thing of each kind in either domain."""

    make: Factories
    people: dict[str, Person] = field(default_factory=dict[str, Person])
    things: dict[str, Thing] = field(default_factory=dict[str, Thing])
    ours: dict[str, Any] = field(default_factory=dict[str, Any])
    theirs: dict[str, Any] = field(default_factory=dict[str, Any])
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def core(self) -> Core:
        return self.make.core

    def caller(self, app: Starlette, who: str) -> Caller:
        return Caller(app, self.people[who].token if who != ANONYMOUS else "")

    def add(self, row: Any, **facts: Any) -> Any:
        self.things[row.id] = Thing(row.id, type(row).__name__, **facts)
        return row

    async def rows(self) -> dict[str, list[str]]:
        """Everything in the database, by table; but for the audit, where an attempt leaves its row."""
        async with self.core.db.read() as db:
            return {
                table.name: sorted(repr(tuple(row)) for row in await db.execute(select(table)))
                for table in Base.metadata.sorted_tables
                if not table.name.startswith("audit_")
            }

    def name(self) -> str:
        """One that nothing has yet."""
        return f"new-{next(self._numbers)}"

    async def twin(self, who: str) -> tuple[User, str]:
        """Somebody like this actor, and a token of theirs; an anonymous one is nobody."""
        if who == ANONYMOUS:
            return User(), ""
        like = self.people[who].row
        user = await self.make.user(domain_id=like.domain_id, role=like.role, active=like.active)
        login = await self.make.login(user=user)
        self.add(user, domain=user.domain_id, owner=user.id)
        self.add(login, domain=user.domain_id, owner=user.id)
        return user, self.token(user, login)

    def token(self, user: User, login: Login) -> str:
        core, claims = self.core, AccessClaims(user.id, login.id, user.epoch)
        return tokens.issue_access(core.keys, claims, core.now(), timedelta(hours=1))[0]

    def ids(self, kind: str) -> list[str]:
        return [thing.id for thing in self.things.values() if thing.type == kind]


async def build(make: Factories) -> World:
    world = World(make)
    await _tenant(world, world.ours, ("owner", "peer", "admin", "superadmin", "inactive"))
    await _tenant(world, world.theirs, ("stranger", "other admin"))
    for tenant, who, near in ((world.ours, "owner", "peer"), (world.theirs, "stranger", "other admin")):
        await _cluster(world, tenant, who, near)
        await _sessions(world, tenant, who, near)
    await _left_behind(world)
    await _usage(world)
    superadmin = make.actor(world.people["superadmin"].row)
    await settings.change(
        make.core,
        superadmin,
        [
            settings.Change("retryPauseSeconds", 20),
            settings.Change("mailPassword", MAIL_PASSWORD),
            settings.Change("signUpMode", "OPEN"),
            settings.Change("termsUrl", "https://example.org/terms"),
        ],
    )
    async with make.core.db.write() as db:
        row = await db.get_one(User, world.people["inactive"].row.id)
        row.active = False
    world.people["inactive"].row = row
    return world


async def _tenant(world: World, tenant: dict[str, Any], names: Iterable[str]) -> None:
    """A domain, a group, one that only administrators know, and people."""
    make = world.make
    domain = await make.domain(
        description="a domain",
        total_slots={"cpu": 64000},
        max_concurrent_sessions=99,
        allowed_storage_hosts=["shared"],
    )
    tenant["Domain"] = world.add(domain, domain=domain.id)
    for key in ("Group", "empty"):
        group = await make.group(
            domain=domain, description="a group", total_slots={"cpu": 32000}, max_concurrent_sessions=98,
            allowed_storage_hosts=["shared"],
        )  # fmt: skip
        tenant[key] = world.add(group, domain=domain.id, group=group.id)
    for name in names:
        role = {"superadmin": "SUPERADMIN"}.get(name, "DOMAIN_ADMIN" if "admin" in name else "USER")
        groups = [tenant["Group"]] if role == "USER" else []
        await _person(world, tenant, name, domain, groups, role=role)


async def _person(
    world: World, tenant: dict[str, Any], name: str, domain: Domain, groups: list[Group], **more: Any
) -> None:
    make, core = world.make, world.core
    policy = await make.policy(
        description="a policy",
        total_slots={"cpu": 16000},
        max_concurrent_sessions=9,
        idle_timeout_seconds=60,
        max_lifetime_seconds=86400,
        allowed_storage_hosts=["local"],
        max_folder_bytes=2**40,
        max_folders=10,
    )
    user = await make.user(
        domain=domain, groups=groups, policy=policy, full_name=name, description=f"is {name}", rate_limit=10**6,
        total_slots={"cpu": 32000}, max_concurrent_sessions=8, ssh_public_keys=[SSH_KEY],
        **more,
    )  # fmt: skip
    await make.consent(user=user)
    tenant.setdefault("Identity", identity := await make.identity(user=user))
    second = await make.keypair(user=user, policy=policy, last_used_at=core.now(), rate_limit=10**6)
    login = await make.login(user=user, address="192.0.2.1", user_agent="a browser")
    facts = {"domain": domain.id, "owner": user.id}
    world.add(user, **facts)
    world.add(policy, granted=frozenset({user.id}))
    world.add(login, **facts)
    world.add(second, **facts)
    world.add(identity, **facts)
    event = await make.audit_event(
        user=user, outcome="REFUSED", code="CONFLICT", address="192.0.2.1", user_agent="a browser", request_id="r1",
        content=AUDITED.replace("usr_", user.id),
    )  # fmt: skip
    world.add(event, **facts)
    world.things[user.main_keypair_id or ""] = Thing(user.main_keypair_id or "", "Keypair", **facts)
    world.people[name] = Person(user, groups, login, world.token(user, login))
    tenant.setdefault("User", user)
    tenant.setdefault("Keypair", second)
    tenant.setdefault("ResourcePolicy", policy)
    tenant.setdefault("Login", login)


async def _cluster(world: World, tenant: dict[str, Any], who: str, near: str) -> None:
    """Resource groups granted to a domain, a group and a user; a node; images for all and for nobody any more."""
    make, owner = world.make, world.people[who]
    grantees: dict[str, Domain | Group | User] = {
        "ResourceGroup": tenant["Domain"],
        "group's": tenant["Group"],
        "user's": owner.row,
    }
    for key, grantee in grantees.items():
        group = await make.resource_group(
            granted=[grantee], description="nodes", sequencer_options={"a": 1}, placer_options={"b": 2},
            backfill_options={"assumed_duration_seconds": 60},
            scheduler_fault={"plugin": "placer p", "message": "It fell.", "since": "2026-01-01T00:00:00+00:00"},
            lost_session_grace_seconds=60, total_slots={"cpu": 64000}, max_concurrent_sessions=7,
            max_kernels_per_session=2,
        )  # fmt: skip
        tenant[key] = world.add(group, granted=frozenset({grantee.id}))
    task = await make.task(
        user=owner.row, status="RUNNING", current=1, total=3, message="n1: i", summary=[["DONE", 1]],
        pulls=[["agt_1", "img_1", "r/i:1", 2**40, 2**41]],
        error_code="X", error_message="y", started_at=world.core.now(), ended_at=world.core.now(),
    )  # fmt: skip
    await make.task_line(task=task, subject="i on n1", message="It was there.")
    tenant["Task"] = world.add(task, domain=owner.row.domain_id, owner=owner.row.id)
    tenant["ResourcePreset"] = world.add(
        await make.preset(description="a size", slots={"cpu": 10**9, "mem": 2**30}, shared_memory=2**20)
    )
    now = world.core.now()
    invitation = await make.invitation(
        domain=tenant["Domain"], group=tenant["Group"], policy=tenant["ResourcePolicy"], created_by=owner.row,
        description="for new ones", revoked_at=world.core.now(),
    )  # fmt: skip
    announcement = await make.announcement(
        domain=tenant["Domain"],
        author_id=world.people[who].row.id,
        text="*soon*",
        ends_at=world.core.now() + timedelta(days=1),
    )
    tenant["Announcement"] = world.add(announcement, domain=tenant["Domain"].id)
    provider = await make.identity_provider(
        description="people of the campus", allowed_email_domains=["example.org"], client_secret_sealed=b"-",
        domain_id=tenant["Domain"].id, group_id=tenant["Group"].id,
    )  # fmt: skip
    tenant["IdentityProvider"] = world.add(provider)
    tenant["Invitation"] = world.add(invitation, domain=tenant["Domain"].id)
    tenant["Mail"] = world.add(await make.mail(sent_at=world.core.now(), last_error="It was away."))
    agent = await make.agent(
        resource_group=tenant["ResourceGroup"], address="198.51.100.7", region="here", runtime="docker",
        architecture="x86_64", version="1", first_contact_at=now, last_contact_at=now, lost_at=now,
        hardware={
            "hostname": "node", "os": "Linux", "kernel": "6", "cpu_model": "c", "cpu_count": 4, "memory": 8,
            "disk": 9, "engine": "e", "faults": {"tpu": "It hangs."},
            "devices": [
                {"id": "GPU-1", "plugin": "cuda", "model": "H100", "memory": 2**34, "numa_node": 1, "healthy": False,
                 "reason": "It failed.", "capacity": {"cuda.shares": 1000}, "held": {"cuda.shares": 500}},
            ],
        },
    )  # fmt: skip
    tenant["Agent"] = world.add(agent)
    await make.agent_event(agent=agent, code="CONNECTED", message="It is here.")
    about = {
        "registry_host": "registry.example", "namespace": "n", "tag": "1", "digest": "sha256:1", "size": 5,
        "language": "Python", "version": "3", "base": "debian", "labels": {"a": "b"}, "minimum_slots": {"cpu": 500},
        "service_ports": [{"name": "jupyter", "protocol": "http", "port": 8080}], "environment_names": ["N"],
    }  # fmt: skip
    image = await make.image(agents=[agent], aliases=[f"alias-{agent.id[4:]}"], **about)
    tenant["Image"] = world.add(image, granted=frozenset({"*"}))
    for key, grantee in (("Registry", tenant["Domain"]), ("group's registry", tenant["Group"])):
        registry = await make.registry(
            granted=[grantee], username="robot", password="registry-secret", projects=["p"],
            trusted_hosts=["auth.example"], scanned_at=now,
        )  # fmt: skip
        tenant[key] = world.add(registry, granted=frozenset({grantee.id}))
        image = await make.image(**about | {"registry_host": registry.hostname})
        world.add(image, granted=frozenset({grantee.id}))
    for key, person in (("hidden", owner), ("near hidden", world.people[near])):
        image = await make.image(agents=[agent], active=False, **about)
        tenant[key] = world.add(image, granted=frozenset({person.row.id}))


async def _sessions(world: World, tenant: dict[str, Any], who: str, near: str) -> None:
    """One that runs, one that waits, one that has ended, and a neighbour's that waits for its image."""
    now, agent, owner = world.core.now(), tenant["Agent"], world.people[who].row
    waits = _waits(
        world,
        NoAgentFits(slot="cpu", asked=1000, free=0, largest_free=500, largest_capacity=4000, never=False),
    )
    running = await _session(
        world, tenant, owner, tenant["Image"], agent=agent, raised={"cpu": 1000}, environ={"A": "b"},
        startup_command="true", bootstrap_script="true", scheduled_at=now, started_at=now - timedelta(minutes=1),
        phase_deadline=now, unreachable_since=now, starts_at=now - timedelta(minutes=2), max_duration_seconds=3600,
        ends_at=now + timedelta(minutes=59),
    )  # fmt: skip
    tenant["Session"], tenant["Kernel"] = running
    use = DeviceUse("GPU-1", "cuda.shares", 500, 25.0, 2**30, 2**33)
    sample = KernelStats(kernel=running[1].id, cpu_percent=12.5, memory_bytes=2**33, devices=(use,))
    load = DeviceStats("GPU-1", 12.5, 2**30, 2**34, 41.0, 120.5)
    node = NodeStats(cpu_percent=50.0, devices=(load,))
    world.core.stats.ingest(agent.id, Stats(time.time(), node, (sample,)))
    await _session(world, tenant, owner, tenant["hidden"], status="PENDING", pending_reason=waits)
    has_ended, ended = await _session(
        world, tenant, owner, tenant["Image"], agent=agent, status="TERMINATED", exit_code=0, started_at=now,
        terminated_at=now, reason_code="EXITED", reason_message="It has ended.", type="BATCH",
    )  # fmt: skip
    tenant["ended"] = has_ended
    await _held_back(world, tenant, owner, has_ended)
    pulls, kernel = await _session(
        world, tenant, world.people[near].row, tenant["near hidden"], agent=agent, status="PULLING"
    )
    world.core.progress._pulls[pulls.id] = PullAdvanced(
        session_id=pulls.id, kernel_id=kernel.id, current=1, total=4
    )
    async with world.core.db.write() as db:
        db.add(KernelLog(kernel_id=ended.id, data=zlib.compress(b"hello\n"), size=6))
        for scope in (agent.id, tenant["Domain"].id, tenant["Group"].id, owner.main_keypair_id):
            db.add(Occupancy(scope_id=scope, slot="cpu", used=1000))
            db.add(Occupancy(scope_id=scope, slot="sessions", used=1))


async def _held_back(world: World, tenant: dict[str, Any], owner: User, done: Session) -> None:
    """Batch sessions of which one waits for a moment, and another for the first and for one that has succeeded."""
    moment = world.core.now() + timedelta(days=1)
    later, _ = await _session(
        world, tenant, owner, tenant["Image"], type="BATCH", status="PENDING", starts_at=moment,
        pending_reason=_held(world, "STARTS_LATER"),
    )  # fmt: skip
    last, _ = await _session(
        world,
        tenant,
        owner,
        tenant["Image"],
        status="PENDING",
        pending_reason=_held(world, "WAITS_FOR_SESSIONS"),
    )
    async with world.core.db.write() as db:
        db.add_all([SessionDependency(session_id=last.id, depends_on_id=one.id) for one in (done, later)])


async def _every_reason(world: World) -> None:
    """Sessions of the owner that wait, one for each other reason; about things that are not the owner's where that can be."""
    ours, owner, now = world.ours, world.people["owner"].row, world.core.now()
    head, _ = await _session(world, ours, world.people["peer"].row, ours["Image"])
    found = [
        LimitReached(scope=ours["empty"].id, slot="cpu", asked=1000, used=32000, cap=32000),
        LimitReached(scope=ours["Group"].id, slot="sessions", asked=1, used=2, cap=2),
        NoAgents(resource_group=ours["ResourceGroup"].id, agents=1),
        DesignatedAgentsUnavailable(resource_group=ours["ResourceGroup"].id, agents=(ours["Agent"].id,)),
        WrongArchitecture(accepted=("aarch64",), available=("x86_64",)),
        GangDoesNotFit(kernels=4, fitting=1, at_most=3, never=True),
        Reserved(session=head.id, starts_in=60),
        SchedulerFailed(plugin="placer Pack", message="It raised."),
    ]
    for reason in found:
        await _session(
            world, ours, owner, ours["Image"], status="PENDING", pending_reason=_waits(world, reason)
        )
    await _session(
        world, ours, owner, ours["Image"], status="PENDING", retry_at=now, failed_agent_ids=["agt_1"],
        pending_reason=_held(world, "RETRY_LATER"),
    )  # fmt: skip


def _waits(world: World, reason: Reason) -> dict[str, Any]:
    """What the dispatcher would store."""
    writer = Writer(world.core.now(), {"rgp": Away(drained=1, lost=2)}, {"ses": "rgp"})
    (news,) = writer.news([("ses", Waiting(1, reason, 60))], {})
    return news.document


def _held(world: World, code: str) -> dict[str, Any]:
    return {**held_back(code), "starts_at": world.core.now().isoformat()}


async def _session(
    world: World, tenant: dict[str, Any], user: User, image: Any, *, agent: Any = None, **more: Any
) -> tuple[Session, Any]:
    group, nodes = more.pop("group", tenant["Group"]), more.pop("resource_group", tenant["ResourceGroup"])
    session = await world.make.session(user=user, group=group, image=image, resource_group=nodes, **more)
    ended = {
        name: more[name]
        for name in ("exit_code", "started_at", "terminated_at", "reason_code", "reason_message")
        if name in more
    }
    kernel = await world.make.kernel(session=session, agent=agent, **ended)
    await world.make.session_event(session=session, code="X", message="y")
    facts = {"domain": group.domain_id, "group": group.id, "owner": user.id}
    world.add(session, **facts)
    world.add(kernel, **facts)
    return session, kernel


async def _usage(world: World) -> None:
    """Something of every measure, of either domain's owner."""
    additions, hour = Additions(), world.core.now()
    measures = (
        "sessions", "cpu", "mem", "seen", "use:cpu", "use:mem", "use:cuda.device", "seen:cuda.device",
        "io:read", "io:written", "net:received", "net:sent",
    )  # fmt: skip
    for tenant, who in ((world.ours, "owner"), (world.theirs, "stranger")):
        where = tenant["Domain"].id, tenant["Group"].id, tenant["ResourceGroup"].id
        scope = Scope(*where, world.people[who].row.id)
        for measure in measures:
            additions.add(periods.floor_hour(hour), scope, measure, 10**12, peak=10**9)
    async with world.core.db.write() as db:
        await additions.write(db)


async def _left_behind(world: World) -> None:
    """The owner's session in a group that was left since, on nodes whose grant was taken back; and a superadmin's."""
    ours, theirs = world.ours, world.theirs
    await _session(
        world, ours, world.people["owner"].row, ours["Image"], group=ours["empty"],
        resource_group=theirs["ResourceGroup"], agent=theirs["Agent"],
    )  # fmt: skip
    await _session(world, ours, world.people["superadmin"].row, ours["Image"], agent=ours["Agent"])
    await _every_reason(world)


def secrets_of(world: World) -> set[str]:
    """What no answer may contain, whoever asks."""
    secrets = {SECRET_KEY, PASSWORD_HASH, MAIL_PASSWORD, "registry-secret"}
    return secrets | {person.token for person in world.people.values()}
