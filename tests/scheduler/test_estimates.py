"""When those that wait behind one another start, by the ends that are known."""

import pytest
from hypothesis import given

from scheduler import estimates
from scheduler.engine import Scheduler, plan
from scheduler.estimates import estimated
from scheduler.placers import Pack, PackOptions
from scheduler.plan import LimitReached
from scheduler.sequencers import Fifo, FifoOptions
from scheduler.snapshot import Snapshot
from tests.scheduler.builders import GROUP, Cluster
from tests.scheduler.test_properties import snapshots


def starts(snapshot: Snapshot) -> dict[str, int | None]:
    scheduler = Scheduler(Fifo(FifoOptions()), Pack(PackOptions()))
    groups = set(snapshot.queue.resource_groups.values)
    made = plan(snapshot, dict.fromkeys(groups, scheduler))
    found = estimated(snapshot, made, groups)
    assert found.keys() <= made.waiting.keys()
    assert all(one.reason == made.waiting[name].reason for name, one in found.items())
    return {name: one.starts_in for name, one in found.items()}


def full() -> Cluster:
    """Two agents of four cores; one is free in ten minutes, the other in twenty."""
    cluster = Cluster()
    for name, seconds in (("a", 600), ("b", 1200)):
        cluster.agent(name, cpu=4, used={"cpu": 4}).running(name, cpu=4, remaining=seconds)
    return cluster


@pytest.mark.parametrize(
    ("what", "cluster", "expected"),
    [
        (
            "one after the other, for as long as those before are known to run",
            full()
            .session("1", cpu=4, max_duration=900)
            .session("2", cpu=4, max_duration=60)
            .session("3", cpu=4)
            .session("4", cpu=4),
            {"1": 600, "2": 1200, "3": 1260, "4": 1500},
        ),
        (
            "who runs for ever leaves no room for others",
            full().session("1", cpu=4).session("2", cpu=4).session("3", cpu=4),
            {"1": 600, "2": 1200},
        ),
        (
            "a small one goes before a large one that it does not delay, and not before one that it does",
            full().session("large", cpu=4, kernels=2).session("small", cpu=1),
            {"large": 1200},
        ),
        (
            "a gang waits for all its places, others pass it where they are not in its way",
            full()
            .agent("c", cpu=2, used={"cpu": 2})
            .running("c", cpu=2, remaining=30)
            .session("gang", cpu=4, kernels=2)
            .session("small", cpu=2),
            {"gang": 1200, "small": 30},
        ),
        (
            "who has no known start is passed",
            Cluster()
            .agent("a", cpu=4, used={"cpu": 4})
            .running("a", cpu=2, remaining=60)
            .session("all", cpu=4)
            .session("half", cpu=2),
            {"half": 60},
        ),
        ("nothing is known", Cluster().agent("a", cpu=4, used={"cpu": 4}).session("1", cpu=1), {}),
        ("it never fits", full().session("huge", cpu=5), {}),
        (
            "a resource group's agents are its own",
            full()
            .agent("x", group="other", cpu=4, used={"cpu": 4})
            .running("x", cpu=4, remaining=5)
            .session("1", cpu=4)
            .session("2", cpu=4, group="other"),
            {"1": 600, "2": 5},
        ),
    ],
)
def test_a_queue_moves_up_as_the_ends_come(what: str, cluster: Cluster, expected: dict[str, int]) -> None:
    assert starts(cluster.build()) == expected, what


def test_whoever_brings_a_scope_to_its_limit_leaves_the_others_without_an_estimate() -> None:
    cluster = full().limit("usr", "cpu", 4)
    for name in ("1", "2"):
        cluster.session(name, cpu=4, scopes=("usr",))
    snapshot = cluster.session("other", cpu=4).build()
    assert starts(snapshot) == {"1": 600, "other": 1200}


def test_who_is_at_a_limit_already_has_none() -> None:
    snapshot = full().limit("usr", "cpu", 4, used=4).session("1", cpu=4, scopes=("usr",)).build()
    made = plan(snapshot, {GROUP: Scheduler(Fifo(FifoOptions()), Pack(PackOptions()))})
    assert isinstance(made.waiting["1"].reason, LimitReached)
    assert starts(snapshot) == {}


def test_the_cost_is_bounded_and_the_heads_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = full()
    cluster.agent("x", group="other", cpu=4, used={"cpu": 4}).running("x", cpu=4, remaining=5)
    for number in range(5):
        cluster.session(f"ses_{number}", cpu=1, max_duration=60)
    cluster.session("theirs", cpu=1, group="other")
    # Both agents, theirs, and after each start the one that has changed.
    monkeypatch.setattr(estimates, "LOOKS", 2 + 1 + 1 + 1)
    assert starts(cluster.build()) == {"ses_0": 600, "theirs": 5, "ses_1": 600, "ses_2": 600}
    monkeypatch.setattr(estimates, "LOOKS", 1)
    assert starts(cluster.build()) == {"theirs": 5}, "the others have more agents than may be looked at"
    monkeypatch.setattr(estimates, "LOOKS", 100)
    monkeypatch.setattr(estimates, "MOST", 2)
    assert starts(cluster.build()) == {"ses_0": 600, "theirs": 5, "ses_1": 600}


@given(snapshots())
def test_the_heads_estimate_is_that_of_its_reservation(snapshot: Snapshot) -> None:
    groups = set(snapshot.queue.resource_groups.values)
    made = plan(snapshot, dict.fromkeys(groups, Scheduler(Fifo(FifoOptions()), Pack(PackOptions()))))
    found = estimated(snapshot, made, groups)
    for name, one in made.waiting.items():
        # One that starts before it may bring a scope of its to a limit.
        if one.starts_in and (name in found or not snapshot.limits):
            assert found[name].starts_in == one.starts_in
