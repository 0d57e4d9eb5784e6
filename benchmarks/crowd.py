"""A database full of people, agents and waiting sessions, for benchmarks of the services."""

import os
import tempfile
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import asyncpg
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from agents.hub import Hub
from services import ids
from services.bus import LocalBus
from services.core import Core
from services.db.engine import open_database
from services.db.migrate import upgrade
from services.db.tables import (
    Agent,
    AgentImage,
    Domain,
    Group,
    GroupMember,
    Image,
    Kernel,
    Keypair,
    ResourceGroup,
    ResourceGroupGrant,
    ResourcePolicy,
    Session,
    SessionEvent,
    User,
)
from services.keys import Keys, digest
from services.permissions import Actor
from services.progress import ProgressBook
from services.stats import StatsBook

GIB = 2**30
#: What each session asks for, in turn.
SHAPES = [{"cpu": cpu, "mem": mem * GIB} for cpu in (500, 1000, 2000) for mem in (1, 2, 4, 8)]


@dataclass
class Crowd:
    core: Core
    domain: str
    resource_group: str
    policy: str
    image: str
    groups: list[str] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)

    async def wait(self, count: int, *, cpu: int | None = None) -> list[str]:
        """Put so many sessions into the queue, past all checks. `cpu`: that each asks for."""
        now, sessions = self.core.now(), []
        for number in range(count):
            actor = self.actors[number % len(self.actors)]
            shape = SHAPES[number % len(SHAPES)]
            sessions.append(
                {
                    "id": ids.new("ses"),
                    "name": f"s{number}-{uuid.uuid4().hex[:8]}",
                    "user_id": actor.user_id,
                    "keypair_id": actor.keypair_id,
                    "group_id": min(actor.group_ids),
                    "domain_id": self.domain,
                    "resource_group_id": self.resource_group,
                    "image_id": self.image,
                    "slots": shape if cpu is None else {**shape, "cpu": cpu},
                    "created_at": now - timedelta(microseconds=count - number),
                }
            )
        kernels = [{"id": ids.new("knl"), "session_id": one["id"], "slots": one["slots"]} for one in sessions]
        events = [{"session_id": one["id"], "at": now, "status": "PENDING"} for one in sessions]
        async with self.core.db.write() as db:
            for table, rows in ((Session, sessions), (Kernel, kernels), (SessionEvent, events)):
                for start in range(0, count, 1000):
                    await db.execute(insert(table), rows[start : start + 1000])
        return [one["id"] for one in sessions]


@asynccontextmanager
async def databases(kinds: list[str]) -> AsyncGenerator[dict[str, str]]:
    """URLs of empty databases with all tables: a file on SQLite, one of its own on the PostgreSQL server that
    BERTH_TEST_DATABASE_URL names. They are gone afterwards."""
    urls, name = {}, f"bench_{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix="berth-") as folder:
        if "sqlite" in kinds:
            urls["sqlite"] = f"sqlite+aiosqlite:///{Path(folder) / 'berth.db'}"
        if "postgres" in kinds:
            server = make_url(os.environ["BERTH_TEST_DATABASE_URL"])
            await _execute(f"CREATE DATABASE {name}")
            here = server.set(drivername="postgresql+asyncpg", database=name)
            urls["postgres"] = here.render_as_string(hide_password=False)
        try:
            for url in urls.values():
                await upgrade(url)
            yield urls
        finally:
            if "postgres" in urls:
                await _execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(statement: str) -> None:
    server = make_url(os.environ["BERTH_TEST_DATABASE_URL"]).set(drivername="postgresql")
    connection = await asyncpg.connect(server.render_as_string(hide_password=False))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def open_core(url: str) -> Core:
    bus = LocalBus()
    return Core(
        db=open_database(url),
        bus=bus,
        hub=Hub(),
        keys=Keys.generate(),
        stats=StatsBook(bus),
        progress=ProgressBook(bus),
    )


async def gather(core: Core, *, users: int, agents: int, groups: int = 10) -> Crowd:
    """People with limits of keypair, user, group, domain and resource group, none of which is reached; agents that all
    have the one image."""
    crowd = Crowd(core, ids.new("dom"), ids.new("rgp"), ids.new("pol"), ids.new("img"))
    most = {"cpu": 10**12, "mem": 10**18}
    crowd.groups = [ids.new("grp") for _ in range(groups)]
    people, keypairs, members = [], [], []
    for number in range(users):
        user, keypair, group = ids.new("usr"), ids.new("key"), crowd.groups[number % groups]
        crowd.actors.append(Actor(user, crowd.domain, "USER", frozenset([group]), keypair))
        people.append(
            {
                "id": user,
                "domain_id": crowd.domain,
                "email": f"{user}@example.org",
                "name": f"u{number}",
                "main_keypair_id": keypair,
                "total_slots": most,
                "max_concurrent_sessions": 10**9,
            }
        )
        keypairs.append(
            {
                "id": keypair,
                "user_id": user,
                "policy_id": crowd.policy,
                "access_key": keypair,
                "secret_encrypted": b"-",
                "rate_limit": 10**9,
            }
        )
        members.append({"group_id": group, "user_id": user})
    crowd.agents = [ids.new("agt") for _ in range(agents)]
    limits = {"total_slots": most, "max_concurrent_sessions": 10**9}
    async with core.db.write() as db:
        await db.execute(insert(Domain), [{"id": crowd.domain, "name": "d", "total_slots": most}])
        await db.execute(insert(ResourcePolicy), [{"id": crowd.policy, "name": "p", **limits}])
        await db.execute(insert(ResourceGroup), [{"id": crowd.resource_group, "name": "r", **limits}])
        await db.execute(
            insert(ResourceGroupGrant),
            [{"resource_group_id": crowd.resource_group, "grantee_id": crowd.domain}],
        )
        await db.execute(
            insert(Group),
            [
                {"id": one, "domain_id": crowd.domain, "name": one, "total_slots": most}
                for one in crowd.groups
            ],
        )
        for table, rows in ((User, people), (GroupMember, members), (Keypair, keypairs)):
            await db.execute(insert(table), rows)
        await db.execute(
            insert(Image),
            [{"id": crowd.image, "reference": "x/y:1", "architecture": "x86_64", "name": "y"}],
        )
        await db.execute(insert(Agent), [_agent(one, crowd.resource_group) for one in crowd.agents])
        await db.execute(
            insert(AgentImage), [{"agent_id": one, "image_id": crowd.image} for one in crowd.agents]
        )
    return crowd


def _agent(agent_id: str, resource_group: str) -> dict[str, object]:
    return {
        "id": agent_id,
        "name": agent_id,
        "resource_group_id": resource_group,
        "status": "ALIVE",
        "credential_hash": digest("-"),
        "architecture": "x86_64",
        "slots": {"cpu": 10**9, "mem": 10**15},
        "hardware": {"devices": [], "slot_kinds": []},
    }
