"""What is remembered of load."""

import time
from collections.abc import Iterator

import pytest

from agents.protocol import KernelStats, NodeStats, Stats
from services import stats
from services.bus import LocalBus
from services.stats import RING, StatsBook


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(stats, "time", type("Time", (), {"monotonic": clock, "time": time.time}))
        yield clock


def frame(at: float, *kernels: str, cpu: float = 1.0) -> Stats:
    return Stats(at, NodeStats(cpu), tuple(KernelStats(kernel, cpu) for kernel in kernels))


def run(book: StatsBook, clock: Clock, seconds: int, *kernels: str, agent: str = "agt_1") -> None:
    for _ in range(0, seconds, 2):
        clock.now += 2
        book.ingest(agent, frame(clock.now, *kernels))


def test_ten_minutes_are_kept_coarsely_and_the_newest_exactly(clock: Clock) -> None:
    book = StatsBook(LocalBus())
    run(book, clock, 3600, "knl_1", "knl_2")
    history = [sample.at for sample in book.kernel_history("knl_1")]
    assert RING <= len(history) <= RING + 1
    assert history[-1] == clock.now
    assert 580 <= history[-1] - history[0] <= 610
    assert history == sorted(set(history))
    assert [sample.at for sample in book.recent("knl_1")] == [clock.now - 2 * n for n in range(5)]


def test_a_kernel_of_whose_end_nobody_told_is_forgotten_after_ten_minutes(clock: Clock) -> None:
    book = StatsBook(LocalBus())
    run(book, clock, 60, "knl_1", "knl_2")
    run(book, clock, 60, "knl_2")
    assert book.kernel("knl_1") is None
    assert book.recent("knl_1") == []
    assert len(book.kernel_history("knl_1")) >= 6
    run(book, clock, 700, "knl_2")
    assert book.kernel_history("knl_1") == []


def test_a_node_tells_of_no_kernel_that_another_one_tells_of(clock: Clock) -> None:
    book = StatsBook(LocalBus())
    book.ingest("agt_1", frame(1, "knl_1", cpu=5.0))
    book.ingest("agt_2", frame(2, "knl_1", cpu=99.0))
    sample = book.kernel("knl_1")
    assert sample is not None
    assert sample.stats.cpu_percent == 5.0
    clock.now += stats.STALE + 1  # silent for long: it may have moved
    book.ingest("agt_2", frame(3, "knl_1", cpu=99.0))
    moved = book.kernel("knl_1")
    assert moved is not None
    assert moved.stats.cpu_percent == 99.0


def test_of_a_kernel_that_ended_nothing_is_kept(clock: Clock) -> None:
    book = StatsBook(LocalBus())
    run(book, clock, 20, "knl_1", "knl_2")
    book.forget(["knl_1"])
    assert book.kernel_history("knl_1") == []
    assert book.kernel("knl_2") is not None
    run(book, clock, 700, "knl_2")


def test_of_a_removed_node_nothing_is_kept(clock: Clock) -> None:
    book = StatsBook(LocalBus())
    run(book, clock, 20, "knl_1")
    book.forget(["agt_1"])
    assert book.kernel("knl_1") is None
    assert book.kernel_history("knl_1") == []
    assert book.node("agt_1") is None
