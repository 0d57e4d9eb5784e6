"""What there is just now, in numbers."""

import strawberry

from schema.fields import said
from services import summaries


@strawberry.type(description="What there is just now, in numbers.")
class Summary:
    my_running_sessions: int = said("Your sessions that run.")
    my_other_sessions: int = said("Your sessions that wait, start or end.")
    running_sessions: int = said("Sessions that run, of all that you see.")
    other_sessions: int = said("Sessions that wait, start or end, of all that you see.")
    users: int | None = said(
        "Active users that you govern, up to 10,000 are counted; null when you govern nobody."
    )
    groups: int = said("Active groups that you see, up to 10,000 are counted.")
    agents_alive: int | None = said("Nodes that are connected; null when you do not see nodes.")
    agents_lost: int | None = said("Nodes that are out of reach; null when you do not see nodes.")
    agents_terminated: int | None = said("Nodes that were taken out; null when you do not see nodes.")

    @classmethod
    def of(cls, found: summaries.Summary) -> "Summary":
        nodes = found.agents
        return cls(
            my_running_sessions=found.my_running,
            my_other_sessions=found.my_others,
            running_sessions=found.running,
            other_sessions=found.others,
            users=found.users,
            groups=found.groups,
            agents_alive=None if nodes is None else nodes.get("ALIVE", 0),
            agents_lost=None if nodes is None else nodes.get("LOST", 0),
            agents_terminated=None if nodes is None else nodes.get("TERMINATED", 0),
        )
