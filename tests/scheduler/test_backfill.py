"""The head of the queue gets a reservation, and nobody delays it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.engine import Scheduler, plan
from scheduler.placers import Pack, PackOptions
from scheduler.plan import NoAgentFits, Plan, Reserved
from scheduler.sequencers import Fifo, FifoOptions
from tests.scheduler.builders import ENGINES, GROUP, Cluster, Engine


def planned(cluster: Cluster, engine: Engine, *, backfill: bool = True) -> Plan:
    scheduler = Scheduler(Fifo(FifoOptions()), Pack(PackOptions()), backfill=backfill)
    return plan(cluster.build(), {GROUP: scheduler}, engine)


def busy() -> Cluster:
    """Two cores are free; in ten minutes there are six, all of which the head needs."""
    return (
        Cluster().agent("a", cpu=6, used={"cpu": 4}).running("a", cpu=4, remaining=600).session("head", cpu=6)
    )


CASES: list[tuple[str, Cluster, set[str]]] = [
    (
        "one that ends before the head starts may pass",
        busy().session("brief", cpu=2, max_duration=600),
        {"brief"},
    ),
    ("one that would still run may not", busy().session("long", cpu=2, max_duration=601), set()),
    ("one of unknown duration may not", busy().session("open", cpu=2), set()),
    (
        "one that uses what the head leaves over may run for long",
        Cluster()
        .agent("a", cpu=8, used={"cpu": 6})
        .running("a", cpu=6, remaining=600)
        .session("head", cpu=7)
        .session("one", cpu=1)
        .session("two", cpu=1),
        {"one"},
    ),
    (
        "a slot that the head does not use is not reserved",
        Cluster()
        .agent("a", cpu=4, gpu=2, used={"cpu": 4})
        .running("a", cpu=4, remaining=60)
        .session("head", cpu=4)
        .session("gpu", gpu=2),
        {"gpu"},
    ),
    (
        "other agents take anybody",
        busy().agent("b", cpu=2).session("long", cpu=2),
        {"long"},
    ),
    (
        "without known ends there is no reservation",
        Cluster()
        .agent("a", cpu=6, used={"cpu": 4})
        .running("a", cpu=4)
        .session("head", cpu=6)
        .session("s", cpu=2),
        {"s"},
    ),
    (
        "one that no empty agent could hold is not the head",
        Cluster()
        .agent("a", cpu=6, used={"cpu": 4})
        .running("a", cpu=4, remaining=600)
        .session("never", cpu=7)
        .session("head", cpu=6)
        .session("long", cpu=2),
        set(),
    ),
    (
        "one that a limit keeps out is not the head",
        busy().limit("k", "cpu", 1).session("long", cpu=2).session("limited", queued=-1, cpu=6, scopes=["k"]),
        set(),
    ),
    (
        "what the cycle itself has placed ends too",
        Cluster()
        .agent("a", cpu=4)
        .session("first", cpu=3, max_duration=60)
        .session("head", cpu=4)
        .session("brief", cpu=1, max_duration=60)
        .session("long", cpu=1, max_duration=61),
        {"first", "brief"},
    ),
    (
        "a gang of brief sessions may stand on reserved and on free room",
        busy().agent("b", cpu=1).session("gang", cpu=1, kernels=3, max_duration=60),
        {"gang"},
    ),
    (
        "a gang that does not fit gives reserved room back",
        busy().session("gang", cpu=1, kernels=3, max_duration=60).session("brief", cpu=2, max_duration=60),
        {"brief"},
    ),
]


@pytest.mark.parametrize(
    ("cluster", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_who_may_pass(cluster: Cluster, expected: set[str], engine: Engine) -> None:
    assert set(planned(cluster, engine).placements) == expected


def test_without_backfill_whoever_fits_passes(engine: Engine) -> None:
    made = planned(busy().session("long", cpu=2), engine, backfill=False)
    assert set(made.placements) == {"long"}
    assert made.waiting["head"].starts_in is None


def test_the_head_is_told_when_it_starts_and_the_others_for_whom_they_wait(engine: Engine) -> None:
    waiting = planned(busy().session("long", cpu=2).session("large", cpu=3), engine).waiting
    assert waiting["head"].starts_in == 600
    assert isinstance(waiting["head"].reason, NoAgentFits)
    assert waiting["long"].reason == Reserved(session="head", starts_in=600)
    assert waiting["long"].starts_in is None
    assert waiting["large"].reason == NoAgentFits(
        slot="cpu", asked=3, free=2, largest_free=2, largest_capacity=6, never=False
    )


def test_a_gangs_reservation_counts_the_agents_that_are_free_before(engine: Engine) -> None:
    cluster = (
        Cluster()
        .agent("a", cpu=2)
        .agent("b", cpu=2, used={"cpu": 2})
        .agent("c", cpu=2, used={"cpu": 2})
        .running("b", cpu=2, remaining=90)
        .running("c", cpu=2, remaining=30)
        .session("gang", cpu=2, kernels=2)
        .session("long", cpu=1)
    )
    made = planned(cluster, engine)
    assert made.waiting["gang"].starts_in == 30
    assert made.waiting["long"].reason == Reserved(session="gang", starts_in=30)


@dataclass
class Job:
    name: str
    cpu: int
    kernels: int
    #: What it says, and keeps to.
    duration: int
    arrival: int


@dataclass
class Run:
    """Jobs on a small cluster, a cycle whenever one comes or ends; durations are as said."""

    agents: list[int]
    jobs: list[Job]
    engine: Engine
    started: dict[str, int] = field(default_factory=dict)
    live: list[tuple[int, str, int, Job]] = field(default_factory=list)

    def cycles(self) -> Iterator[tuple[int, Plan]]:
        now = 0
        while len(self.started) < len(self.jobs) or self.live:
            self.live = [one for one in self.live if one[0] > now]
            made = planned(self._cluster(now), self.engine)
            for name, agents in made.placements.items():
                job = next(job for job in self.jobs if job.name == name)
                self.started[name] = now
                self.live += [(now + job.duration, agent, job.cpu, job) for agent in agents]
            yield now, made
            moments = [one[0] for one in self.live]
            moments += [job.arrival for job in self.jobs if job.arrival > now]
            if not moments:
                return
            now = min(moments)

    def _cluster(self, now: int) -> Cluster:
        cluster = Cluster()
        for number, cpu in enumerate(self.agents):
            held = sum(taken for _, agent, taken, _ in self.live if agent == f"a{number}")
            cluster.agent(f"a{number}", cpu=cpu, used={"cpu": held})
        for end, agent, cpu, _ in self.live:
            cluster.running(agent, cpu=cpu, remaining=end - now)
        for job in self.jobs:
            if job.arrival <= now and job.name not in self.started:
                cluster.session(
                    job.name, queued=job.arrival, cpu=job.cpu, kernels=job.kernels, max_duration=job.duration
                )
        return cluster


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[int], list[Job]]:
    agents = draw(st.lists(st.integers(2, 8), min_size=1, max_size=3))
    jobs = [
        Job(
            f"j{number:02d}",
            cpu=draw(st.integers(1, min(agents))),
            kernels=draw(st.integers(1, len(agents))),
            duration=draw(st.integers(1, 9)),
            arrival=draw(st.integers(0, 12)),
        )
        for number in range(draw(st.integers(1, 16)))
    ]
    return agents, jobs


@pytest.mark.parametrize("engine", ENGINES)
@given(runs())
def test_no_head_ever_starts_later_than_it_was_once_told(
    engine: Engine, what: tuple[list[int], list[Job]]
) -> None:
    """All durations are known and hold. So a large session cannot starve: it starts when it was told, or sooner."""
    run = Run(*what, engine)
    told: dict[str, int] = {}
    for now, made in run.cycles():
        for name, waiting in made.waiting.items():
            if waiting.starts_in is not None:
                assert now + waiting.starts_in <= told.get(name, 10**9)
                told[name] = now + waiting.starts_in
            # The first in the queue always has a reservation, as every end is known.
            assert waiting.position > 1 or waiting.starts_in is not None
    assert len(run.started) == len(run.jobs)
    for name, moment in told.items():
        assert run.started[name] <= moment
