"""Root fields about sessions."""

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry

from resolvers.inputs import given
from resolvers.listings import listing
from schema import session_mutations as types
from schema.context import Info
from schema.errors import Problem
from schema.scalars import ByteSize
from schema.sessions import KernelStats, LogChunk, Session, SessionEvent
from schema.slots import Slot, pairs
from schema.subscriptions import Resume, SessionId
from services import agents, sessions, terminals
from services.errors import BadInput, NotFound
from services.sessions import SessionFilter, SessionSpec

Tail = Annotated[
    ByteSize | None,
    strawberry.argument(description="Begin so many bytes before the end; by default at most 1 MiB."),
]
KernelId = Annotated[
    strawberry.ID | None, strawberry.argument(description="Which of its containers; by default main1.")
]


@strawberry.type
class SessionQueries:
    sessions = listing(
        "sessions",
        sessions.ORDERS,
        of=Session,
        filter=types.SessionFilter,
        order=types.SessionOrder,
        description="Sessions that you see, by default the newest first.",
    )


@strawberry.type
class SessionMutations:
    @strawberry.field(description="Put a session into the queue.")
    async def create_session(self, info: Info, input: types.CreateSessionInput) -> types.CreateSessionPayload:
        spec = SessionSpec(
            group_id=str(input.group_id),
            resource_group_id=str(input.resource_group_id),
            image_id=str(input.image_id or ""),
            image_alias=input.image_alias,
            slots=pairs(input.slots),
            name=input.name,
            type=input.type.name,
            environ=[(one.name, one.value) for one in input.environ],
            startup_command=input.startup_command,
            bootstrap_script=input.bootstrap_script,
            priority=input.priority,
            shared_memory=input.shared_memory,
            agent_id=str(input.agent_id) if input.agent_id else None,
            cluster_size=input.cluster_size,
            cluster_mode=input.cluster_mode.name,
            starts_at=input.starts_at,
            max_duration_seconds=input.max_duration_seconds,
            depends_on=[str(one) for one in input.depends_on],
            idempotency_key=input.idempotency_key,
        )
        row = await sessions.create(info.context.core, info.context.viewer, spec)
        return types.CreateSessionPayload(session=Session.of(row), raised=Slot.all(row.raised))

    @strawberry.field(description="Rename a session.")
    async def update_session(self, info: Info, input: types.UpdateSessionInput) -> types.UpdateSessionPayload:
        row = await sessions.edit(info.context.core, info.context.viewer, str(input.id), name=input.name)
        return types.UpdateSessionPayload(session=Session.of(row))

    @strawberry.field(description="End sessions, each for itself.")
    async def terminate_sessions(
        self, info: Info, input: types.TerminateSessionsInput
    ) -> types.TerminateSessionsPayload:
        if len(input.ids) > 100:
            raise BadInput("At most 100 sessions at once.", path="input.ids")
        outcomes = await sessions.terminate(
            info.context.core, info.context.viewer, [str(one) for one in input.ids], force=input.force
        )
        return types.TerminateSessionsPayload(
            results=[
                types.SessionResult(
                    id=strawberry.ID(outcome.id),
                    session=Session.of(outcome.row) if outcome.row else None,
                    error=Problem.of(outcome.error) if outcome.error else None,
                )
                for outcome in outcomes
            ]
        )

    @strawberry.field(description="Let a session go on however long it is unused, or no longer.")
    async def exempt_session(self, info: Info, input: types.ExemptSessionInput) -> types.ExemptSessionPayload:
        row = await sessions.exempt(
            info.context.core, info.context.viewer, str(input.id), exempted=input.exempt
        )
        return types.ExemptSessionPayload(session=Session.of(row))

    @strawberry.field(description="Open a terminal in a running session, a new one or one that is kept.")
    async def open_terminal(self, info: Info, input: types.OpenTerminalInput) -> types.OpenTerminalPayload:
        core = info.context.core
        made = await terminals.open_terminal(
            core,
            info.context.viewer,
            str(input.session_id),
            input.terminal_id,
            input.columns,
            input.rows,
            kernel_id=str(input.kernel_id) if input.kernel_id else None,
        )
        base = core.settings.public_url.replace("http", "ws", 1)
        return types.OpenTerminalPayload(
            terminal_id=made.terminal_id, url=f"{base}/terminals/{made.ticket}", expires_at=made.expires_at
        )

    @strawberry.field(description="End a terminal's shell.")
    async def close_terminal(self, info: Info, input: types.CloseTerminalInput) -> types.CloseTerminalPayload:
        await terminals.close_terminal(
            info.context.core,
            info.context.viewer,
            str(input.session_id),
            input.terminal_id,
            kernel_id=str(input.kernel_id) if input.kernel_id else None,
        )
        return types.CloseTerminalPayload(terminal_id=input.terminal_id)


@strawberry.type
class SessionSubscriptions:
    @strawberry.subscription(description="Sessions that you see, as they change.")
    async def session_events(
        self, info: Info, filter: types.SessionFilter | None = None, after: Resume = None
    ) -> AsyncGenerator[SessionEvent]:
        where = given(filter)
        if not await info.context.sees(where):
            return
        async for notice in sessions.watch(
            info.context.core, info.context.viewer, SessionFilter(**where), after
        ):
            # Each event is a moment of its own: nothing loaded for the one before may be shown with it.
            info.context.forget()
            yield SessionEvent.of(notice)

    @strawberry.subscription(description="A session's load, each sample as it comes; the newest counts.")
    async def session_stats(
        self, info: Info, session_id: SessionId, kernel_id: KernelId = None
    ) -> AsyncGenerator[KernelStats]:
        core, viewer = info.context.core, info.context.viewer
        await sessions.get(core, viewer, str(session_id), path="sessionId")
        kernels = (await sessions.kernels(core, viewer, [str(session_id)]))[str(session_id)]
        kernel = next((one for one in kernels if kernel_id in (None, one.id)), None)
        if kernel is None:
            raise NotFound("The session has no such container.", path="kernelId")
        async for sample in agents.watch_kernel_stats(core, kernel.id):
            yield KernelStats.of(sample)

    @strawberry.subscription(description="A session's log as it grows; ends with the session.")
    async def session_logs(
        self, info: Info, session_id: SessionId, kernel_id: KernelId = None, tail: Tail = None
    ) -> AsyncGenerator[LogChunk]:
        core, viewer = info.context.core, info.context.viewer
        which = str(kernel_id) if kernel_id else None
        async for text in sessions.follow_log(core, viewer, str(session_id), tail, which):
            yield LogChunk(text=text, end=False)
        yield LogChunk(text="", end=True)
