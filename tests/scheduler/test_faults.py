"""A plug-in at fault takes its own resource group with it, and nothing else."""

from collections.abc import Callable, Iterable, Sequence

import pytest

from scheduler.engine import Scheduler, plan
from scheduler.plan import SchedulerFailed
from scheduler.protocols import Cycle, Rank
from scheduler.sequencers import Fifo, FifoOptions
from scheduler.snapshot import SESSIONS, Request, Shape, Snapshot
from tests.scheduler.builders import Cluster, NoOptions, builtin


class _Sequencer:
    Options = NoOptions

    def __init__(self, order: Callable[[Cycle], Iterable[Request]]) -> None:
        self._order = order

    def order(self, cycle: Cycle) -> Iterable[Request]:
        return self._order(cycle)


def _raise(_: Cycle) -> Iterable[Request]:
    raise RuntimeError("out of order")


def _raise_later(cycle: Cycle) -> Iterable[Request]:
    yield cycle.requests[0]
    raise RuntimeError("out of order")


SEQUENCERS: list[tuple[str, Callable[[Cycle], Iterable[Request]], str]] = [
    ("it raises", _raise, "RuntimeError: out of order"),
    ("it raises half way", _raise_later, "RuntimeError: out of order"),
    ("it leaves one out", lambda cycle: cycle.requests[1:], "it left out 1 sessions, such as 'ses_1'"),
    (
        "it gives one twice",
        lambda cycle: [cycle.requests[0], *cycle.requests],
        "it gave 'ses_1' twice, or made it up",
    ),
    ("it gives something else", lambda _: ["ses_1"], "AttributeError"),  # type: ignore[list-item]
    ("it gives nothing to iterate", lambda _: None, "TypeError"),  # type: ignore[return-value]
]


@pytest.mark.parametrize(
    ("order", "message"), [case[1:] for case in SEQUENCERS], ids=[c[0] for c in SEQUENCERS]
)
def test_a_sequencer_at_fault_stops_its_resource_group_and_no_other(
    order: Callable[[Cycle], Iterable[Request]], message: str
) -> None:
    snapshot = _two_groups()
    made = plan(
        snapshot,
        {"bad": Scheduler(_Sequencer(order), builtin().placer), "good": builtin()},  # type: ignore[arg-type]
    )
    assert made.placements == {"ses_3": ("agt_2",)}
    assert {name: one.position for name, one in made.waiting.items()} == {"ses_1": 1, "ses_2": 2}
    reason = made.waiting["ses_1"].reason
    assert isinstance(reason, SchedulerFailed)
    assert reason.plugin == "sequencer _Sequencer"
    assert reason.message.startswith(message)


class _Placer:
    """Fails at one of its three steps."""

    Options = NoOptions
    prefer_cached_images = False

    def __init__(self, step: str) -> None:
        self._step = step
        self._ranked = 0

    def prepare(self, cycle: Cycle) -> "_Placer":
        self._fail_at("prepare")
        return self

    def of(self, shape: Shape) -> Rank:
        self._fail_at("of")
        return self._rank

    def _rank(self, agent: int, free: Sequence[int]) -> int:
        self._ranked += 1
        if self._ranked > 1:
            self._fail_at("second rank")
        self._fail_at("rank")
        return 0.5 if self._step == "float" else 0  # type: ignore[return-value]

    def _fail_at(self, step: str) -> None:
        if self._step == step:
            raise RuntimeError(step)


@pytest.mark.parametrize("step", ["prepare", "of", "rank", "second rank", "float"])
def test_a_placer_at_fault_stops_its_resource_group_and_no_other(step: str) -> None:
    snapshot = _two_groups()
    made = plan(snapshot, {"bad": Scheduler(Fifo(FifoOptions()), _Placer(step)), "good": builtin()})  # type: ignore[arg-type]
    assert made.placements == {"ses_3": ("agt_2",)}
    reason = made.waiting["ses_2"].reason
    assert isinstance(reason, SchedulerFailed)
    assert reason.plugin == "placer _Placer"


def test_a_scheduler_that_could_not_be_loaded_is_what_its_sessions_wait_for() -> None:
    failure = SchedulerFailed(plugin="sequencer drf", message="There is no sequencer 'drf'.")
    made = plan(_two_groups(), {"bad": failure, "good": builtin()})
    assert made.placements == {"ses_3": ("agt_2",)}
    assert made.waiting["ses_1"].reason == failure


def test_a_resource_group_without_a_scheduler_is_refused() -> None:
    with pytest.raises(ValueError, match="no scheduler for the resource group 'bad'"):
        plan(_two_groups(), {"good": builtin()})


def _two_groups() -> Snapshot:
    """The bad group comes first and would use up the keypair's one session."""
    return (
        Cluster()
        .agent(group="bad")
        .agent(group="good")
        .session(group="bad", scopes=["k"])
        .session(group="bad")
        .session(group="good", scopes=["k"])
        .limit("k", SESSIONS, 1)
        .build()
    )
