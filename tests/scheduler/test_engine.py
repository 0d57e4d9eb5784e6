"""What the cycle decides, case by case."""

import random
from collections.abc import Iterable

import pytest

from scheduler.candidates import TIES
from scheduler.engine import Scheduler, plan
from scheduler.placers import Spread, SpreadOptions
from scheduler.plan import (
    DesignatedAgentsUnavailable,
    GangDoesNotFit,
    LimitReached,
    NoAgentFits,
    NoAgents,
    Plan,
    Reason,
    WrongArchitecture,
)
from scheduler.protocols import Cycle
from scheduler.sequencers import Fifo, FifoOptions
from scheduler.snapshot import SESSIONS, Request, Snapshot
from tests.scheduler.builders import (
    GROUP,
    Cluster,
    Engine,
    EvenSequencer,
    FussyPlacer,
    builtin,
    everywhere,
)
from tests.scheduler.reference import reference_plan


def planned(snapshot: Snapshot, engine: Engine) -> Plan:
    return plan(snapshot, everywhere(builtin(), snapshot), engine)


PLACED: list[tuple[str, Cluster, dict[str, tuple[str, ...]]]] = [
    ("an empty snapshot gives an empty plan", Cluster(), {}),
    (
        "a session goes where it fits",
        Cluster().agent("a", cpu=1).agent("b", cpu=4).session("s", cpu=2),
        {"s": ("b",)},
    ),
    (
        "the fuller agent is packed first",
        Cluster().agent("a", cpu=8).agent("b", cpu=8, used={"cpu": 4}).session("s", cpu=2),
        {"s": ("b",)},
    ),
    (
        "agents that are as full are taken by id, whatever the order of rows",
        Cluster().agent("b", cpu=8).agent("a", cpu=8).session("s", cpu=2),
        {"s": ("a",)},
    ),
    (
        "among agents that are as full, one with the image is taken",
        Cluster().agent("a", cpu=8).agent("b", cpu=8, images=["i"]).session("s", cpu=2, image="i"),
        {"s": ("b",)},
    ),
    (
        "a session without a GPU keeps away from free GPUs",
        Cluster().agent("a", cpu=8, gpu=4).agent("b", cpu=8).session("s", cpu=2),
        {"s": ("b",)},
    ),
    (
        "the one that waits longest goes first",
        Cluster().agent("a", cpu=1).session("late", queued=2, cpu=1).session("early", queued=1, cpu=1),
        {"early": ("a",)},
    ),
    (
        "a higher priority overtakes",
        Cluster().agent("a", cpu=1).session("early", cpu=1).session("urgent", priority=5, cpu=1),
        {"urgent": ("a",)},
    ),
    (
        "a large session does not block a small one behind it",
        Cluster().agent("a", cpu=4).session("large", cpu=8).session("small", cpu=2),
        {"small": ("a",)},
    ),
    (
        "a gang is spread over agents where one does not hold it",
        Cluster().agent("a", cpu=4).agent("b", cpu=4).session("gang", kernels=3, cpu=2),
        {"gang": ("a", "a", "b")},
    ),
    (
        "a gang that does not fit leaves its room to others",
        Cluster().agent("a", cpu=4).session("gang", kernels=3, cpu=2).session("pair", kernels=2, cpu=2),
        {"pair": ("a", "a")},
    ),
    (
        "an overdrawn slot keeps out only those who need it",
        Cluster()
        .agent("a", cpu=4, gpu=1, used={"gpu": 2})
        .session("plain", cpu=1)
        .session("gpu", cpu=1, gpu=1),
        {"plain": ("a",)},
    ),
    (
        "only designated agents are used",
        Cluster().agent("a").agent("b").session("s", designated=["b"]),
        {"s": ("b",)},
    ),
    (
        "only agents of the image's architecture are used",
        Cluster().agent("a").agent("b", architecture="aarch64").session("s", architectures=["aarch64"]),
        {"s": ("b",)},
    ),
    (
        "a resource group uses only its own agents",
        Cluster().agent("a", group="g1").agent("b", group="g2").session("s", group="g2"),
        {"s": ("b",)},
    ),
    (
        "what a session gets counts at once against the limit of the next",
        Cluster()
        .agent("a")
        .session("one", scopes=["k"])
        .session("two", scopes=["k"])
        .limit("k", SESSIONS, 1),
        {"one": ("a",)},
    ),
    (
        "a limit holds over all resource groups together",
        Cluster()
        .agent("a", group="g1")
        .agent("b", group="g2")
        .session("one", group="g1", scopes=["k"], cpu=2)
        .session("two", group="g2", scopes=["k"], cpu=2)
        .limit("k", "cpu", 3),
        {"one": ("a",)},
    ),
    (
        "a limit with no cap is none",
        Cluster().agent("a").session("s", scopes=["k"], cpu=2).limit("k", "cpu", None, used=99),
        {"s": ("a",)},
    ),
    (
        "a limit of a slot that it does not use is not in its way, even when overdrawn",
        Cluster().agent("a", cpu=8, gpu=4).session("s", scopes=["k"], cpu=2).limit("k", "gpu", 1, used=2),
        {"s": ("a",)},
    ),
]


@pytest.mark.parametrize(("cluster", "expected"), [case[1:] for case in PLACED], ids=[c[0] for c in PLACED])
def test_where_sessions_go(cluster: Cluster, expected: dict[str, tuple[str, ...]], engine: Engine) -> None:
    assert planned(cluster.build(), engine).placements == expected


WAITING: list[tuple[str, Cluster, Reason]] = [
    (
        "there are no agents",
        Cluster().agent(group="other").session("s"),
        NoAgents(resource_group=GROUP, agents=0),
    ),
    (
        "no agent takes work",
        Cluster().agent(schedulable=False).agent(schedulable=False).session("s"),
        NoAgents(resource_group=GROUP, agents=2),
    ),
    (
        "the designated agent is drained",
        Cluster().agent("a", schedulable=False).agent("b").session("s", designated=["a"]),
        DesignatedAgentsUnavailable(resource_group=GROUP, agents=("a",)),
    ),
    (
        "no agent has its architecture",
        Cluster().agent().agent(architecture="riscv64").session("s", architectures=["aarch64"]),
        WrongArchitecture(accepted=("aarch64",), available=("riscv64", "x86_64")),
    ),
    (
        "it would fit if somebody left",
        Cluster().agent(cpu=8, used={"cpu": 7}).agent(cpu=8, used={"cpu": 5}).session("s", cpu=4),
        NoAgentFits(slot="cpu", asked=4, free=3, largest_free=3, largest_capacity=8, never=False),
    ),
    (
        "each slot is free somewhere, but not together: the nearest agent lacks least",
        Cluster()
        .agent(cpu=8, mem=8, used={"cpu": 7})
        .agent(cpu=8, mem=8, used={"mem": 5})
        .session("s", cpu=4, mem=4),
        NoAgentFits(slot="mem", asked=4, free=3, largest_free=8, largest_capacity=8, never=False),
    ),
    (
        "no agent is large enough even when empty",
        Cluster().agent(cpu=8, used={"cpu": 8}).agent(cpu=4).session("s", cpu=16),
        NoAgentFits(slot="cpu", asked=16, free=0, largest_free=4, largest_capacity=8, never=True),
    ),
    (
        "no agent has such a slot",
        Cluster().agent(cpu=8).session("s", cpu=1, tpu=1),
        NoAgentFits(slot="tpu", asked=1, free=0, largest_free=0, largest_capacity=0, never=True),
    ),
    (
        "a gang finds fewer places than it needs",
        Cluster().agent(cpu=4, used={"cpu": 1}).agent(cpu=4).session("s", kernels=4, cpu=2),
        GangDoesNotFit(kernels=4, fitting=3, at_most=4, never=False),
    ),
    (
        "a gang is larger than the empty cluster",
        Cluster().agent(cpu=4).agent(cpu=4).session("s", kernels=5, cpu=2),
        GangDoesNotFit(kernels=5, fitting=4, at_most=4, never=True),
    ),
    (
        "a gang of which not even one kernel fits is told what is missing",
        Cluster().agent(cpu=4, used={"cpu": 3}).session("s", kernels=2, cpu=2),
        NoAgentFits(slot="cpu", asked=2, free=1, largest_free=1, largest_capacity=4, never=False),
    ),
    (
        "the keypair has all that it may have",
        Cluster().agent().session("s", scopes=["k"], cpu=2).limit("k", "cpu", 4, used=3),
        LimitReached(scope="k", slot="cpu", asked=2, used=3, cap=4),
    ),
    (
        "limits count all kernels of a session",
        Cluster().agent().session("s", scopes=["k"], kernels=3, cpu=2).limit("k", "cpu", 5),
        LimitReached(scope="k", slot="cpu", asked=6, used=0, cap=5),
    ),
    (
        "the keypair has as many sessions as it may have",
        Cluster().agent().session("s", scopes=["k"], kernels=2).limit("k", SESSIONS, 1, used=1),
        LimitReached(scope="k", slot=SESSIONS, asked=1, used=1, cap=1),
    ),
    (
        "of several limits the first scope's is named",
        Cluster().agent().session("s", scopes=["k", "g"], cpu=2).limit("g", "cpu", 1).limit("k", "cpu", 0),
        LimitReached(scope="k", slot="cpu", asked=2, used=0, cap=0),
    ),
    (
        "a limit is named before a full cluster",
        Cluster().agent(cpu=1).session("s", scopes=["k"], cpu=2).limit("k", "cpu", 1),
        LimitReached(scope="k", slot="cpu", asked=2, used=0, cap=1),
    ),
]


@pytest.mark.parametrize(("cluster", "expected"), [case[1:] for case in WAITING], ids=[c[0] for c in WAITING])
def test_why_a_session_waits(cluster: Cluster, expected: Reason, engine: Engine) -> None:
    made = planned(cluster.build(), engine)
    assert made.placements == {}
    assert made.waiting["s"].reason == expected
    assert made.waiting["s"].position == 1


def test_positions_count_what_waits_in_the_order_of_the_sequencer(engine: Engine) -> None:
    snapshot = (
        Cluster()
        .agent(cpu=2)
        .session("third", cpu=9, queued=3)
        .session("placed", cpu=1, queued=1)
        .session("first", cpu=9, priority=1, queued=9)
        .session("second", cpu=9, queued=2)
        .session("elsewhere", group="other")
        .build()
    )
    waiting = planned(snapshot, engine).waiting
    assert {name: one.position for name, one in waiting.items()} == {
        "first": 1,
        "second": 2,
        "third": 3,
        "elsewhere": 1,
    }


def test_a_reason_counts_what_the_cycle_itself_has_placed(engine: Engine) -> None:
    snapshot = Cluster().agent(cpu=4).session("one", cpu=3).session("two", cpu=2).build()
    reason = planned(snapshot, engine).waiting["two"].reason
    assert reason == NoAgentFits(slot="cpu", asked=2, free=1, largest_free=1, largest_capacity=4, never=False)


def test_a_sequencer_sees_what_was_placed_and_may_choose_anew() -> None:
    cluster = Cluster().agent(cpu=4)
    for number in range(4):
        cluster.session(f"a{number}", scopes=["key_a"], cpu=1).session(f"b{number}", scopes=["key_b"], cpu=1)
    snapshot = cluster.build()
    made = plan(snapshot, {GROUP: Scheduler(EvenSequencer(), builtin().placer)})
    assert list(made.placements) == ["a0", "b0", "a1", "b1"]


def test_the_use_of_a_scope_shows_while_the_cycle_lasts() -> None:
    seen: list[tuple[int, int]] = []

    class Watching(Fifo):
        def order(self, cycle: Cycle) -> Iterable[Request]:
            for request in super().order(cycle):
                yield request
                seen.append((cycle.used("k", "cpu"), cycle.used("nobody", "cpu")))

    snapshot = (
        Cluster()
        .agent(cpu=8)
        .session(scopes=["k"], cpu=2)
        .session(scopes=["k"], cpu=3)
        .limit("k", "cpu", None, 1)
    ).build()
    plan(snapshot, {GROUP: Scheduler(Watching(FifoOptions()), builtin().placer)})
    assert seen == [(3, 0), (6, 0)]


def test_an_image_is_looked_for_on_the_first_agents_of_equal_rank_only(engine: Engine) -> None:
    def cluster(position: int) -> Snapshot:
        made = Cluster()
        for number in range(TIES + 1):
            made.agent(f"agt_{number:03d}", cpu=4, images=["i"] if number == position else [])
        return made.session("s", cpu=1, image="i").build()

    assert planned(cluster(TIES - 1), engine).placements == {"s": (f"agt_{TIES - 1:03d}",)}
    assert planned(cluster(TIES), engine).placements == {"s": ("agt_000",)}


def test_a_heap_full_of_entries_that_time_has_made_wrong_is_made_anew(engine: Engine) -> None:
    """A filling agent ranks lower with each placement, so its older entries never come to the top to be dropped."""
    cluster = Cluster().agent("a", cpu=1000).agent("b", cpu=1000)
    for _ in range(400):
        cluster.session(cpu=1).session(cpu=2)
    made = planned(cluster.build(), engine)
    assert list(made.placements.values()) == [("a",)] * 667 + [("b",)] * 133


def test_agents_that_a_gang_gave_back_count_once_among_those_of_equal_rank(engine: Engine) -> None:
    """The small shape's heap is made before a gang of another shape takes every agent and gives it back."""
    cluster = Cluster().limit("k", SESSIONS, 0)
    for number in range(TIES):
        cluster.agent(f"agt_{number:03d}", cpu=4, images=["i"] if number == TIES - 1 else [])
    cluster.session("refused", scopes=["k"], cpu=1).session("gang", kernels=TIES + 1, cpu=4)
    cluster.session("s", cpu=1, image="i")
    assert planned(cluster.build(), engine).placements == {"s": (f"agt_{TIES - 1:03d}",)}


@pytest.mark.parametrize("seed", range(3))
def test_long_cycles_on_many_agents_go_as_the_obvious_implementation_says(seed: int, engine: Engine) -> None:
    chance = random.Random(seed)
    cluster = Cluster()
    for number in range(12):
        cpu, mem = chance.randint(40, 240), chance.randint(40, 240)
        cluster.agent(
            f"agt_{number:02d}",
            cpu=cpu,
            mem=mem,
            images=["i"] * (number % 2),
            architecture=("x86_64", "aarch64")[number % 3 == 0],
        )
    for _ in range(1200):
        kernels = chance.choice([1] * 6 + [3])
        cluster.session(cpu=chance.randint(1, 3), mem=chance.randint(1, 2), kernels=kernels, image="i")
    snapshot = cluster.build()
    for placer in (builtin().placer, Spread(SpreadOptions()), FussyPlacer()):
        schedulers = {GROUP: Scheduler(Fifo(FifoOptions()), placer)}
        made = plan(snapshot, schedulers, engine)
        obvious = reference_plan(snapshot, schedulers)
        assert list(made.placements.items()) == list(obvious.placements.items())
        assert made.waiting == obvious.waiting
        assert 400 < len(made.placements) < 1200
