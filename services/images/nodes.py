"""Images brought to nodes, in the background with progress, and removed from them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from agents.hub import AgentOffline, AgentRefused, CallFailed, CallTimedOut
from agents.protocol import CancelPull, PullImage, RemoveImage
from services import calls, permissions, tasks
from services.bus import AgentChanged, ImageArrived, Lagged, Queue
from services.core import Core
from services.db.tables import IS_LIVE, Agent, AgentImage, Image, Session, Task
from services.errors import BadInput, BerthError, Conflict, NotFound, Unavailable
from services.images.rows import visible_image
from services.permissions import Actor
from services.registries import credentials
from services.registries.credentials import Credentials

#: Seconds that a node has to bring or remove an image.
_DEADLINE: Final = 3600.0
_CANCEL_DEADLINE: Final = 10.0
#: Nodes that are worked on at once; each takes its images one after the other.
_NODES_AT_ONCE: Final = 8
_MOST_STEPS: Final = 5000


@dataclass(frozen=True)
class Outcome:
    """What became of one image on one node."""

    image_id: str
    agent_id: str
    error: BerthError | None = None


async def install(core: Core, actor: Actor, image_ids: Sequence[str], agent_ids: Sequence[str]) -> Task:
    """Have images brought to nodes, in the background.

    Raises:
        NotFound, Forbidden, BadInput: too many at once.
    """
    permissions.require_role(actor, "installImages")
    images, agents = await _found(core, actor, image_ids, agent_ids)
    if not 1 <= len(images) * len(agents) <= _MOST_STEPS:
        raise BadInput(f"Images times nodes: between 1 and {_MOST_STEPS}.", path="input.imageIds")
    arguments = {"images": [image.id for image in images], "agents": [agent.id for agent in agents]}
    return await tasks.start(core, actor, "INSTALL_IMAGES", arguments)


async def remove(
    core: Core, actor: Actor, image_ids: Sequence[str], agent_ids: Sequence[str]
) -> list[Outcome]:
    """Remove images from nodes; one that a live session uses stays."""
    permissions.require_role(actor, "removeImages")
    images, agents = await _found(core, actor, image_ids, agent_ids)
    async with core.db.read() as db:
        busy = set(await db.scalars(select(Session.image_id).where(Session.image_id.in_(image_ids), IS_LIVE)))
    outcomes: list[Outcome] = []
    for agent in agents:
        for image in images:
            error = (
                Conflict(f"{image.reference} is used by a live session.")
                if image.id in busy
                else await take_from(core, agent, image)
            )
            outcomes.append(Outcome(image.id, agent.id, error))
    return outcomes


async def take_from(core: Core, agent: Agent, image: Image) -> BerthError | None:
    """Remove an image from a node, whatever uses it. Returns why it was not done."""
    try:
        await calls.ask(core, agent.id, RemoveImage(0, image.reference), deadline=_DEADLINE)
    except CallFailed as failed:
        return _why(agent, failed)
    await _note(core, agent.id, image, present=False)
    return None


async def _install(run: tasks.Run) -> None:
    """The work of INSTALL_IMAGES: a line for each image and node."""
    core = run.core
    async with core.db.read() as db:
        wanted = select(Image).where(Image.id.in_(run.arguments["images"])).order_by(Image.reference)
        images = (await db.scalars(wanted)).all()
        nodes = select(Agent).where(Agent.id.in_(run.arguments["agents"])).order_by(Agent.name)
        agents = (await db.scalars(nodes)).all()
        passwords = await credentials.of_hosts(core, db, {image.registry_host for image in images})
    installation = _Installation(run, images, agents, passwords)
    await installation.carry_out()
    if installation.done == 0:
        raise Unavailable("No image arrived; each line says why.")


INSTALL: Final = tasks.Kind("INSTALL_IMAGES", _install, restartable=True)


class _Installation:
    """Images on their way to nodes."""

    def __init__(
        self,
        run: tasks.Run,
        images: Sequence[Image],
        agents: Sequence[Agent],
        passwords: Mapping[str, Credentials],
    ) -> None:
        self._run = run
        self._images = images
        self._agents = agents
        self._passwords = passwords
        #: (node's id, reference) → how far it is while it is under way.
        self._under_way: dict[tuple[str, str], tasks.Pull] = {}
        self._names = {agent.id: agent.name for agent in agents}
        self._tried = self.done = 0

    async def carry_out(self) -> None:
        self._run.advance(0, len(self._images) * len(self._agents))
        turns = asyncio.Semaphore(_NODES_AT_ONCE)
        async with self._run.core.bus.subscribe(ImageArrived) as hints:
            following = asyncio.create_task(self._follow(hints))
            try:
                async with asyncio.TaskGroup() as group:
                    for agent in self._agents:
                        group.create_task(self._bring_all(agent, turns))
            finally:
                following.cancel()
                self._tell()

    async def _bring_all(self, agent: Agent, turns: asyncio.Semaphore) -> None:
        left = list(self._images)
        try:
            async with turns:
                while left:
                    await self._bring_one(agent, left[0])
                    del left[0]
        except asyncio.CancelledError:
            for image in left:
                self._run.note("SKIPPED", f"{image.reference} on {agent.name}", "It was cancelled before.")
            raise

    async def _bring_one(self, agent: Agent, image: Image) -> None:
        key = agent.id, image.reference
        self._under_way[key] = tasks.Pull(agent.id, image.id, image.reference)
        self._tell()
        try:
            error = await self._bring(agent, image)
        finally:
            del self._under_way[key]
        self._tried += 1
        self.done += error is None
        self._run.note(
            "FAILED" if error else "DONE",
            f"{image.reference} on {agent.name}",
            error.message if error else "",
        )
        self._tell()

    async def _bring(self, agent: Agent, image: Image) -> BerthError | None:
        core, known = self._run.core, self._passwords.get(image.registry_host, Credentials())
        if agent.architecture not in ("", image.architecture):
            return Conflict(f"The image is for {image.architecture}, the node is of {agent.architecture}.")
        try:
            pull = PullImage(0, image.reference, known.on_the_wire())
            await calls.ask(core, agent.id, pull, deadline=_DEADLINE)
        except CallFailed as failed:
            return _why(agent, failed)
        except asyncio.CancelledError:
            await _stop_pull(core, agent, image)
            raise
        await _note(core, agent.id, image, present=True)
        return None

    async def _follow(self, hints: Queue[ImageArrived]) -> None:
        """Take how far each is, for ever."""
        while True:
            try:
                hint = await anext(hints)
            except Lagged:
                continue
            if (key := (hint.agent_id, hint.reference)) in self._under_way and hint.total:
                current = min(hint.current, hint.total)
                self._under_way[key] = self._under_way[key]._replace(current=current, total=hint.total)
                self._tell()

    def _tell(self) -> None:
        pulls = sorted(
            self._under_way.values(), key=lambda pull: (self._names[pull.agent_id], pull.reference)
        )
        self._run.advance(self._tried, message="; ".join(map(self._said, pulls)), pulls=pulls)

    def _said(self, pull: tasks.Pull) -> str:
        name = f"{self._names[pull.agent_id]}: {pull.reference}"
        return f"{name} ({100 * (pull.current or 0) // pull.total} %)" if pull.total else name


async def _stop_pull(core: Core, agent: Agent, image: Image) -> None:
    """Nobody waits for it any more; a session that does keeps it going."""
    try:
        await calls.ask(core, agent.id, CancelPull(0, image.reference), deadline=_CANCEL_DEADLINE)
    except CallFailed:
        return  # it ends by itself, or with its node


async def _found(
    core: Core, actor: Actor, image_ids: Sequence[str], agent_ids: Sequence[str]
) -> tuple[Sequence[Image], Sequence[Agent]]:
    async with core.db.read() as db:
        images = [
            await visible_image(db, actor, image_id, "input.imageIds")
            for image_id in dict.fromkeys(image_ids)
        ]
        agents = (
            await db.scalars(select(Agent).where(Agent.id.in_(agent_ids), permissions.visible(actor, Agent)))
        ).all()
    missing = set(agent_ids) - {agent.id for agent in agents}
    if missing:
        raise NotFound(f"There is no agent {sorted(missing)[0]!r}.", path="input.agentIds")
    return images, agents


async def _note(core: Core, agent_id: str, image: Image, *, present: bool) -> None:
    """Write down at once what the node's own report, on its way, will say: who is told so reads so."""
    async with core.db.write() as db:
        # What a node reports is taken under this lock too.
        await db.execute(select(Agent.id).where(Agent.id == agent_id).with_for_update())
        row = await db.get(AgentImage, (agent_id, image.id))
        if present and row is None:
            db.add(AgentImage(agent_id=agent_id, image_id=image.id, digest=image.digest))
        elif row is not None and not present:
            await db.delete(row)
    await core.bus.publish(AgentChanged(agent_id=agent_id))


def _why(agent: Agent, failed: CallFailed) -> BerthError:
    match failed:
        case AgentOffline():
            said = f"The node {agent.name!r} is not connected. Try again when it is."
        case CallTimedOut():
            said = f"The node {agent.name!r} did not finish in time."
        case AgentRefused():
            said = f"The node {agent.name!r}: {failed.message}"
        case _:
            said = f"The node {agent.name!r}: {failed}"
    return Unavailable(said, part=agent.id)
