"""What the dispatcher keeps between its cycles is what reading everything anew would give, whatever has happened."""

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, update

from agents.protocol import Phase
from services import agents, ids, policies, sessions
from services.bus import Wake
from services.core import Core
from services.db import bulk
from services.db.tables import FINAL, Agent, Kernel, ResourceGroup, Session, SessionEvent
from services.errors import BerthError
from services.permissions import Actor
from services.policies import PolicyChanges
from services.scheduling import dispatch, kept
from services.scheduling.dispatch import Dispatcher
from services.scheduling.kept import Kept
from tests.factories import Clock
from tests.scheduler.builders import described
from tests.services.world import World

PHASES: tuple[Phase, ...] = ("PULLING", "RUNNING", "TERMINATED", "ERROR")


def told(found: Kept) -> list[object]:
    """All that it says, without the limits of those who wait for nothing any more, and without what the one who writes
    reasons remembers of them.
    """
    snapshot = found.build()
    waiting = {scope for request in snapshot.requests for scope in request.scopes}
    limits = tuple([limit for limit in snapshot.limits if limit.scope in waiting])
    return [
        *described(msgspec.structs.replace(snapshot, limits=limits)),
        sorted(one._replace(pending_reason=None) for one in found.waiting.values()),
        sorted(map(repr, found.networks)),
        found.unconnected,
        {group: away for group, away in found.away.items() if away != kept.Away()},
        found.groups.keys(),
    ]


class Counting(Kept):
    """It counts how often everything is read."""

    readings = 0

    async def _read_all(self) -> None:
        self.readings += 1
        await super()._read_all()


async def anew(core: Core) -> Kept:
    found = Kept(core)
    await found.look(())
    return found


@dataclass
class History:
    """Things that happen, one after the other, by chance."""

    core: Core
    clock: Clock
    world: World
    chance: random.Random
    actors: list[Actor] = field(default_factory=list[Actor])
    admin: Actor = field(init=False)
    nodes: list[str] = field(default_factory=list[str])
    made: list[Session] = field(default_factory=list[Session])

    async def begin(self) -> None:
        self.actors = [await self.world.user() for _ in range(3)]
        self.admin = await self.world.user("SUPERADMIN")
        self.nodes = [await self.world.agent() for _ in range(3)]
        managers = [replace(self.core, manager_id=f"mgr-{number}") for number in range(2)]
        self.dispatchers = [Dispatcher(manager) for manager in managers]

    async def step(self) -> None:
        steps: list[Callable[[], Awaitable[object]]] = [
            self.launch,
            self.launch,
            self.dispatch,
            self.dispatch,
            self.report,
            self.report,
            self.end,
            self.node,
            self.policy,
            self.wait,
        ]
        await self.chance.choice(steps)()

    async def launch(self) -> None:
        chance, size = self.chance, self.chance.choice((1, 1, 2))
        needed = [one.id for one in self.made if one.type == "BATCH"]
        batch = chance.random() < 0.4
        more: dict[str, Any] = {
            "priority": chance.randint(0, 1),
            "max_duration_seconds": chance.choice((None, 600)),
            "starts_at": chance.choice((None, None, self.clock.now() + timedelta(seconds=20))),
            "cluster_size": size,
            "cluster_mode": chance.choice(("SINGLE_NODE", "MULTI_NODE")) if size > 1 else "SINGLE_NODE",
        }
        if batch:
            more |= {"type": "BATCH", "startup_command": "true"}
            more["depends_on"] = chance.sample(needed, min(len(needed), chance.randint(0, 1)))
        try:
            # A session may only depend on another one of its owner's.
            owner = self.actors[0] if batch else chance.choice(self.actors)
            self.made.append(await self.world.launch(owner, chance.choice(("0.5", "1", "3")), **more))
        except BerthError:
            return

    async def dispatch(self) -> None:
        """By one manager or the other, with a hint or without."""
        dispatcher = self.chance.choice(self.dispatchers)
        for other in self.dispatchers:
            if other is not dispatcher:
                await other.close()
        await dispatcher.take_duty()
        await dispatcher.cycle(self.chance.choice(((), (Wake(),), None)))

    async def report(self) -> None:
        """A node says what became of a kernel."""
        chance = self.chance
        session = chance.choice(self.made) if self.made else None
        for kernel in await self.world.kernels(session.id) if session else ():
            if kernel.status in ("PENDING", *FINAL) or chance.random() < 0.3:
                continue
            phase = chance.choice(PHASES)
            code = {"TERMINATED": "EXITED", "ERROR": "PULL_FAILED"}.get(phase, "")
            await self.world.tell(kernel, phase, code=code, exit_code=0 if phase == "TERMINATED" else None)

    async def end(self) -> None:
        if self.made:
            session = self.chance.choice(self.made)
            owner = next(actor for actor in self.actors if actor.user_id == session.user_id)
            await sessions.terminate(self.core, owner, [session.id], force=self.chance.random() < 0.5)

    async def node(self) -> None:
        """One comes, goes, comes again as another, or is drained."""
        chance, node = self.chance, self.chance.choice(self.nodes)
        match chance.randint(0, 3):
            case 0 if len(self.nodes) < 5:
                self.nodes.append(await self.world.agent(cpu=chance.choice((1000, 9000)), mem=2**33))
            case 1:
                await agents.edit(self.core, self.admin, node, schedulable=chance.random() < 0.5)
            case 2:
                async with self.core.db.write() as db:
                    late = self.clock.now() - timedelta(seconds=1)
                    await db.execute(update(Agent).where(Agent.id == node).values(lease_expires_at=late))
                await agents.expire_leases(self.core)
            case _:
                await self.world.hello(node, slots={"cpu": chance.choice((2000, 4000)), "mem": 2**33})

    async def policy(self) -> None:
        changes = PolicyChanges(max_concurrent_sessions=self.chance.choice((None, 2, 5)))
        if self.chance.random() < 0.3:
            changes = PolicyChanges(max_lifetime_seconds=self.chance.choice((0, 900)))
        await policies.edit(self.core, self.admin, self.world.policy, changes)

    async def wait(self) -> None:
        self.clock.advance(timedelta(seconds=self.chance.choice((1, 12))))


@pytest.mark.parametrize("sequencer", ["fifo", "drf"])
@pytest.mark.parametrize("seed", range(3))
async def test_it_is_what_reading_everything_would_give(
    core: Core, clock: Clock, seed: int, sequencer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_LIFE", timedelta(days=1))
    world = await World(core).build(retries=2, kernels=3)
    async with core.db.write() as db:
        await db.execute(update(ResourceGroup).values(sequencer=sequencer))
    found, more = Counting(core), 0
    async with core.bus.subscribe(Wake) as hints:
        history = History(core, clock, world, random.Random(seed))
        await history.begin()
        await found.look(hints.drain())
        for _ in range(40):
            await history.step()
            heard = hints.drain()
            more += any(hint.anew for hint in heard)
            await found.look(heard)
            assert told(found) == told(await anew(core))
    assert found.readings == 1 + more, "only what leaves no row in a timeline has everything read anew"
    assert more < 15


def one_more(like: Session) -> tuple[dict[str, Any], dict[str, Any]]:
    session = {**bulk.values(like), "id": ids.new("ses"), "name": ids.new("ses")}
    return session, {"id": ids.new("knl"), "session_id": session["id"], "slots": session["slots"]}


@pytest.mark.parametrize("template", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_a_row_with_a_lower_number_that_becomes_visible_late_is_found(core: Core, clock: Clock) -> None:
    """Numbers are given out before commits: the session whose event has the lower one is committed last."""
    world = await World(core).build()
    actor = await world.user()
    await world.agent()
    like = await world.launch(actor)
    found = Counting(core)
    await found.look(())
    session, kernel = one_more(like)
    async with core.db.write() as db:
        for table, row in ((Session, session), (Kernel, kernel)):
            await db.execute(insert(table), [row])
        event = {"session_id": session["id"], "at": clock.now(), "status": "PENDING"}
        lower = await db.scalar(insert(SessionEvent).values(event).returning(SessionEvent.id))
        other = await world.launch(actor)
        assert await found.look(())
        assert found.waiting.keys() == {like.id, other.id}
        assert not await found.look(())
    assert await found.look(())
    assert found.waiting.keys() == {like.id, other.id, session["id"]}
    assert lower is not None
    assert not await found.look(())
    assert found.readings == 1
    assert told(found) == told(await anew(core))


async def test_of_more_than_can_be_known_the_first_are_and_the_others_follow(
    core: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST", 4)
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent(cpu=2000, mem=2**33)
    made = [await world.launch(actor) for _ in range(7)]
    urgent = await world.launch(actor, priority=1)
    dispatcher = await world.dispatch()
    order = [urgent, *made]
    for _ in range(4):
        placed = [one for one in order if (await world.session(one.id)).status == "SCHEDULED"]
        assert placed == order[:2]
        for one in placed:
            await sessions.terminate(core, actor, [one.id], force=True)
        order = order[2:]
        await dispatcher.cycle((Wake(),))
        await dispatcher.cycle((Wake(),))
    assert order == []


async def test_each_that_waits_is_told_why_however_many_do(
    core: Core,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    count_statements: Callable[[Core], AbstractContextManager[list[str]]],
) -> None:
    for name, value in {
        "_ASKED": 2,
        "_HEADS": 1,
        "_REASONS": 1,
        "_ASKED_AT_REST": 3,
        "_REASONS_AT_REST": 2,
    }.items():
        monkeypatch.setattr(dispatch, name, value)
    world = await World(core).build()
    actor, _ = await world.user(), await world.agent()
    made = [await world.launch(actor, cpu="9") for _ in range(9)]
    dispatcher = await world.dispatch()
    for _ in range(30):
        await dispatcher.cycle(())
    for position, one in enumerate(made, 1):
        reason = (await world.session(one.id)).pending_reason
        assert reason is not None
        assert (reason["code"], reason["position"]) == ("NO_AGENT_FITS", position)
    with count_statements(core) as statements:
        await dispatcher.cycle(())
    assert len([one for one in statements if one.startswith("SELECT")]) == 1
