"""A trace replayed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.engine import Scheduler
from scheduler.indexes import open_index
from scheduler.placers import Pack, PackOptions
from scheduler.queues import Request, Shape
from scheduler.sequencers import Fifo, FifoOptions
from scheduler.simulation import Arrival, Moment, fairness, fragmentation, mean_wait_of, simulate
from tests.scheduler.builders import ENGINES, GROUP, Cluster, Engine, builtin


def arrival(name: str, at: int, runs: int, cpu: int, user: str = "", promised: int | None = None) -> Arrival:
    request = Request(
        session_id=name,
        resource_group=GROUP,
        shape=Shape((cpu,)),
        queued=at,
        user=user,
        max_duration=promised,
    )
    return Arrival(at, runs, request)


def test_sessions_come_wait_run_and_end(engine: Engine) -> None:
    trace = [arrival("a", 0, 10, 3, "u"), arrival("b", 2, 5, 2, "v"), arrival("c", 10, 1, 1, "v")]
    replay = simulate(open_index(Cluster().agent("x", cpu=4).build(), GROUP, builtin(), engine), trace)
    assert replay.starts == {"a": 0, "b": 10, "c": 10}
    assert replay.agents == {"a": ("x",), "b": ("x",), "c": ("x",)}
    assert replay.waits(trace) == [0, 8, 0]
    assert mean_wait_of(trace, replay) == {"u": 0, "v": 4}
    assert replay.moments == [
        Moment(0, (3,), 0),
        Moment(2, (3,), 1),
        Moment(10, (3,), 0),
        Moment(11, (2,), 0),
        Moment(15, (0,), 0),
    ]
    assert replay.utilisation((4,), 15) == [(10 * 3 + 3 + 4 * 2) / (4 * 15)]


def test_a_session_that_never_fits_waits_for_ever(engine: Engine) -> None:
    index = open_index(Cluster().agent("x", cpu=4).build(), GROUP, builtin(), engine)
    replay = simulate(index, [arrival("large", 0, 1, 5), arrival("small", 0, 1, 1)])
    assert replay.starts == {"small": 0}
    assert replay.moments[-1].waiting == 1


@pytest.mark.parametrize("backfill", [True, False])
def test_a_large_session_starves_without_backfill_alone(backfill: bool, engine: Engine) -> None:
    """Two of three cores are always taken, by sessions that overlap; the large one wants all three."""
    trace = [arrival(f"s{number:03d}", number, 2, 1, promised=2) for number in range(100)]
    trace.append(arrival("large", 5, 1, 3, promised=1))
    scheduler = Scheduler(Fifo(FifoOptions()), Pack(PackOptions()), backfill=backfill)
    replay = simulate(open_index(Cluster().agent("x", cpu=3).build(), GROUP, scheduler, engine), trace)
    assert replay.starts["large"] == (6 if backfill else 101)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=20))
def test_both_engines_replay_a_trace_alike(rows: list[tuple[int, int, int]]) -> None:
    trace = [arrival(f"s{number:02d}", *row, promised=row[1]) for number, row in enumerate(rows)]
    cluster = Cluster().agent("x", cpu=4).agent("y", cpu=3).build()
    replays = [
        simulate(open_index(cluster, GROUP, builtin(), engine.values[0]), trace)  # type: ignore[arg-type]
        for engine in ENGINES
    ]
    assert replays[0] == replays[1]
    assert len(replays[0].starts) == len(trace)


def test_fairness_is_one_where_all_have_the_same_and_a_half_where_one_of_two_has_all() -> None:
    assert fairness([3, 3, 3]) == 1
    assert fairness([4, 0]) == 0.5
    assert fairness([0, 0]) == 1


def test_what_half_of_the_requests_cannot_use_is_half_lost() -> None:
    snapshot = Cluster().agent("x", cpu=4, gpu=2).agent("y", cpu=1, gpu=2).build()
    free = {agent.id: agent.free for agent in snapshot.agents}
    gpu = snapshot.slots.index("gpu")
    # On x both fit; on y the larger one lacks a core.
    assert fragmentation(snapshot.agents, free, {(1, 1): 5, (2, 1): 5}, gpu) == 0.25
