"""A small cluster in a database, for tests of what moves in it; the agents are the test itself."""

import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from agents.protocol import Event, Hardware, Hello, ImageInfo, KernelLog, KernelPhase, KernelReport, Phase
from services import ids, sessions
from services.agents import AgentLinks
from services.core import Core
from services.db.tables import (
    FINAL,
    Agent,
    Domain,
    Group,
    GroupMember,
    Image,
    Kernel,
    Keypair,
    Occupancy,
    ResourceGroup,
    ResourceGroupGrant,
    ResourcePolicy,
    Session,
    User,
)
from services.keys import digest
from services.permissions import Actor
from services.scheduling import occupancy
from services.scheduling.dispatch import Dispatcher
from services.sessions import SessionSpec

MINIMAL = ImageInfo(
    "berth/minimal:12", "sha256:1", "x86_64", 100, {"berth.min.cpu": "0.1", "berth.min.mem": "32m"}
)


@dataclass
class World:
    """One domain, group, resource group and policy; users and agents as a test adds them."""

    core: Core
    domain: str = field(default_factory=lambda: ids.new("dom"))
    group: str = field(default_factory=lambda: ids.new("grp"))
    policy: str = field(default_factory=lambda: ids.new("pol"))
    resource_group: str = field(default_factory=lambda: ids.new("rgp"))
    sequences: dict[str, int] = field(default_factory=dict[str, int])
    links: AgentLinks = field(init=False)

    def __post_init__(self) -> None:
        self.links = AgentLinks(self.core)

    async def build(
        self,
        *,
        policy_slots: dict[str, int] | None = None,
        group_slots: dict[str, int] | None = None,
        domain_slots: dict[str, int] | None = None,
        resource_group_slots: dict[str, int] | None = None,
        resource_group_concurrent: int | None = None,
        group_concurrent: int | None = None,
        domain_concurrent: int | None = None,
        concurrent: int | None = None,
        grace: int | None = None,
        retries: int = 0,
        kernels: int = 1,
    ) -> "World":
        tag = self.domain[-6:]
        async with self.core.db.write() as db:
            db.add(
                Domain(
                    id=self.domain,
                    name=f"d-{tag}",
                    total_slots=domain_slots or {},
                    max_concurrent_sessions=domain_concurrent,
                )
            )
            db.add(
                ResourcePolicy(
                    id=self.policy,
                    name=f"p-{tag}",
                    total_slots=policy_slots or {},
                    max_concurrent_sessions=concurrent,
                    max_kernels_per_session=kernels,
                )
            )
            db.add(
                ResourceGroup(
                    id=self.resource_group,
                    name=f"r-{tag}",
                    lost_session_grace_seconds=grace,
                    total_slots=resource_group_slots or {},
                    max_concurrent_sessions=resource_group_concurrent,
                    start_retries=retries,
                )
            )
            await db.flush()
            db.add(
                Group(
                    id=self.group,
                    domain_id=self.domain,
                    name="g",
                    total_slots=group_slots or {},
                    max_concurrent_sessions=group_concurrent,
                )
            )
            db.add(ResourceGroupGrant(resource_group_id=self.resource_group, grantee_id=self.domain))
        return self

    async def user(self, role: str = "USER", **more: Any) -> Actor:
        user, keypair = ids.new("usr"), ids.new("key")
        async with self.core.db.write() as db:
            values = {"domain_id": self.domain, "email": f"{user}@example.org", "name": user, "role": role}
            db.add(User(id=user, **values, **more))
            await db.flush()
            db.add(GroupMember(group_id=self.group, user_id=user))
            db.add(
                Keypair(
                    id=keypair, user_id=user, policy_id=self.policy, access_key=keypair, secret_encrypted=b"-"
                )
            )
        return Actor(user, self.domain, role, frozenset([self.group]), keypair)

    async def agent(self, **slots: int) -> str:
        """A connected agent, by default with 4 cores and 8 GiB."""
        agent = ids.new("agt")
        async with self.core.db.write() as db:
            db.add(
                Agent(
                    id=agent,
                    name=agent,
                    resource_group_id=self.resource_group,
                    credential_hash=digest("secret"),
                )
            )
        await self.hello(agent, slots=slots or {"cpu": 4000, "mem": 8 * 2**30})
        return agent

    async def hello(
        self,
        agent: str,
        kernels: tuple[KernelReport, ...] = (),
        slots: dict[str, int] | None = None,
        **more: Any,
    ) -> Any:
        hello = Hello(
            protocol=1,
            version="test",
            boot="b",
            runtime="process",
            architecture="x86_64",
            slots=slots or {"cpu": 4000, "mem": 8 * 2**30},
            hardware=Hardware(),
            kernels=kernels,
            images=(MINIMAL,),
            **more,
        )
        return await self.links.welcome(agent, hello)

    async def image(self) -> str:
        async with self.core.db.read() as db:
            return (await db.scalars(select(Image.id).where(Image.reference == MINIMAL.reference))).one()

    async def launch(self, actor: Actor, cpu: str = "1", mem: int = 2**28, **more: Any) -> Session:
        spec = SessionSpec(
            self.group, self.resource_group, await self.image(), [("cpu", cpu), ("mem", str(mem))], **more
        )
        return await sessions.create(self.core, actor, spec)

    async def session(self, session_id: str) -> Session:
        async with self.core.db.read() as db:
            return (await db.scalars(select(Session).where(Session.id == session_id))).one()

    async def kernel(self, session_id: str) -> Kernel:
        async with self.core.db.read() as db:
            return (await db.scalars(select(Kernel).where(Kernel.session_id == session_id))).one()

    async def kernels(self, session_id: str) -> list[Kernel]:
        """main1 first."""
        async with self.core.db.read() as db:
            rows = await db.scalars(
                select(Kernel).where(Kernel.session_id == session_id).order_by(Kernel.rank)
            )
            return list(rows)

    async def tell(self, kernel: Kernel, phase: Phase, **more: Any) -> None:
        """A kernel's agent says that it has reached a phase."""
        body = KernelPhase(kernel.id, kernel.generation, kernel.session_id, phase, **more)
        await self.send(kernel.agent_id or "", body)

    async def report(self, session_id: str, phase: Phase, *, agent: str | None = None, **more: Any) -> None:
        """The session's agent says that its kernel has reached a phase."""
        kernel = await self.kernel(session_id)
        body = KernelPhase(
            kernel=kernel.id,
            generation=more.pop("generation", kernel.generation),
            session=session_id,
            phase=phase,
            **more,
        )
        await self.send(agent or kernel.agent_id or "", body)

    async def send(self, agent: str, body: KernelPhase | KernelLog) -> None:
        """The agent's next numbered event."""
        self.sequences[agent] = self.sequences.get(agent, 0) + 1
        await self.links.take_events(agent, [Event(self.sequences[agent], time.time(), body)])

    async def dispatch(self) -> Dispatcher:
        """Run one dispatcher until it places nothing more."""
        dispatcher = Dispatcher(self.core)
        await dispatcher.take_duty()
        while await dispatcher.cycle():
            pass
        return dispatcher


async def ledger_is_true(core: Core) -> bool:
    """Occupancies are exactly what live kernels occupy."""
    expected: dict[tuple[str, str], int] = {}
    async with core.db.read() as db:
        rows = (
            await db.execute(
                select(Kernel, Session)
                .join(Session, Session.id == Kernel.session_id)
                .where(Kernel.status.not_in(("PENDING", *FINAL)))
            )
        ).all()
        for kernel, session in rows:
            own = (session.keypair_id, session.user_id, session.resource_group_id)
            for scope in (kernel.agent_id, *own, session.group_id, session.domain_id):
                for slot, amount in kernel.slots.items():
                    expected[scope or "", slot] = expected.get((scope or "", slot), 0) + amount
        for session in {session.id: session for _, session in rows}.values():
            own = (session.keypair_id, session.user_id, session.resource_group_id)
            for scope in (*own, session.group_id, session.domain_id):
                expected[scope, occupancy.SESSIONS] = expected.get((scope, occupancy.SESSIONS), 0) + 1
        found = {
            (row.scope_id, row.slot): row.used for row in await db.scalars(select(Occupancy)) if row.used
        }
    return found == expected
