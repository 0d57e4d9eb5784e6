"""What `scheduler.fast` loads: the ways into the compiled engine, and its warming."""

from collections.abc import Sequence
from typing import Any, Final, cast

from scheduler.compiled.groups import Groups, built_in, tells_of_devices
from scheduler.compiled.indexes import CompiledIndex
from scheduler.cycles import Members
from scheduler.fragmentation import Fragmentation, FragmentationOptions
from scheduler.limits import Ledger
from scheduler.placers import Pack, PackOptions, Spread
from scheduler.protocols import Placer, Sequencer
from scheduler.queues import Request
from scheduler.sequencers import Drf, DrfOptions, Fifo, FifoOptions, Lifo
from scheduler.snapshot import Snapshot, SnapshotBuilder

open_groups = Groups


def open_index(
    snapshot: Snapshot,
    members: Members,
    requests: Sequence[Request],
    sequencer: Sequencer,
    placer: Placer,
    *,
    backfill: bool,
) -> CompiledIndex | None:
    # What is released would have to say which devices it had.
    followed = not tells_of_devices(snapshot, members) and not isinstance(placer, Fragmentation)
    if not (built_in(sequencer, placer) and followed):
        return None
    try:
        return CompiledIndex(
            snapshot,
            members,
            requests,
            cast("Fifo | Lifo | Drf", sequencer),
            cast("Pack | Spread", placer),
            backfill=backfill,
        )
    except OverflowError:
        return None


#: Weights for which keys take 32 bits, and 64.
_WEIGHTS: Final = ({"cpu": 1}, {"cpu": 1000, "mem": 1000})


def warm() -> None:
    """Compile everything before it is needed, or load what an earlier start has left on disk.

    One session waits for the first agent of many, as the end of what runs there is known.
    """
    build = SnapshotBuilder()
    for number in range(2000):
        build.agent(
            f"{number}",
            resource_group="",
            architecture="",
            capacity={"cpu": 1, "mem": 1},
            used={"cpu": 1},
            images=["i"],
        )
    build.request("s", resource_group="", slots={"cpu": 1}, scopes=["k"], image_id="i")
    build.running("0", slots={"cpu": 1}, remaining=1)
    build.limit("k", "cpu", used=0, cap=1)
    snapshot = build.build()
    members = Members(snapshot.agents, len(snapshot.agents), snapshot.running)
    sequencers: list[Any] = [Fifo(FifoOptions()), Drf(DrfOptions())]
    placers: list[Any] = [Pack(PackOptions(weights=weights)) for weights in _WEIGHTS]
    placers.append(Fragmentation(FragmentationOptions()))
    for sequencer in sequencers:
        for placer in placers:
            ledger = Ledger(snapshot.slots, snapshot.limits)
            Groups(snapshot, ledger).decide("", members, sequencer, placer, backfill=True)
    index = CompiledIndex(
        snapshot, members, snapshot.requests, Fifo(FifoOptions()), Pack(PackOptions()), backfill=True
    )
    index.decide(0)
