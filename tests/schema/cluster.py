"""A small cluster in the database, with something of everything, for operations that read all of it."""

import time
from dataclasses import dataclass

from agents.protocol import KernelStats, NodeStats, Stats
from services.db.tables import Agent, Group, Image, Occupancy, ResourceGroup, Session, User
from services.permissions import Actor
from tests.factories import Factories


@dataclass
class Cluster:
    admin: Actor
    user: Actor
    group: Group
    resource_group: ResourceGroup
    agent: Agent
    image: Image
    owner: User
    sessions: list[Session]


async def build(make: Factories, sessions: int = 3) -> Cluster:
    domain = await make.domain()
    group = await make.group(domain=domain)
    owner = await make.user(domain=domain, groups=[group])
    await make.login(user=owner)
    resource_group = await make.resource_group(granted=[domain, owner], sequencer_options={"a": [1]})
    agent = await make.agent(resource_group=resource_group, hardware={"hostname": "n1", "cpu_count": 4})
    image = await make.image(agents=[agent], minimum_slots={"cpu": 500}, labels={"a": "b"})
    image_ports = await make.image(service_ports=[{"name": "jupyter", "protocol": "http", "port": 8080}])
    made: list[Session] = []
    for number in range(sessions):
        session = await make.session(
            user=owner,
            group=group,
            image=image if number % 2 else image_ports,
            resource_group=resource_group,
            environ={"A": "1"},
            status=("RUNNING", "PENDING", "ERROR")[number % 3],
            reason_code="EXITED" if number % 3 == 2 else "",
            started_at=make.core.now(),
            pending_reason={
                "code": "LIMIT_REACHED",
                "position": 1,
                "scope": group.id,
                "slot": "cpu",
                "asked": 1000,
                "used": 1000,
                "cap": 1000,
            }
            if number % 3 == 1
            else None,
        )
        kernel = await make.kernel(session=session, agent=agent)
        await make.session_event(session=session, code="X", message="y")
        sample = KernelStats(kernel=kernel.id, cpu_percent=12.5, memory_bytes=2**33)
        make.core.stats.ingest(agent.id, Stats(time.time(), NodeStats(cpu_percent=50.0), (sample,)))
        made.append(session)
    async with make.core.db.write() as db:
        db.add(Occupancy(scope_id=agent.id, slot="cpu", used=1000))
        db.add(Occupancy(scope_id=owner.main_keypair_id or "", slot="sessions", used=1))
    admin = await make.superadmin(domain=domain)
    return Cluster(admin, make.actor(owner, [group]), group, resource_group, agent, image, owner, made)
