"""What nodes have: slots, accelerators, and the kinds of slots that their plug-ins add.

Devices, with what is held of each, are kept with the node's hardware: `devices`, `faults` (plug-in → what is wrong with it)
and `slot_kinds`, in the form of the protocol.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import select

from agents.protocol import Hello, Resources, SlotKind
from services import slots
from services.bus import AgentChanged, Lagged, Wake
from services.core import Core
from services.db.tables import Agent


def take(agent: Agent, hello: Hello) -> None:
    """Write what a node says of itself when it connects to its row."""
    kinds = msgspec.to_builtins(hello.slot_kinds)
    told = {"slot_kinds": kinds, "swarm": msgspec.to_builtins(hello.swarm)}
    agent.hardware = {**msgspec.to_builtins(hello.hardware), **told, **_devices(hello)}
    agent.slots = _bounded(hello.slots)
    slots.learn(hello.slot_kinds)


async def change(core: Core, agent_id: str, epoch: int, said: Resources) -> None:
    """A device failed or came back, was given or given back. Void from an older connection than the agent's newest."""
    async with core.db.write() as db:
        agent = await db.scalar(
            select(Agent)
            .where(Agent.id == agent_id, Agent.epoch == epoch, Agent.status != "TERMINATED")
            .with_for_update()
        )
        if agent is None:
            return
        hardware, amounts = {**agent.hardware, **_devices(said)}, _bounded(said.slots)
        if (agent.hardware, agent.slots) == (hardware, amounts):
            return
        agent.hardware, agent.slots = hardware, amounts
    for hint in (AgentChanged(agent_id=agent_id), Wake(agent_id=agent_id)):
        await core.bus.publish(hint)


async def follow_slots(core: Core) -> None:
    """Learn which slots the plug-ins of all nodes give, of those that are connected elsewhere as well; for ever."""
    while True:
        async with core.bus.subscribe(AgentChanged) as hints:
            await _learn(core, None)
            try:
                async for hint in hints:
                    await _learn(core, {hint.agent_id, *(later.agent_id for later in hints.drain())})
            except Lagged:
                continue


async def _learn(core: Core, agent_ids: Collection[str] | None) -> None:
    nodes = select(Agent.hardware).where(Agent.status != "TERMINATED")
    if agent_ids is not None:
        nodes = nodes.where(Agent.id.in_(agent_ids))
    async with core.db.read() as db:
        for hardware in await db.scalars(nodes):
            slots.learn(msgspec.convert(hardware.get("slot_kinds", ()), tuple[SlotKind, ...]))


def _bounded(amounts: Mapping[str, int]) -> dict[str, int]:
    return {name[:64]: min(max(amount, 0), slots.LARGEST) for name, amount in amounts.items()}


def _devices(said: Hello | Resources) -> dict[str, Any]:
    return {"devices": msgspec.to_builtins(said.devices), "faults": dict(said.faults)}
