"""What packing prefers."""

from scheduler.engine import Scheduler, plan
from scheduler.placers import Pack, PackOptions, Spread, SpreadOptions
from scheduler.sequencers import Fifo, FifoOptions
from tests.scheduler.builders import GROUP, Cluster, Engine


def place(cluster: Cluster, options: PackOptions, engine: Engine) -> dict[str, tuple[str, ...]]:
    scheduler = Scheduler(Fifo(FifoOptions()), Pack(options))
    return plan(cluster.build(), {GROUP: scheduler}, engine).placements


def test_slots_count_as_parts_of_the_largest_agent_not_by_their_units(engine: Engine) -> None:
    """A quarter of the memory left counts less than half of the cpu, though it is many more bytes."""
    cluster = (
        Cluster()
        .agent("a", cpu=8, mem=4_000_000, used={"cpu": 4, "mem": 4_000_000})
        .agent("b", cpu=8, mem=4_000_000, used={"cpu": 7, "mem": 3_000_000})
        .session("s", cpu=1)
    )
    assert place(cluster, PackOptions(), engine) == {"s": ("b",)}


def test_a_weight_makes_what_is_left_of_a_slot_count_more(engine: Engine) -> None:
    cluster = (
        Cluster()
        .agent("a", cpu=8, mem=8, used={"cpu": 2, "mem": 6})
        .agent("b", cpu=8, mem=8, used={"cpu": 5, "mem": 2})
        .session("s", cpu=1, mem=1)
    )
    assert place(cluster, PackOptions(), engine) == {"s": ("a",)}
    assert place(cluster, PackOptions(weights={"cpu": 10}), engine) == {"s": ("b",)}
    assert place(cluster, PackOptions(weights={"cpu": 0}), engine) == {"s": ("a",)}


def test_an_agent_is_filled_before_the_next_is_begun(engine: Engine) -> None:
    cluster = Cluster().agent("a", cpu=4).agent("b", cpu=4)
    for number in range(6):
        cluster.session(f"s{number}", cpu=1)
    assert list(place(cluster, PackOptions(), engine).values()) == [("a",)] * 4 + [("b",)] * 2


def test_an_image_breaks_ties_only_and_only_where_wanted(engine: Engine) -> None:
    tied = Cluster().agent("a", cpu=4).agent("b", cpu=4, images=["i"]).session("s", cpu=1, image="i")
    assert place(tied, PackOptions(), engine) == {"s": ("b",)}
    assert place(tied, PackOptions(prefer_cached_images=False), engine) == {"s": ("a",)}
    fuller = (
        Cluster()
        .agent("a", cpu=4, used={"cpu": 2})
        .agent("b", cpu=4, images=["i"])
        .session("s", cpu=1, image="i")
    )
    assert place(fuller, PackOptions(), engine) == {"s": ("a",)}


def test_a_slot_of_which_no_agent_has_any_does_not_count(engine: Engine) -> None:
    cluster = Cluster().agent("a", cpu=4, gpu=0).session("s", cpu=1)
    assert place(cluster, PackOptions(), engine) == {"s": ("a",)}


def test_spreading_takes_the_emptiest_agent_each_time(engine: Engine) -> None:
    cluster = Cluster().agent("a", cpu=4).agent("b", cpu=4, used={"cpu": 1}).agent("c", cpu=4)
    for number in range(5):
        cluster.session(f"s{number}", cpu=1)
    scheduler = Scheduler(Fifo(FifoOptions()), Spread(SpreadOptions()))
    made = plan(cluster.build(), {GROUP: scheduler}, engine)
    assert list(made.placements.values()) == [("a",), ("c",), ("a",), ("b",), ("c",)]


def test_amounts_beyond_64_bits_are_decided_all_the_same(engine: Engine) -> None:
    cluster = Cluster().agent("a", mem=2**62).agent("b", mem=2**80).session("s", mem=2**63)
    assert place(cluster, PackOptions(), engine) == {"s": ("b",)}
