"""A snapshot in, a plan out.

For each resource group, by id, one cycle:

1. its agents that take work, its waiting requests
2. the sequencer says whose turn it is
3. limits: would a scope have too much?                     ┐ what was refused once is refused
4. candidates: the placer's best agent for each kernel      ┘ to the end of the cycle, unasked
5. what is placed counts at once, against agents and limits
6. a reason for each request that waits, from the state that is left when all have been decided

Where both plug-ins are built in, a compiled engine goes through the cycle if there is one; its plan is the same.
"""

from collections.abc import Mapping
from operator import attrgetter

import msgspec

from scheduler.cycles import GroupCycle, Members
from scheduler.fast import Fast
from scheduler.limits import Ledger
from scheduler.plan import Decided, Plan, SchedulerFailed
from scheduler.protocols import Placer, Sequencer
from scheduler.snapshot import AgentView, Running, Snapshot


class Scheduler(msgspec.Struct, frozen=True):
    """How one resource group is scheduled."""

    sequencer: Sequencer
    placer: Placer
    #: Does the head of the queue get a reservation, where the ends of what runs are known? See `scheduler.reservations`.
    backfill: bool = True


def plan(
    snapshot: Snapshot, schedulers: Mapping[str, Scheduler | SchedulerFailed], fast: Fast | None = None
) -> Plan:
    """Decide about every waiting session.

    Args:
        schedulers: for each resource group that has requests; a `SchedulerFailed` (such as of a plug-in that could
            not be loaded) is what all its sessions then wait for.
        fast: from `scheduler.fast.load`.

    Raises:
        ValueError: a resource group with requests has no scheduler.
    """
    for name in sorted(snapshot.queue.resource_groups.values):
        if name not in schedulers:
            raise ValueError(f"no scheduler for the resource group {name!r}")
    return Plan(list(decide(snapshot, schedulers, fast).values()))


def decide(
    snapshot: Snapshot, schedulers: Mapping[str, Scheduler | SchedulerFailed], fast: Fast | None = None
) -> dict[str, Decided]:
    """Decide about the waiting sessions of those resource groups that have a scheduler, one group after the other by id."""
    ledger = Ledger(snapshot.slots, snapshot.limits)
    members = members_of(snapshot)
    groups = fast.open_groups(snapshot, ledger) if fast else None
    decided: dict[str, Decided] = {}
    for name in sorted(schedulers.keys() & set(snapshot.queue.resource_groups.values)):
        scheduler = schedulers[name]
        mine = members.get(name, Members((), 0, ()))
        done = None
        if groups and not isinstance(scheduler, SchedulerFailed):
            done = groups.decide(
                name, mine, scheduler.sequencer, scheduler.placer, backfill=scheduler.backfill
            )
        decided[name] = done or _decide(snapshot, name, mine, scheduler, ledger)
    return decided


def _decide(
    snapshot: Snapshot,
    resource_group: str,
    members: Members,
    scheduler: Scheduler | SchedulerFailed,
    ledger: Ledger,
) -> Decided:
    requests = snapshot.requests_of(resource_group)
    backfill = not isinstance(scheduler, SchedulerFailed) and scheduler.backfill
    cycle = GroupCycle(
        resource_group,
        snapshot.slots,
        members,
        requests,
        ledger,
        device_slot=snapshot.device_slot,
        backfill=backfill,
    )
    if isinstance(scheduler, SchedulerFailed):
        cycle.fail(scheduler)
    else:
        cycle.run(scheduler.sequencer, scheduler.placer)
    return cycle


def members_of(snapshot: Snapshot) -> dict[str, Members]:
    """The agents of each resource group that has any."""
    agents: dict[str, list[AgentView]] = {}
    for agent in snapshot.agents:
        agents.setdefault(agent.resource_group, []).append(agent)
    at_work = {agent.id: agent.resource_group for agent in snapshot.agents if agent.schedulable}
    running: dict[str, list[Running]] = {}
    for kernel in snapshot.running:
        if kernel.agent in at_work:
            running.setdefault(at_work[kernel.agent], []).append(kernel)
    return {
        name: Members(
            _in_order([agent for agent in group if agent.schedulable]),
            len(group),
            tuple(running.get(name, ())),
        )
        for name, group in agents.items()
    }


def _in_order(agents: list[AgentView]) -> tuple[AgentView, ...]:
    """By architecture and id; two sorts by strings are faster than one by pairs."""
    agents.sort(key=attrgetter("id"))
    agents.sort(key=attrgetter("architecture"))
    return tuple(agents)
