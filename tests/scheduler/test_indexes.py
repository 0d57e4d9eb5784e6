"""An index that is told what changes decides as a plan of the same moment would."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Scheduler
from scheduler.indexes import PlainIndex, open_index
from scheduler.placers import Pack, PackOptions, Spread, SpreadOptions
from scheduler.queues import Request, Shape
from scheduler.sequencers import Drf, DrfOptions, Fifo, FifoOptions, Lifo, LifoOptions
from scheduler.snapshot import SESSIONS, Snapshot
from tests.scheduler.builders import ENGINES, GROUP, Cluster, Engine, EvenSequencer, builtin

COMPILED = ENGINES[1].values[0]

schedulers = st.builds(
    Scheduler,
    st.sampled_from((Fifo(FifoOptions()), Lifo(LifoOptions()), Drf(DrfOptions(weights={"usr_1": 2})))),
    st.sampled_from((Pack(PackOptions()), Spread(SpreadOptions(prefer_cached_images=False)))),
    st.booleans(),
)


def cluster(chance: random.Random) -> Snapshot:
    made = Cluster()
    for number in range(chance.randint(0, 5)):
        used = chance.randint(0, 4)
        made.agent(
            f"a{number}",
            cpu=chance.randint(4, 9),
            mem=9,
            used={"cpu": used},
            architecture=chance.choice(("x86_64", "aarch64")),
            images=chance.sample(("i", "j"), chance.randint(0, 2)),
        )
        if used:
            made.running(f"a{number}", user="usr_1", cpu=used, remaining=chance.choice((None, 3, 6)))
    made.limit("key_1", "cpu", chance.choice((None, 3, 9)), used=chance.randint(0, 2))
    made.limit("key_2", SESSIONS, chance.choice((None, 1, 3)))
    made.session("before", cpu=2, mem=1, user="usr_1")
    return made.build()


def request(chance: random.Random, slots: tuple[str, ...], number: int) -> Request:
    amounts = {"cpu": chance.randint(0, 4), "mem": chance.randint(0, 2)}
    return Request(
        session_id=f"s{number:02d}",
        resource_group=GROUP,
        shape=Shape(
            tuple(amounts.get(slot, 0) for slot in slots),
            frozenset(chance.choice(((), ("x86_64",)))),
            chance.choice((None, None, None, frozenset(("a0", "a2")))),
        ),
        kernels=chance.choice((1, 1, 1, 2, 3)),
        image_id=chance.choice(("", "i", "k")),
        scopes=chance.choice(((), ("key_1",), ("key_2", "key_1"))),
        queued=number // 2,
        priority=chance.choice((0, 0, 0, 1)),
        user=chance.choice(("usr_1", "usr_2")),
        max_duration=chance.choice((None, 1, 4, 8)),
    )


@settings(max_examples=300)
@given(schedulers, st.integers(0, 2**32))
def test_the_compiled_index_decides_as_the_obvious_one_does(scheduler: Scheduler, seed: int) -> None:
    chance = random.Random(seed)
    snapshot = cluster(chance)
    indexes = [PlainIndex(snapshot, GROUP, scheduler), open_index(snapshot, GROUP, scheduler, COMPILED)]
    assert not isinstance(indexes[1], PlainIndex)
    waiting, live = {"before"}, set[str]()
    now = 0
    for number in range(40):
        now += chance.choice((0, 0, 1, 2))
        step = chance.random()
        for index in indexes:
            if step < 0.6:
                index.enqueue(request(random.Random(seed + number), snapshot.slots, number))
            elif step < 0.9 and live:
                index.release(min(live))
            elif waiting:
                index.withdraw(min(waiting))
        if step < 0.6:
            waiting.add(f"s{number:02d}")
        elif step < 0.9 and live:
            live.remove(min(live))
        elif waiting:
            waiting.remove(min(waiting))
        if chance.random() < 0.7:
            plain, fast = [index.decide(now) for index in indexes]
            assert fast == plain
            waiting -= {session for session, _ in plain}
            live |= {session for session, _ in plain}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_ends_makes_room_for_what_waits(engine: Engine) -> None:
    snapshot = Cluster().agent("a", cpu=2).session("one", cpu=2).session("two", cpu=2).build()
    index = open_index(snapshot, GROUP, builtin(), engine)
    assert index.decide(0) == [("one", ("a",))]
    assert index.decide(5) == []
    index.release("one")
    assert index.decide(9) == [("two", ("a",))]


def test_any_plug_in_has_an_index() -> None:
    snapshot = Cluster().agent("a", cpu=2).session("one", cpu=1).build()
    index = open_index(snapshot, GROUP, Scheduler(EvenSequencer(), builtin().placer), COMPILED)
    assert isinstance(index, PlainIndex)
    assert index.decide(0) == [("one", ("a",))]


def test_an_index_grows_with_what_it_is_told() -> None:
    """More sessions, shapes, parties and scopes than any of its tables had room for."""
    snapshot = Cluster().agent("a", cpu=50_000, mem=50_000).session("before").build()
    scheduler = Scheduler(Drf(DrfOptions()), Pack(PackOptions()))
    index = open_index(snapshot, GROUP, scheduler, COMPILED)
    for number in range(3000):
        index.enqueue(
            Request(
                session_id=f"s{number}",
                resource_group=GROUP,
                shape=Shape((number % 70 + 1, 1)),
                scopes=(f"key_{number % 1500}",),
                user=f"usr_{number % 1500}",
            )
        )
    placed = index.decide(0)
    plain = PlainIndex(snapshot, GROUP, scheduler, COMPILED)
    for number in range(3000):
        plain.enqueue(
            Request(
                session_id=f"s{number}",
                resource_group=GROUP,
                shape=Shape((number % 70 + 1, 1)),
                user=f"usr_{number % 1500}",
            )
        )
    assert placed == plain.decide(0)
    assert 1000 < len(placed) < 3000
