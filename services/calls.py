"""Asking any agent, whichever manager it is connected to.

    ask ──▶ connected here? ──▶ hub.call
             └─ no ──▶ AgentAsked on the bus ──▶ the manager that has it (`follow`) ──▶ hub.call
                       ◀── AgentAnswered: TAKEN at once, then how it went

What is asked may hold a registry's password, so it is sealed on its way with the managers' own key.
"""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from agents import protocol
from agents.hub import AgentOffline, AgentRefused, CallFailed, CallTimedOut
from agents.protocol import CancelPull, PullImage, RemoveImage, Reply, ToAgent
from services import tracing
from services.bus import AgentAnswered, AgentAsked, Lagged
from services.core import Core

#: Seconds for the manager that has the agent to say so.
_TAKEN_WITHIN: Final = 10.0
_TAKEN: Final = "TAKEN"

Command = PullImage | RemoveImage | CancelPull


async def ask(core: Core, agent_id: str, command: Command, *, deadline: float) -> None:
    """Have an agent do something and wait until it is done.

    Args:
        command: its `request` is filled in.
        deadline: seconds.

    Raises:
        CallFailed: as `Hub.call`; `AgentOffline` when no manager has it.
    """
    if agent_id in core.hub.connected or not core.bus.shared:
        return await _call(core, agent_id, command, deadline)
    number = secrets.token_hex(16)
    frame = base64.b64encode(protocol.encode(command)).decode()
    async with core.bus.subscribe(AgentAnswered) as answers:
        await core.bus.publish(
            AgentAsked(
                call=number,
                manager=core.manager_id,
                agent_id=agent_id,
                deadline=deadline,
                sealed=core.keys.seal(frame, number),
            )
        )
        mine = _answers(answers, number)
        try:
            async with asyncio.timeout(_TAKEN_WITHIN):
                await anext(mine)
        except TimeoutError:
            raise AgentOffline(agent_id) from None
        except Lagged:
            raise CallTimedOut(agent_id, _TAKEN_WITHIN) from None
        try:
            async with asyncio.timeout(deadline):
                answer = await anext(mine)
        except (TimeoutError, Lagged):
            raise CallTimedOut(agent_id, deadline) from None
    match answer.code:
        case "":
            return None
        case "AGENT_OFFLINE":
            raise AgentOffline(agent_id)
        case "TIMED_OUT":
            raise CallTimedOut(agent_id, deadline)
        case code:
            raise AgentRefused(agent_id, code, answer.message)


async def call(core: Core, agent_id: str, make: Callable[[int], ToAgent], *, deadline: float) -> Reply:
    """Have an agent that is connected here do something: `Hub.call`, traced."""
    if not tracing.active():
        return await core.hub.call(agent_id, make, deadline=deadline)
    name = type(make(0)).__name__
    with tracing.span(f"agent {name}", {"berth.agent": agent_id, "berth.command": name}):
        return await core.hub.call(agent_id, make, deadline=deadline)


async def follow(core: Core) -> None:
    """Ask agents of this manager on behalf of others, for ever."""
    under_way: set[asyncio.Task[None]] = set()
    try:
        while True:
            async with core.bus.subscribe(AgentAsked) as asked:
                with contextlib.suppress(Lagged):
                    async for hint in asked:
                        if hint.manager != core.manager_id and hint.agent_id in core.hub.connected:
                            under_way.add(task := asyncio.create_task(_answer(core, hint)))
                            task.add_done_callback(under_way.discard)
    finally:
        for task in under_way:
            task.cancel()


async def _answer(core: Core, asked: AgentAsked) -> None:
    await core.bus.publish(AgentAnswered(call=asked.call, code=_TAKEN))
    code = message = ""
    try:
        frame = base64.b64decode(core.keys.unseal(asked.sealed, asked.call))
        command = protocol.decode_to_agent(frame)
        if not isinstance(command, Command):
            raise AgentRefused(asked.agent_id, "NOT_PASSED_ON", "this is not passed on to agents")
        await _call(core, asked.agent_id, command, asked.deadline)
    except CallFailed as failed:
        code, message = failed.code, failed.message
    except (ValueError, protocol.MalformedFrame):
        code, message = "UNREADABLE", "the managers do not have the same secrets"
    await core.bus.publish(AgentAnswered(call=asked.call, code=code, message=message))


async def _call(core: Core, agent_id: str, command: Command, deadline: float) -> None:
    await call(
        core,
        agent_id,
        lambda request: msgspec.structs.replace(command, request=request),
        deadline=deadline,
    )


async def _answers(hints: AsyncIterator[AgentAnswered], number: str) -> AsyncIterator[AgentAnswered]:
    async for hint in hints:
        if hint.call == number:
            yield hint
