"""What a connected agent says, taken into the database; and what silence means.

An agent that connects reports all that it runs. The manager answers with what must not be there, takes what the reports
show, and sends again what is missing. Silence for the lease's time makes an agent LOST: lost is not dead, its sessions
stay as they are until it returns or somebody gives them up.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from agents import protocol
from agents.protocol import (
    Ack,
    Event,
    Heartbeat,
    Hello,
    KernelRef,
    PullProgress,
    Resources,
    Stats,
    Welcome,
)
from services import images
from services.agents import resources
from services.agents.membership import note
from services.bus import AgentChanged, AnyHint, Deliver, ImageArrived, PullAdvanced, Wake
from services.core import Core
from services.db.tables import FINAL, IS_LIVE, Agent, Kernel, ResourceGroup, Session
from services.errors import Unauthenticated
from services.sessions import lifecycle, observe
from services.sessions.lifecycle import Changes, Reason
from services.sessions.observe import Stray
from services.sessions.retries import start_again
from services.sessions.terminate import fail, publish

log = logging.getLogger(__name__)


@dataclass
class _Connection:
    """What is known of one connected agent between its messages."""

    epoch: int
    #: Kernels that should be there and were not reported: judged once everything that happened meanwhile was replayed.
    missing: list[KernelRef] = field(default_factory=list[KernelRef])
    replay_until: int = 0
    #: Kernels whose images come → their sessions.
    pulling: dict[str, str] = field(default_factory=dict[str, str])


class AgentLinks:
    """The connections of this manager's agents, as far as services care."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._connections: dict[str, _Connection] = {}
        self._alive: dict[str, float] = {}
        #: Kernels to be destroyed though no row wants them so: agent → kernels.
        self.strays: dict[str, set[Stray]] = {}

    async def welcome(self, agent_id: str, hello: Hello) -> Welcome:
        """Take an agent's report of itself.

        Raises:
            Unauthenticated: it was removed in the meantime.
        """
        core, changes = self._core, Changes()
        async with core.db.write() as db:
            agent = await db.scalar(
                select(Agent).where(Agent.id == agent_id, Agent.status != "TERMINATED").with_for_update()
            )
            if agent is None:
                raise Unauthenticated("This agent was removed.")
            await _introduce(core, db, agent, hello, changes.hints)
            await images.take(db, agent_id, hello.images)
            expected = await _expected(db, agent_id)
            remove = _unwanted(hello, expected)
            await _confirm_absent(db, agent_id, hello)
            connection = _Connection(agent.epoch, _missing(hello, expected), hello.newest_seq)
            if agent.acknowledged >= hello.newest_seq:
                await self._judge_missing(db, agent_id, connection, changes)
            epoch, acknowledged = agent.epoch, agent.acknowledged
        self._connections[agent_id] = connection
        self.strays.pop(agent_id, None)
        await publish(core, changes)
        for hint in (Deliver(agent_id=agent_id), Wake(agent_id=agent_id)):
            await core.bus.publish(hint)
        settings = core.settings
        return Welcome(
            epoch=epoch,
            acknowledged=acknowledged,
            heartbeat_seconds=settings.heartbeat.total_seconds(),
            lease_seconds=settings.lease.total_seconds(),
            stats_seconds=settings.stats_interval.total_seconds(),
            remove=tuple(remove),
        )

    async def take(self, agent_id: str, message: Heartbeat | Stats | PullProgress | Resources) -> None:
        """Take what is fresh or worth nothing."""
        match message:
            case Heartbeat():
                self._alive[agent_id] = time.monotonic()
            case Stats():
                self._alive[agent_id] = time.monotonic()
                self._core.meters.take(message)
                await self._core.stats.report(agent_id, message)
            case PullProgress():
                await self._progress(agent_id, message)
            case Resources():
                if (connection := self._connections.get(agent_id)) is not None:
                    await resources.change(self._core, agent_id, connection.epoch, message)

    async def take_events(self, agent_id: str, events: Sequence[Event]) -> Ack:
        """Take events in order. They are committed when this returns their acknowledgement."""
        if len(events) > 1:
            try:
                return await self._commit(agent_id, events)
            except Exception:
                # One of them is at fault, or two transactions waited for each other: the others are not held up.
                log.exception("%d events of agent %s are taken one by one", len(events), agent_id)
        for event in events[:-1]:
            await self._commit(agent_id, [event])
        return await self._commit(agent_id, events[-1:])

    def left(self, agent_id: str, epoch: int | None = None) -> None:
        """The connection ended. Nothing is judged yet: the lease runs on."""
        connection = self._connections.get(agent_id)
        if connection is not None and (epoch is None or connection.epoch == epoch):
            del self._connections[agent_id]

    async def renew_leases(self) -> None:
        """Write down who has been heard of since the last call: one statement, however many agents."""
        heard, self._alive = self._alive, {}
        held = [
            {"agent": agent_id, "held": self._connections[agent_id].epoch}
            for agent_id in heard
            if agent_id in self._connections
        ]
        if not held:
            return
        now = self._core.now()
        renewal = (
            update(Agent)
            .where(Agent.id == bindparam("agent"), Agent.epoch == bindparam("held"), Agent.status == "ALIVE")
            .values(last_contact_at=now, lease_expires_at=now + self._core.settings.lease)
        )
        async with self._core.db.write() as db:
            await (await db.connection()).execute(renewal, held)

    async def _commit(self, agent_id: str, events: Sequence[Event]) -> Ack:
        core, changes = self._core, Changes()
        strays: set[Stray] = set()
        newest = events[-1].seq
        async with core.db.write() as db:
            acknowledged = await db.scalar(
                select(Agent.acknowledged).where(Agent.id == agent_id).with_for_update()
            )
            if acknowledged is not None and newest > acknowledged:
                fresh = [event for event in events if event.seq > acknowledged]
                await _lock_sessions(db, fresh)
                for event in fresh:
                    if (stray := await self._apply(db, agent_id, event, changes)) is not None:
                        strays.add(stray)
                await db.execute(update(Agent).where(Agent.id == agent_id).values(acknowledged=newest))
            connection = self._connections.get(agent_id)
            if connection is not None and connection.missing and newest >= connection.replay_until:
                await self._judge_missing(db, agent_id, connection, changes)
        if strays:
            self.strays.setdefault(agent_id, set()).update(strays)
            await core.bus.publish(Deliver(agent_id=agent_id))
        await publish(core, changes)
        return Ack(seq=newest)

    async def _apply(self, db: AsyncSession, agent_id: str, event: Event, changes: Changes) -> Stray | None:
        match event.body:
            case protocol.KernelPhase() as report:
                return await observe.phase(self._core, db, agent_id, report, changes)
            case protocol.KernelLog() as report:
                await observe.keep_log(db, agent_id, report)
            case protocol.ImagesChanged() as report:
                await images.take(db, agent_id, report.images)
                changes.hints += [AgentChanged(agent_id=agent_id), Wake(agent_id=agent_id)]
        return None

    async def _judge_missing(
        self, db: AsyncSession, agent_id: str, connection: _Connection, changes: Changes
    ) -> None:
        """What should run there, is not there, and of whose end nothing was said, is gone."""
        for reference in connection.missing:
            kernel = await db.get(Kernel, reference.kernel, populate_existing=True)
            if kernel is None or kernel.status != "RUNNING" or kernel.generation != reference.generation:
                continue
            report = protocol.KernelPhase(
                kernel=kernel.id,
                generation=kernel.generation,
                session=kernel.session_id,
                phase="ERROR",
                code="CONTAINER_GONE",
                message="Its container is gone from the node: it was removed by hand, or the node was set up anew.",
            )
            await observe.phase(self._core, db, agent_id, report, changes)
        connection.missing = []

    async def _progress(self, agent_id: str, message: PullProgress) -> None:
        if (connection := self._connections.get(agent_id)) is None:
            return
        await self._core.bus.publish(
            ImageArrived(
                agent_id=agent_id, reference=message.image, current=message.current, total=message.total
            )
        )
        for kernel_id in message.kernels:
            session_id = await self._session_of(agent_id, kernel_id, connection.pulling)
            if session_id is not None:
                await self._core.bus.publish(
                    PullAdvanced(
                        session_id=session_id,
                        kernel_id=kernel_id,
                        current=message.current,
                        total=message.total,
                    )
                )

    async def _session_of(self, agent_id: str, kernel_id: str, known: dict[str, str]) -> str | None:
        """The session of a kernel of this agent; of nobody else's."""
        if kernel_id not in known:
            whose = select(Kernel.session_id).where(Kernel.id == kernel_id, Kernel.agent_id == agent_id)
            async with self._core.db.read() as db:
                session_id = await db.scalar(whose)
            if session_id is None:
                return None
            known[kernel_id] = session_id
        return known[kernel_id]


async def _lock_sessions(db: AsyncSession, events: Sequence[Event]) -> None:
    """Hold all sessions that several events are about, in one order, so that two transactions do not wait in a circle."""
    kernels = {event.body.kernel for event in events if isinstance(event.body, protocol.KernelPhase)}
    if len(kernels) > 1:
        sessions = select(Kernel.session_id).where(Kernel.id.in_(kernels))
        await db.execute(
            select(Session.id).where(Session.id.in_(sessions)).order_by(Session.id).with_for_update()
        )


async def expire_leases(core: Core) -> int:
    """Mark agents LOST that have been silent for the lease's time. Returns how many.

    A manager that has just started waits for one lease before it calls this: agents must have had the time to return.
    """
    changes = Changes()
    now = core.now()
    async with core.db.write() as db:
        lost = (
            await db.scalars(
                update(Agent)
                .where(Agent.status == "ALIVE", Agent.lease_expires_at < now)
                .values(status="LOST", lost_at=now)
                .returning(Agent.id)
            )
        ).all()
        for agent_id in lost:
            reason = Reason(
                "LEASE_EXPIRED",
                "Not heard of for the time of its lease. Its sessions stay as they are until it returns.",
            )
            await note(db, agent_id, "LOST", changes.hints, at=now, reason=reason)
        for session in await _sessions_on(db, lost):
            session.unreachable_since = now
            reason = Reason(
                "UNREACHABLE", "Its node is not connected. It is left as it is until the node returns."
            )
            await lifecycle.record(db, session.id, session.status, changes, at=now, reason=reason)
    await publish(core, changes)
    return len(lost)


async def give_up_lost(core: Core) -> int:
    """End sessions whose node has been lost for longer than their resource group waits. Returns how many.

    What was only about to start there may be tried again elsewhere.
    """
    async with core.db.read() as db:
        lost = await db.execute(
            select(Agent.id, Agent.lost_at, ResourceGroup.lost_session_grace_seconds)
            .join(ResourceGroup, ResourceGroup.id == Agent.resource_group_id)
            .where(Agent.status == "LOST", ResourceGroup.lost_session_grace_seconds.is_not(None))
        )
        overdue = [
            agent_id
            for agent_id, since, grace in lost
            if since is not None and since + timedelta(seconds=grace or 0) < core.now()
        ]
        sessions = [session.id for session in await _sessions_on(db, overdue)]
    for session_id in sessions:
        changes = Changes()
        async with core.db.write() as db:
            session = await lifecycle.lock(db, session_id)
            if session is not None and session.status not in FINAL:
                reason = Reason(
                    "NODE_LOST", "Its node did not come back in the time that its resource group waits."
                )
                kernels = await lifecycle.kernels_of(db, session.id)
                gone = [kernel.id for kernel in kernels if kernel.agent_id in overdue]
                # What was there when it was looked up may have been put back into the queue since.
                if gone and not await start_again(
                    core, db, session, kernels, changes, reason=reason, gone=gone
                ):
                    await fail(core, db, session, changes, reason=reason)
        await publish(core, changes)
    return len(sessions)


async def _introduce(core: Core, db: AsyncSession, agent: Agent, hello: Hello, hints: list[AnyHint]) -> None:
    now = core.now()
    returned = agent.status == "LOST"
    agent.epoch += 1
    agent.manager = core.manager_id
    agent.status = "ALIVE"
    agent.lost_at = None
    agent.address, agent.region = hello.address[:255], hello.region[:255]
    agent.runtime, agent.version = hello.runtime[:255], hello.version[:255]
    agent.isolated = hello.isolated
    agent.architecture = hello.architecture[:255]
    resources.take(agent, hello)
    if agent.journal != hello.journal:
        agent.journal, agent.acknowledged = hello.journal[:255], 0
    agent.first_contact_at = agent.first_contact_at or now
    agent.last_contact_at = now
    agent.lease_expires_at = now + core.settings.lease
    reason = Reason("CONNECTED", "Connected.")
    await note(db, agent.id, "ALIVE", hints, at=now, reason=reason)
    if returned:
        changes = Changes()
        still_lost = (
            await db.scalars(select(Agent.id).where(Agent.status == "LOST", Agent.id != agent.id))
        ).all()
        others = {session.id for session in await _sessions_on(db, still_lost)}
        for session in await _sessions_on(db, [agent.id]):
            if session.unreachable_since is not None and session.id not in others:
                session.unreachable_since = None
                back = Reason("REACHABLE", "Its node is connected again.")
                await lifecycle.record(db, session.id, session.status, changes, at=now, reason=back)
        hints += changes.hints


async def _sessions_on(db: AsyncSession, agent_ids: Sequence[str]) -> Sequence[Session]:
    """Live sessions with a kernel on one of the agents."""
    if not agent_ids:
        return []
    rows = await db.scalars(
        select(Session)
        .where(
            IS_LIVE,
            Session.id.in_(
                select(Kernel.session_id).where(Kernel.agent_id.in_(agent_ids), Kernel.status.not_in(FINAL))
            ),
        )
        .order_by(Session.id)
    )
    return rows.all()


async def _expected(db: AsyncSession, agent_id: str) -> dict[str, Kernel]:
    rows = await db.scalars(select(Kernel).where(Kernel.agent_id == agent_id, Kernel.status.not_in(FINAL)))
    return {row.id: row for row in rows}


async def _confirm_absent(db: AsyncSession, agent_id: str, hello: Hello) -> None:
    """Abandoned kernels that the agent no longer has are gone."""
    reported = {report.kernel for report in hello.kernels}
    abandoned = await db.scalars(select(Kernel.id).where(Kernel.agent_id == agent_id, Kernel.abandoned))
    await observe.confirm_gone(db, [kernel_id for kernel_id in abandoned if kernel_id not in reported])


def _unwanted(hello: Hello, expected: dict[str, Kernel]) -> list[KernelRef]:
    return [
        KernelRef(report.kernel, report.generation)
        for report in hello.kernels
        if report.kernel not in expected or expected[report.kernel].generation != report.generation
    ]


def _missing(hello: Hello, expected: dict[str, Kernel]) -> list[KernelRef]:
    reported: set[tuple[str, int]] = {(report.kernel, report.generation) for report in hello.kernels}
    return [
        KernelRef(kernel.id, kernel.generation)
        for kernel in expected.values()
        if kernel.status == "RUNNING" and (kernel.id, kernel.generation) not in reported
    ]
