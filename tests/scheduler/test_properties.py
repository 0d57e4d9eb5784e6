"""What holds for every snapshot, and that the fast engine and the obvious one agree."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Scheduler, plan
from scheduler.fragmentation import Fragmentation, FragmentationOptions
from scheduler.placers import Pack, PackOptions, Spread, SpreadOptions
from scheduler.plan import GangDoesNotFit, LimitReached, NoAgentFits, Reserved, sentence
from scheduler.queues import Queue
from scheduler.sequencers import Drf, DrfOptions, Fifo, FifoOptions, Lifo, LifoOptions
from scheduler.snapshot import SESSIONS, Snapshot, SnapshotBuilder
from tests.scheduler.builders import ENGINES, Engine, EvenSequencer, FussyPlacer, everywhere
from tests.scheduler.reference import reference_plan

SLOTS = ("cpu", "mem", "cuda.device")
GROUPS = ("rgp_a", "rgp_b")
ARCHITECTURES = ("x86_64", "aarch64")
IMAGES = ("img_1", "img_2")
SCOPES = (("key_1", "grp_1"), ("key_2", "grp_1"), ("key_3", "grp_2"), ())


def amounts(most: int, *, least: int = 0) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries({slot: st.integers(least, most) for slot in SLOTS})


shapes = amounts(4).filter(any)
seconds = st.sampled_from((None, 1, 2, 3, 5))
users = st.sampled_from(("usr_1", "usr_2", "usr_3"))
projects = st.sampled_from(("grp_1", "grp_2"))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    builder = SnapshotBuilder()
    for number in range(draw(st.integers(0, 7))):
        pieces = draw(st.lists(amounts(3), max_size=3))
        # An agent may have shrunk under what it runs.
        used = {slot: sum(piece[slot] for piece in pieces) for slot in SLOTS}
        builder.agent(
            f"agt_{number}",
            resource_group=draw(st.sampled_from(GROUPS)),
            architecture=draw(st.sampled_from(ARCHITECTURES)),
            capacity=draw(amounts(12)),
            used=used,
            schedulable=draw(st.integers(0, 5)) > 0,
            images=draw(st.sets(st.sampled_from(IMAGES))),
        )
        for piece in pieces:
            builder.running(
                f"agt_{number}",
                slots=piece,
                user=draw(users),
                group=draw(projects),
                remaining=draw(seconds),
            )
    # Few shapes and many sessions: what is shared between equal shapes is what could go wrong.
    few = draw(st.lists(shapes, min_size=1, max_size=4))
    for number in range(draw(st.integers(0, 24))):
        builder.request(
            f"ses_{number:02d}",
            resource_group=draw(st.sampled_from(GROUPS)),
            slots=draw(st.sampled_from(few)),
            kernels=draw(st.sampled_from((1, 1, 1, 2, 4))),
            architectures=draw(st.sampled_from(((), ("x86_64",), ARCHITECTURES))),
            image_id=draw(st.sampled_from(("", *IMAGES))),
            designated=draw(st.sampled_from((None, None, None, ("agt_0", "agt_3")))),
            scopes=draw(st.sampled_from(SCOPES)),
            queued=draw(st.integers(0, 9)),
            priority=draw(st.integers(-1, 1)),
            user=draw(users),
            group=draw(projects),
            max_duration=draw(seconds),
        )
    for scope in ("key_1", "key_2", "grp_1", "grp_2"):
        for slot in draw(st.sets(st.sampled_from((*SLOTS, SESSIONS)))):
            builder.limit(
                scope,
                slot,
                used=draw(st.integers(0, 6)),
                cap=draw(st.one_of(st.none(), st.integers(0, 16))),
            )
    return builder.build()


@st.composite
def snapshots_of_devices(draw: st.DrawFn) -> Snapshot:
    """Agents that tell what each of their devices has free; requests for fractions, whole ones and both."""
    builder = SnapshotBuilder("gpu")
    for number in range(draw(st.integers(1, 4))):
        on = draw(st.lists(st.sampled_from((0, 250, 400, 700, 1000, 1000)), max_size=4))
        builder.agent(
            f"agt_{number}",
            resource_group="rgp_a",
            architecture=draw(st.sampled_from(ARCHITECTURES)),
            capacity={"cpu": 16, "gpu": 1000 * len(on)},
            used={"cpu": draw(st.integers(0, 8)), "gpu": 1000 * len(on) - sum(on)},
            # One of them may not tell.
            devices=None if draw(st.integers(0, 5)) == 0 else on,
        )
    few = draw(st.lists(st.sampled_from((0, 200, 300, 500, 1000, 1300, 2000)), min_size=1, max_size=4))
    for number in range(draw(st.integers(0, 24))):
        builder.request(
            f"ses_{number:02d}",
            resource_group="rgp_a",
            slots={"cpu": draw(st.integers(0, 2)), "gpu": draw(st.sampled_from(few))},
            kernels=draw(st.sampled_from((1, 1, 1, 2, 3))),
            architectures=draw(st.sampled_from(((), ("x86_64",)))),
            queued=number,
        )
    return builder.build()


schedulers = st.builds(
    Scheduler,
    st.sampled_from(
        (
            Fifo(FifoOptions()),
            Lifo(LifoOptions()),
            Drf(DrfOptions()),
            Drf(DrfOptions(by="group", weights={"grp_1": 3})),
            EvenSequencer(),
        )
    ),
    st.sampled_from(
        (
            Pack(PackOptions()),
            Pack(PackOptions(weights={"cpu": 3, "mem": 0}, prefer_cached_images=False)),
            Spread(SpreadOptions()),
            Fragmentation(FragmentationOptions()),
            FussyPlacer(),
        )
    ),
    st.sampled_from((True, True, False)),
)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=400)
@given(snapshots(), schedulers)
def test_it_decides_as_the_obvious_implementation_does(
    engine: Engine, snapshot: Snapshot, scheduler: Scheduler
) -> None:
    made = plan(snapshot, everywhere(scheduler, snapshot), engine)
    obvious = reference_plan(snapshot, everywhere(scheduler, snapshot))
    assert list(made.placements.items()) == list(obvious.placements.items())
    assert list(made.waiting.items()) == list(obvious.waiting.items())


@pytest.mark.parametrize("engine", ENGINES)
@given(snapshots(), schedulers, st.integers(0, 8), st.integers(0, 8))
def test_of_those_that_wait_some_can_be_asked_for(
    engine: Engine, snapshot: Snapshot, scheduler: Scheduler, first: int, last: int
) -> None:
    made = plan(snapshot, everywhere(scheduler, snapshot), engine)
    waiting = list(made.waiting.items())
    assert made.left == len(waiting)
    assert list(made.between(first, last)) == waiting[first:last]
    some = {session for session, _ in waiting[first::2]}
    assert list(made.among(some)) == waiting[first::2]
    heads = [(request.session_id, one) for request, one in made.heads(last)]
    assert heads == [(session, one) for session, one in waiting if one.position <= last]
    placed = {request: made.placements[request.session_id] for request, _ in made.placed_requests()}
    assert dict(made.placed_requests()) == placed
    assert placed.keys() == {one for one in snapshot.requests if one.session_id in made.placements}


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=300)
@given(snapshots_of_devices(), schedulers)
def test_devices_are_given_as_the_obvious_implementation_gives_them(
    engine: Engine, snapshot: Snapshot, scheduler: Scheduler
) -> None:
    made = plan(snapshot, everywhere(scheduler, snapshot), engine)
    obvious = reference_plan(snapshot, everywhere(scheduler, snapshot))
    assert list(made.placements.items()) == list(obvious.placements.items())
    assert list(made.waiting.items()) == list(obvious.waiting.items())


@given(snapshots(), schedulers)
def test_no_agent_is_ever_oversubscribed_and_none_but_suitable_ones_are_used(
    snapshot: Snapshot, scheduler: Scheduler
) -> None:
    made = plan(snapshot, everywhere(scheduler, snapshot))
    agents = {agent.id: agent for agent in snapshot.agents}
    requests = {request.session_id: request for request in snapshot.requests}
    taken: Counter[tuple[str, int]] = Counter()
    for session, chosen in made.placements.items():
        request = requests[session]
        for name in chosen:
            agent = agents[name]
            assert agent.schedulable
            assert agent.resource_group == request.resource_group
            assert not request.shape.architectures or agent.architecture in request.shape.architectures
            assert request.shape.designated is None or name in request.shape.designated
            for column, amount in enumerate(request.shape.needs):
                taken[name, column] += amount
    for (name, column), amount in taken.items():
        assert amount == 0 or amount <= agents[name].free[column]


@given(snapshots(), schedulers)
def test_no_limit_is_exceeded_after_any_placement_of_the_plan(
    snapshot: Snapshot, scheduler: Scheduler
) -> None:
    made = plan(snapshot, everywhere(scheduler, snapshot))
    requests = {request.session_id: request for request in snapshot.requests}
    caps = {(limit.scope, limit.slot): limit.cap for limit in snapshot.limits}
    used = {(limit.scope, limit.slot): limit.used for limit in snapshot.limits}
    for session in made.placements:
        request = requests[session]
        asked = {
            slot: n * request.kernels for slot, n in zip(snapshot.slots, request.shape.needs, strict=True)
        }
        for scope in request.scopes:
            for slot, amount in {**asked, SESSIONS: 1}.items():
                if amount and (scope, slot) in used:
                    used[scope, slot] += amount
                    cap = caps[scope, slot]
                    assert cap is None or used[scope, slot] <= cap


@given(snapshots(), schedulers)
def test_gangs_are_placed_whole_and_every_session_is_placed_or_has_a_reason_and_a_position(
    snapshot: Snapshot, scheduler: Scheduler
) -> None:
    made = plan(snapshot, everywhere(scheduler, snapshot))
    for request in snapshot.requests:
        assert (request.session_id in made.placements) != (request.session_id in made.waiting)
        if request.session_id in made.placements:
            assert len(made.placements[request.session_id]) == request.kernels
    assert made.placements.keys() | made.waiting.keys() == {r.session_id for r in snapshot.requests}
    for group in GROUPS:
        mine = [r.session_id for r in snapshot.requests if r.resource_group == group]
        positions = sorted(made.waiting[session].position for session in mine if session in made.waiting)
        assert positions == list(range(1, len(positions) + 1))


@given(snapshots(), schedulers)
def test_reasons_have_numbers_that_are_true_of_them(snapshot: Snapshot, scheduler: Scheduler) -> None:
    for waiting in plan(snapshot, everywhere(scheduler, snapshot)).waiting.values():
        reason = waiting.reason
        assert sentence(reason).endswith(".")
        match reason:
            case LimitReached():
                assert reason.used + reason.asked > reason.cap
            case NoAgentFits():
                assert reason.free < reason.asked or reason.never
                assert reason.free <= reason.largest_free
            case Reserved():
                assert reason.starts_in > 0
            case GangDoesNotFit():
                assert 0 < reason.fitting < reason.kernels
                assert reason.never == (reason.at_most < reason.kernels)
            case _:
                pass


@given(snapshots(), schedulers, st.randoms(use_true_random=False))
def test_a_replay_gives_the_same_plan_whatever_the_order_of_rows(
    snapshot: Snapshot, scheduler: Scheduler, chance: object
) -> None:
    agents, requests = list(snapshot.agents), list(snapshot.requests)
    chance.shuffle(agents)  # type: ignore[attr-defined]
    chance.shuffle(requests)  # type: ignore[attr-defined]
    again = Snapshot(
        slots=snapshot.slots,
        agents=tuple(agents),
        queue=Queue.of(requests),
        limits=snapshot.limits,
        running=snapshot.running,
    )
    first = plan(snapshot, everywhere(scheduler, snapshot))
    for made in (
        plan(again, everywhere(scheduler, snapshot)),
        plan(snapshot, everywhere(scheduler, snapshot)),
    ):
        assert list(made.placements.items()) == list(first.placements.items())
        assert made.waiting == first.waiting
