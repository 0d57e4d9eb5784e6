"""Whose turn it is, and what progressive filling promises."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.engine import Scheduler, plan
from scheduler.placers import Pack, PackOptions
from scheduler.plugins import BadOptions, sequencers
from scheduler.protocols import Sequencer
from scheduler.sequencers import Drf, DrfOptions, Fifo, FifoOptions, Lifo, LifoOptions
from tests.scheduler.builders import GROUP, Cluster, Engine

FIFO, LIFO, DRF = Fifo(FifoOptions()), Lifo(LifoOptions()), Drf(DrfOptions())


def placed(cluster: Cluster, sequencer: Sequencer, engine: Engine = None) -> list[str]:
    """Sessions in the order in which they got their agents."""
    return list(plan(cluster.build(), {GROUP: Scheduler(sequencer, Pack(PackOptions()))}, engine).placements)


def two_users() -> Cluster:
    """`u` asked for all before `v` asked for anything."""
    cluster = Cluster().agent(cpu=4, mem=64)
    for number in range(4):
        cluster.session(f"u{number}", user="u", project="p", cpu=1)
    for number in range(4):
        cluster.session(f"v{number}", user="v", project="q", cpu=1)
    return cluster


TURNS: list[tuple[str, Cluster, Sequencer, list[str]]] = [
    ("first in, first out", two_users(), FIFO, ["u0", "u1", "u2", "u3"]),
    ("last in, first out", two_users(), LIFO, ["v3", "v2", "v1", "v0"]),
    ("users in turn", two_users(), DRF, ["u0", "v0", "u1", "v1"]),
    (
        "a user of double weight is due twice as much",
        two_users(),
        Drf(DrfOptions(weights={"v": 3})),
        ["u0", "v0", "v1", "v2"],
    ),
    (
        "groups in turn, with weights of groups",
        two_users(),
        Drf(DrfOptions(by="group", weights={"p": 3})),
        ["u0", "v0", "u1", "u2"],
    ),
    (
        "what a user already runs counts",
        Cluster()
        .agent("a", cpu=5, used={"cpu": 2})
        .running("a", user="u", cpu=2)
        .session("u0", user="u", cpu=1)
        .session("u1", user="u", cpu=1)
        .session("v0", user="v", cpu=1)
        .session("v1", user="v", cpu=1),
        DRF,
        ["v0", "v1", "u0"],
    ),
    (
        "the dominant slot is compared, not one and the same",
        Cluster()
        .agent(cpu=9, mem=18)
        .session("u0", user="u", cpu=1, mem=4)
        .session("u1", user="u", cpu=1, mem=4)
        .session("u2", user="u", cpu=1, mem=4)
        .session("u3", user="u", cpu=1, mem=4)
        .session("v0", user="v", cpu=3, mem=1)
        .session("v1", user="v", cpu=3, mem=1)
        .session("v2", user="v", cpu=3, mem=1),
        DRF,
        # The example of the paper: three sessions of u, two of v.
        ["u0", "v0", "u1", "v1", "u2"],
    ),
    (
        "a priority orders a party's own sessions and buys no larger share",
        Cluster()
        .agent(cpu=2)
        .session("u0", user="u", cpu=1)
        .session("u1", user="u", cpu=1, priority=9)
        .session("u2", user="u", cpu=1, priority=9)
        .session("v0", user="v", cpu=1),
        DRF,
        ["u1", "v0"],
    ),
    (
        "a priority goes before the time of arrival",
        Cluster().agent(cpu=2).session("a", cpu=1, priority=1).session("b", cpu=1).session("c", cpu=1),
        LIFO,
        ["a", "c"],
    ),
    (
        "one that does not fit lets its user's next one pass",
        Cluster()
        .agent(cpu=3)
        .session("u0", user="u", cpu=5)
        .session("u1", user="u", cpu=1)
        .session("v0", user="v", cpu=1),
        DRF,
        ["u1", "v0"],
    ),
]


@pytest.mark.parametrize(
    ("cluster", "sequencer", "expected"), [case[1:] for case in TURNS], ids=[c[0] for c in TURNS]
)
def test_whose_turn_it_is(
    cluster: Cluster, sequencer: Sequencer, expected: list[str], engine: Engine
) -> None:
    assert placed(cluster, sequencer, engine) == expected


@pytest.mark.parametrize(
    "options", [{"by": "team"}, {"weights": {"u": 0}}, {"weights": {"u": 1.5}}, {"weight": {}}]
)
def test_options_of_drf_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(BadOptions):
        sequencers.load("drf", options)


# What holds for divisible tasks holds for sessions up to one of them. One agent, as the paper's model has it.

CAPACITY = (60, 60)
demands = st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(any)
Demand = tuple[int, int]


def share(demand: Demand, sessions: int = 1) -> Fraction:
    return max(Fraction(amount * sessions, most) for amount, most in zip(demand, CAPACITY, strict=True))


def sessions_in(demand: Demand, room: tuple[int, ...]) -> int:
    """How many sessions of this demand a part of the cluster holds."""
    return min(most // amount for amount, most in zip(demand, room, strict=True) if amount)


def fill(claims: list[Demand], count: int = 61) -> Counter[int]:
    """User → sessions placed, each user asking for more of one kind than the cluster holds."""
    cluster = Cluster().agent(cpu=CAPACITY[0], mem=CAPACITY[1])
    for number in range(count):
        for user, (cpu, mem) in enumerate(claims):
            cluster.session(f"{user} {number:03d}", user=f"u{user}", cpu=cpu, mem=mem)
    return Counter(int(session.split()[0]) for session in placed(cluster, DRF))


@given(st.lists(demands, min_size=1, max_size=4))
def test_sharing_incentive_each_has_its_nth_part_less_at_most_a_session_of_each(claims: list[Demand]) -> None:
    """Refused at a share s, as sum over j of (s + one session of j) exceeds the whole; so n s > 1 - all of those."""
    got = fill(claims)
    for user, demand in enumerate(claims):
        assert len(claims) * share(demand, got[user]) > 1 - sum(map(share, claims))


@given(st.lists(demands, min_size=2, max_size=4))
def test_nobody_envies_another_by_more_than_one_session_of_each(claims: list[Demand]) -> None:
    got = fill(claims)
    for user, demand in enumerate(claims):
        for other, theirs in enumerate(claims):
            bundle = tuple(amount * max(0, got[other] - 1) for amount in theirs)
            assert sessions_in(demand, bundle) <= got[user] + 1


@given(st.lists(demands, min_size=2, max_size=4), demands)
def test_asking_for_more_than_one_needs_gains_no_more_than_a_session(
    claims: list[Demand], lie: Demand
) -> None:
    true = claims[0]
    assume(all(claimed >= amount for claimed, amount in zip(lie, true, strict=True)))
    assert fill([lie, *claims[1:]])[0] <= fill(claims)[0] + 1


@given(st.lists(st.tuples(st.integers(0, 3), demands), min_size=1, max_size=24), st.integers(1, 3))
def test_nobody_is_left_with_nothing_where_a_session_of_theirs_fits(
    asked: list[tuple[int, Demand]], agents: int
) -> None:
    cluster = Cluster()
    for _ in range(agents):
        cluster.agent(cpu=15, mem=15)
    for number, (user, (cpu, mem)) in enumerate(asked):
        cluster.session(f"{user} {number}", user=f"u{user}", cpu=cpu, mem=mem)
    snapshot = cluster.build()
    made = plan(snapshot, {GROUP: Scheduler(DRF, Pack(PackOptions()))})
    free = {agent.id: list(agent.free) for agent in snapshot.agents}
    requests = {request.session_id: request for request in snapshot.requests}
    for session, (agent,) in made.placements.items():
        for column, amount in enumerate(requests[session].shape.needs):
            free[agent][column] -= amount
    with_something = {session.split()[0] for session in made.placements}
    for session in made.waiting:
        if session.split()[0] not in with_something:
            needs = requests[session].shape.needs
            assert not any(
                all(amount <= have for amount, have in zip(needs, row, strict=True)) for row in free.values()
            )
