"""Telling agents what the database wants of them.

Nothing is queued: what is to be said is read from the kernels' rows, so a lost command is said again at the next
occasion (a hint, the agent's return, a sweep), and commands are idempotent.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from agents.hub import AgentOffline, AgentRefused, CallTimedOut
from agents.protocol import CreateKernel, DestroyKernel, MakeNetwork, RemoveNetwork
from services import calls, networks, sshkeys
from services.agents.link import AgentLinks
from services.bus import Deliver, Lagged
from services.core import Core
from services.db.tables import Image, Kernel, Session
from services.networks import Work
from services.options import IMAGE_PULL_POLICY
from services.registries import credentials
from services.registries.credentials import Credentials
from services.sessions import lifecycle
from services.sessions.lifecycle import Changes, Reason, Was
from services.sessions.observe import Stray
from services.sessions.retries import regroup
from services.sessions.terminate import fail, publish
from services.specs import describe

log = logging.getLogger(__name__)

_CALL_DEADLINE: Final = 15.0
_NETWORK_DEADLINE: Final = 40.0
#: Seconds between SIGTERM and SIGKILL for what ends on request.
_GRACE: Final = 5.0
#: A node's refusal sends a session back to the queue at most so often.
_ATTEMPTS: Final = 5
_STARTING: Final = ("SCHEDULED", "PREPARING", "PULLING", "PREPARED", "CREATING")


class Commands:
    """Sends commands to the agents that are connected to this manager; one at a time for each kernel."""

    def __init__(self, core: Core, links: AgentLinks) -> None:
        self._core = core
        self._links = links
        self._under_way: dict[str, asyncio.Task[None]] = {}
        #: Agent → (kernel, generation) that it has accepted on its present connection.
        self._accepted: dict[str, set[tuple[str, int]]] = {}

    def forget(self, agent_id: str) -> None:
        """The agent has connected anew: whatever it accepted before, it is told again."""
        self._accepted.pop(agent_id, None)

    async def follow_bus(self) -> None:
        """Deliver whenever a hint says so, for ever."""
        while True:
            async with self._core.bus.subscribe(Deliver) as hints:
                try:
                    async for hint in hints:
                        agents = {hint.agent_id, *(later.agent_id for later in hints.drain())}
                        await self.deliver(agents)
                except Lagged:
                    await self.deliver(self._core.hub.connected)

    async def deliver(self, agent_ids: Iterable[str]) -> None:
        """Say to these agents, those connected here, what they have not been told yet. Does not wait for answers."""
        mine = [agent_id for agent_id in agent_ids if agent_id in self._core.hub.connected]
        if not mine:
            return
        async with self._core.db.read() as db:
            rows = (
                await db.execute(
                    select(Kernel, Session, Image)
                    .join(Session, Session.id == Kernel.session_id)
                    .join(Image, Image.id == Session.image_id)
                    .where(
                        Kernel.agent_id.in_(mine),
                        or_(Kernel.status.in_((*_STARTING, "TERMINATING")), Kernel.abandoned),
                    )
                    .order_by(Kernel.id)
                )
            ).all()
            held = await _held(db, [session for _, session, _ in rows])
            members = await _members(db, [(kernel, session) for kernel, session, _ in rows])
            starting = [session.user_id for kernel, session, _ in rows if kernel.status in _STARTING]
            authorized = await sshkeys.authorized_keys(db, starting) if starting else {}
            hosts = {image.registry_host for kernel, _, image in rows if kernel.status in _STARTING}
            known = await credentials.of_hosts(self._core, db, hosts) if hosts else {}
            for kernel, session, image in rows:
                if kernel.id in held:
                    continue
                if kernel.status in _STARTING:
                    if session.network and session.network_agent_id is None:
                        continue  # the network between its nodes comes first
                    more = authorized[session.user_id], known.get(image.registry_host)
                    self._start(kernel.id, self._create(kernel, session, image, members[session.id], *more))
                else:
                    grace = 0.0 if kernel.abandoned else _GRACE
                    self._start(
                        kernel.id, self._destroy(kernel.agent_id or "", kernel.id, kernel.generation, grace)
                    )
            todo = await networks.due(db, mine)
        for work in todo:
            self._start(work.network, self._remove(work) if work.remove else self._make(work))
        for agent_id in mine:
            for stray in self._links.strays.pop(agent_id, set[Stray]()):
                self._start(stray.kernel, self._destroy(agent_id, stray.kernel, stray.generation, 0.0))

    async def close(self) -> None:
        """Let what is under way come to its end or its deadline."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=_CALL_DEADLINE)

    def _start(self, kernel_id: str, command: Coroutine[None, None, None]) -> None:
        if kernel_id in self._under_way:
            command.close()
            return
        task = asyncio.create_task(command)
        self._under_way[kernel_id] = task
        task.add_done_callback(lambda done: self._done(kernel_id, done))

    def _done(self, kernel_id: str, task: "asyncio.Task[None]") -> None:
        self._under_way.pop(kernel_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a command for kernel %s failed", kernel_id, exc_info=error)

    async def _create(
        self,
        kernel: Kernel,
        session: Session,
        image: Image,
        members: Sequence[Kernel],
        authorized_keys: Sequence[str],
        known: Credentials | None,
    ) -> None:
        agent_id = kernel.agent_id or ""
        accepted = self._accepted.setdefault(agent_id, set())
        if (kernel.id, kernel.generation) in accepted:
            return
        spec = describe(
            kernel,
            session,
            image,
            members,
            self._core.keys,
            pull=self._core.options.value(IMAGE_PULL_POLICY),
            authorized_keys=authorized_keys,
            known=known,
        )
        try:
            await calls.call(
                self._core,
                agent_id,
                lambda request: CreateKernel(
                    request=request, kernel=kernel.id, generation=kernel.generation, spec=spec
                ),
                deadline=_CALL_DEADLINE,
            )
        except (AgentOffline, CallTimedOut) as error:
            log.info("kernel %s was not delivered: %s", kernel.id, error)
        except AgentRefused as refused:
            await self._refused(kernel, refused)
        else:
            accepted.add((kernel.id, kernel.generation))
            await self._prepare(kernel)

    async def _prepare(self, kernel: Kernel) -> None:
        """The node has taken it."""
        core, changes = self._core, Changes()
        async with core.db.write() as db:
            session = await lifecycle.lock(db, kernel.session_id)
            if session is None:
                return
            before = Was.all(await lifecycle.kernels_of(db, session.id))
            if await lifecycle.move_kernel(db, kernel, "PREPARING", at=core.now()):
                await lifecycle.settle(
                    db, session, before, changes, at=core.now(), deadlines=core.settings.phase_deadlines
                )
        await publish(core, changes)

    async def _refused(self, kernel: Kernel, refused: AgentRefused) -> None:
        """Back to the queue when the node has no room after all; an error when it never will."""
        if refused.code == "STALE_GENERATION":
            return
        core, changes = self._core, Changes()
        async with core.db.write() as db:
            session = await lifecycle.lock(db, kernel.session_id)
            if session is None:
                return
            kernels = await lifecycle.kernels_of(db, session.id)
            current = next((k for k in kernels if k.id == kernel.id), None)
            if current is None or current.generation != kernel.generation or current.status != "SCHEDULED":
                return
            if refused.code == "NO_CAPACITY" and kernel.generation < _ATTEMPTS:
                told = Reason(
                    "REQUEUED", f"The node had no room after all ({refused.message}); it waits again."
                )
                await regroup(core, db, session, kernels, changes, gone=[kernel.id], told=told)
            else:
                reason = Reason(refused.code, f"The node refused the session: {refused.message}")
                await fail(core, db, session, changes, reason=reason)
        await publish(core, changes)

    async def _destroy(self, agent_id: str, kernel_id: str, generation: int, grace: float) -> None:
        try:
            await calls.call(
                self._core,
                agent_id,
                lambda request: DestroyKernel(
                    request=request, kernel=kernel_id, generation=generation, grace_seconds=grace
                ),
                deadline=_CALL_DEADLINE,
            )
        except (AgentOffline, CallTimedOut, AgentRefused) as error:
            log.info("the end of kernel %s was not delivered: %s", kernel_id, error)

    async def _make(self, work: Work) -> None:
        """Make the network between a session's nodes; then its kernels can be made."""
        try:
            await calls.call(
                self._core,
                work.agent_id,
                lambda request: MakeNetwork(request=request, name=work.network),
                deadline=_NETWORK_DEADLINE,
            )
        except (AgentOffline, CallTimedOut) as error:
            log.info("the network of %s was not made yet: %s", work.session_id, error)
        except AgentRefused as refused:
            core, changes = self._core, Changes()
            async with core.db.write() as db:
                session = await lifecycle.lock(db, work.session_id)
                if session is not None and session.status in lifecycle.PLACED:
                    reason = Reason("NETWORK_FAILED", refused.message)
                    await fail(core, db, session, changes, reason=reason)
            await publish(core, changes)
        else:
            if not await networks.made(self._core, work):
                await self._remove(work)

    async def _remove(self, work: Work) -> None:
        try:
            await calls.call(
                self._core,
                work.agent_id,
                lambda request: RemoveNetwork(request=request, name=work.network),
                deadline=_NETWORK_DEADLINE,
            )
        except (AgentOffline, CallTimedOut, AgentRefused) as error:
            log.info("the network of %s was not removed yet: %s", work.session_id, error)
        else:
            await networks.removed(self._core, work)


async def _members(
    db: AsyncSession, kernels: Iterable[tuple[Kernel, Session]]
) -> Mapping[str, Sequence[Kernel]]:
    """Session → all its kernels, in the order of their ranks."""
    found: dict[str, list[Kernel]] = {}
    large: set[str] = set()
    for kernel, session in kernels:
        if session.cluster_size == 1:
            found[session.id] = [kernel]
        else:
            large.add(session.id)
    if large:
        for kernel in await db.scalars(
            select(Kernel).where(Kernel.session_id.in_(large)).order_by(Kernel.rank)
        ):
            found.setdefault(kernel.session_id, []).append(kernel)
    return found


async def _held(db: AsyncSession, sessions: Sequence[Session]) -> set[str]:
    """Main kernels that are not to be made yet: their command is run once, when all the others are there for it."""
    led = {
        one.id for one in sessions if one.cluster_size > 1 and one.startup_command and one.status in _STARTING
    }
    if not led:
        return set()
    awaited = select(Kernel.session_id).where(
        Kernel.session_id.in_(led), Kernel.rank > 0, Kernel.status != "RUNNING"
    )
    mains = select(Kernel.id).where(
        Kernel.session_id.in_(awaited), Kernel.rank == 0, Kernel.status == "SCHEDULED"
    )
    return set(await db.scalars(mains))
