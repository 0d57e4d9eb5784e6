"""Arguments that subscriptions share."""

from typing import Annotated

import strawberry

Resume = Annotated[
    str | None, strawberry.argument(description="Begin after this cursor of an earlier event, not now.")
]
AgentId = Annotated[strawberry.ID, strawberry.argument(description="The agent.")]
AgentIds = Annotated[
    list[strawberry.ID], strawberry.argument(description="The agents, at most 100; all on a page, say.")
]
SessionId = Annotated[strawberry.ID, strawberry.argument(description="The session.")]
